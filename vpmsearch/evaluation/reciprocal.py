"""Re-ranking by k-reciprocal neighbours (Zhong et al., CVPR 2017), on the visibility-weighted distance of Eq. 4.

Two images of one person have the same neighbours. For every image, query or gallery:

    N(i, k)   i itself and its k nearest by Eq. 4
    R(i, k)   those of N(i, k) in whose N(j, k) i is
    R*(i)     R(i, k1) with each R(j, k1 / 2), j of R(i, k1), of which more than two thirds are in R(i, k1)
    V_ij      exp(−d_ij) for j of R*(i), else 0; rows sum to 1; then the mean over N(i, k2 − 1) (local expansion)
    J         1 − Σ_j min(V_ij, V_gj) / Σ_j max(V_ij, V_gj)
    distance  (1 − λ) J + λ d

d_ij is Eq. 4 squared over the largest of its row, as the authors' code has it. The graph holds all queries, so a query
is ranked with the help of the others and of the whole gallery: figures with it are not those of a search for one
image. Images that share no region are no neighbours, and stay no results. Nothing of size (Q + G)² is held.

Images that may not help a query (`vpmsearch.evaluation.helpers`) are no neighbours of it, nor it of them. What is
compared for J are then both rows of V without the columns of those images, scaled to the sum 1 again.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from vpmsearch.evaluation.helpers import Bars
from vpmsearch.evaluation.metrics import Float64
from vpmsearch.evaluation.ranking import StreamingRanker
from vpmsearch.types import Bool, Float32, Int64, RegionFeatures

K1, K2, WEIGHT = 20, 6, 0.3
"""k1, k2 and λ, as the paper sets them."""


class _Rows(NamedTuple):
    """A sparse matrix, row after row: row i holds `columns` and `values` from starts[i] to starts[i + 1]."""

    starts: Int64
    columns: Int64
    values: Float64

    def row(self, i: int) -> tuple[Int64, Float64]:
        some = slice(self.starts[i], self.starts[i + 1])
        return self.columns[some], self.values[some]

    @classmethod
    def of(cls, rows: list[tuple[Int64, Float64]]) -> _Rows:
        starts = np.cumsum([0, *(len(columns) for columns, _ in rows)])
        none = np.empty(0, np.int64), np.empty(0)
        return cls(starts, *(np.concatenate([none[part], *(row[part] for row in rows)]) for part in (0, 1)))


class ReciprocalRanker:
    """The graph of Q queries and G gallery images.

    Args:
        features: of the queries and then of the gallery, junk left out. weights: (Q + G, p), the visibility that
            counts. num_queries: Q, at least 1. ranker: of the same features. k1, k2, weight: see above; k1, k2 ≥ 1.
        bars: who may not help whom, junk left out; None: all may.
    """

    def __init__(
        self,
        features: RegionFeatures,
        weights: Float32,
        num_queries: int,
        ranker: StreamingRanker,
        *,
        k1: int = K1,
        k2: int = K2,
        weight: float = WEIGHT,
        bars: Bars | None = None,
    ) -> None:
        self._features, self._weights, self._num_queries = features, weights, num_queries
        self._ranker, self._weight, self._bars = ranker, weight, bars
        self._near, self._largest = self._neighbours(max(k1 + 1, k2))
        expanded = self._averaged(self._encoded(self._expanded(k1)), k2)
        self._queries = [expanded.row(i) for i in range(num_queries)]
        self._gallery = self._by_column(expanded)

    def distances(self) -> Iterator[tuple[slice, Float64]]:
        """The final distances, block by block of queries: which, and (B, G); inf where no region is shared."""
        asked = slice(0, self._num_queries)
        for some, distances in self._ranker.distances(self._features[asked], self._weights[asked]):
            rows = range(some.start, some.start + len(distances))
            direct = distances[:, self._num_queries :] ** 2 / self._largest[rows.start : rows.stop, None]
            jaccard = np.stack([self._jaccard(row) for row in rows])
            unshared = np.isinf(direct)
            direct[unshared] = 0  # 0 · ∞ must not become NaN
            yield some, np.where(unshared, np.inf, (1 - self._weight) * jaccard + self._weight * direct)

    def _neighbours(self, count: int) -> tuple[Int64, Float64]:
        """(N, min(count, N)) nearest, each image its own first, −1 where there is none; (N,) the largest d², or 1."""
        near, largest = [], []
        for some, distances in self._ranker.distances(self._features, self._weights):
            rows = np.arange(len(distances))
            if self._bars is not None:
                distances[self._bars.of_all(some)] = np.inf
            finite = np.where(np.isfinite(distances), distances, 0).max(axis=1) ** 2
            largest.append(np.where(finite > 0, finite, 1))
            distances[rows, some.start + rows] = -1  # rounding, or a twin, must not come before
            found = np.argsort(distances, axis=1, kind="stable")[:, :count]
            near.append(np.where(np.isfinite(np.take_along_axis(distances, found, axis=1)), found, -1))
        return np.concatenate(near), np.concatenate(largest)

    def _reciprocal(self, k: int) -> Bool:
        """(N, k + 1) which of N(i, k) have i in theirs."""
        some = self._near[:, : k + 1]
        back = some[some] == np.arange(len(some))[:, None, None]  # (N, k + 1, k + 1)
        mutual: Bool = back.any(axis=2) & (some >= 0)
        return mutual

    def _expanded(self, k1: int) -> list[Int64]:
        """R* of every image."""
        half = max(round(k1 / 2), 1)
        close, closer = (
            [row[mask] for row, mask in zip(self._near[:, : k + 1], self._reciprocal(k), strict=True)]
            for k in (k1, half)
        )
        found = []
        for image, own in enumerate(close):
            parts = [own]
            for other in own:
                shared = np.isin(closer[other], own).sum()
                if 3 * shared > 2 * len(closer[other]):
                    parts.append(closer[other])
            every = np.unique(np.concatenate(parts))
            found.append(every[~np.isin(every, self._barred(image))])
        return found

    def _barred(self, image: int) -> Int64:
        """Who may not help an image, itself aside."""
        if self._bars is None or image >= self._num_queries:
            return np.empty(0, np.int64)
        barred: Int64 = np.flatnonzero(self._bars.of_all(slice(image, image + 1))[0])
        others: Int64 = barred[barred != image]
        return others

    def _encoded(self, neighbours: list[Int64]) -> _Rows:
        """V before its expansion."""
        rows = np.repeat(np.arange(len(neighbours)), [len(some) for some in neighbours])
        columns = np.concatenate([np.empty(0, np.int64), *neighbours])
        distances = self._ranker.pairs(self._features, self._weights, rows, columns)
        distances[rows == columns] = 0  # of an image that shows no region too
        values = np.exp(-(distances**2) / self._largest[rows])
        totals = np.bincount(rows, weights=values, minlength=len(neighbours))
        starts = np.searchsorted(rows, np.arange(len(neighbours) + 1))
        return _Rows(starts, columns, values / totals[rows])

    def _averaged(self, encoded: _Rows, k2: int) -> _Rows:
        """V: the mean of the rows of an image's nearest."""
        rows = []
        for own in self._near[:, :k2]:
            there = [encoded.row(i) for i in own[own >= 0].tolist()]
            columns, place = np.unique(np.concatenate([columns for columns, _ in there]), return_inverse=True)
            values = np.bincount(place, weights=np.concatenate([values for _, values in there]))
            rows.append((columns, values / len(there)))
        return _Rows.of(rows)

    def _by_column(self, rows: _Rows) -> _Rows:
        """The gallery's part of V, transposed: for each image, whose V holds it."""
        owner = np.repeat(np.arange(len(rows.starts) - 1), np.diff(rows.starts)) - self._num_queries
        order = np.argsort(rows.columns, kind="stable")
        order = order[owner[order] >= 0]
        starts = np.searchsorted(rows.columns[order], np.arange(len(rows.starts)))
        return _Rows(starts, owner[order], rows.values[order])

    def _jaccard(self, query: int) -> Float64:
        """(G,) J of one query."""
        shared, barred = np.zeros(len(self._near) - self._num_queries), self._barred(query)
        columns, own = self._queries[query]
        helping = ~np.isin(columns, barred)
        columns, own = columns[helping], own[helping] / own[helping].sum()  # its own column is always there
        left = np.ones(len(shared))  # (G,) sum of each image's row without those columns
        for column in barred.tolist():
            images, values = self._gallery.row(column)
            left[images] -= values
        for column, value in zip(columns.tolist(), own.tolist(), strict=True):
            images, values = self._gallery.row(column)
            shared[images] += np.minimum(value, values / np.maximum(left[images], 1e-12))
        jaccard: Float64 = 1 - shared / (2 - shared)  # min + max = 1 + 1
        return jaccard
