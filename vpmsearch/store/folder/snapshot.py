"""An immutable view of an index. Later commits, compactions and removals do not change what a search sees."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from vpmsearch.errors import StoreError
from vpmsearch.labels import Label
from vpmsearch.store.folder.catalog import Catalog
from vpmsearch.store.folder.checksums import is_as_written
from vpmsearch.store.folder.columns import MOMENT
from vpmsearch.store.folder.embeddings import DTYPES
from vpmsearch.store.folder.embeddings import FILE_NAME as EMBEDDINGS_NAME
from vpmsearch.store.folder.line_up import line_up
from vpmsearch.store.folder.moment import Moment, Part, undisturbed
from vpmsearch.store.folder.region_index import Allowed
from vpmsearch.store.folder.segments import OpenSegment
from vpmsearch.store.intake import checked_queries
from vpmsearch.store.values import common_folder
from vpmsearch.types import Bool, Float32, ImageRecord, Int64, ModelInfo, RegionFeatures, SearchFilter


def committed(catalog: Catalog, before: Moment | None) -> Moment:
    """The catalog as it is committed now, with the labels that an earlier moment has already."""
    return catalog.ask(lambda reader: Moment.of(reader, catalog.path.parent, before))


class Snapshot:
    """The images of an index that were not removed at one moment. Every file is open; safe for several threads.

    Rows, 0 to N − 1, follow `image_ids` and are valid within this snapshot only. The snapshot stays valid when the
    store is refreshed or closed and when the catalog changes, because its labels are in memory.
    """

    def __init__(self, folder: Path, moment: Moment, device: str, before: Snapshot | None = None) -> None:
        self.moment = moment
        self.state = moment.state
        self.stored_model = moment.model
        self.model_info: ModelInfo = moment.model.info
        opened = moment.open(folder, device, before.parts if before is not None else {})
        lined_up = line_up(list(opened.values()), moment.removed, self.model_info.p)
        self.image_ids, self.visibility, self._part_of, self._row_in_part = lined_up
        self.visible: Bool = self.model_info.visible(self.visibility)
        self.parts: dict[int, Part] = {}
        self._sound: dict[int, bool] = {}
        for number, (segment_id, files) in enumerate(opened.items()):
            rows = np.flatnonzero(self._part_of == number)
            live = self.visible[rows].sum(axis=0)
            whole = live == np.array([len(index) for index in files.regions])
            self.parts[segment_id] = Part(files, moment.segments[segment_id].labels, rows, whole)
        self._parts = list(self.parts.values())
        self._live = Allowed(self.image_ids)
        for array in (self.image_ids, self.visibility, self.visible):
            array.flags.writeable = False

    @classmethod
    def take(cls, folder: Path, catalog: Catalog, device: str, before: Snapshot | None = None) -> Snapshot:
        """See what is committed now, reusing what an earlier snapshot has open and in memory already.

        Raises:
            StoreDamagedError: a file is missing or not what it should be.
        """
        known = None if before is None else before.moment
        return undisturbed(lambda: committed(catalog, known), lambda moment: cls(folder, moment, device, before))

    def __len__(self) -> int:
        return len(self.image_ids)

    @property
    def open_segments(self) -> dict[int, OpenSegment]:
        """The segments by id."""
        return {segment_id: part.files for segment_id, part in self.parts.items()}

    def rows_of_segment(self, segment_id: int, size: int) -> Int64:
        """(size,) the snapshot row of each row of a segment; −1 for removed images and as padding."""
        rows = np.full(size, -1, np.int64)
        of_segment = self.parts[segment_id].rows
        rows[self._row_in_part[of_segment]] = of_segment
        return rows

    def rows(self, image_ids: NDArray[np.integer]) -> Int64:
        """The rows of images (m,).

        Raises:
            StoreError: one is not in the snapshot.
        """
        wanted = np.asarray(image_ids, dtype=np.int64)
        rows = np.searchsorted(self.image_ids, wanted)
        missing = rows == len(self)
        missing[~missing] = self.image_ids[rows[~missing]] != wanted[~missing]
        if missing.any():
            raise StoreError(f"image {wanted[missing][0]} is not in the index; it may have been removed")
        return rows.astype(np.int64, copy=False)

    def select(self, search_filter: SearchFilter | None, paths: Sequence[str] = ()) -> Bool:
        """(N,) whether each image passes the filter and, if paths are given, has one of them."""
        passed = np.ones(len(self), dtype=np.bool_)
        if search_filter is None:
            search_filter = SearchFilter()
        if search_filter != SearchFilter() or paths:
            for part, whole in zip(self._parts, self._in_order, strict=True):
                chosen = part.labels.select(search_filter, paths)
                passed[_as_slice(part.rows)] = chosen if whole else chosen[self._row_in_part[part.rows]]
        return passed

    @functools.cached_property
    def _in_order(self) -> list[bool]:
        """For each segment, whether its rows are all in the snapshot, in the same order."""
        return [
            len(part.rows) == len(part.labels) and bool((np.diff(self._row_in_part[part.rows]) == 1).all())
            for part in self._parts
        ]

    def embeddings(self, rows: NDArray[np.integer]) -> Float32:
        """Gather the embeddings of images: (m,) -> (m, p, d), in the order asked.

        Raises:
            StoreError: a row is out of range.
        """
        return self.stored(rows).astype(np.float32, copy=False)

    def stored(self, rows: NDArray[np.integer]) -> NDArray[np.floating[Any]]:
        """As `embeddings`, but in the stored dtype, because NumPy converts slowly and other libraries do not."""
        rows = self._check_rows(rows)
        shape = (len(rows), self.model_info.p, self.model_info.embedding_dim)
        gathered = np.empty(shape, DTYPES[self.stored_model.embedding_dtype])
        parts, inside = self._part_of[rows], self._row_in_part[rows]
        for number, part in enumerate(self._parts):
            places = np.flatnonzero(parts == number)
            places = places[np.argsort(inside[places], kind="stable")]  # read in the order of addresses
            gathered[places] = part.files.embeddings[inside[places]]
        return gathered

    def blocks(self, size: int) -> Iterator[tuple[Int64, NDArray[np.floating[Any]]]]:
        """All embeddings in the order of the disk: rows (m,) and embeddings (m, p, d) as stored. Not copied if none is
        removed.

        Args:
            size: the largest m, at least 1.
        """
        for part in self._parts:
            inside = self._row_in_part[part.rows]  # ascending, as ids ascend within a segment
            for start in range(0, len(inside), size):
                places = inside[start : start + size]
                contiguous = places[-1] - places[0] + 1 == len(places)
                wanted: Any = slice(places[0], places[-1] + 1) if contiguous else places
                yield part.rows[start : start + size], part.files.embeddings[wanted]

    def is_sound(self, image_id: int) -> bool:
        """Whether the embeddings of an image's segment are what was written; each file is read once.

        Raises:
            StoreError: it is not in the snapshot.
        """
        number = int(self._part_of[self.rows(np.array([image_id]))[0]])
        if number not in self._sound:
            files = self._parts[number].files
            path = files.folder / EMBEDDINGS_NAME
            try:
                self._sound[number] = is_as_written(path, files.files.get(path.name))
            except OSError:
                self._sound[number] = False
        return self._sound[number]

    def records(self, rows: NDArray[np.integer]) -> list[ImageRecord]:
        """What the catalog knows about images (m,), in the order asked.

        Raises:
            StoreError: a row is out of range.
        """
        rows = self._check_rows(rows)
        places = zip(self._part_of[rows].tolist(), self._row_in_part[rows].tolist(), strict=True)
        return [self._parts[number].labels.record(row) for number, row in places]

    def records_of(self, image_ids: Sequence[int] | Int64) -> list[ImageRecord]:
        """What the catalog knows about images, in the order asked.

        Raises:
            StoreError: one is not in the snapshot.
        """
        return self.records(self.rows(np.asarray(image_ids, dtype=np.int64)))

    def features_of(self, image_ids: Sequence[int] | Int64) -> RegionFeatures:
        """The features of images, in the order asked.

        Raises:
            StoreError: one is not in the snapshot.
        """
        rows = self.rows(np.asarray(image_ids, dtype=np.int64))
        return RegionFeatures(self.visibility[rows], self.embeddings(rows))

    def count(self, search_filter: SearchFilter) -> int:
        """Images that pass a filter."""
        return int(self.select(search_filter).sum())

    def counts(self) -> dict[str, int]:
        """How many images, removed and rejected ones, segments, identities and cameras there are."""
        return self.moment.counts()

    def camids(self) -> list[Label]:
        """The cameras, in their order: numbers, then words."""
        return self.moment.camids()

    def has_words(self, name: Literal["pid", "camid"]) -> bool:
        """Whether any image's pid, or camid, is a word."""
        live = self.moment.live_labels()
        found = ((labels.pids if name == "pid" else labels.camids).present(kept) for labels, kept in live)
        return any(isinstance(label, str) for labels in found for label in labels)

    def attribute_names(self) -> list[str]:
        """The attributes that any image has, in their order."""
        return sorted(set[str]().union(*(labels.attributes.names(kept) for labels, kept in self.moment.live_labels())))

    def captured(self) -> tuple[datetime, datetime] | None:
        """When the first and the last of the images that have a time were captured; None where none has."""
        live = self.moment.live_labels()
        times = np.concatenate([np.empty(0, MOMENT), *(labels.captured_at[kept] for labels, kept in live)])
        times = times[~np.isnat(times)]
        if not len(times):
            return None
        first, last = (time.item().replace(tzinfo=UTC) for time in (times.min(), times.max()))
        return first, last

    def folder(self) -> str:
        """The folder that all images are in, with its last "/"; "" where there is none, or no image."""
        found = [labels.paths.ends(kept) for labels, kept in self.moment.live_labels()]
        ends = [path for pair in found if pair for path in pair]
        return common_folder(min(ends, default=""), max(ends, default=""))

    def allow(self, allowed: Bool) -> Allowed:
        """The images that a search may find, (N,), for several calls of `search_region`."""
        if allowed.shape != (len(self),) or allowed.dtype != np.bool_:
            raise StoreError(f"allowed must be bool ({len(self)},), got {allowed.dtype} {allowed.shape}")
        return Allowed(self.image_ids[allowed])

    def exact_lists(self, region: int) -> bool:
        """Whether `search_region` finds exactly the nearest, by the embeddings as they are stored."""
        return all(part.files.regions[region].exact for part in self._parts)

    def search_region(
        self, region: int, queries: Float32, k: int, allowed: Bool | Allowed | None = None
    ) -> list[tuple[Int64, Float32]]:
        """The k nearest images of each query in one region, among those in which it is visible.

        Args:
            region: 0 to p − 1. queries: (Q, d). k: at least 1. allowed: (N,), or what `allow` makes of it,
                None for all.

        Returns:
            Q pairs of rows and Euclidean distances, ascending by distance, then image id: min(k, images allowed in
            which the region is visible) each. Compressed index types estimate the distances.

        Raises:
            FeatureError: the queries have another shape or are not finite. StoreError: region, k or allowed are wrong.
        """
        queries = checked_queries(self.model_info, region, queries, k)
        if isinstance(allowed, np.ndarray):
            allowed = self.allow(allowed)
        found = []
        for part in self._parts:
            # A removed image is never allowed. Without a filter only indexes with removed images need a selection.
            some = allowed if allowed is not None else None if part.whole[region] else self._live
            found.append(part.files.regions[region].search(queries, k, some))
        return [self._merged([each[query] for each in found], k) for query in range(len(queries))]

    def _merged(self, found: list[tuple[Int64, Float32]], k: int) -> tuple[Int64, Float32]:
        ids = np.concatenate([np.empty(0, np.int64), *(pair[0] for pair in found)])
        distances = np.concatenate([np.empty(0, np.float32), *(pair[1] for pair in found)])
        order = np.lexsort((ids, distances))[:k]
        return np.searchsorted(self.image_ids, ids[order]).astype(np.int64, copy=False), distances[order]

    def _check_rows(self, rows: NDArray[np.integer]) -> Int64:
        checked = np.asarray(rows, dtype=np.int64)
        if checked.ndim != 1 or (checked < 0).any() or (checked >= len(self)).any():
            raise StoreError(f"rows must be a list of numbers from 0 to {len(self) - 1}")
        return checked


def _as_slice(rows: Int64) -> slice | Int64:
    """Ascending rows as a slice, where they are all of one range: NumPy writes to it three times as fast."""
    whole = len(rows) > 0 and rows[-1] - rows[0] + 1 == len(rows)
    return slice(int(rows[0]), int(rows[-1]) + 1) if whole else rows
