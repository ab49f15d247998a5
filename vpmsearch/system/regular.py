"""Opening a file that came from somebody else: a regular one of bounded size, no pipe, no device, no giant of holes."""

from __future__ import annotations

import errno
import os
import stat
from io import BufferedReader
from pathlib import Path

SPARSE_RATIO = 8
"""A file may be so many times as large as what is really stored of it: file systems leave out blocks of zeros."""
_SPARSE_FREE = 256 << 10  # bytes in which nobody looks for holes


class UnfitFileError(OSError):
    """A file that is there and is not taken; `strerror` says why."""

    def __init__(self, reason: str, path: Path) -> None:
        super().__init__(errno.EINVAL, reason, str(path))


def open_regular(path: Path, largest: int, *, follow: bool = False) -> BufferedReader:
    """Open a file for reading.

    Args:
        largest: bytes it may have. follow: whether the path may be a link; a user's own may, one of an index may not.

    Raises:
        UnfitFileError: it is a link, no regular file, larger than that, or nearly all of it holes. OSError: else.
    """
    if not follow and path.is_symlink():
        raise UnfitFileError("it is a link", path)
    status = os.stat(path)  # noqa: PTH116 (before opening: to open a device may do something)
    _check_kind(status.st_mode, path)
    # O_NONBLOCK: should it have become a pipe since, opening it must not wait for a writer.
    flags = os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NONBLOCK", 0) | (0 if follow else getattr(os, "O_NOFOLLOW", 0))
    file = open(os.open(path, flags), "rb")  # noqa: PTH123, SIM115 (handed on)
    try:
        status = os.fstat(file.fileno())
        _check_kind(status.st_mode, path)
        if status.st_size > largest:
            raise UnfitFileError(f"it has {status.st_size} bytes, more than the {largest} that it may have", path)
        if _is_hollow(file, status.st_size):
            raise UnfitFileError(f"nearly all of its {status.st_size} bytes are a hole", path)
    except BaseException:
        file.close()
        raise
    return file


def _check_kind(mode: int, path: Path) -> None:
    kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
    if not stat.S_ISREG(mode):
        raise UnfitFileError(f"it is {kinds.get(stat.S_IFMT(mode), 'a device')}, no file", path)


def _is_hollow(file: BufferedReader, size: int) -> bool:
    """Whether too little of a file is stored; where a file system cannot tell, all of it counts as stored."""
    if size <= _SPARSE_FREE or not hasattr(os, "SEEK_DATA"):
        return False
    handle, at, stored = file.fileno(), 0, 0
    try:
        while at < size and stored * SPARSE_RATIO < size:
            start = os.lseek(handle, at, os.SEEK_DATA)
            at = os.lseek(handle, start, os.SEEK_HOLE)
            stored += at - start
    except OSError as error:
        if error.errno != errno.ENXIO:  # no data from there on
            return False
    finally:
        os.lseek(handle, 0, os.SEEK_SET)
    return stored * SPARSE_RATIO < size
