"""Re-ranking by k-reciprocal neighbours (Zhong et al., CVPR 2017), on the visibility-weighted distance of Eq. 4.

Idea: two images of one person have the same neighbours. For every image i, query or gallery:

    N(i, k)   i itself and its k nearest by Eq. 4
    R(i, k)   all j of N(i, k) for which i is in N(j, k)
    R*(i)     R(i, k1), plus R(j, k1 / 2) for each j of R(i, k1) if more than two thirds of it are in R(i, k1)
    V_ij      exp(−d_ij) for j of R*(i), else 0; rows sum to 1; then the mean over N(i, k2 − 1) (local expansion)
    J         1 − Σ_j min(V_ij, V_gj) / Σ_j max(V_ij, V_gj)
    distance  (1 − λ) J + λ d

d_ij is the square of Eq. 4 divided by the largest of its row, as in the authors' code. The graph contains all queries,
so the other queries and the whole gallery help to rank a query. Figures with it are not comparable with a search for
one image. Images that share no region are no neighbours, and no results. Nothing of size (Q + G)² is held.

An image that may not help a query (`vpmsearch.evaluation.helpers`) is no neighbour of the query, and the query none of
it. For J, both rows of V are compared without the columns of such images, and scaled to the sum 1 again.
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
"""k1, k2 and λ of the paper."""


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
        features: of the queries, then of the gallery without junk. weights: (Q + G, p), the visibility that counts.
            num_queries: Q, at least 1. ranker: of the same features. k1, k2: ≥ 1, see above. weight: λ.
        bars: which images may not help which, without junk; None: all may help.
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
        """The final distances: for each block of queries its rows and (B, G); inf where no region is shared."""
        asked = slice(0, self._num_queries)
        for some, distances in self._ranker.distances(self._features[asked], self._weights[asked]):
            rows = range(some.start, some.start + len(distances))
            direct = distances[:, self._num_queries :] ** 2 / self._largest[rows.start : rows.stop, None]
            jaccard = np.stack([self._jaccard(row) for row in rows])
            unshared = np.isinf(direct)
            direct[unshared] = 0  # 0 · ∞ must not become NaN
            yield some, np.where(unshared, np.inf, (1 - self._weight) * jaccard + self._weight * direct)

    def _neighbours(self, count: int) -> tuple[Int64, Float64]:
        """(N, min(count, N)), each image and its nearest, −1 for none; (N,), the largest d² of each image, or 1."""
        near, largest = [], []
        for some, distances in self._ranker.distances(self._features, self._weights):
            rows = np.arange(len(distances))
            if self._bars is not None:
                distances[self._bars.of_all(some)] = np.inf
            finite = np.where(np.isfinite(distances), distances, 0).max(axis=1) ** 2
            largest.append(np.where(finite > 0, finite, 1))
            distances[rows, some.start + rows] = -1  # the image itself comes first, also before an equal image
            found = np.argsort(distances, axis=1, kind="stable")[:, :count]
            near.append(np.where(np.isfinite(np.take_along_axis(distances, found, axis=1)), found, -1))
        return np.concatenate(near), np.concatenate(largest)

    def _reciprocal(self, k: int) -> Bool:
        """(N, k + 1), which j of N(i, k) have i in N(j, k)."""
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
        """The images that may not help an image, without itself."""
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
        distances[rows == columns] = 0  # also for an image that shows no region
        values = np.exp(-(distances**2) / self._largest[rows])
        totals = np.bincount(rows, weights=values, minlength=len(neighbours))
        starts = np.searchsorted(rows, np.arange(len(neighbours) + 1))
        return _Rows(starts, columns, values / totals[rows])

    def _averaged(self, encoded: _Rows, k2: int) -> _Rows:
        """V after the expansion: the mean of the rows of an image's nearest."""
        rows = []
        for own in self._near[:, :k2]:
            there = [encoded.row(i) for i in own[own >= 0].tolist()]
            columns, place = np.unique(np.concatenate([columns for columns, _ in there]), return_inverse=True)
            values = np.bincount(place, weights=np.concatenate([values for _, values in there]))
            rows.append((columns, values / len(there)))
        return _Rows.of(rows)

    def _by_column(self, rows: _Rows) -> _Rows:
        """The gallery's rows of V, transposed: for each image j, the gallery images i with V_ij > 0."""
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
        columns, own = columns[helping], own[helping] / own[helping].sum()  # never empty: it has its own column
        left = np.ones(len(shared))  # (G,), the sum of each image's row without the barred columns
        for column in barred.tolist():
            images, values = self._gallery.row(column)
            left[images] -= values
        for column, value in zip(columns.tolist(), own.tolist(), strict=True):
            images, values = self._gallery.row(column)
            shared[images] += np.minimum(value, values / np.maximum(left[images], 1e-12))
        jaccard: Float64 = 1 - shared / (2 - shared)  # min + max = 1 + 1
        return jaccard
