"""Looking after an index: `verify` finds damage, `repair` mends what follows from the rest, `compact` erases."""

from __future__ import annotations

import os
from pathlib import Path

from vpmsearch.errors import StoreDamagedError, StoreError, StoreNotFoundError
from vpmsearch.store.folder.catalog import FILE_NAME, Catalog
from vpmsearch.store.folder.copies import outdated_copies, purge
from vpmsearch.store.folder.locking import holders, writer_lock
from vpmsearch.store.folder.rewriting import rewrite
from vpmsearch.store.folder.segments import FOLDER_NAME, bytes_by_kind, remove_leftovers, remove_unreferenced
from vpmsearch.store.folder.verify import Problem, check
from vpmsearch.store.values import CompactReport, OnBuild, VerifyReport, tell_nobody

_ATTEMPTS = 3


def open_catalog(folder: Path) -> Catalog:
    """The catalog of an index, of the right revision.

    Raises:
        StoreNotFoundError, StoreVersionError, StoreDamagedError: there is none that could be used.
    """
    path = folder / FILE_NAME
    if not path.is_file():
        raise StoreNotFoundError(
            f"there is no index at {folder}; create one with `vpmsearch index GALLERY --index {folder}`"
        )
    catalog = Catalog(path)
    catalog.check_revision()
    return catalog


def verify(path: str | os.PathLike[str]) -> VerifyReport:
    """Check every file of an index against its checksum and every other; damage is reported, never raised.

    Folders that an interrupted writer left among the segments are no damage: the next writer deletes them.

    Raises:
        StoreNotFoundError: there is no index. StoreVersionError: it needs `vpmsearch upgrade`.
    """
    images, problems = _problems(Path(path))
    return VerifyReport(not problems, images, tuple(problem.text for problem in problems))


def _problems(folder: Path) -> tuple[int, list[Problem]]:
    images, problems = 0, list[Problem]()
    for _ in range(_ATTEMPTS):
        try:
            catalog = open_catalog(folder)
            with catalog.read() as reader:
                problems = check(folder, reader)
                images = reader.counts()["images"]
                with catalog.read() as now:  # a merge may have replaced what was being looked at
                    changed = now.segments() != reader.segments()
        except StoreDamagedError as error:
            return 0, [Problem(str(error))]
        if not problems or not changed:
            break
    return images, problems


def repair(path: str | os.PathLike[str]) -> VerifyReport:
    """Build anew what is damaged and follows from the catalog and the embeddings: region indexes, above all.

    Returns:
        What is still wrong.

    Raises:
        StoreLockedError: somebody writes. StoreError: the disk is full. Else as `verify`.
    """
    folder = Path(path)
    _, problems = _problems(folder)
    mendable = {problem.repairable for problem in problems if problem.repairable is not None}
    if mendable:
        catalog = open_catalog(folder)
        with writer_lock(folder):
            with catalog.read() as reader:
                here = [segment_id for segment_id in reader.segments() if segment_id in mendable]
                remove_unreferenced(folder / FOLDER_NAME, reader.segments())
            for segment_id in here:
                try:
                    rewrite(folder, catalog, [segment_id], catalog.next_ids()[1])
                except StoreDamagedError:
                    continue  # its embeddings are damaged too, which the report says
    return verify(folder)


def compact(
    path: str | os.PathLike[str],
    *,
    wait_seconds: float = 5.0,
    purge_backups: bool = False,
    on_build: OnBuild = tell_nobody,
) -> CompactReport:
    """Rewrite an index as one segment without the removed images, of which nothing stays in its files; ids stay.

    Needs the space of the index once more while it runs. Readers keep what they have open, and so keep the erased bytes
    on the disk: the report names them.

    Args:
        wait_seconds: how long to wait for readers to let go. purge_backups: delete the backups and snapshots that hold
            images which the index holds no more. on_build: told how many vectors are in the new region indexes and how
            many there will be; by any thread.

    Raises:
        StoreLockedError: somebody writes. StoreDamagedError: embeddings are missing or damaged; region indexes may
            be, they are built anew. StoreError: the disk is full; nothing has changed.
    """
    folder = Path(path)
    catalog = open_catalog(folder)
    with writer_lock(folder):
        before = bytes_by_kind(folder)["total"]
        with catalog.read() as reader:
            if wrong := reader.integrity():  # it would be written anew as if it were sound
                raise StoreDamagedError(f"{catalog.path}: {wrong[0]}; restore the index from a copy or build it again")
            counts, segments = reader.counts(), reader.segments()
            remove_unreferenced(folder / FOLDER_NAME, segments)
        remove_leftovers(folder)
        _, segment_id = catalog.next_ids()
        rewrite(folder, catalog, list(segments), segment_id, on_build)
        left = [entry for number in segments if (entry := folder / FOLDER_NAME / str(number)).exists()]
        if left:
            raise StoreError(f"{left[0]} cannot be deleted and holds removed images still; delete it, compact again")
        emptied = catalog.truncate_wal(wait_seconds)
        copies = outdated_copies(folder, catalog)
        purged = purge(folder, catalog, copies) if purge_backups else ()
        return CompactReport(
            counts["images"],
            counts["removed"],
            before,
            bytes_by_kind(folder)["total"],
            erased=emptied,
            readers=() if emptied else holders(catalog.path),
            copies=tuple(copy for copy in copies if copy not in purged),
            purged=purged,
        )
