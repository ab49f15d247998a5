"""Whatever of an index is opened, made or deleted goes through here: it comes from anybody.

A file is a regular one of bounded size, no link and nearly no hole; a segment is a folder named by a number, in the
folder of the segments, which is no link either. So nothing that an index holds leads out of it.
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
"""Of any file of an index."""
REMEDY = "restore the index from a copy or build it again"
"""What to do about an index whose catalog or embeddings are not what was written."""


def printable_line(error: BaseException) -> str:
    """What an error says, on one line, without what a damaged file smuggled into it."""
    text = " ".join(str(error).split())[:300] or type(error).__name__
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def open_file(path: Path, largest: int = MAX_FILE_BYTES) -> BufferedReader:
    """Open a file of an index for reading.

    Raises:
        StoreDamagedError: it is missing, or no file that an index has. StoreError: it is there, but the system refuses
            (permissions, limits).
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
    """As `open_file`, for what SQLite, HDF5 or FAISS then open by its path."""
    open_file(path, largest).close()


def check_folder(path: Path) -> None:
    """Refuse a folder of an index that is a link, or none.

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
        StoreDamagedError: the way there is a link, or the id no number that a segment has.
    """
    if type(segment_id) is not int or segment_id < 1:
        raise StoreDamagedError(f"{folder} names a segment {segment_id!r:.40}; {REMEDY}")
    path = segments_folder(folder) / str(segment_id)
    if path.is_symlink():
        raise StoreDamagedError(f"{path} is a link, and no index has such a thing; {REMEDY}")
    return path


def remove_segment(folder: Path, segment_id: int) -> None:
    """Delete a segment's folder, if there is one; what is a link is not followed.

    Raises:
        StoreDamagedError: as `segment_folder`. OSError: it cannot be deleted.
    """
    path = segment_folder(folder, segment_id)
    if os.path.lexists(path):
        shutil.rmtree(path)
