"""The one writer of an index: what it is given becomes visible at `commit`, all of it or nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Self

import numpy as np

from vpmsearch.errors import StoreError, VpmsearchError
from vpmsearch.store.folder.catalog import Catalog
from vpmsearch.store.folder.locking import writer_lock
from vpmsearch.store.folder.rewriting import due, rewrite, take_back
from vpmsearch.store.folder.segments import FOLDER_NAME, remove_unreferenced, write_segment
from vpmsearch.store.folder.values import Changes
from vpmsearch.store.intake import INT64, check_features, clean_record, storable_text
from vpmsearch.store.values import OnBuild, StoredModel, tell_nobody
from vpmsearch.types import ImageRecord, RegionFeatures


class GalleryWriter:
    """Adds, removes and rejects images; a context manager that holds the writer lock.

    Leaving without `commit` discards what is pending. What is added waits in memory, so commit every few thousand
    images. After a commit that failed the store is as before and what was pending still is: free some space and
    commit again, or leave.
    """

    def __init__(
        self,
        folder: Path,
        catalog: Catalog,
        model: StoredModel,
        committed: Callable[[], None],
        on_build: OnBuild = tell_nobody,
    ) -> None:
        self._folder = folder
        self._catalog = catalog
        self._model = model
        self._committed = committed
        self._on_build = on_build
        self._held: ExitStack | None = None
        self._forget()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(writer_lock(self._folder))
            with self._catalog.read() as reader:
                remove_unreferenced(self._folder / FOLDER_NAME, reader.segments())
            self._next_image, self._next_segment = self._catalog.next_ids()
            self._held = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._forget()
        if self._held is not None:
            self._held.close()
            self._held = None

    def _forget(self) -> None:
        self._ids: list[int] = []
        self._paths: set[str] = set()
        self._records: list[ImageRecord] = []
        self._features: list[RegionFeatures] = []
        self._removed: set[int] = set()
        self._updated: dict[int, ImageRecord] = {}
        self._rejected: dict[str, str] = {}
        self._accepted: set[str] = set()

    def _check_entered(self) -> None:
        if self._held is None:
            raise StoreError(f"nobody holds the lock of {self._folder}; use `with store.writer() as writer:`")

    @property
    def pending(self) -> int:
        """Images added or updated since the last commit."""
        return len(self._ids) + len(self._updated)

    def add(self, records: Sequence[ImageRecord], features: RegionFeatures) -> list[int]:
        """Take in images; they are found after the next commit.

        Args:
            records: n. features: of the same n images, by the model of the index.

        Returns:
            Their ids.

        Raises:
            FeatureError: lengths, p or d do not fit, a value is not finite or does not fit the index's dtype.
            StoreError: a path is empty, no text, or pending already, or a pid or camid is not a 64-bit integer.
        """
        self._check_entered()
        check_features(self._model, len(records), features)
        clean = [clean_record(record) for record in records]
        paths = set(self._paths)
        for record in clean:
            if record.path in paths:
                raise StoreError(f"{record.path} was added twice in one commit; every path names one image")
            paths.add(record.path)
        self._paths = paths
        ids = list(range(self._next_image, self._next_image + len(clean)))
        self._next_image += len(clean)
        if clean:
            self._ids += ids
            self._records += clean
            self._features.append(features)
        return ids

    def remove(self, image_ids: Iterable[int]) -> int:
        """Remove images, pending ones too, at the next commit; ids that name none are ignored.

        Returns:
            How many images go.
        """
        self._check_entered()
        ids = {int(image_id) for image_id in image_ids}
        with self._catalog.read() as reader:
            live = reader.live_among(image_id for image_id in ids if image_id in INT64) - self._removed
        dropped = ids.intersection(self._ids)
        if dropped:
            keep = [row for row, image_id in enumerate(self._ids) if image_id not in dropped]
            self._features = [RegionFeatures.concatenate(self._features)[keep]] if keep else []
            self._ids = [self._ids[row] for row in keep]
            self._records = [self._records[row] for row in keep]
            self._paths = {record.path for record in self._records}
        self._removed |= live
        self._updated = {image_id: record for image_id, record in self._updated.items() if image_id not in live}
        return len(live) + len(dropped)

    def update(self, image_id: int, record: ImageRecord) -> None:
        """Change at the next commit what is known about an image: path, pid, camid, captured_at. Its embeddings stay.

        Args:
            image_id: of a committed image; one that was removed, or never was, is not brought back.
            record: its other fields are not looked at.

        Raises:
            StoreError: as in `add`.
        """
        self._check_entered()
        clean = clean_record(record)
        self._updated[int(image_id)] = clean

    def reject(self, path: str, reason: str) -> None:
        """Note at the next commit that a file cannot be indexed; indexing it later takes the note back."""
        self._check_entered()
        self._accepted.discard(storable_text(path))
        self._rejected[storable_text(path)] = storable_text(reason)

    def accept(self, path: str) -> None:
        """Take back at the next commit the note that a file cannot be indexed: it is as it was, or gone."""
        self._check_entered()
        self._rejected.pop(storable_text(path), None)
        self._accepted.add(storable_text(path))

    def commit(self) -> None:
        """Make everything pending visible, and make it last; then merge small segments, should it be time.

        A merge that fails, on a full disk say, is left to a later commit: what was committed is committed.

        Raises:
            StoreError: it could not be written; nothing has changed.
        """
        self._check_entered()
        if not (self._ids or self._removed or self._updated or self._rejected or self._accepted):
            return
        segment_id = self._next_segment if self._ids else None
        self._next_segment += segment_id is not None  # never used again, whatever becomes of it
        try:
            self._write(segment_id)
        except BaseException as error:
            segments = self._folder / FOLDER_NAME
            if segment_id is None or not take_back(self._catalog, segments, segment_id):
                if isinstance(error, VpmsearchError) or not isinstance(error, Exception):
                    raise
                reason = " ".join(str(error).split()) or type(error).__name__
                raise StoreError(f"nothing was committed to {self._folder}: {reason}; mend that and repeat") from error
            # It was committed after all: interrupted, or told of a failure, between that and here.
            self._done()
            if not isinstance(error, Exception):
                raise
            return
        self._done()
        with suppress(VpmsearchError):
            self._merge()

    def _done(self) -> None:
        self._forget()
        self._committed()

    def _merge(self) -> None:
        while True:
            with self._catalog.read() as reader:
                old = due(reader.segments())
            if not old:
                return
            segment_id, self._next_segment = self._next_segment, self._next_segment + 1
            try:
                rewrite(self._folder, self._catalog, old, segment_id, self._on_build)
            finally:
                self._committed()

    def _write(self, segment_id: int | None) -> None:
        changes = Changes(
            segment_id,
            ids=self._ids,
            records=self._records,
            removed=sorted(self._removed),
            updated=self._updated,
            rejected=self._rejected,
            accepted=sorted(self._accepted),
        )
        if segment_id is not None:
            visibility = np.concatenate([features.visibility for features in self._features])
            blocks = (features.embeddings for features in self._features)  # as they came: they need no second copy
            ids, segments = np.array(self._ids, dtype=np.int64), self._folder / FOLDER_NAME
            files = write_segment(segments, segment_id, ids, visibility, blocks, self._model, self._on_build)
            changes = replace(changes, visibility=visibility, files=files)
        self._catalog.apply(changes)
