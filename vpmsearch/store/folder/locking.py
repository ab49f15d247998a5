"""The writer lock: one writer at a time, and the operating system frees it when the process dies."""

from __future__ import annotations

import os
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


def holders(catalog: Path) -> tuple[int, ...]:
    """Other processes that hold a lock on a catalog's shared memory: those that read it. Linux only; else ()."""
    try:
        inode = Path(f"{catalog}-shm").stat().st_ino
        lines = Path("/proc/locks").read_text().splitlines()
    except OSError:
        return ()
    # 1: POSIX  ADVISORY  READ 4711 08:01:123456 128 128, the file as major:minor:inode
    found = {int(fields[4]) for fields in map(str.split, lines) if fields[1] == "POSIX" and _inode(fields) == inode}
    return tuple(sorted(found - {os.getpid(), -1}))


def _inode(fields: list[str]) -> int:
    return int(fields[5].rpartition(":")[2]) if len(fields) > 5 and fields[4].lstrip("-").isdecimal() else -1
