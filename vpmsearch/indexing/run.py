"""One indexing run: each image of a gallery is new, changed, moved, relabelled, unchanged or rejected."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from vpmsearch.data.datasets import LabelledImage
from vpmsearch.data.fragment import file_of
from vpmsearch.data.reading import SceneReader
from vpmsearch.errors import ImageError
from vpmsearch.indexing.dry_run import NoWriter
from vpmsearch.indexing.hashes import ContentHashes
from vpmsearch.indexing.labels import keeps_labels, labelled, unlabelled, with_missing
from vpmsearch.indexing.pace import Pace
from vpmsearch.indexing.paths import file_is_gone, is_text, rejected_path, stored_path
from vpmsearch.indexing.pruning import Pruning
from vpmsearch.indexing.report import IndexReport
from vpmsearch.model.extraction import ExtractedBatch, Rejected, Request
from vpmsearch.store.contract import Gallery, GalleryView, ImageWriter
from vpmsearch.types import ImageRecord

LOOKED_UP = 1024
"""Unchanged files whose labels are looked up at once, as each look-up on a server is a round trip."""

_GLANCE = (128, 64)
"""(height, width) to which a dry run decodes. Any size shows whether a file is damaged."""


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
        self._same: list[tuple[str, LabelledImage]] = []  # same bytes as before; labels not compared yet
        self._pace = Pace()
        self._hash = ContentHashes()
        self._scenes: set[str] = set()
        """Files of which the gallery names parts."""

    def requests(self) -> Iterator[Request]:
        """The images to embed. All other images are handled here.

        Files without an image in the index come first. So runs that are killed again and again make progress, although
        each has to read the known files once more.
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
        # New images are added before old ones are removed: a run that stops in between loses no image and no label.
        self.writer.add(records, batch.features)
        self.report.replaced += self.writer.remove([self.known[path][0] for path in replaced])
        self.report.indexed += len(records)
        self.tell(len(records))
        for rejected in batch.rejected:
            self._reject(rejected)
        self._commit_if_due()

    def would_take(self, request: Request, reader: SceneReader) -> None:
        """Count an image that a run would embed or reject. A dry run calls it instead of `take`."""
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
        """Note an image that was added, and count it as a duplicate if another has its bytes."""
        if others := self._by_hash[digest]:
            self.report.count_duplicate(path, others[0])
        others.append(path)
        self._taken[path] = digest

    def commit(self) -> None:
        """Make what was done so far visible and durable."""
        self.writer.commit()
        self._pace.committed(self.writer.commit_seconds)

    def _commit_if_due(self) -> None:
        if self._pace.is_due(self.writer.pending):
            self.commit()

    def prune(self, pruning: Pruning) -> None:
        """Remove the images that a pruning covers and whose files have vanished, and the notes on rejected ones.

        A part of a scene has also vanished if this gallery names all parts of that scene but not this one, as the list
        of boxes has changed.
        Elsewhere an image is removed only if an image of this gallery has the same bytes and its file exists: then it
        has moved. In both cases that image gets the labels that it lacks.
        """
        moved = dict(self._dead())
        for path in [path for path in self.known if pruning.covers(path) and self._is_gone(path, pruning)]:
            if path not in moved:
                self._forget(path)
                self.report.count_pruned(path)
        if moved:
            self._leave_to_twins(moved)
        named = {rejected_path(path) for path in self._named}
        for path in self.rejected_before:
            if pruning.covers(path) and path not in named:
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
        """Remove dead images. Their living twins (dead path -> living path) get the labels that they lack."""
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

    def _is_gone(self, path: str, pruning: Pruning) -> bool:
        """Whether an image has vanished, or is a part that the new list of its scene's boxes lacks."""
        return self._vanished(path) or (path not in self._named and pruning.lacks(path, self._scenes))

    def _vanished(self, path: str) -> bool:
        """Whether the gallery does not name a path and its file does not exist.

        An existing file has not vanished, so a shorter list or another layout removes no image.
        """
        return path not in self._named and file_is_gone(path)

    def _is_same(self, path: str, image: LabelledImage) -> bool:
        """Whether a file has the same bytes as before. Labels are compared later, many at once."""
        try:
            if self._hash.of(image.path) != self.known[path][1]:
                return False
        except ImageError:
            return False  # extraction will report what is wrong with it
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
            if path in self.rejected_before:  # it could not be read for a while
                self.writer.accept(path)
            if now == record:
                self.report.unchanged += 1
            else:
                self.writer.update(image_id, now)
                self.report.relabelled += 1
                self._commit_if_due()
            self.tell(1)
        self._commit_if_due()  # even if nothing changed: on a server it checks that the writer still holds its lock

    def _relabel(self, record: ImageRecord, path: str, image: LabelledImage) -> ImageRecord:
        """The record of a known image with the source's labels. Counts what changes."""
        now = labelled(record, path, image, clear=self.clear)
        self.report.labels.count(record, now)
        self.report.kept_labels += not self.clear and keeps_labels(record, image)
        return now

    def _is_elsewhere(self, path: str, image: LabelledImage) -> bool:
        """Whether the image is known under another path: it has moved if that file is gone, else it is a duplicate."""
        if not self._had_images:  # a new index knows no image, so the file need not be read here
            return False
        try:
            digest = self._hash.of(image.path)
        except ImageError:
            return False
        # A file at a known path may have changed since it was embedded.
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
            blank = unlabelled(record)  # a duplicate is another image and has no labels yet
            self.writer.add([labelled(blank, path, image, clear=self.clear)], self.snapshot.features_of([image_id]))
            self._note(digest, path)
            self.report.indexed += 1
        self._commit_if_due()
        self.tell(1)
        return True

    def _left(self, others: Sequence[str]) -> str | None:
        """The path that a file was moved from, of several with the same bytes. Paths in this gallery are preferred."""
        gone = [other for other in others if self._vanished(other)]
        return next((other for other in gone if other.startswith(self._root)), gone[0] if gone else None)

    def _reject(self, rejected: Rejected) -> None:
        """Note why. An image indexed from this path before stays, as the file may be unreadable only for a moment."""
        path = stored_path(rejected.path)
        self._rejected_now.add(path)
        self.writer.reject(rejected_path(path), rejected.reason)
        self.report.rejected.append(rejected)
        self.tell(1)

    def _forget(self, path: str) -> int:
        known = self.known.get(path)
        return self.writer.remove([known[0]]) if known else 0
