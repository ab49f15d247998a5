"""What an interrupted writer left in the folder of an index: harmless, and the next writer's to delete."""

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
        StoreDamagedError: its segments are elsewhere.
    """
    names = {str(segment_id) for segment_id in referenced}
    for entry in segments_folder(folder).iterdir():
        if is_leftover(entry.name, names):
            shutil.rmtree(entry, ignore_errors=True)  # which follows no link


def is_leftover(name: str, referenced: set[str]) -> bool:
    """Whether a folder is what an interrupted writer left: harmless, and the next writer's to delete."""
    return name.startswith(TEMPORARY) or (name.isdecimal() and name not in referenced)


def remove_leftovers(folder: Path) -> None:
    """Delete what an interrupted upgrade left beside the catalog; the caller holds the writer lock."""
    for left in folder.glob(".catalog.sqlite3.*"):
        with suppress(OSError):  # a folder is none of ours
            left.unlink(missing_ok=True)


def discard(folder: Path, segment_id: int) -> None:
    """Delete a segment that no catalog names, as far as that is possible."""
    with suppress(OSError, StoreError):
        remove_segment(folder, segment_id)
