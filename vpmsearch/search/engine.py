"""SearchEngine: takes as many candidates from the region indexes as needed and re-ranks them by Eq. 4.

The exact path compares every image instead. One function computes the distances of both, so they agree to the last bit.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

import numpy as np

from vpmsearch.eq4 import region_distances
from vpmsearch.errors import FeatureError, ModelMismatchError
from vpmsearch.model.device import choose_device
from vpmsearch.search.bound import Float64
from vpmsearch.search.candidates import RegionLists, Scope
from vpmsearch.search.distances import Distances, Found, Scanned, counting
from vpmsearch.search.empty import why_empty
from vpmsearch.search.filters import Filters
from vpmsearch.search.queries import only_regions, region_names
from vpmsearch.search.scan.blocks import Effort, most_bytes
from vpmsearch.search.scan.estimated import EstimatedScan
from vpmsearch.search.scan.joint import JointScan
from vpmsearch.search.searcher import Regions, Searcher
from vpmsearch.store import Gallery, GalleryStore, Snapshot
from vpmsearch.store.intake import check_numbers
from vpmsearch.types import (
    Float32,
    ImageRecord,
    Int64,
    Match,
    ModelInfo,
    RegionFeatures,
    RegionMatch,
    SearchFilter,
    SearchResult,
)
from vpmsearch.words import number_of

SCAN_BELOW = 1024
"""So few images (left by a filter, say) are all compared. That is faster than a search for the nearest."""
PAIRS = 4096
"""Matches whose distances by region are computed at once."""
SPARSE = 32
"""If a filter leaves less than one image of so many, their embeddings are compared and not the codes of all images."""
SCAN_BATCH = 16
"""From so many queries on a scan replaces flat indexes: both compute every distance, and a scan needs no re-rank."""


_Unexplained = tuple[Found, SearchResult]  # rows and distances, and the result without its matches


@dataclass(frozen=True)
class _View:
    """What one search reads from beginning to end, even if the engine is refreshed meanwhile."""

    snapshot: Snapshot
    distances: Distances
    lists: RegionLists
    filters: Filters
    scan: JointScan | None = None
    estimates: EstimatedScan | None = None


class SearchEngine(Searcher):
    """Answers queries from one snapshot of a store. `refresh` switches to the newest.

    Args:
        store: an open gallery store.

    Raises:
        StoreError: $VPMSEARCH_SCAN_MEMORY is no number.
    """

    store: GalleryStore

    def __init__(self, store: GalleryStore) -> None:
        self.store = store
        most_bytes()  # a setting that cannot be read is told now, not after some searches
        self._effort = Effort()
        self._view = self._look_at(store.snapshot)

    def __repr__(self) -> str:
        device = choose_device(self.store.device)
        return f"<SearchEngine over {self.store.path}: {number_of(len(self.snapshot), 'image')}, distances on {device}>"

    def _look_at(self, snapshot: Snapshot, before: _View | None = None) -> _View:
        distances = distances_of(snapshot, self.store)
        lists = RegionLists(snapshot, distances, before.lists if before else None)
        if choose_device(self.store.device).type != "cpu":
            return _View(snapshot, distances, lists, Filters(snapshot))
        scan = JointScan(snapshot, distances, self._effort, before.scan if before else None)
        estimates = EstimatedScan(snapshot, distances, self._effort, before.estimates if before else None)
        return _View(snapshot, distances, lists, Filters(snapshot), scan, estimates)

    @property
    def snapshot(self) -> Snapshot:
        """What is searched."""
        return self._view.snapshot

    def refresh(self) -> bool:
        """Switch to the newest snapshot of the store. True if anything was committed since the last."""
        self.store.refresh()  # the result does not tell: another engine or this store's writer may have refreshed it
        before, now = self.snapshot, self.store.snapshot
        if now is not before:
            self._view = self._look_at(now, self._view)
        return before.state != now.state

    def _results(
        self, query: RegionFeatures, k: int, exact: bool, filter: SearchFilter | None, candidates: int, regions: Regions
    ) -> list[SearchResult]:
        view = self._view
        queries = counted_queries(view.snapshot.model_info, self.store.path, query, k, regions)
        allowed, images = view.filters.passing(filter)
        scope = Scope(k, allowed, max(candidates, k))
        every = exact or _all_flat(view.snapshot)  # flat indexes compute every distance too
        joint = every and images > SCAN_BELOW and view.scan is not None and view.scan.ready(len(queries))
        scanned = exact or joint or images <= max(SCAN_BELOW, k) or (len(queries) >= SCAN_BATCH and every)
        if scanned:
            found = _scanned(view, queries, scope, exact, images)
        elif view.estimates is not None and view.estimates.ready(len(queries)):
            found = _estimated(view.estimates, queries, scope)
        else:
            found = _listed(view, queries, scope, images)
        results = _explained(view, queries, found)
        return [_with_reason(view, queries[row : row + 1], filter, each) for row, each in enumerate(results)]


def _with_reason(view: _View, query: RegionFeatures, wanted: SearchFilter | None, result: SearchResult) -> SearchResult:
    """The result with the size of the index, and with the reason if it is empty."""
    result = replace(result, images=len(view.snapshot))
    if result.matches:
        return result
    return replace(result, empty=why_empty(view.snapshot, query, wanted or SearchFilter()))


def distances_of(images: Scanned, store: Gallery, *, keep: bool | None = None) -> Distances:
    """The `Distances` between queries and the images of a store: on the CPU without torch, on a GPU with torch.

    keep: whether the embeddings stay on a GPU after the first scan; by default if it has the memory.
    """
    device = choose_device(store.device)
    if device.type == "cpu":
        return Distances(images)
    from vpmsearch.search.gpu import DeviceDistances, torch_device

    return DeviceDistances(images, torch_device(device), keep=keep)


def counted_queries(
    info: ModelInfo, place: object, features: RegionFeatures, k: int, regions: Sequence[int] | None
) -> RegionFeatures:
    """The checked queries of a search, with visibility 0 where it does not count.

    Raises:
        FeatureError: k < 1, features are not finite or beyond 1e17, or there is no such region.
        ModelMismatchError: p or d differs from that of the index at `place`.
    """
    if k < 1:
        raise FeatureError(f"k must be at least 1, got {k}")
    if (features.num_regions, features.embedding_dim) != (info.p, info.embedding_dim):
        raise ModelMismatchError(
            f"the query has {features.num_regions} regions × {features.embedding_dim} numbers, the index at "
            f"{place} has {info.p} × {info.embedding_dim}: use the weights it was built with"
        )
    check_numbers(features)
    features = only_regions(features, regions)
    return RegionFeatures(counting(info, features.visibility), features.embeddings)


def _all_flat(snapshot: Snapshot) -> bool:
    return all(snapshot.exact_lists(region) for region in range(snapshot.model_info.p))


def _scanned(view: _View, queries: RegionFeatures, scope: Scope, exact: bool, images: int) -> list[_Unexplained]:
    """Compare every image: by codes if there are some and the filter leaves many images, else by embeddings."""
    start = time.perf_counter()
    joint = images * SPARSE >= len(view.snapshot) and view.scan is not None and view.scan.made
    scan = view.scan.search if joint and view.scan is not None else view.distances.scan
    found = scan(queries, scope.k, scope.allowed)
    each_ms = 1e3 * (time.perf_counter() - start) / max(len(queries), 1)
    return [
        (best, SearchResult((), images, exact, {"scan": each_ms}, 0, complete=True, bound_closed=True))
        for best in found
    ]


def _estimated(scan: EstimatedScan, queries: RegionFeatures, scope: Scope) -> list[_Unexplained]:
    """Compare the images that are nearest by estimates, as many as these ask for."""
    answers = scan.search(queries, scope.k, max(scope.deepest, 2 * scope.k), scope.allowed)
    return [
        (
            each.best,
            SearchResult((), each.compared, False, each.timings_ms, 0, each.complete, bound_closed=each.closed),
        )
        for each in answers
    ]


def _listed(view: _View, queries: RegionFeatures, scope: Scope, images: int) -> list[_Unexplained]:
    """Search the lists. Compare every image if the lists missed so much that k were not found."""
    found = []
    for answer in view.lists.search(queries, scope):
        stages, compared = answer.timer.stages, len(answer.compared)
        missed = answer.short or (len(answer.best[0]) < scope.k and not answer.proved)
        if missed and compared < images:
            best, scanned = _scanned(view, answer.query, scope, False, images)[0]
            result = replace(scanned, timings_ms={**stages, **scanned.timings_ms}, depth=answer.depth)
            found.append((best, result))
            continue
        result = SearchResult((), compared, False, stages, answer.depth, answer.proved, answer.closed)
        found.append((answer.best, result))
    return found


def _explained(view: _View, queries: RegionFeatures, found: list[_Unexplained]) -> list[SearchResult]:
    """The results with their matches. The records and distances by region of all queries are read together."""
    start = time.perf_counter()
    counts = [len(best[0]) for best, _ in found]
    asked = np.repeat(np.arange(len(found)), counts)
    rows = np.concatenate([np.zeros(0, np.int64), *(best[0] for best, _ in found)])
    distances = np.concatenate([np.zeros(0, np.float32), *(best[1] for best, _ in found)])
    distinct = np.unique(rows)
    names = region_names(view.snapshot.model_info.num_regions)
    named = view.snapshot.records(distinct) if len(distinct) else []
    records = dict(zip(distinct.tolist(), named, strict=True))
    matches = list[Match]()
    for part in (slice(first, first + PAIRS) for first in range(0, len(rows), PAIRS)):
        some = rows[part]
        taken_apart = _by_region(view, queries, asked[part], some)
        named = [records[row] for row in some.tolist()]
        matches += explained(view.snapshot.image_ids[some], named, distances[part], *taken_apart, names)
    each_ms = 1e3 * (time.perf_counter() - start) / max(len(found), 1)
    return [
        replace(result, matches=tuple(matches[end - count : end]), timings_ms={**result.timings_ms, "explain": each_ms})
        for (_, result), count, end in zip(found, counts, accumulate(counts), strict=True)
    ]


def _by_region(view: _View, queries: RegionFeatures, asked: Int64, rows: Int64) -> tuple[Float32, Float64]:
    """D_i and C_i^q·C_i^g, (m, p) each, of m pairs: the queries `asked` (m,) and the images `rows` (m,)."""
    by_region = region_distances(queries.embeddings[asked], view.snapshot.stored(rows))  # (m, p, d) each
    return by_region, queries.visibility[asked].astype(np.float64) * view.distances.visibility[rows]


def explained(
    image_ids: Int64,
    records: Sequence[ImageRecord],
    distances: Float32,
    by_region: Float32,
    weights: Float64,
    names: Sequence[str],
) -> list[Match]:
    """Matches with the part that each region had in their distance.

    Args:
        image_ids, records, distances: (m,). by_region: (m, p), D_i. weights: (m, p), C_i^q·C_i^g, 0 where a region is
            not shared; each match shares at least one. names: names of the p regions.
    """
    shares = weights / weights.sum(axis=1, keepdims=True)
    numbers = zip(by_region.tolist(), weights.tolist(), shares.tolist(), strict=True)
    matches = []
    for image_id, record, distance, parts in zip(image_ids.tolist(), records, distances.tolist(), numbers, strict=True):
        regions = tuple(
            RegionMatch(region, own, weight, share, names[region])
            for region, (own, weight, share) in enumerate(zip(*parts, strict=True))
            if weight > 0
        )
        matches.append(
            Match(
                image_id,
                record.path,
                record.pid,
                record.camid,
                distance,
                regions,
                record.attributes,
                record.captured_at,
                record.width,
                record.height,
            )
        )
    return matches
