"""The one writer of an index. Its changes become visible at `commit`, all or none."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Self

import numpy as np

from vpmsearch.errors import StoreError, VpmsearchError
from vpmsearch.store.folder.catalog import Catalog
from vpmsearch.store.folder.label_keeping import complete
from vpmsearch.store.folder.labels import ImageLabels
from vpmsearch.store.folder.leftovers import remove_unreferenced
from vpmsearch.store.folder.locking import writer_lock
from vpmsearch.store.folder.rewriting import due, rewrite, take_back
from vpmsearch.store.folder.segments import write_segment
from vpmsearch.store.folder.values import Changes
from vpmsearch.store.pending import PendingWriter
from vpmsearch.store.values import OnBuild, StoredModel, tell_nobody

LONG_MERGE = 65_536
"""A merge of more images waits until the writer ends. It takes minutes, and a run that is killed again and again would
do nothing else.
"""
_MOST_SEGMENTS = 100  # each is some eight open files in every reader


class GalleryWriter(PendingWriter):
    """Adds, removes and rejects images; a context manager that holds the writer lock.

    Leaving without `commit` discards what is pending. What is added waits in memory, so commit every few thousand
    images. After a failed commit the store is unchanged and the changes are still pending: free some space and commit
    again, or leave.
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
        self._committed = committed
        self._on_build = on_build
        self._postponed = False
        super().__init__(model)

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(writer_lock(self._folder))
            self._catalog.check_writable()
            with self._catalog.read() as reader:
                remove_unreferenced(self._folder, reader.segments())
            self._next_image, self._next_segment = self._catalog.next_ids()
            self._held = stack.pop_all()
        return self

    def _finish(self) -> None:
        if self._postponed:
            with suppress(VpmsearchError):
                self._merge(sys.maxsize)
        with suppress(VpmsearchError):  # without them opening takes longer
            complete(self._folder, self._catalog)

    def _check_entered(self) -> None:
        if self._held is None:
            raise StoreError(f"nobody holds the lock of {self._folder}; use `with store.writer() as writer:`")

    def _take_ids(self, count: int) -> list[int]:
        ids = list(range(self._next_image, self._next_image + count))
        self._next_image += count
        return ids

    def _committed_among(self, image_ids: Sequence[int]) -> set[int]:
        with self._catalog.read() as reader:
            return reader.live_among(image_ids)

    def commit(self) -> None:
        """Make everything pending visible and durable. Then merge small segments if that is due.

        If the merge fails, for example on a full disk, a later commit tries again. The commit itself stands.

        Raises:
            StoreError: it could not be written; nothing has changed.
        """
        self._check_entered()
        if not self._anything_pending:
            return
        segment_id = self._next_segment if self._ids else None
        self._next_segment += segment_id is not None  # never used again, whatever becomes of it
        start = time.monotonic()
        try:
            self._write(segment_id)
        except BaseException as error:
            if segment_id is None or not take_back(self._catalog, self._folder, segment_id):
                if isinstance(error, VpmsearchError) or not isinstance(error, Exception):
                    raise
                reason = " ".join(str(error).split()) or type(error).__name__
                raise StoreError(f"nothing was committed to {self._folder}: {reason}; mend that and repeat") from error
            # It was committed after all; the interruption or error came after that.
            self._done()
            if not isinstance(error, Exception):
                raise
            return
        self.commit_seconds = time.monotonic() - start
        self._done()
        with suppress(VpmsearchError):
            self._merge(LONG_MERGE)

    def _done(self) -> None:
        self._forget()
        self._committed()

    def _merge(self, long: int) -> None:
        """Merge what is due. A merge of more than `long` images is done only if there are too many segments."""
        self._postponed = False
        while True:
            with self._catalog.read() as reader:
                segments = reader.segments()
            old = due(segments)
            if not old:
                return
            if sum(segments[number] for number in old) > long and len(segments) <= _MOST_SEGMENTS:
                self._postponed = True
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
            ids = np.array(self._ids, dtype=np.int64)
            labels = ImageLabels.of_records(self._ids, self._records)
            files = write_segment(
                self._folder, segment_id, ids, visibility, blocks, labels, self._model, self._on_build
            )
            changes = replace(changes, visibility=visibility, files=files)
        self._catalog.apply(changes)
