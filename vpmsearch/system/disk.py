"""How much free space a file system has."""

from __future__ import annotations

import os
from pathlib import Path

SPARE_BYTES = 256 * 2**10
"""A file system with less free space counts as full: SQLite's index of its log takes 32 KiB and more."""


def free_bytes(folder: Path) -> int:
    """Bytes that this process can still write to the folder's file system; 0 if it has no room for another file."""
    try:
        found = os.statvfs(folder)
    except OSError:
        return 0
    if found.f_files and not found.f_favail:  # file systems that do not count files have f_files 0
        return 0
    return found.f_bavail * found.f_frsize


def is_full(folder: Path) -> bool:
    """Whether the folder's file system has less than `SPARE_BYTES` free; False if there is no such folder."""
    return folder.is_dir() and free_bytes(folder) < SPARE_BYTES
