"""Finds image files below a folder, by their extensions."""

from __future__ import annotations

import os
from pathlib import Path

from vpmsearch.data import not_taken
from vpmsearch.data.decoding import HEIC_EXTENSIONS
from vpmsearch.errors import DataError
from vpmsearch.words import printable

EXTENSIONS = frozenset(HEIC_EXTENSIONS) | frozenset(
    ".jpg .jpeg .jpe .jfif .png .bmp .webp .tif .tiff .gif .ppm .pgm .pbm .pnm .avif".split()  # noqa: SIM905
)
"""File name extensions of images, lower case."""

_SKIPPED_FOLDERS = frozenset(
    {"@eaDir", "__MACOSX", "$RECYCLE.BIN", "lost+found"}
)  # thumbnails and litter of file servers


def image_files(folder: str | os.PathLike[str]) -> list[Path]:
    """All image files below a folder, at any depth, in an order that does not depend on the file system.

    A file is taken by its extension, in capitals or not. Hidden files, hidden folders and thumbnail folders are
    skipped. Links to files are followed. Links to folders are not, as they may lead round in a circle. Whether a file
    really is an image shows when it is loaded.

    Raises:
        DataError: the folder or one below does not exist, is no folder or cannot be read.
    """
    return [Path(name) for name in image_names(folder)]


def image_names(folder: str | os.PathLike[str]) -> list[str]:
    """As `image_files`, but as text. With a million files, making a `Path` of each takes most of the time and memory.

    What is left aside is counted: see `vpmsearch.data.not_taken`. A folder that vanishes meanwhile is no error.

    Raises:
        DataError: as `image_files`.
    """
    root, found = str(Path(folder)), list[str]()
    aside = not_taken.current(root)

    def cannot_list(error: OSError) -> None:
        if isinstance(error, FileNotFoundError) and error.filename != root:
            aside.note(not_taken.VANISHED, error.filename)  # somebody is tidying up
        else:
            _refuse_folder(error)

    for place, folders, names in os.walk(root, onerror=cannot_list):
        inner = []
        for name in folders:
            path = os.path.join(place, name)  # noqa: PTH118
            if name.startswith(".") or name in _SKIPPED_FOLDERS:
                aside.note(not_taken.HIDDEN, path)
            elif os.path.islink(path):  # noqa: PTH114
                aside.note(not_taken.LINKED, path)
            else:
                inner.append(name)
        folders[:] = inner
        for name in names:
            path = os.path.join(place, name)  # noqa: PTH118
            if is_image_name(name):
                found.append(path)
            else:
                aside.note_file(path)
    found.sort(key=os.fsencode)
    return found


def first_images(folder: str | os.PathLike[str], count: int) -> list[str]:
    """The first image files below a folder, as text. None are given if the folder cannot be listed.

    Only as many folders are listed as needed.

    Args:
        count: how many files at most.
    """
    found: list[str] = []
    for place, folders, names in os.walk(str(Path(folder))):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in _SKIPPED_FOLDERS)
        found.extend(os.path.join(place, name) for name in sorted(names) if is_image_name(name))  # noqa: PTH118
        if len(found) >= count:
            break
    return found[:count]


def is_image_name(name: str) -> bool:
    """Whether a file is called like an image that can be read, and not hidden. Its content is not looked at."""
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in EXTENSIONS  # noqa: PTH122 (speed)


def name_below(name: str, folder: Path) -> str:
    """The part of a path that follows its folder, without the "/" between them."""
    return name[len(str(folder).rstrip("/")) + 1 :]


def _refuse_folder(error: OSError) -> None:
    reason = error.strerror or type(error).__name__
    if isinstance(error, NotADirectoryError):
        reason += "; a list of images is read with --dataset csv"
    raise DataError(f"{printable(error.filename)}: the folder cannot be listed ({reason})") from error
