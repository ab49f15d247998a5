"""How the catalog names files, and whether a file that it names is still there."""

from __future__ import annotations

import os
from pathlib import Path

from vpmsearch.data.fragment import file_of
from vpmsearch.words import printable


def stored_path(path: Path) -> str:
    """How the catalog names a file: absolute, so that the index answers the same from any folder."""
    return os.path.abspath(path)  # noqa: PTH100 (resolve() would follow links; a link is the user's name for a file)


def stored_prefix(start: str) -> str:
    """The beginning of stored paths that matches `start`, the beginning of a path as a user writes it; "" matches all.

    A last "/" is kept: "cam1" matches paths in cam1 and in cam10, "cam1/" only those in cam1.
    """
    if not start:
        return ""
    whole = stored_path(Path(start))
    return whole if not start.endswith(os.sep) or whole.endswith(os.sep) else whole + os.sep


def rejected_path(path: str) -> str:
    """How the catalog names a rejected file: as it would name the image, but a name that is not UTF-8 is escaped."""
    return path if is_text(path) else printable(path)


def is_text(path: str) -> bool:
    """Whether a path can be stored, which means as UTF-8."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def file_is_gone(path: str) -> bool:
    """Whether the file of a stored path, or the file that it is a part of, does not exist any more."""
    try:
        os.lstat(file_of(path))
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:  # a disk that cannot be read just now
        return False
    return False
