"""Opens files of unknown origin: regular files of limited size only, no pipe, no device, no huge sparse file."""

from __future__ import annotations

import errno
import os
import stat
from io import BufferedReader
from pathlib import Path

SPARSE_RATIO = 8
"""Largest ratio of a file's size to the bytes stored on the disk: a sparse file stores no blocks of zeros."""
_SPARSE_FREE = 256 << 10  # files up to this size, in bytes, may be sparse


class UnfitFileError(OSError):
    """A file exists but is refused; `strerror` says why."""

    def __init__(self, reason: str, path: Path) -> None:
        super().__init__(errno.EINVAL, reason, str(path))


def open_regular(path: Path, largest: int, *, follow: bool = False) -> BufferedReader:
    """Open a file for reading.

    Args:
        largest: bytes that the file may have. follow: whether the path may be a link. A user's own file may be one, a
            file of an index may not.

    Raises:
        UnfitFileError: the file is a link, not regular, too large, or stored for less than 1/`SPARSE_RATIO` of its
            size. OSError: it cannot be opened for another reason.
    """
    if not follow and path.is_symlink():
        raise UnfitFileError("it is a link", path)
    status = os.stat(path)  # noqa: PTH116 (before opening, as opening a device can have effects)
    _check_kind(status.st_mode, path)
    # O_NONBLOCK: if the file has become a pipe since, opening it must not wait for a writer.
    flags = os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NONBLOCK", 0) | (0 if follow else getattr(os, "O_NOFOLLOW", 0))
    file = open(os.open(path, flags), "rb")  # noqa: PTH123, SIM115 (the caller closes it)
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
    """Whether too little of a file is stored. If the file system cannot tell, all of it counts as stored."""
    if size <= _SPARSE_FREE or not hasattr(os, "SEEK_DATA"):
        return False
    handle, at, stored = file.fileno(), 0, 0
    try:
        while at < size and stored * SPARSE_RATIO < size:
            start = os.lseek(handle, at, os.SEEK_DATA)
            at = os.lseek(handle, start, os.SEEK_HOLE)
            stored += at - start
    except OSError as error:
        if error.errno != errno.ENXIO:  # ENXIO: there is no data after this point
            return False
    finally:
        os.lseek(handle, 0, os.SEEK_SET)
    return stored * SPARSE_RATIO < size
