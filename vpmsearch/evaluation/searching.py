"""Measures how good and how fast a search is on a user's own index: the default path against the exact one."""

from __future__ import annotations

import hashlib
import statistics
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vpmsearch.search.searcher import CANDIDATES_PER_REGION, Searcher
from vpmsearch.store import GalleryView
from vpmsearch.types import Float32, RegionFeatures, SearchResult

RECALLS = (1, 10, 100)
BUDGETS = (10, 25, 50, 100, 200, 400, 800, CANDIDATES_PER_REGION)
"""The values of k' in the curve of recall over time."""
EQUALS_SAMPLE = 4000
"""How many images are searched for equal ones."""
_WARM = 3


@dataclass(frozen=True)
class SearchMeasurement:
    """Results of a measurement with some queries, one after the other. k is 10 unless the name says otherwise.

    recalls: k -> the share (0-1) of the exact k nearest that the default path finds; an image at the same distance is
    as good. p50_ms, p95_ms, p99_ms: times of the default path; exact_p50_ms: of the exact one. queries_a_second: of the
    default path, with all queries in one call. complete, closed: shares of the queries. depth, candidates: medians.
    curve: budget k', ascending -> (p50_ms, recall@10).
    """

    queries: int
    recalls: dict[int, float]
    p50_ms: float
    p95_ms: float
    p99_ms: float
    exact_p50_ms: float
    queries_a_second: float
    complete: float
    closed: float
    depth: float
    candidates: float
    curve: dict[int, tuple[float, float]]


def measure_search(
    engine: Searcher, queries: RegionFeatures, on_progress: Callable[[int], None] = lambda queries: None
) -> SearchMeasurement:
    """Search with each query on its own, by the default and the exact path.

    Args:
        engine: of a gallery that is not empty. queries: at least one. on_progress: called with the number of searches
            since the last call; there are `rounds(len(queries))` in all.
    """

    def timed(k: int, exact: bool = False, candidates: int = CANDIDATES_PER_REGION) -> _Timed:
        results, times = [], []
        for row in [*range(min(_WARM, len(queries))), *range(len(queries))]:
            start = time.perf_counter()
            results += engine.search(queries[row : row + 1], k, exact, candidates=candidates)
            times.append(1e3 * (time.perf_counter() - start))
        on_progress(len(queries))
        return _Timed(results[-len(queries) :], times[-len(queries) :])

    exact = {k: timed(k, exact=True) for k in RECALLS}
    usual = {k: timed(k) for k in RECALLS}
    curve = {}
    for budget in BUDGETS:
        some = timed(10, candidates=budget)
        curve[budget] = (statistics.median(some.times), recall(some.results, exact[10].results))
    start = time.perf_counter()
    engine.search(queries)
    together = time.perf_counter() - start
    ten = usual[10]
    p50, p95, p99 = np.percentile(ten.times, (50, 95, 99)).tolist()
    return SearchMeasurement(
        queries=len(queries),
        recalls={k: recall(usual[k].results, exact[k].results) for k in RECALLS},
        p50_ms=p50,
        p95_ms=p95,
        p99_ms=p99,
        exact_p50_ms=statistics.median(exact[10].times),
        queries_a_second=len(queries) / together,
        complete=statistics.mean(result.complete for result in ten.results),
        closed=statistics.mean(result.bound_closed for result in ten.results),
        depth=statistics.median(result.depth for result in ten.results),
        candidates=statistics.median(result.candidates for result in ten.results),
        curve=curve,
    )


@dataclass(frozen=True)
class _Timed:
    results: list[SearchResult]
    times: list[float]


def share_of_equals(view: GalleryView, seed: int = 0) -> float:
    """The share (0-1) of an index's images whose features equal another image's exactly, as blank frames and copies do.

    It looks at a sample of `EQUALS_SAMPLE` images, so it may miss copies of a few images among very many.
    """
    ids = view.image_ids
    if len(ids) == 0:
        return 0.0
    chosen = np.sort(np.random.default_rng(seed).choice(ids, min(len(ids), EQUALS_SAMPLE), replace=False))
    features = view.features_of(chosen)
    counted = np.where(view.model_info.visible(features.visibility), features.visibility, np.float32(0))
    seen = np.where((counted > 0)[:, :, None], features.embeddings, np.float32(0))
    counts = Counter(_digest(own, vectors) for own, vectors in zip(counted, seen, strict=True))
    return sum(count for count in counts.values() if count > 1) / len(chosen)


def _digest(visibility: Float32, embeddings: Float32) -> bytes:
    return hashlib.blake2b(visibility.tobytes() + embeddings.tobytes(), digest_size=16).digest()


def rounds(queries: int) -> int:
    """The number of searches that `measure_search` reports to `on_progress`."""
    return queries * (2 * len(RECALLS) + len(BUDGETS))


def recall(found: list[SearchResult], exact: list[SearchResult]) -> float:
    """Mean share of the exact matches that were found; 1 if there are none. An image as near as the last one counts."""
    shares = []
    for ours, right in zip(found, exact, strict=True):
        if right.matches:
            last = right.matches[-1].distance
            shares.append(sum(match.distance <= last for match in ours.matches) / len(right.matches))
    return statistics.mean(shares) if shares else 1.0


def resident_memory() -> dict[str, float]:
    """GiB of this process: "rss_anon_gib", its own; "rss_file_gib", mapped files. Empty if the system does not tell."""
    status = Path("/proc/self/status")
    if not status.is_file():
        return {}
    lines = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
    return {
        name: int(lines[key].split()[0]) / 2**20
        for name, key in (("rss_anon_gib", "RssAnon"), ("rss_file_gib", "RssFile"))
        if key in lines
    }
