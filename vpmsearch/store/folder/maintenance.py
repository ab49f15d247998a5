"""Looking after an index: `verify` finds damage, `repair` mends what follows from the rest, `compact` erases."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from vpmsearch.errors import StoreDamagedError, StoreError, StoreNotFoundError
from vpmsearch.store.folder.catalog import FILE_NAME, Catalog
from vpmsearch.store.folder.copies import outdated_copies, purge
from vpmsearch.store.folder.embeddings import FILE_NAME as EMBEDDINGS_NAME
from vpmsearch.store.folder.locking import holders, writer_lock
from vpmsearch.store.folder.reader import Reader
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

    def look(reader: Reader) -> tuple[int, list[Problem], dict[int, int]]:
        return reader.counts()[0], check(folder, reader), reader.segments()

    for _ in range(_ATTEMPTS):
        try:
            catalog = open_catalog(folder)
            images, problems, segments = catalog.ask(look)
            if not problems or catalog.ask(Reader.segments) == segments:
                break
            # A merge may have replaced what was being looked at.
        except StoreDamagedError as error:
            return 0, [Problem(str(error))]
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
            (images, removed, _), segments = reader.counts(), reader.segments()
            remove_unreferenced(folder / FOLDER_NAME, segments)
        remove_leftovers(folder)
        _, segment_id = catalog.next_ids()
        old = _embeddings(folder, segments)
        rewrite(folder, catalog, list(segments), segment_id, on_build)
        left = [entry for number in segments if (entry := folder / FOLDER_NAME / str(number)).exists()]
        if left:
            raise StoreError(f"{left[0]} cannot be deleted and holds removed images still; delete it, compact again")
        deadline = time.monotonic() + wait_seconds
        emptied = catalog.truncate_wal(wait_seconds)
        while (readers := holders(old)) and time.monotonic() < deadline:
            time.sleep(0.1)
        copies = outdated_copies(folder, catalog)
        purged = purge(folder, catalog, copies) if purge_backups else ()
        return CompactReport(
            images,
            removed,
            before,
            bytes_by_kind(folder)["total"],
            erased=emptied and not readers,
            readers=tuple(reader for reader in readers if reader != os.getpid()),
            copies=tuple(copy for copy in copies if copy not in purged),
            purged=purged,
        )


def _embeddings(folder: Path, segments: Iterable[int]) -> list[tuple[int, str]]:
    """The files of embeddings of some segments, as `holders` takes them."""
    found = []
    for segment_id in segments:
        path = folder / FOLDER_NAME / str(segment_id) / EMBEDDINGS_NAME
        with suppress(OSError):
            found.append((path.stat().st_ino, path.name))
    return found
