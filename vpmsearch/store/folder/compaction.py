"""`compact`: rewrites an index without its removed images, into one segment or, on a full disk, segment by segment."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from vpmsearch.errors import StoreDamagedError, StoreError, VpmsearchError
from vpmsearch.store.folder.catalog import Catalog
from vpmsearch.store.folder.copies import outdated_copies, purge
from vpmsearch.store.folder.embeddings import FILE_NAME as EMBEDDINGS_NAME
from vpmsearch.store.folder.files import FOLDER_NAME, REMEDY, segment_folder
from vpmsearch.store.folder.label_keeping import complete
from vpmsearch.store.folder.leftovers import remove_leftovers, remove_unreferenced
from vpmsearch.store.folder.locking import holders, writer_lock
from vpmsearch.store.folder.opening import open_catalog
from vpmsearch.store.folder.rewriting import rewrite
from vpmsearch.store.folder.segments import bytes_by_kind
from vpmsearch.store.values import CompactReport, OnBuild, tell_nobody
from vpmsearch.system.disk import free_bytes
from vpmsearch.words import byte_size

_CATALOG_BYTES = 2 * 2**20  # for the commit itself, beside the segments


def compact(
    path: str | os.PathLike[str],
    *,
    wait_seconds: float = 5.0,
    purge_backups: bool = False,
    dry_run: bool = False,
    on_build: OnBuild = tell_nobody,
) -> CompactReport:
    """Rewrite an index as one segment. Nothing of the removed images stays in its files. Ids stay.

    While it runs it needs free space for a second copy of the images that stay. If the disk has less, only the segments
    with removed images are rewritten, one by one. The smallest is first, so each makes room for the next; they are not
    merged then. Readers keep their files open and so keep the erased bytes on the disk; the report names these readers.

    Args:
        wait_seconds: how long to wait for readers to close their files. purge_backups: delete backups and snapshots
            with images that the index no longer has. dry_run: change nothing; `bytes_after` is then an estimate, and
            `erased` says whether nobody reads now. on_build: see `Gallery.writer`.

    Raises:
        StoreLockedError: somebody writes. StoreDamagedError: embeddings of an image that stays are missing or damaged.
            Damaged region indexes do not matter; they are rebuilt. StoreError: the disk is full; says how much is
            needed. No image is lost.
    """
    folder = Path(path)
    catalog = open_catalog(folder)
    if dry_run:
        return _look(folder, catalog)
    with writer_lock(folder):
        catalog.check_writable()
        before = bytes_by_kind(folder)["total"]
        found = _found(folder, catalog)
        remove_unreferenced(folder, found.segments)
        remove_leftovers(folder)
        old = _embeddings(folder, found.segments)
        _rewrite(folder, catalog, found, on_build)
        with suppress(VpmsearchError):  # without them opening takes longer
            complete(folder, catalog)
        deadline = time.monotonic() + wait_seconds
        emptied = catalog.truncate_wal(wait_seconds)
        while (readers := holders(old, deleted=True)) and time.monotonic() < deadline:
            time.sleep(0.1)
        copies = outdated_copies(folder, catalog)
        purged = purge(folder, catalog, copies) if purge_backups else ()
        return CompactReport(
            found.images,
            found.removed,
            before,
            bytes_by_kind(folder)["total"],
            erased=emptied and not readers,
            readers=tuple(reader for reader in readers if reader != os.getpid()),
            copies=tuple(copy for copy in copies if copy not in purged),
            purged=purged,
        )


@dataclass(frozen=True)
class _Found:
    """images, removed: of the whole index. segments: images of each, with removed ones. live: images of each that stay.
    sizes: bytes on disk.
    """

    images: int
    removed: int
    segments: Mapping[int, int]
    live: Mapping[int, int]
    sizes: Mapping[int, int]

    def needed(self, segments: Sequence[int]) -> int:
        """About how many bytes a copy of the images of some segments takes."""
        return sum(self.sizes[n] * self.live.get(n, 0) // max(1, self.segments[n]) for n in segments)


def _found(folder: Path, catalog: Catalog) -> _Found:
    with catalog.read() as reader:
        if wrong := reader.integrity():  # it would be written anew as if it were sound
            raise StoreDamagedError(f"{catalog.path}: {wrong[0]}; {REMEDY}")
        (images, removed, _), segments, live = reader.counts(), reader.segments(), reader.live_by_segment()
    places = {number: segment_folder(folder, number) for number in segments}
    sizes = {number: sum(file.lstat().st_size for file in place.glob("*")) for number, place in places.items()}
    return _Found(images, removed, segments, live, sizes)


def _look(folder: Path, catalog: Catalog) -> CompactReport:
    found, before = _found(folder, catalog), bytes_by_kind(folder)["total"]
    readers = holders(_embeddings(folder, found.segments), deleted=False)
    after = before - sum(found.sizes.values()) + found.needed(list(found.segments))
    copies = tuple(outdated_copies(folder, catalog))
    return CompactReport(
        found.images, found.removed, before, after, erased=not readers, readers=readers, copies=copies, dry_run=True
    )


def _rewrite(folder: Path, catalog: Catalog, found: _Found, on_build: OnBuild) -> None:
    """Write all segments as one. If there is no room for that, rewrite those with removed images one by one."""
    everything = list(found.segments)
    if found.needed(everything) + _CATALOG_BYTES <= free_bytes(folder):
        jobs = [everything]
    else:
        with_removed = [n for n in everything if found.live.get(n, 0) < found.segments[n]]
        jobs = [[n] for n in sorted(with_removed, key=lambda n: (found.needed([n]), n))]
        if not jobs:  # nothing to erase, and no room to merge
            raise _no_room(folder, found, everything)
    for job in jobs:
        try:
            rewrite(folder, catalog, job, catalog.next_ids()[1], on_build)
        except StoreDamagedError:
            raise
        except StoreError as error:
            if free_bytes(folder) < found.needed(job) + _CATALOG_BYTES:
                raise _no_room(folder, found, job) from error
            raise
        left = [entry for number in job if (entry := segment_folder(folder, number)).exists()]
        if left:
            raise StoreError(f"{left[0]} cannot be deleted and holds removed images still; delete it, compact again")


def _no_room(folder: Path, found: _Found, job: Sequence[int]) -> StoreError:
    needed, free = found.needed(job) + _CATALOG_BYTES, free_bytes(folder)
    return StoreError(
        f"compacting {folder} needs about {byte_size(needed)} on its disk for a while, and {byte_size(free)} are free; "
        f"free {byte_size(max(needed - free, 10**6))} more there, or move the index to another disk; no image is lost"
    )


def _embeddings(folder: Path, segments: Iterable[int]) -> list[tuple[int, str]]:
    """The embedding files of some segments, in the form that `holders` takes."""
    found = []
    for segment_id in segments:
        path = segment_folder(folder, segment_id) / EMBEDDINGS_NAME
        with suppress(OSError):
            found.append((path.stat().st_ino, f"{FOLDER_NAME}/{segment_id}/{path.name}"))
    return found
