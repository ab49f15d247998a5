"""Eq. 4 against every image of a gallery: matrix products select images, whose distances are then computed directly.

With ‖a − b‖² = ‖a‖² + ‖b‖² − 2ab a scan is one matrix product for each region. For one query its speed is limited by
memory, for many by the processor. It loses digits for similar embeddings, by at most `expansion_error`. So the product
gives a lower bound of every distance. `vpmsearch.eq4` computes the distances of the k + m images with the smallest
bounds. If the k-th of these is not below the last bound, m was too small and is multiplied by four.

`Distances` computes on the CPU, in NumPy. `vpmsearch.search.gpu` replaces its arithmetic by torch's.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from itertools import islice
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from vpmsearch.eq4 import distances_to
from vpmsearch.search.products import Products, Stored, scaled_weights, squared_norms
from vpmsearch.store.values import OfModel
from vpmsearch.system.parallel import spread
from vpmsearch.types import Bool, Float32, Int64, ModelInfo, RegionFeatures

BLOCK_ROWS = 4096
"""Gallery images whose distances are held at once."""
SPREAD_BLOCKS = 16
"""Blocks that the cores share at once. Their results are then merged."""
QUERY_ROWS = 512
"""Queries that share one pass over the gallery."""
EXTRA = 32
"""The first value of m: how many images beyond k are computed directly."""
SLACK = 2e-5
"""Relative rounding error of the steps after the squares: sqrt, a sum over regions, a quotient, all in float32."""

Found = tuple[Int64, Float32]  # rows and distances of one query, nearest first
NOTHING: Found = (np.zeros(0, np.int64), np.zeros(0, np.float32))


class Scanned(OfModel, Protocol):
    """Images that can be scanned: a `Snapshot`, or images read from a server. Rows ascend with the image id."""

    @property
    def visibility(self) -> Float32:
        """(N, p), as stored."""

    @property
    def visible(self) -> Bool:
        """(N, p), which visibilities count."""

    def __len__(self) -> int: ...

    def stored(self, rows: Int64) -> Stored:
        """Embeddings (m, p, d) of some rows, in the order asked."""

    def blocks(self, size: int) -> Iterator[tuple[Int64, Stored]]:
        """All of them: rows (m,) and embeddings (m, p, d), m up to `size`."""


class Distances:
    """Eq. 4 between queries and the images of a snapshot, on the CPU. Safe for several threads.

    Args:
        snapshot: what is searched.
    """

    def __init__(self, snapshot: Scanned) -> None:
        self._snapshot = snapshot
        # A visibility below `min_visibility` counts as 0 wherever images are compared.
        self.visibility: Float32 = np.where(snapshot.visible, snapshot.visibility, np.float32(0))

    def nearest(self, query: RegionFeatures, rows: Int64, k: int, known: Found = NOTHING) -> Found:
        """The k nearest to one query among `rows` (ascending) and the images in `known`. Ties go by image id."""
        kept_rows, kept = known
        for start in range(0, len(rows), BLOCK_ROWS):
            block = rows[start : start + BLOCK_ROWS]
            kept_rows = np.concatenate([kept_rows, block])
            kept_rows, kept = best_of(kept_rows, np.concatenate([kept, self.direct(query, block)]), k)
        return kept_rows, kept

    def direct(self, query: RegionFeatures, rows: Int64) -> Float32:
        """Eq. 4 of one query against some rows: (len(rows),) float32."""
        return distances_to(
            query.embeddings[0], query.visibility[0], self._snapshot.stored(rows), self.visibility[rows]
        )

    def scan(self, queries: RegionFeatures, k: int, allowed: Bool | None = None) -> list[Found]:
        """The k nearest to each query among all images, or among those allowed (N,). Ties go by image id."""
        order = in_order_of_regions(queries)
        found: list[Found] = [NOTHING] * len(queries)
        for start in range(0, len(queries), QUERY_ROWS):
            some = order[start : start + QUERY_ROWS]
            for query, answer in zip(some.tolist(), self._scan_some(queries[some], k, allowed), strict=True):
                found[query] = answer
        return found

    def _scan_some(self, queries: RegionFeatures, k: int, allowed: Bool | None) -> list[Found]:
        found: list[Found] = [NOTHING] * len(queries)
        waiting, count = np.arange(len(queries)), k + EXTRA
        everything = len(self._snapshot) if allowed is None else int(allowed.sum())
        while len(waiting):
            part = queries[waiting]
            rows, lower = self._least_lower_bounds(part, min(count, everything), allowed)
            unsure = []
            nearest = self._nearest_listed(part, rows, np.isfinite(lower), k)
            for place, query in enumerate(waiting.tolist()):
                found[query] = nearest[place]
                # An image that is not listed is at least this far.
                horizon = lower[place, -1] * (1 - SLACK) if count < everything else np.inf
                last = found[query][1][-1] if len(found[query][1]) == k else np.float32(np.inf)
                if np.isfinite(horizon) and not last < horizon:
                    unsure.append(query)
            waiting, count = np.array(unsure, np.int64), 4 * count
        return found

    def _nearest_listed(self, queries: RegionFeatures, rows: Int64, listed: Bool, k: int) -> list[Found]:
        """The k nearest to each query in its own list: rows (Q, c) where listed (Q, c). Ties go by image id."""
        places = list(range(len(queries)))
        return spread(lambda i: self.nearest(queries[i : i + 1], np.sort(rows[i][listed[i]]), k), places)

    def _least_lower_bounds(self, queries: RegionFeatures, count: int, allowed: Bool | None) -> tuple[Int64, Float32]:
        """Rows (Q, count) of the images with the least lower bounds of Eq. 4, and these bounds, ascending.

        Where a bound is ∞ there is no image.
        """
        products = Products(queries)

        def least(block: tuple[Int64, Stored]) -> tuple[Int64, Float32]:
            rows, embeddings = block
            lower = products.lower_bounds(embeddings, self._weights[rows], self._norms_of(rows, embeddings))
            return _least(rows[None], lower, count)

        best_rows, best = np.zeros((len(queries), 0), np.int64), np.zeros((len(queries), 0), np.float32)
        blocks = self._blocks(allowed, BLOCK_ROWS)
        while some := list(islice(blocks, SPREAD_BLOCKS)):
            found = spread(least, some)
            best_rows = np.concatenate([best_rows, *(rows for rows, _ in found)], axis=1)
            best = np.concatenate([best, *(lower for _, lower in found)], axis=1)
            best_rows, best = _least(best_rows, best, count)
        order = np.argsort(best, axis=1, kind="stable")
        return np.take_along_axis(best_rows, order, axis=1), np.take_along_axis(best, order, axis=1)

    def _blocks(self, allowed: Bool | None, size: int) -> Iterator[tuple[Int64, Stored]]:
        """All images, or those allowed, in blocks: rows (m,) and embeddings (m, p, d), m up to `size`."""
        if allowed is None:
            yield from self._snapshot.blocks(size)
            return
        chosen = np.flatnonzero(allowed)
        for start in range(0, len(chosen), size):
            some = chosen[start : start + size]
            yield some, self._snapshot.stored(some)

    @functools.cached_property
    def _weights(self) -> Float32:
        return scaled_weights(self.visibility)

    @functools.cached_property
    def _norms(self) -> Float32:
        """‖b‖² (N, p); NaN where it was not computed yet."""
        return np.full(self.visibility.shape, np.nan, np.float32)

    def _norms_of(self, rows: Int64, embeddings: Stored) -> Float32:
        """‖b‖² of some images (m, p, d): (m, p). All queries share it, so only the first computes it."""
        known = self._norms[rows]
        if np.isnan(known).any():
            known = squared_norms(embeddings)
            self._norms[rows] = known
        return known


def counting(info: ModelInfo, visibility: Float32) -> Float32:
    """Visibility (n, p) as Eq. 4 counts it: 0 where a region counts as not seen."""
    return np.where(info.visible(visibility), visibility, np.float32(0))


def best_of(rows: Int64, distances: Float32, k: int) -> Found:
    """The k nearest of some images (m,), nearest first. Ties go by image id, as rows ascend with it."""
    shared = np.isfinite(distances)  # an image that shares no region is no result
    rows, distances = rows[shared], distances[shared]
    best = np.lexsort((rows, distances))[:k]
    return rows[best], distances[best]


def _least(rows: Int64, lower: Float32, count: int) -> tuple[Int64, Float32]:
    """The rows and values of the `count` least bounds of each query, in any order.

    Args:
        rows: (1, m) or (Q, m). lower: (Q, m).
    """
    rows = np.broadcast_to(rows, lower.shape)
    if lower.shape[1] <= count:
        return rows, lower
    places = np.argpartition(lower, count - 1, axis=1)[:, :count]
    return np.take_along_axis(rows, places, axis=1), np.take_along_axis(lower, places, axis=1)


def in_order_of_regions(queries: RegionFeatures) -> Int64:
    """An order (Q,) in which queries that show the same regions are neighbours.

    A product or a pass over a block of images can then leave out the regions that none of its queries shows.
    """
    return np.argsort(_middle(queries.visibility), kind="stable")


def _middle(visibility: Float32) -> NDArray[np.float64]:
    """The mean of the indices of the regions that each image (n, p) shows: (n,), 0 where it shows none."""
    shown = visibility > 0
    middle: NDArray[np.float64] = shown @ np.arange(shown.shape[1], dtype=np.float64) / np.maximum(shown.sum(axis=1), 1)
    return middle
