"""Copies of an index: making and restoring snapshots, and finding copies that still hold removed images."""

from __future__ import annotations

import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import numpy as np

from vpmsearch.errors import StoreDamagedError, StoreError, StoreNotFoundError, VpmsearchError
from vpmsearch.store import calibration_file
from vpmsearch.store.folder import schema
from vpmsearch.store.folder.catalog import FILE_NAME, Catalog
from vpmsearch.store.folder.checksums import FileSum, is_as_written
from vpmsearch.store.folder.columns import whole_numbers
from vpmsearch.store.folder.files import FOLDER_NAME, check_folder, open_file, remove_segment, segment_folder
from vpmsearch.store.folder.label_file import LABELS_NAME
from vpmsearch.store.folder.label_keeping import complete
from vpmsearch.store.folder.locking import LOCK_NAME, writer_lock
from vpmsearch.store.folder.reader import Reader
from vpmsearch.store.folder.segments import TEMPORARY
from vpmsearch.store.folder.sqlite import connect, translated
from vpmsearch.system.atomic import sync_folder
from vpmsearch.types import Int64

_ATTEMPTS = 5
_BACKUPS = f"{FILE_NAME}.backup-*"
_UNFINISHED = re.compile(rf"{re.escape(TEMPORARY)}.+-[0-9a-f]{{8}}", re.DOTALL)


def copy_index(folder: Path, catalog: Catalog, target: Path, before: Callable[[Path, int], None]) -> int:
    """Copy an index as it is at one moment. A writer may work meanwhile. Every file is compared with its checksum.

    Args:
        folder: the index. catalog: its catalog. target: a folder that does not exist or is empty. before: called with
            the folder of the complete copy, before it is renamed to `target`, and the checksum of its images.

    Returns:
        Images in the copy.

    Raises:
        StoreDamagedError: a file is not what was written; nothing is copied.
        StoreError: the target is not empty or inside the index, or the disk is full.
    """
    if target.resolve().is_relative_to(folder.resolve()):
        raise StoreError(f"{target} is inside {folder}, whose next writer would delete it; choose another folder")
    try:
        with _appearing(target) as temporary:
            for attempt in range(1, _ATTEMPTS + 1):
                with catalog.read() as reader:
                    if wrong := reader.integrity():
                        raise StoreDamagedError(f"{catalog.path}: {wrong[0]}; a copy of it would be worth nothing")
                    reader.model()  # refused if impossible
                    try:
                        _copy_segments(folder, reader, temporary)
                        reader.copy_catalog(temporary / FILE_NAME)
                        complete(temporary, Catalog(temporary / FILE_NAME))
                        calibration_file.copy(folder, temporary)
                        before(temporary, reader.identity()[1])
                        return reader.counts()[0]
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
    """A temporary folder that gets its real name only when it is complete."""
    if (target / FILE_NAME).exists():
        raise StoreError(
            f"{target} is an index already; name another folder, or move that one away first "
            f"(mv {target} {target.with_name(f'{target.name}.before')})"
        )
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise StoreError(f"{target} exists and is not empty; choose another folder")
    parent = target.absolute().parent
    parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(parent)
    temporary = parent / f"{TEMPORARY}{target.name}-{uuid.uuid4().hex[:8]}"
    temporary.mkdir()
    try:
        # The system frees the lock of a killed process, so it tells a copy in progress from an abandoned one.
        with writer_lock(temporary):
            yield temporary
            sync_folder(temporary)
            temporary.rename(target)
            sync_folder(parent)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _remove_abandoned(parent: Path) -> None:
    """Delete unfinished copies that killed processes left in a folder, as far as possible."""
    with suppress(OSError):
        for entry in [entry for entry in parent.iterdir() if _UNFINISHED.fullmatch(entry.name)]:
            if entry.is_symlink() or not _is_unfinished_copy(entry):
                continue
            with suppress(StoreError), writer_lock(entry):  # locked: somebody is writing it
                shutil.rmtree(entry, ignore_errors=True)


def _is_unfinished_copy(folder: Path) -> bool:
    """Whether a folder holds a lock, perhaps parts of a copy, and nothing else. The caller has checked its name."""
    names = {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()
    # The catalog with SQLite's files, and the calibration with its temporary file.
    expected = (f"{FILE_NAME}-", f".{Path(calibration_file.FILE_NAME).stem}.")
    files = {name for name in names if name.startswith(expected)}
    return LOCK_NAME in names and names <= files | {LOCK_NAME, FOLDER_NAME, FILE_NAME, calibration_file.FILE_NAME}


def _copy_segments(folder: Path, reader: Reader, target: Path) -> None:
    (target / FOLDER_NAME).mkdir(exist_ok=True)
    for stale in (target / FOLDER_NAME).iterdir():  # of an earlier attempt; it may hold images that were removed since
        if stale.name not in map(str, reader.segments()):
            shutil.rmtree(stale)
    labels = reader.label_files()
    for segment_id in reader.segments():
        place = segment_folder(target, segment_id)
        source = segment_folder(folder, segment_id)
        check_folder(source)
        if place.exists():  # of an earlier attempt: only labels change in a segment
            _copy_labels(source, place, labels.get(segment_id))
            continue
        place.mkdir()
        try:
            for written in reader.files(segment_id).values():
                _copy_file(source / written.name, place / written.name, written)
            _copy_labels(source, place, labels.get(segment_id))
            sync_folder(place)
        except BaseException:
            shutil.rmtree(place, ignore_errors=True)
            raise
    sync_folder(target / FOLDER_NAME)


def _copy_labels(source: Path, target: Path, written: FileSum | None) -> None:
    """Copy a segment's file of labels if it is sound. It may have been replaced since the catalog was read."""
    copy = target / LABELS_NAME
    copy.unlink(missing_ok=True)
    if written is not None:
        try:
            _copy_file(source / written.name, copy, written)
        except StoreDamagedError:
            copy.unlink(missing_ok=True)


def _copy_file(source: Path, target: Path, written: FileSum) -> None:
    with open_file(source, written.size) as file, target.open("xb") as copy:
        shutil.copyfileobj(file, copy, 1 << 20)
        copy.flush()
        os.fsync(copy.fileno())
    if not is_as_written(target, written):
        raise StoreDamagedError(f"{source} is not what was written (checksum); run `vpmsearch verify`")


def outdated_copies(folder: Path, catalog: Catalog) -> list[str]:
    """Backups and snapshots with images that the index no longer has, and those that cannot be read."""
    with catalog.read() as reader:
        live = reader.found_all()
        index_id, snapshots = reader.identity()[0], reader.copies()
    catalogs = {str(path): path for path in sorted(folder.glob(_BACKUPS))}
    for name in snapshots:
        identity = _identity(Path(name))
        if (Path(name) / FILE_NAME).exists() and (identity is None or identity[0] == index_id):
            catalogs[name] = Path(name) / FILE_NAME
    return [name for name, path in catalogs.items() if not _is_within(path, live)]


def purge(folder: Path, catalog: Catalog, copies: Sequence[str]) -> tuple[str, ...]:
    """Delete copies found by `outdated_copies`: backups and unchanged snapshots. Returns those that were deleted.

    In a snapshot's folder only the files of an index are deleted. A snapshot that has changed is an index in use and
    stays.
    """
    with catalog.read() as reader:
        index_id, snapshots = reader.identity()[0], reader.copies()
    here = os.path.abspath(folder)  # noqa: PTH100
    gone = []
    for name in copies:
        path = Path(name)
        total, owner = snapshots.get(name, (-1, ""))
        try:
            if path.parent == folder and path.is_file():
                path.unlink()
            elif owner != here or not _purge_snapshot(path, (index_id, total)):
                continue  # it stays in the report's list of copies
            gone.append(name)
        except (OSError, StoreError):
            continue
    catalog.note_copies(gone=[name for name in gone if name in snapshots])
    return tuple(gone)


def _purge_snapshot(folder: Path, identity: tuple[str, int]) -> bool:
    """Delete a snapshot's files, the catalog last, so that it is still recognised after an interruption."""
    with writer_lock(folder):
        if _identity(folder) != identity:
            return False
        with Catalog(folder / FILE_NAME).read() as reader:
            segments = list(reader.segments())
        for segment_id in segments:
            remove_segment(folder, segment_id)
        (folder / FOLDER_NAME).rmdir()
        for name in (calibration_file.FILE_NAME, f"{FILE_NAME}-wal", f"{FILE_NAME}-shm", FILE_NAME, LOCK_NAME):
            (folder / name).unlink(missing_ok=True)
    with suppress(OSError):  # files that are not ours stay
        folder.rmdir()
    return True


def _identity(folder: Path) -> tuple[str, int] | None:
    """Which index a folder holds, and the checksum of its images; None if that cannot be read."""
    try:
        return Catalog(folder / FILE_NAME).ask(Reader.identity)
    except (VpmsearchError, OSError, IndexError, ValueError):  # ValueError: a path that no file can have
        return None


def _is_within(path: Path, live: Int64) -> bool:
    """Whether a catalog, of any revision, names only images in `live`; False if it cannot be read."""
    try:
        with translated(path), closing(connect(path, fixed=True)) as connection:
            if not schema.is_plain(connection, "image"):
                return False
            rows = connection.execute("SELECT id FROM image").fetchall()
            return bool(np.isin(whole_numbers([row[0] for row in rows], "image.id"), live).all())
    except (VpmsearchError, OSError, ValueError):
        return False


def restore(source: str | os.PathLike[str], target: str | os.PathLike[str]) -> int:
    """Make an index from a snapshot. The snapshot stays. Every file is compared with its checksum.

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
    catalog.check_writable()  # the new index notes which snapshot it is of
    where = Path(os.path.abspath(target))  # noqa: PTH100

    def note(temporary: Path, total: int) -> None:
        """Note in the new index that the snapshot is a copy of it, as the original index does."""
        Catalog(temporary / FILE_NAME).note_copies({os.path.abspath(folder): total}, owner=where)  # noqa: PTH100

    return copy_index(folder, catalog, where, note)
