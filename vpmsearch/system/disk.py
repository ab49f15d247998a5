"""How much room a file system has."""

from __future__ import annotations

import os
from pathlib import Path

SPARE_BYTES = 256 * 2**10
"""With less room than this a file system counts as full: SQLite's index of its log takes 32 KiB and more."""


def free_bytes(folder: Path) -> int:
    """Bytes that this process may still write to the file system of a folder; 0 where it takes no more files."""
    try:
        found = os.statvfs(folder)
    except OSError:
        return 0
    if found.f_files and not found.f_favail:  # some count no files at all
        return 0
    return found.f_bavail * found.f_frsize


def is_full(folder: Path) -> bool:
    """Whether hardly anything can be written to a folder's file system any more; False where nobody could tell."""
    return folder.is_dir() and free_bytes(folder) < SPARE_BYTES
