"""Brings an index up to date with a gallery, committing as it goes: an interrupted run resumes where it was."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from vpmsearch.data.datasets import LabelledImage
from vpmsearch.data.images import content_hash, printable
from vpmsearch.errors import ImageError
from vpmsearch.model.extraction import ExtractedBatch, Extractor, Rejected, Request
from vpmsearch.store import Gallery, GalleryView, ImageWriter
from vpmsearch.types import ImageRecord, as_utc

COMMIT_IMAGES = 4096
"""Images a commit takes at most: a segment of 4,096 × 6 × 256 float32 is 24 MiB, and as much again in FAISS."""
COMMIT_SECONDS = 120.0
"""Work that a crash may cost at most."""
LOOKED_UP = 1024
"""Unchanged files whose labels are looked up at once: on a server each look is a round trip."""


@dataclass
class IndexReport:
    """What a run did.

    indexed: taken in, `replaced` of them changed files. unchanged: same path, bytes and labels as before.
    relabelled: same bytes, other pid, camid or time. moved: same bytes under a new path, the old file gone. Both keep
    embedding and image id. duplicates: indexed images whose bytes another image has too. pruned: vanished and removed.
    images: what the index holds now.
    """

    indexed: int = 0
    replaced: int = 0
    unchanged: int = 0
    relabelled: int = 0
    moved: int = 0
    duplicates: int = 0
    pruned: int = 0
    images: int = 0
    seconds: float = 0.0
    rejected: list[Rejected] = field(default_factory=list)


def index_gallery(
    store: Gallery,
    extractor: Extractor,
    images: Sequence[LabelledImage],
    *,
    prune_below: Path | None = None,
    on_progress: Callable[[int], None] = lambda images: None,
    on_build: Callable[[int, int], None] = lambda done, total: None,
) -> IndexReport:
    """Index what is new or changed; files with the same path and bytes are not embedded again.

    Args:
        store: open, made for the extractor's weights.
        extractor: sees the images.
        images: the gallery; a path named twice counts once.
        prune_below: remove indexed images below this folder whose files have vanished.
        on_progress: told how many more images are dealt with.
        on_build: told, while a commit builds region indexes, how many vectors are in and how many there will be.

    Raises:
        ModelMismatchError: the store was made for other weights.
        StoreError: nothing more can be committed (a full disk, another writer); what was committed stays.
    """
    start = time.perf_counter()
    store.check_model(extractor.weights.info)
    with store.writer(on_build=on_build) as writer:
        store.refresh()  # under the lock: from here on nobody else commits
        run = _Run(store, writer, images, on_progress)
        try:
            for batch in extractor.extract(run.requests()):
                run.take(batch)
        finally:
            # Interrupted or failed, what is done is kept; after a commit that failed this is its second chance.
            run.commit()
        if prune_below is not None:
            run.prune(prune_below)
            run.commit()
    store.refresh()
    return replace(run.report, images=len(store.snapshot), seconds=time.perf_counter() - start)


class _Run:
    """One run: what was known before it, and what it did."""

    def __init__(
        self, store: Gallery, writer: ImageWriter, images: Sequence[LabelledImage], tell: Callable[[int], None]
    ) -> None:
        self.images, self.writer, self.tell = images, writer, tell
        self.snapshot: GalleryView = store.snapshot
        self.known = store.live_files()
        self._by_hash: dict[str, list[str]] = defaultdict(list)
        for path, (_, digest) in self.known.items():
            self._by_hash[digest].append(path)
        self._had_images = bool(self.known)
        folders = {os.path.dirname(stored_path(image.path)) for image in images}  # noqa: PTH120
        self._root = os.path.join(os.path.commonpath(folders), "") if folders else ""  # noqa: PTH118
        self.rejected_before = {path for path, _ in store.rejected()}
        self.report = IndexReport()
        self._named: set[str] = set()
        self._same: list[tuple[str, LabelledImage]] = []  # of the same bytes; labels not compared yet
        self._committed_at = time.monotonic()

    def requests(self) -> Iterator[Request]:
        """The images to embed; deals with all others itself."""
        for position, image in enumerate(self.images):
            path = stored_path(image.path)
            if path in self._named:
                self.tell(1)
                continue
            self._named.add(path)
            if not _is_utf8(path):
                self._reject(Rejected(position, image.path, "the file's name is not valid UTF-8; rename it"))
            elif not (self._is_same(path, image) if path in self.known else self._is_elsewhere(path, image)):
                yield Request(position, image.path)
        self._compare_labels()

    def take(self, batch: ExtractedBatch) -> None:
        """Add a batch's images, in place of those that had the same paths; commit when it is time."""
        records = []
        for seen in batch.seen:
            image = self.images[seen.position]
            record = ImageRecord(
                path=stored_path(image.path),
                content_hash=seen.content_hash,
                pid=image.pid,
                camid=image.camid,
                captured_at=image.captured_at,
                width=seen.width,
                height=seen.height,
            )
            self.report.replaced += self._forget(record.path)
            self.report.duplicates += bool(self._by_hash[record.content_hash])
            self._by_hash[record.content_hash].append(record.path)
            records.append(record)
        self.writer.add(records, batch.features)
        self.report.indexed += len(records)
        self.tell(len(records))
        for rejected in batch.rejected:
            self._reject(rejected)
        self._commit_if_due()

    def commit(self) -> None:
        """Make what is done so far visible and lasting."""
        self.writer.commit()
        self._committed_at = time.monotonic()

    def _commit_if_due(self) -> None:
        if self.writer.pending >= COMMIT_IMAGES or time.monotonic() - self._committed_at > COMMIT_SECONDS:
            self.commit()

    def prune(self, below: Path) -> None:
        """Remove the images below a folder whose files have vanished, and the notes on rejected ones."""
        prefix = os.path.join(stored_path(below), "")  # noqa: PTH118 (the trailing separator)
        gone = [path for path in self.known if path.startswith(prefix) and self._vanished(path)]
        self.report.pruned = sum(self._forget(path) for path in gone)
        named = {rejected_path(path) for path in self._named}
        for path in self.rejected_before:
            if path.startswith(prefix) and path not in named:
                self.writer.accept(path)

    def _vanished(self, path: str) -> bool:
        """Not named by the gallery, and not there: a shorter list or another layout takes no image away."""
        if path in self._named:
            return False
        try:
            os.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            return True
        except OSError:  # a disk that cannot be read just now
            return False
        return False

    def _is_same(self, path: str, image: LabelledImage) -> bool:
        """The same bytes as before; labels are compared later, many at once."""
        try:
            if content_hash(image.path) != self.known[path][1]:
                return False
        except ImageError:
            return False  # extraction says what is wrong with it
        self._same.append((path, image))
        if len(self._same) >= LOOKED_UP:
            self._compare_labels()
        return True

    def _compare_labels(self) -> None:
        """Bring the labels of files with the same bytes up to date."""
        same, self._same = self._same, []
        ids = [self.known[path][0] for path, _ in same]
        for (path, image), image_id, record in zip(same, ids, self.snapshot.records_of(ids), strict=True):
            labelled = _labelled(record, path, image)
            if path in self.rejected_before:  # it was damaged for a while
                self.writer.accept(path)
            if labelled == record:
                self.report.unchanged += 1
            else:
                self.writer.update(image_id, labelled)
                self.report.relabelled += 1
                self._commit_if_due()
            self.tell(1)
        self._commit_if_due()  # also where nothing changed: on a server it finds out whether the writer still is one

    def _is_elsewhere(self, path: str, image: LabelledImage) -> bool:
        """The bytes of an image known under another path: moved, if that file is gone, else a duplicate."""
        if not self._had_images:  # a new index: the files need not be read twice
            return False
        try:
            digest = content_hash(image.path)
        except ImageError:
            return False
        # A path may have other bytes by now than the embedding that is known of it.
        others = [p for p in self._by_hash.get(digest, []) if p in self.known and self.known[p][1] == digest]
        # Moved only within this gallery: one on a disk that is not mounted now has not gone anywhere.
        old = next((other for other in others if other.startswith(self._root) and self._vanished(other)), None)
        if not others:
            return False
        image_id, _ = self.known[old or others[0]]
        if not self.snapshot.is_sound(image_id):
            return False
        record = _labelled(self.snapshot.records_of([image_id])[0], path, image)
        if old is not None:
            self.writer.update(image_id, record)
            self.known[path] = self.known.pop(old)
            self.report.moved += 1
        else:
            self.writer.add([record], self.snapshot.features_of([image_id]))
            self.report.indexed += 1
            self.report.duplicates += 1
        self._by_hash[digest].append(path)
        self._commit_if_due()
        self.tell(1)
        return True

    def _reject(self, rejected: Rejected) -> None:
        """Note why. An image indexed from this path before stays: the file may be unreadable for a moment only."""
        self.writer.reject(rejected_path(stored_path(rejected.path)), rejected.reason)
        self.report.rejected.append(rejected)
        self.tell(1)

    def _forget(self, path: str) -> int:
        known = self.known.get(path)
        return self.writer.remove([known[0]]) if known else 0


def _labelled(record: ImageRecord, path: str, image: LabelledImage) -> ImageRecord:
    taken = as_utc(image.captured_at) if image.captured_at is not None else None
    return replace(record, path=path, pid=image.pid, camid=image.camid, captured_at=taken)


def stored_path(path: Path) -> str:
    """How the catalog names a file: absolute, so that the index answers the same from any folder."""
    return os.path.abspath(path)  # noqa: PTH100 (resolve() would follow links; a link is the user's name for a file)


def rejected_path(path: str) -> str:
    """How the catalog names a rejected file: as it would name the image, but a name that is no text is escaped."""
    return path if _is_utf8(path) else printable(path)


def _is_utf8(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True
