"""Replaces a file so that after a crash or a full disk either the old or the new one is there, whole."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vpmsearch.errors import DataError


def check_folder_of(path: Path) -> None:
    """Check before the work that the file's folder exists. It is not created, as its name may be mistyped.

    Raises:
        DataError: the folder does not exist.
    """
    if not path.parent.is_dir():
        raise DataError(f"{path}: there is no folder {path.parent}; make it first, or choose another file")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path` to write to. At the end of the block, sync that file and move it to `path`.

    If the block raises, `path` stays as it was. The folder must exist.

    Raises:
        OSError: raised here or by the block. It names `path`, not the temporary file, which is gone by then.
    """
    temporary: Path | None = None
    try:
        # Names are limited in bytes, and `path` may have the longest name. 20 characters are at most 80 bytes.
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem[:20]}.", suffix=path.suffix[-20:])
        os.close(handle)
        temporary = Path(name)
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)  # mkstemp's 0600 would keep others from reading the file
        temporary.replace(path)
    except BaseException as error:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and (temporary is None or _is_about(error, temporary)):
            raise _named(error, path, temporary) from error
        raise
    sync_folder(path.parent)


def _is_about(error: OSError, temporary: Path) -> bool:
    """Whether an error names the temporary file, or is a system error without a name (as that of a write)."""
    if error.errno is None:  # raised by a library; a file name may be in its text
        return str(temporary) in str(error)
    return error.filename is None or str(temporary) in (str(error.filename), str(error.filename2))


def _named(error: OSError, path: Path, temporary: Path | None) -> OSError:
    """The same error with the name of the file that was asked for."""
    reason = error.strerror or str(error)
    if temporary is not None:
        reason = reason.replace(str(temporary), str(path))
    if error.errno is None:
        return type(error)(reason)
    return OSError(error.errno, reason, str(path))  # Python makes it the subclass of that number


def sync_folder(folder: Path) -> None:
    """Sync a folder, so that renames in it survive a power loss."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
