"""Copies of an index: snapshots and their restoration, and which copies still hold what was removed."""

from __future__ import annotations

import os
import shutil
import sqlite3
import uuid
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np

from vpmsearch.atomic import sync_folder
from vpmsearch.errors import StoreDamagedError, StoreError, StoreNotFoundError, VpmsearchError
from vpmsearch.store.catalog import FILE_NAME, Catalog
from vpmsearch.store.checksums import FileSum, file_sum
from vpmsearch.store.reader import Reader
from vpmsearch.store.segments import FOLDER_NAME
from vpmsearch.types import Int64

_ATTEMPTS = 5
_BACKUPS = f"{FILE_NAME}.backup-*"


def copy_index(folder: Path, catalog: Catalog, target: Path) -> tuple[int, int]:
    """Copy an index as it is at one moment, while a writer may work; every file is compared with its checksum.

    Args:
        folder: the index. catalog: its catalog. target: a folder that does not exist or is empty.

    Returns:
        Images in the copy, and their checksum.

    Raises:
        StoreDamagedError: a file is not what was written; nothing is copied.
        StoreError: the target is not empty, or the disk is full.
    """
    try:
        with _appearing(target) as temporary:
            for attempt in range(1, _ATTEMPTS + 1):
                with catalog.read() as reader:
                    try:
                        _copy_segments(folder, reader, temporary / FOLDER_NAME)
                        reader.copy_catalog(temporary / FILE_NAME)
                        return reader.counts()["images"], reader.identity()[1]
                    except StoreDamagedError:
                        # A merge may have deleted a segment between our reading its name and copying it.
                        with catalog.read() as now:
                            changed = now.segments() != reader.segments()
                        if not changed or attempt == _ATTEMPTS:
                            raise
            raise AssertionError("unreachable")
    except OSError as error:
        raise StoreError(f"{folder} cannot be copied to {target} ({error.strerror or error})") from error


@contextmanager
def _appearing(target: Path) -> Iterator[Path]:
    """A folder that appears under its name only when it is whole."""
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise StoreError(f"{target} exists and is not empty; choose another folder")
    target.absolute().parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".tmp-{target.name}-{uuid.uuid4().hex[:8]}")
    temporary.mkdir()
    try:
        yield temporary
        sync_folder(temporary)
        temporary.rename(target)
        sync_folder(target.absolute().parent)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _copy_segments(folder: Path, reader: Reader, target: Path) -> None:
    target.mkdir(exist_ok=True)
    for segment_id in reader.segments():
        place = target / str(segment_id)
        if place.exists():
            continue  # of an attempt before: segments never change
        place.mkdir()
        try:
            for written in reader.files(segment_id).values():
                _copy_file(folder / FOLDER_NAME / str(segment_id) / written.name, place / written.name, written)
            sync_folder(place)
        except BaseException:
            shutil.rmtree(place, ignore_errors=True)
            raise
    sync_folder(target)


def _copy_file(source: Path, target: Path, written: FileSum) -> None:
    try:
        shutil.copyfile(source, target)
    except FileNotFoundError as error:
        raise StoreDamagedError(f"{source} is missing; restore the index from a copy or build it again") from error
    with target.open("rb") as file:
        os.fsync(file.fileno())
    if file_sum(target) != written:
        raise StoreDamagedError(f"{source} is not what was written (checksum); run `vpmsearch verify`")


def outdated_copies(folder: Path, catalog: Catalog) -> list[str]:
    """Backups beside the catalog and snapshots that hold images which the index holds no more."""
    with catalog.read() as reader:
        live = reader.found_all()
        index_id, snapshots = reader.identity()[0], reader.copies()
    catalogs = {str(path): path for path in sorted(folder.glob(_BACKUPS))}
    for name, total in snapshots.items():
        if _is_copy(Path(name), (index_id, total)):
            catalogs[name] = Path(name) / FILE_NAME
    return [name for name, path in catalogs.items() if not np.isin(_image_ids(path), live).all()]


def purge(folder: Path, catalog: Catalog, copies: Sequence[str]) -> tuple[str, ...]:
    """Delete copies found by `outdated_copies`; those that could be deleted."""
    with catalog.read() as reader:
        index_id, snapshots = reader.identity()[0], reader.copies()
    gone = []
    for name in copies:
        path = Path(name)
        try:
            if path.parent == folder and path.is_file():
                path.unlink()
            elif _is_copy(path, (index_id, snapshots.get(name, -1))):
                shutil.rmtree(path)
            gone.append(name)
        except OSError:
            continue  # it stays in the report's list of copies
    catalog.note_copies(gone=gone)
    return tuple(gone)


def _is_copy(folder: Path, identity: tuple[str, int]) -> bool:
    """Whether a folder is the snapshot still: another index may be there now, or the copy have become one in use."""
    try:
        with Catalog(folder / FILE_NAME).read() as reader:
            return reader.identity() == identity
    except (VpmsearchError, OSError):
        return False


def _image_ids(path: Path) -> Int64:
    """The ids of all images in a catalog of any revision, the removed ones too."""
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)) as connection:
            rows = connection.execute("SELECT id FROM image").fetchall()
    except sqlite3.Error as error:
        raise StoreDamagedError(f"{path} is not a sound catalog ({error}); look at it, or delete it") from error
    return np.array(rows, dtype=np.int64).reshape(-1)


def restore(source: str | os.PathLike[str], target: str | os.PathLike[str]) -> int:
    """Make an index out of a snapshot, which stays; every file is compared with its checksum.

    Args:
        source: the snapshot. target: a folder that does not exist or is empty.

    Returns:
        Images in the index.

    Raises:
        StoreNotFoundError: there is no snapshot. StoreVersionError: it needs `vpmsearch upgrade`.
        StoreDamagedError: it is damaged. StoreError: there is an index at the target, or it cannot be written.
    """
    folder = Path(source)
    path = folder / FILE_NAME
    if not path.is_file():
        raise StoreNotFoundError(f"there is no snapshot at {folder}; give a folder that `vpmsearch snapshot` made")
    catalog = Catalog(path)
    catalog.check_revision()
    with catalog.read() as reader:
        if wrong := reader.integrity():
            raise StoreDamagedError(f"{path}: {wrong[0]}; use another snapshot")
    return copy_index(folder, catalog, Path(target))[0]
