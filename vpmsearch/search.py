"""SearchEngine: candidates from the region indexes, re-ranked by Eq. 4; the exact path beside it.

Whatever finds the candidates, one function computes the distances, so both paths agree to the last bit.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch

from vpmsearch.equations import region_distances, visibility_weighted_distance
from vpmsearch.errors import FeatureError, ModelMismatchError
from vpmsearch.queries import only_regions
from vpmsearch.store import GalleryStore, Snapshot
from vpmsearch.types import Bool, Float32, Int64, Match, RegionFeatures, RegionMatch, SearchFilter, SearchResult

CANDIDATES_PER_REGION = 200
"""k': nearest images taken from each region's index. On real re-ID embeddings of 15,913 images this found 98.5 % of the
exact top ten for half-body queries and all of it for whole ones; `candidates` sets it per search."""

BLOCK_ROWS = 4096
"""Gallery images re-ranked at once: bounds the memory of the exact path."""


@dataclass
class _Timer:
    """Milliseconds by stage."""

    stages: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.stages[name] = self.stages.get(name, 0.0) + 1e3 * (time.perf_counter() - start)


class SearchEngine:
    """Answers queries from one snapshot of a store; `refresh` moves on to the newest.

    Args:
        store: an open gallery store.
    """

    def __init__(self, store: GalleryStore) -> None:
        self.store = store
        self.snapshot: Snapshot = store.snapshot
        gpu = store.device.startswith("cuda") or (store.device == "auto" and torch.cuda.is_available())
        self._device = torch.device((store.device if store.device != "auto" else "cuda") if gpu else "cpu")

    def refresh(self) -> bool:
        """See what has been committed since; True if there was anything."""
        self.store.refresh()  # may be up to date already: another engine, or a commit of this store's own writer
        before, self.snapshot = self.snapshot, self.store.snapshot
        return before.state != self.snapshot.state

    def search(
        self,
        features: RegionFeatures,
        k: int = 10,
        exact: bool = False,
        *,
        filter: SearchFilter | None = None,
        candidates: int = CANDIDATES_PER_REGION,
        regions: Sequence[int] | None = None,
    ) -> list[SearchResult]:
        """The k nearest gallery images by Eq. 4 for each query; ties go to the smaller image id.

        Fewer than k only where fewer images pass the filter and share a region with the query.

        Args:
            features: n queries, (n, p) and (n, p, d), of the weights that the index was built with.
            k: matches a query, at least 1.
            exact: compare with every image instead of candidates.
            filter: which images may be results.
            candidates: k' nearest images taken from each region's index (never fewer than k).
            regions: compare by these alone, 0 to p − 1; None: by all that are shared.

        Returns:
            One result a query, in order.

        Raises:
            FeatureError: k < 1, features that are not finite, or no such region.
            ModelMismatchError: another p or d than the index.
        """
        self._check(features, k)
        features = only_regions(features, regions)
        queries = RegionFeatures(self._visible_part(features.visibility), features.embeddings)
        allowed = self.snapshot.select(filter) if filter is not None and filter != SearchFilter() else None
        everything = np.arange(len(self.snapshot)) if allowed is None else np.flatnonzero(allowed)
        start = time.perf_counter()
        found = [everything] * len(queries) if exact else self._candidates(queries, max(candidates, k), allowed)
        each_ms = 1e3 * (time.perf_counter() - start) / max(len(queries), 1)
        return [
            self._search_one(queries[row : row + 1], k, exact, found[row], everything, _Timer({"candidates": each_ms}))
            for row in range(len(queries))
        ]

    def _search_one(
        self, query: RegionFeatures, k: int, exact: bool, rows: Int64, everything: Int64, timer: _Timer
    ) -> SearchResult:
        with timer.stage("re-rank"):
            best, distances = self._nearest(query, rows, k)
            # Approximate lists may miss images: never answer with fewer than there are.
            if not exact and len(best) < k and len(rows) < len(everything):
                rows = everything
                best, distances = self._nearest(query, rows, k)
        with timer.stage("explain"):
            matches = self._explain(query, best, distances)
        return SearchResult(matches, len(rows), exact, timer.stages)

    def _candidates(self, queries: RegionFeatures, count: int, allowed: Bool | None) -> list[Int64]:
        """For each query the union, over the regions it shows, of the `count` nearest images: rows, ascending."""
        found: list[list[Int64]] = [[np.zeros(0, np.int64)] for _ in range(len(queries))]
        for region in range(queries.num_regions):
            seeing = np.flatnonzero(queries.visibility[:, region] > 0)
            if len(seeing) == 0:
                continue
            hits = self.snapshot.search_region(region, queries.embeddings[seeing, region], count, allowed)
            for query, (rows, _) in zip(seeing, hits, strict=True):
                found[query].append(rows)
        return [np.unique(np.concatenate(parts)) for parts in found]

    def _nearest(self, query: RegionFeatures, rows: Int64, k: int) -> tuple[Int64, Float32]:
        """The k nearest of `rows` (ascending) by Eq. 4, ties by image id: rows and distances."""
        kept_rows, kept = np.zeros(0, np.int64), np.zeros(0, np.float32)
        for start in range(0, len(rows), BLOCK_ROWS):
            block = rows[start : start + BLOCK_ROWS]
            distances = self._distances(query, block)
            kept_rows, kept = np.concatenate([kept_rows, block]), np.concatenate([kept, distances])
            shared = np.isfinite(kept)  # an image that shares no region is no result
            kept_rows, kept = kept_rows[shared], kept[shared]
            # Rows ascend with the image id, so a stable sort breaks ties by id.
            order = np.argsort(kept, kind="stable")[:k]
            kept_rows, kept = _ascending(kept_rows[order], kept[order])
        order = np.argsort(kept, kind="stable")
        return kept_rows[order], kept[order]

    def _distances(self, query: RegionFeatures, rows: Int64) -> Float32:
        """Eq. 4 of one query against some rows: (len(rows),) float32."""
        values = (
            query.embeddings,
            query.visibility,
            self.snapshot.embeddings(rows),
            self._gallery_visibility(rows),
        )
        distances = visibility_weighted_distance(*(torch.from_numpy(value).to(self._device) for value in values))
        return distances[0].cpu().numpy()

    def _gallery_visibility(self, rows: Int64) -> Float32:
        return self._visible_part(self.snapshot.visibility[rows])

    def _visible_part(self, visibility: Float32) -> Float32:
        """A visibility below the index's `min_visibility` counts as 0 wherever images are compared."""
        return np.where(self.snapshot.model_info.visible(visibility), visibility, np.float32(0))

    def _explain(self, query: RegionFeatures, rows: Int64, distances: Float32) -> tuple[Match, ...]:
        if len(rows) == 0:
            return ()
        records = self.snapshot.records(rows)
        gallery = torch.from_numpy(self.snapshot.embeddings(rows))
        by_region = region_distances(torch.from_numpy(query.embeddings), gallery)[0].tolist()  # (k, p)
        weights = query.visibility.astype(np.float64) * self._gallery_visibility(rows)  # (1, p) × (k, p)
        shares = weights / weights.sum(axis=1, keepdims=True)
        matches = []
        for i, record in enumerate(records):
            shared = np.flatnonzero(weights[i] > 0)
            regions = tuple(
                RegionMatch(int(r), by_region[i][r], float(weights[i, r]), float(shares[i, r])) for r in shared
            )
            image_id = int(self.snapshot.image_ids[rows[i]])
            matches.append(Match(image_id, record.path, record.pid, record.camid, float(distances[i]), regions))
        return tuple(matches)

    def _check(self, features: RegionFeatures, k: int) -> None:
        if k < 1:
            raise FeatureError(f"k must be at least 1, got {k}")
        info = self.snapshot.model_info
        if (features.num_regions, features.embedding_dim) != (info.p, info.embedding_dim):
            raise ModelMismatchError(
                f"the query has {features.num_regions} regions × {features.embedding_dim} numbers, the index at "
                f"{self.store.path} has {info.p} × {info.embedding_dim}: use the weights it was built with"
            )
        features.check_finite()


def _ascending(rows: Int64, distances: Float32) -> tuple[Int64, Float32]:
    order = np.argsort(rows)
    return rows[order], distances[order]
