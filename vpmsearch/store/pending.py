"""The common part of every store's writer: the changes that wait for the next commit."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import replace

from vpmsearch.errors import StoreError
from vpmsearch.labels import INT64
from vpmsearch.store.intake import check_features, clean_record, storable_text
from vpmsearch.store.values import StoredModel
from vpmsearch.types import ImageRecord, RegionFeatures


class PendingWriter(ABC):
    """Collects changes in memory until `commit` writes them; see `vpmsearch.store.contract.ImageWriter`.

    A store's writer says where ids come from, which images exist, and how the pending changes are written. `__enter__`
    of a store's writer puts its lock into `_held`; leaving releases it. After a failed commit the changes are still
    pending.

    Args:
        model: the model of the index; features of another are refused.
    """

    def __init__(self, model: StoredModel) -> None:
        self._model = model
        self._held: ExitStack | None = None
        self.commit_seconds = 0.0
        """Seconds that the last commit took until it was durable; 0 before the first."""
        self._forget()

    def __exit__(self, kind: object = None, *_: object) -> None:
        self._forget()
        held, self._held = self._held, None
        if held is None:
            return
        with held:
            if kind is None:
                self._finish()

    @abstractmethod
    def _finish(self) -> None:
        """The last work of a writer that ends without an error. It still holds its lock."""

    def _forget(self) -> None:
        """Start with nothing pending."""
        self._ids: list[int] = []
        self._paths: set[str] = set()
        self._records: list[ImageRecord] = []
        self._features: list[RegionFeatures] = []
        self._removed: set[int] = set()
        self._updated: dict[int, ImageRecord] = {}
        self._rejected: dict[str, str] = {}
        self._accepted: set[str] = set()

    @abstractmethod
    def _check_entered(self) -> None:
        """Raise StoreError outside of the writer's `with` block."""

    @abstractmethod
    def _take_ids(self, count: int) -> list[int]:
        """`count` (at least 1) ids that no image ever had, ascending."""

    @abstractmethod
    def _committed_among(self, image_ids: Sequence[int]) -> set[int]:
        """Which of the ids (64-bit integers) belong to committed images."""

    @property
    def pending(self) -> int:
        """Images added or updated since the last commit."""
        return len(self._ids) + len(self._updated)

    @property
    def _anything_pending(self) -> bool:
        return bool(self._ids or self._removed or self._updated or self._rejected or self._accepted)

    def add(self, records: Sequence[ImageRecord], features: RegionFeatures) -> list[int]:
        """Take in images; they are found after the next commit.

        Args:
            records: n. features: of the same n images, by the model of the index.

        Returns:
            Their ids. On a server another writer may commit the same file first. Then that image stays, and the id
                returned here stays unused.

        Raises:
            FeatureError: lengths, p or d do not match, or a value is not finite or too large for the index's dtype.
            StoreError: a path is empty, no text or already pending, or a label or attribute is not valid.
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
        if not clean:
            return []
        ids = self._take_ids(len(clean))
        self._ids += ids
        self._records += clean
        self._features.append(features)
        return ids

    def remove(self, image_ids: Iterable[int]) -> int:
        """Remove images at the next commit, pending ones too. Unknown ids are ignored.

        Returns:
            How many images are removed.
        """
        self._check_entered()
        ids = {int(image_id) for image_id in image_ids}
        live = self._committed_among([image_id for image_id in ids if image_id in INT64]) - self._removed
        dropped = ids.intersection(self._ids)
        if dropped:
            self._drop(dropped)
        self._removed |= live
        self._updated = {image_id: record for image_id, record in self._updated.items() if image_id not in live}
        return len(live) + len(dropped)

    def _drop(self, ids: set[int]) -> None:
        """Forget images that were added and not yet committed."""
        keep = [row for row, image_id in enumerate(self._ids) if image_id not in ids]
        self._features = [RegionFeatures.concatenate(self._features)[keep]] if keep else []
        self._ids = [self._ids[row] for row in keep]
        self._records = [self._records[row] for row in keep]
        self._paths = {record.path for record in self._records}

    def update(self, image_id: int, record: ImageRecord) -> None:
        """Change an image's path, labels and attributes at the next commit. Its embeddings stay.

        Args:
            image_id: of a committed or pending image. An id that was removed or never existed is ignored.
            record: its other fields are ignored.

        Raises:
            StoreError: as in `add`.
        """
        self._check_entered()
        new = clean_record(record)
        if int(image_id) not in self._ids:
            self._updated[int(image_id)] = new
            return
        row = self._ids.index(int(image_id))
        old = self._records[row]
        if new.path != old.path and new.path in self._paths:
            raise StoreError(f"{new.path} was added twice in one commit; every path names one image")
        labels = {name: getattr(new, name) for name in ("path", "pid", "camid", "captured_at", "attributes")}
        self._records[row] = replace(old, **labels)
        self._paths = {pending.path for pending in self._records}

    def reject(self, path: str, reason: str) -> None:
        """Note at the next commit that a file cannot be indexed. Indexing the file later deletes the note."""
        self._check_entered()
        self._accepted.discard(storable_text(path))
        self._rejected[storable_text(path)] = storable_text(reason)

    def accept(self, path: str) -> None:
        """Delete at the next commit the note that a file cannot be indexed: the file is as it was before, or gone."""
        self._check_entered()
        self._rejected.pop(storable_text(path), None)
        self._accepted.add(storable_text(path))
