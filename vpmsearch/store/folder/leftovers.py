"""Deletes what an interrupted writer left in the folder of an index. It is harmless; the next writer deletes it."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from vpmsearch.errors import StoreError
from vpmsearch.store.folder.files import remove_segment, segments_folder
from vpmsearch.store.folder.segments import TEMPORARY


def remove_unreferenced(folder: Path, referenced: Iterable[int]) -> None:
    """Delete what an interrupted commit or compaction left in an index; the caller holds the writer lock.

    Raises:
        StoreDamagedError: the folder of the segments is a link or no folder.
    """
    names = {str(segment_id) for segment_id in referenced}
    for entry in segments_folder(folder).iterdir():
        if is_leftover(entry.name, names):
            shutil.rmtree(entry, ignore_errors=True)  # which follows no link


def is_leftover(name: str, referenced: set[str]) -> bool:
    """Whether a folder was left by an interrupted writer."""
    return name.startswith(TEMPORARY) or (name.isdecimal() and name not in referenced)


def remove_leftovers(folder: Path) -> None:
    """Delete what an interrupted upgrade left beside the catalog. The caller holds the writer lock."""
    for left in folder.glob(".catalog.sqlite3.*"):
        with suppress(OSError):  # a folder is none of ours
            left.unlink(missing_ok=True)


def discard(folder: Path, segment_id: int) -> None:
    """Delete a segment that no catalog names, as far as possible."""
    with suppress(OSError, StoreError):
        remove_segment(folder, segment_id)
