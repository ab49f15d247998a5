"""One indexing run: each image of a gallery is new, changed, moved, relabelled, unchanged or rejected."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from vpmsearch.data.datasets import LabelledImage
from vpmsearch.data.fragment import file_of
from vpmsearch.data.reading import SceneReader
from vpmsearch.errors import ImageError
from vpmsearch.indexing.dry_run import NoWriter
from vpmsearch.indexing.hashes import ContentHashes
from vpmsearch.indexing.labels import keeps_labels, labelled, unlabelled, with_missing
from vpmsearch.indexing.pace import Pace
from vpmsearch.indexing.paths import file_is_gone, is_text, rejected_path, stored_path
from vpmsearch.indexing.report import IndexReport
from vpmsearch.model.extraction import ExtractedBatch, Rejected, Request
from vpmsearch.store.contract import Gallery, GalleryView, ImageWriter
from vpmsearch.types import ImageRecord

LOOKED_UP = 1024
"""Unchanged files whose labels are looked up at once: on a server each look is a round trip."""

_GLANCE = (128, 64)
"""(height, width) in which a dry run decodes: a damaged file shows in any size."""


class GalleryRun:
    """One run: what was known before it, and what it did."""

    def __init__(
        self,
        store: Gallery,
        writer: ImageWriter,
        images: Sequence[LabelledImage],
        tell: Callable[[int], None],
        clear_labels: bool = False,
    ) -> None:
        self.store, self.images, self.writer = store, images, writer
        self.tell, self.clear = tell, clear_labels
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
        self._rejected_now: set[str] = set()
        self._taken: dict[str, str] = {}  # path -> content hash, of what this run took in
        self._same: list[tuple[str, LabelledImage]] = []  # of the same bytes; labels not compared yet
        self._pace = Pace()
        self._hash = ContentHashes()
        self._scenes: set[str] = set()
        """Files of which the gallery names parts."""

    def requests(self) -> Iterator[Request]:
        """The images to embed; deals with all others itself.

        What has no image yet comes first: a run that is killed again and again gets on, although each one has to read
        the files that are known once more.
        """
        known_before = self.known.copy()
        for is_known in (False, True):
            for position, image in enumerate(self.images):
                path = stored_path(image.path)
                if (path in known_before) != is_known:
                    continue
                if path in self._named:
                    self.tell(1)
                    continue
                self._named.add(path)
                if "#" in path and (scene := file_of(path)) != path:
                    self._scenes.add(scene)
                if not is_text(path):
                    self._reject(Rejected(position, image.path, "the file's name is not valid UTF-8; rename it"))
                elif not (self._is_same(path, image) if is_known else self._is_elsewhere(path, image)):
                    yield Request(position, image.path)
        self._compare_labels()

    def take(self, batch: ExtractedBatch) -> None:
        """Add a batch's images, in place of those that had the same paths; commit when it is time."""
        paths = [stored_path(self.images[seen.position].path) for seen in batch.seen]
        replaced = [path for path in paths if path in self.known]
        before = dict(zip(replaced, self.snapshot.records_of([self.known[path][0] for path in replaced]), strict=True))
        records = []
        for path, seen in zip(paths, batch.seen, strict=True):
            image = self.images[seen.position]
            old = before.get(path, ImageRecord(path))
            record = replace(old, content_hash=seen.content_hash, width=seen.width, height=seen.height)
            record = labelled(record, path, image, clear=self.clear)
            self._note(record.content_hash, path)
            records.append(record)
        # Their successors first: were the run to stop in between, a removal alone would lose images and labels.
        self.writer.add(records, batch.features)
        self.report.replaced += self.writer.remove([self.known[path][0] for path in replaced])
        self.report.indexed += len(records)
        self.tell(len(records))
        for rejected in batch.rejected:
            self._reject(rejected)
        self._commit_if_due()

    def would_take(self, request: Request, reader: SceneReader) -> None:
        """Count an image that a run would embed, or reject; a dry run's `take`."""
        path = stored_path(request.path)
        try:
            digest, _ = reader.read(request.path, reader.ahead(request.path), shrink_to=_GLANCE)
        except ImageError as error:
            self._reject(Rejected(request.position, request.path, error.reason))
            return
        self.report.replaced += path in self.known
        self._note(digest, path)
        self.report.indexed += 1
        self.tell(1)

    def _note(self, digest: str, path: str) -> None:
        """An image that was taken in, and whether another has its bytes."""
        if others := self._by_hash[digest]:
            self.report.count_duplicate(path, others[0])
        others.append(path)
        self._taken[path] = digest

    def commit(self) -> None:
        """Make what is done so far visible and lasting."""
        self.writer.commit()
        self._pace.committed(self.writer.commit_seconds)

    def _commit_if_due(self) -> None:
        if self._pace.is_due(self.writer.pending):
            self.commit()

    def prune(self, below: Path) -> None:
        """Remove the images below a folder whose files have vanished, and the notes on rejected ones.

        Below a photograph or film are its parts. A part of a scene has vanished also when this gallery names other
        parts of that scene and not this one: the list of boxes has changed.
        Elsewhere only those go of which this gallery has a living image with the same bytes: such an image has moved.
        Wherever it was, the living one gets the labels that it lacks.
        """
        whole = stored_path(below)
        prefix = os.path.join(whole, "")  # noqa: PTH118 (the trailing separator)

        def is_below(path: str) -> bool:
            return path.startswith(prefix) or (path.startswith(f"{whole}#") and file_of(path) == whole)

        moved = dict(self._dead())
        for path in [path for path in self.known if is_below(path) and self._is_gone(path)]:
            if path not in moved:
                self._forget(path)
                self.report.count_pruned(path)
        if moved:
            self._leave_to_twins(moved)
        named = {rejected_path(path) for path in self._named}
        for path in self.rejected_before:
            if is_below(path) and path not in named:
                self.writer.accept(path)

    def count_dead(self) -> None:
        """Count what pruning would remove as moved."""
        self.report.dead = sum(1 for _ in self._dead())

    def _dead(self) -> Iterator[tuple[str, str]]:
        """Images whose files have vanished, each with a living image of this gallery that has the same bytes."""
        for path, (_, digest) in self.known.items():
            if path in self._named or len(self._by_hash[digest]) < 2:
                continue
            twin = next((other for other in self._by_hash[digest] if self._is_living(other, digest)), None)
            if twin is not None and self._vanished(path):
                yield path, twin

    def _is_living(self, path: str, digest: str) -> bool:
        """Whether this run found a file, with these bytes."""
        if path not in self._named or path in self._rejected_now:
            return False
        return (self._taken[path] if path in self._taken else self.known[path][1]) == digest

    def _leave_to_twins(self, moved: Mapping[str, str]) -> None:
        """Remove dead images; their living twins (path -> path) get the labels that they lack, of each in turn."""
        if not isinstance(self.writer, NoWriter):
            self.commit()  # so that the twins can be looked up as they are now
            self.store.refresh()
            ids, view = self.store.live_files(), self.store.snapshot
            completed: dict[str, ImageRecord] = {}
            for path, twin in moved.items():
                if self.clear or not (path in ids and twin in ids):
                    continue
                dead, living = view.records_of([ids[path][0], ids[twin][0]])
                completed[twin] = with_missing(completed.get(twin, living), dead)
                if completed[twin] != living:
                    self.writer.update(ids[twin][0], completed[twin])
        for path in moved:
            self._forget(path)
            self.report.count_pruned(path)

    def _is_gone(self, path: str) -> bool:
        """Vanished, or a part that a new list of its scene's boxes lacks."""
        if self._vanished(path):
            return True
        return "#" in path and path not in self._named and (file := file_of(path)) != path and file in self._scenes

    def _vanished(self, path: str) -> bool:
        """Not named by the gallery, and not there: a shorter list or another layout takes no image away."""
        return path not in self._named and file_is_gone(path)

    def _is_same(self, path: str, image: LabelledImage) -> bool:
        """The same bytes as before; labels are compared later, many at once."""
        try:
            if self._hash.of(image.path) != self.known[path][1]:
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
            now = self._relabel(record, path, image)
            if path in self.rejected_before:  # it was damaged for a while
                self.writer.accept(path)
            if now == record:
                self.report.unchanged += 1
            else:
                self.writer.update(image_id, now)
                self.report.relabelled += 1
                self._commit_if_due()
            self.tell(1)
        self._commit_if_due()  # also where nothing changed: on a server it finds out whether the writer still is one

    def _relabel(self, record: ImageRecord, path: str, image: LabelledImage) -> ImageRecord:
        """A known image as the source labels it; counts what that changes."""
        now = labelled(record, path, image, clear=self.clear)
        self.report.labels.count(record, now)
        self.report.kept_labels += not self.clear and keeps_labels(record, image)
        return now

    def _is_elsewhere(self, path: str, image: LabelledImage) -> bool:
        """The bytes of an image known under another path: moved, if that file is gone, else a duplicate."""
        if not self._had_images:  # a new index: the files need not be read twice
            return False
        try:
            digest = self._hash.of(image.path)
        except ImageError:
            return False
        # A path may have other bytes by now than the embedding that is known of it.
        others = [p for p in self._by_hash.get(digest, []) if p in self.known and self.known[p][1] == digest]
        if not others:
            return False
        old = self._left(others)
        image_id, _ = self.known[old or others[0]]
        if not self.snapshot.is_sound(image_id):
            return False
        (record,) = self.snapshot.records_of([image_id])
        if old is not None:
            self.writer.update(image_id, self._relabel(record, path, image))
            self.known[path] = self.known.pop(old)
            self._by_hash[digest].append(path)
            self.report.moved += 1
        else:
            blank = unlabelled(record)  # it is another image, so far unlabelled
            self.writer.add([labelled(blank, path, image, clear=self.clear)], self.snapshot.features_of([image_id]))
            self._note(digest, path)
            self.report.indexed += 1
        self._commit_if_due()
        self.tell(1)
        return True

    def _left(self, others: Sequence[str]) -> str | None:
        """Which of several paths with the same bytes a file has left; within this gallery rather than elsewhere."""
        gone = [other for other in others if self._vanished(other)]
        return next((other for other in gone if other.startswith(self._root)), gone[0] if gone else None)

    def _reject(self, rejected: Rejected) -> None:
        """Note why. An image indexed from this path before stays: the file may be unreadable for a moment only."""
        path = stored_path(rejected.path)
        self._rejected_now.add(path)
        self.writer.reject(rejected_path(path), rejected.reason)
        self.report.rejected.append(rejected)
        self.tell(1)

    def _forget(self, path: str) -> int:
        known = self.known.get(path)
        return self.writer.remove([known[0]]) if known else 0
