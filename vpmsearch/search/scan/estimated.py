"""Scans all images of a large gallery: estimates of Eq. 4 come from signs in memory, then few images are compared.

One pass over the signs (`signs.py`) estimates every image's distance. `eq4` compares the images with the least
estimates. How far these were wrong tells how far the others may be: every image is compared whose estimate is at most
`SPREAD` times that beyond the k-th distance found. That is a rule, not a proof.

Signs are made from the embeddings and stay in memory as long as the view of the index. Making those of a million images
takes many seconds of a core, so no single search waits for that: each search by lists encodes a share of them, which
costs about as much as the search itself.
"""

from __future__ import annotations

import functools
import time
from dataclasses import dataclass
from types import ModuleType

import numpy as np

from vpmsearch.eq4 import Float64
from vpmsearch.search.distances import Distances, Found, counting
from vpmsearch.search.scan import rough
from vpmsearch.search.scan.blocks import Coded, Effort, compiled, fits, in_passes
from vpmsearch.search.scan.codes import MOST_NUMBERS
from vpmsearch.search.scan.signs import QuerySigns, Signs, bytes_of, centre
from vpmsearch.store import Snapshot
from vpmsearch.system.parallel import spread
from vpmsearch.types import Bool, Float32, RegionFeatures

LOAD_AFTER = 50
"""The kernels are loaded after so many queries to lists. Loading costs 0.6 s, as much as 50 searches of lists."""
SHARE = 6_000_000
"""Numbers that are encoded with each query to lists: 20 ms. A million images × 6 × 256 take 256 queries."""
QUERIES = 64
"""Queries that share one pass over the signs, at most."""
EXTRA = 200
"""Images compared at first beyond k."""
MEASURED = 64
"""Of these, so many of the nearest tell the usual error."""
SPREAD = 2.5
"""An image is left out if its estimate is so many times the usual error beyond the k-th distance."""


def kernels() -> ModuleType | None:
    """The compiled arithmetic of this scan, see `compiled`."""
    return compiled("sign_kernels", "use lists")


@dataclass(frozen=True)
class Estimated:
    """The answer to one query.

    best: rows and distances, nearest first. compared: images that were compared by Eq. 4. closed: by the estimates no
    other image can belong to the answer. complete: all images that share a region with the query were compared.
    """

    best: Found
    compared: int
    closed: bool
    complete: bool
    timings_ms: dict[str, float]


class EstimatedScan:
    """Scans one snapshot. Safe for several threads.

    Args:
        distances: computes Eq. 4 for the snapshot, on the CPU. effort: the engine's count. before: the scan of an
            earlier snapshot.
    """

    def __init__(
        self, snapshot: Snapshot, distances: Distances, effort: Effort, before: EstimatedScan | None = None
    ) -> None:
        self._snapshot, self._distances, self._effort = snapshot, distances, effort
        self._coded: Coded[Signs] | None = None
        # By segment id: the part of the index that signs were made of, and the signs, which may not be finished.
        known = before._signs.copy() if before is not None else {}  # another thread may add to the original meanwhile
        self._signs: dict[int, tuple[object, Signs]] = {
            key: made for key, made in known.items() if self._is_same(key, made[0])
        }

    def _is_same(self, key: int, files: object) -> bool:
        return key in self._snapshot.parts and self._snapshot.parts[key].files is files

    def ready(self, queries: int) -> bool:
        """Whether there are signs for the next `queries` queries. Makes a share of them if enough has been searched.

        While one thread makes them, other threads get False.
        """
        effort = self._effort
        if self._coded is not None:
            return True
        if not effort.lock.acquire(blocking=False):
            return False
        try:
            effort.searches += queries
            if effort.searches > LOAD_AFTER:
                self._make(SHARE * queries)
        finally:
            effort.lock.release()
        return self._coded is not None

    def prepare(self) -> bool:
        """Make all signs now; False if they would take too much memory or numba does not run."""
        with self._effort.lock:
            if self._coded is None:
                self._make(None)
        return self._coded is not None

    def _make(self, numbers: int | None) -> None:
        """Encode so many numbers, or all."""
        info, parts = self._snapshot.model_info, self._snapshot.parts
        each = info.p * info.embedding_dim
        if not fits(self._snapshot, bytes_of) or info.embedding_dim > MOST_NUMBERS:
            return
        loaded = kernels()
        if loaded is None or rough.kernels() is None:
            return
        images = sum(len(part.labels) for part in parts.values()) if numbers is None else -(-numbers // each)
        for key, part in parts.items():
            if key not in self._signs:
                seen = counting(info, part.files.visibility)
                try:
                    self._signs[key] = (part.files, Signs(part.files.embeddings, seen, self._middle(key)))
                except MemoryError:
                    return
            signs = self._signs[key][1]
            before = signs.left
            signs.encode(loaded, images)
            images -= before - signs.left
            if signs.left:
                return
        self._coded = Coded.of(self._snapshot, {key: signs for key, (_, signs) in self._signs.items()})

    def _middle(self, key: int) -> Float32:
        """μ for a segment: the mean of the first, so that a query is encoded once for all."""
        for _, signs in self._signs.values():
            return signs.middle
        files = self._snapshot.parts[key].files
        return centre(files.embeddings, counting(self._snapshot.model_info, files.visibility))

    def search(self, queries: RegionFeatures, k: int, most: int, allowed: Bool | None = None) -> list[Estimated]:
        """The k nearest to each query among all images, or among those allowed (N,), by estimates and Eq. 4.

        To be called only after `ready` or `prepare` has returned True.

        Args:
            most: how many images may be compared with a query, at least k.
        """
        coded = self._coded
        assert coded is not None
        wanted = coded.wanted(allowed)
        found: dict[int, Estimated] = {}
        for some, asked in in_passes(queries, QUERIES, wanted.size):
            began = time.perf_counter()
            values, least = _estimates(coded, asked, wanted)
            each_ms = 1e3 * (time.perf_counter() - began) / len(some)

            answer = functools.partial(self._nearest, coded, asked, values, least, k, most, each_ms)
            found |= zip(some.tolist(), spread(answer, range(len(some))), strict=True)
        return [found[row] for row in range(len(queries))]

    def _nearest(
        self,
        coded: Coded[Signs],
        queries: RegionFeatures,
        values: Float32,
        least: Float32,
        k: int,
        most: int,
        ms: float,
        row: int,
    ) -> Estimated:
        """The k nearest to one of the queries, from estimates (Q, blocks, 16) and their least (Q, blocks)."""
        query, values, least = queries[row : row + 1], values[row], least[row]
        start = time.perf_counter()
        first, guessed = coded.nearest(values, least, min(k + EXTRA, most))
        found = rough.Rough(self._snapshot, self._distances, query)
        found.add(first)
        everything = closed = len(first) < min(k + EXTRA, most)
        if not everything and np.isfinite(kth := found.kth(k)):
            rows, _ = coded.up_to(values, least, kth + SPREAD * _usual_error(guessed, found.values))
            closed = len(rows) <= most
            if not closed:
                rows, _ = coded.nearest(values, least, most)
            found.add(np.setdiff1d(rows, first, assume_unique=True))
        best = found.nearest(k)
        timings = {"scan": ms, "re-rank": 1e3 * (time.perf_counter() - start)}
        return Estimated(best, len(found.rows), closed, everything, timings)


def _usual_error(guessed: Float32, right: Float64) -> float:
    """How wrong estimates usually are, as the root of the mean square over the nearest of some images (m,).

    The images were chosen for small estimates, so most errors are below 0. The nearest have small estimates in any
    case, so theirs are as usual.
    """
    nearest = np.argsort(right)[:MEASURED]
    return float(np.sqrt(np.square(guessed[nearest] - right[nearest]).mean()))


def _estimates(coded: Coded[Signs], queries: RegionFeatures, wanted: Bool) -> tuple[Float32, Float32]:
    """Estimates of Eq. 4 (Q or more, blocks, 16) and the least of each block; ∞ where not `wanted` (blocks, 16)."""
    loaded = kernels()
    assert loaded is not None
    middles = {id(signs.middle): signs.middle for _, signs, _ in coded.parts.values()}
    asked = {key: QuerySigns.of(loaded, queries, middle) for key, middle in middles.items()}
    rows = len(queries) if len(queries) == 1 else -(-len(queries) // loaded.TILE) * loaded.TILE
    found = np.empty((rows, *wanted.shape), np.float32)
    least = np.empty(found.shape[:2], np.float32)

    def estimate(piece: tuple[Signs, int, int, int]) -> None:
        signs, first, last, offset = piece
        own = asked[id(signs.middle)]
        loaded.estimates(signs.codes, wanted, first, last, offset, own.tables, own.query, found, least)

    coded.for_pieces(estimate)
    return found, least
