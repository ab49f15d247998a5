"""The writer lock: it allows one writer at a time. The operating system frees it when the process dies."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePath

from filelock import FileLock, Timeout

from vpmsearch.errors import StoreDamagedError, StoreError, StoreLockedError

LOCK_NAME = "writer.lock"
_DELETED = " (deleted)"  # after a name in /proc/PID/maps


@contextmanager
def writer_lock(folder: Path) -> Iterator[None]:
    """Be the only writer of an index.

    Raises:
        StoreLockedError: there is another writer, in this process or another.
        StoreError: the folder cannot be written to.
    """
    path = folder / LOCK_NAME
    if path.is_symlink() or (path.exists() and not path.is_file()):  # never open anything else for writing
        raise StoreDamagedError(f"{path} is no file, and no index has such a thing; delete it")
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


def holders(files: Iterable[tuple[int, str]], *, deleted: bool) -> tuple[int, ...]:
    """Ids of the processes that have one of these files mapped, as far as we may inspect them. Linux only.

    Args:
        files: inode number and end of the path of each. deleted: whether the files are deleted. Their inode numbers may
            then belong to new files, which are not counted.
    """
    wanted = set(files)
    parts = {len(PurePath(end).parts) for _, end in wanted}
    found = set()
    for maps in Path("/proc").glob("[0-9]*/maps"):
        with suppress(OSError):  # another user's process, or it ended
            text = maps.read_text(errors="replace")
            if not any(end in text for _, end in wanted):
                continue  # as with nearly all: taking each line apart is most of the work
            # 7f00-7f01 r--s 00000000 08:01 123456   /index/segments/1/embeddings.h5 (deleted)
            lines = (line.split(maxsplit=5) for line in text.splitlines())
            for number, path in ((int(line[4]), line[5]) for line in lines if len(line) == 6):
                name = path.removesuffix(_DELETED)
                ends = ("/".join(PurePath(name).parts[-count:]) for count in parts) if number else ()
                if (name != path) == deleted and any((number, end) in wanted for end in ends):
                    found.add(int(maps.parent.name))
                    break
    return tuple(sorted(found))
