"""Opens, makes and deletes the files of an index. An index may come from an attacker, so each file is checked.

A file must be regular, of bounded size, no link and with nearly no holes. A segment must be a folder named by a number
in the folder of the segments; neither folder may be a link. So nothing in an index leads out of it.
"""

from __future__ import annotations

import os
import shutil
import stat
from io import BufferedReader
from pathlib import Path

from vpmsearch.errors import StoreDamagedError, StoreError
from vpmsearch.system.regular import UnfitFileError, open_regular

FOLDER_NAME = "segments"
MAX_FILE_BYTES = 1 << 40
"""The largest file of an index, in bytes."""
REMEDY = "restore the index from a copy or build it again"
"""What to do about an index whose catalog or embeddings are not what was written."""


def printable_line(error: BaseException) -> str:
    """An error's message on one line, cut. Control characters, which a damaged file may put into it, are escaped."""
    text = " ".join(str(error).split())[:300] or type(error).__name__
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def open_file(path: Path, largest: int = MAX_FILE_BYTES) -> BufferedReader:
    """Open a file of an index for reading.

    Raises:
        StoreDamagedError: it is missing, or an index has no such file. StoreError: it exists, but the system refuses to
            open it (permissions, limits).
    """
    try:
        return open_regular(path, largest)
    except FileNotFoundError as error:
        raise StoreDamagedError(f"{path} is missing; {REMEDY}") from error
    except (UnfitFileError, NotADirectoryError) as error:
        raise StoreDamagedError(f"{path} is no file of an index ({error.strerror}); {REMEDY}") from error
    except OSError as error:
        raise StoreError(
            f"{path} cannot be opened ({error.strerror or error}); check its permissions, or run `vpmsearch compact` "
            "if too many files are open"
        ) from error


def check_file(path: Path, largest: int = MAX_FILE_BYTES) -> None:
    """The checks of `open_file`, for a file that SQLite, HDF5 or FAISS then opens by its path."""
    open_file(path, largest).close()


def check_folder(path: Path) -> None:
    """Refuse a folder of an index that is a link or no folder.

    Raises:
        StoreDamagedError: says which. StoreError: it cannot be looked at.
    """
    try:
        mode = path.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError) as error:
        raise StoreDamagedError(f"{path} is missing; {REMEDY}") from error
    except OSError as error:
        raise StoreError(f"{path} cannot be opened ({error.strerror or error}); check its permissions") from error
    if not stat.S_ISDIR(mode):
        what = "a link" if stat.S_ISLNK(mode) else "no folder"
        raise StoreDamagedError(f"{path} is {what}, and no index has such a thing; {REMEDY}")


def segments_folder(folder: Path) -> Path:
    """Where the segments of an index are.

    Raises:
        StoreDamagedError: it is a link, or no folder.
    """
    path = folder / FOLDER_NAME
    check_folder(path)
    return path


def segment_folder(folder: Path, segment_id: int) -> Path:
    """Where a segment of an index is, or would be.

    Raises:
        StoreDamagedError: a folder on its path is a link, or no segment can have this id.
    """
    if type(segment_id) is not int or segment_id < 1:
        raise StoreDamagedError(f"{folder} names a segment {segment_id!r:.40}; {REMEDY}")
    path = segments_folder(folder) / str(segment_id)
    if path.is_symlink():
        raise StoreDamagedError(f"{path} is a link, and no index has such a thing; {REMEDY}")
    return path


def remove_segment(folder: Path, segment_id: int) -> None:
    """Delete a segment's folder if it exists. Links are not followed.

    Raises:
        StoreDamagedError: as `segment_folder`. OSError: it cannot be deleted.
    """
    path = segment_folder(folder, segment_id)
    if os.path.lexists(path):
        shutil.rmtree(path)
