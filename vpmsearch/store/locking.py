"""The writer lock: one writer at a time, and the operating system frees it when the process dies."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from vpmsearch.errors import StoreError, StoreLockedError

LOCK_NAME = "writer.lock"


@contextmanager
def writer_lock(folder: Path) -> Iterator[None]:
    """Be the only writer of an index.

    Raises:
        StoreLockedError: somebody else is, in this process or another.
        StoreError: the folder cannot be written to.
    """
    lock = FileLock(folder / LOCK_NAME, timeout=0, thread_local=False)
    try:
        lock.acquire()
    except Timeout as error:
        raise StoreLockedError(f"another process is writing to {folder}; try again when it is done") from error
    except OSError as error:
        raise StoreError(f"{folder} cannot be written to ({error.strerror or error})") from error
    try:
        yield
    finally:
        lock.release()
