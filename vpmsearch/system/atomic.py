"""Replace a file so that a crash or a full disk leaves either the old one or the new one, whole."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vpmsearch.errors import DataError


def check_folder_of(path: Path) -> None:
    """Refuse before the work what could not be written after it: a folder whose name is mistyped is not made.

    Raises:
        DataError: the folder that the file is to be in does not exist.
    """
    if not path.parent.is_dir():
        raise DataError(f"{path}: there is no folder {path.parent}; make it first, or choose another file")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path` to write to; on leaving, sync it and move it over `path`.

    Nothing happens to `path` when the block raises. The folder must exist.

    Raises:
        OSError: of this or of the block; it names `path` and not the temporary file, which is gone by then.
    """
    temporary: Path | None = None
    try:
        # 20 characters are at most 80 bytes: names are limited in bytes, and `path` may be as long as they go.
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem[:20]}.", suffix=path.suffix[-20:])
        os.close(handle)
        temporary = Path(name)
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)  # mkstemp's 0600 would surprise whoever shares the folder
        temporary.replace(path)
    except BaseException as error:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and (temporary is None or _is_about(error, temporary)):
            raise _named(error, path, temporary) from error
        raise
    sync_folder(path.parent)


def _is_about(error: OSError, temporary: Path) -> bool:
    """Whether an error names a temporary file, or is the system's and names none, as that of a write does."""
    if error.errno is None:  # a library's own, with names in the text if it has any
        return str(temporary) in str(error)
    return error.filename is None or str(temporary) in (str(error.filename), str(error.filename2))


def _named(error: OSError, path: Path, temporary: Path | None) -> OSError:
    """The same error, about the file that was asked for."""
    reason = error.strerror or str(error)
    if temporary is not None:
        reason = reason.replace(str(temporary), str(path))
    if error.errno is None:
        return type(error)(reason)
    return OSError(error.errno, reason, str(path))  # of the subclass that fits the number


def sync_folder(folder: Path) -> None:
    """Make renames in a folder last through a power loss."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
