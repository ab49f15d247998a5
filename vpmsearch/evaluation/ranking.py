"""Ranks of relevant images by Eq. 4 without a (Q, G) matrix: fast approximate distances, and exact ones in doubt.

The metrics only need to know how many images are nearer than each relevant image. For most pairs an approximate
distance decides that. It comes from one float64 matrix product for each region, after the gallery's mean is subtracted:

    ‖a − b‖² = ‖a‖² + ‖b‖² − 2ab    is wrong by at most γ (‖a‖ + ‖b‖)², γ = n·2⁻⁵³, n = d + a few
    ‖a − b‖                         is wrong by at most c = √γ (‖a‖ + ‖b‖), and so is a weighted mean of distances

(Higham, "Accuracy and Stability", lemma 3.1). Images whose distance is within c (plus the rounding of the direct
computation) of a relevant image's are compared by `equations.visibility_weighted_distance` itself. So every rank is the
one that its full matrix would give. Ties are in the order of the gallery.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vpmsearch.equations import RUN, visibility_weighted_distance
from vpmsearch.errors import FeatureError
from vpmsearch.evaluation.metrics import Float64, QueryMetrics, query_metrics, shares_key
from vpmsearch.types import Bool, Float32, Int64, RegionFeatures

BLOCK_ELEMENTS = 2**23
"""Approximate distances held at once: 64 MiB."""
GALLERY_ROWS = 4096
"""Gallery images in one matrix product. Fewer fit caches better, but on a busy machine threads wait at each product."""
PAIR_NUMBERS = 2**23
"""Numbers of embeddings that are copied at once for direct comparisons: 32 MiB for queries and gallery each."""
_UNDERFLOW = 1e-18
"""The square of a smaller difference is 0 in float32, in the direct computation."""


@dataclass(frozen=True)
class _Side:
    """The queries or the gallery on the device: embeddings (n, p, d) float32, weights (n, p) float32."""

    embeddings: Tensor
    weights: Tensor

    @classmethod
    def of(cls, features: RegionFeatures, weights: Float32, device: torch.device, name: str) -> _Side:
        side = cls(torch.from_numpy(features.embeddings).to(device), torch.from_numpy(weights).to(device))
        broken = ~torch.isfinite(side.embeddings).all(dim=2) & (side.weights > 0) | ~torch.isfinite(side.weights)
        if broken.any():
            row = int(torch.nonzero(broken.any(dim=1))[0])
            raise FeatureError(f"the features of {name} {row} are not finite; the weights or the input are damaged")
        return side

    def __len__(self) -> int:
        return len(self.weights)

    @property
    def scaled(self) -> Tensor:
        """(n, p) float64, the weights divided by each image's largest, as in Eq. 4's function. The factor cancels."""
        wide = self.weights.double()
        largest = wide.amax(dim=1, keepdim=True)
        return wide / torch.where(largest > 0, largest, 1)

    def centred(self, region: int, mean: Tensor, rows: slice) -> Tensor:
        """(m, d) float64, one region's embeddings minus the mean (p, d); 0 where the region does not count."""
        wide = self.embeddings[rows, region].double() - mean[region]
        return torch.where(self.weights[rows, region, None] > 0, wide, 0)


class StreamingRanker:
    """Ranks a gallery for queries, block by block.

    Args:
        gallery: G images, junk left out. weights: (G, p), the visibility that counts. pids: (G,). camids: (G,) or
            (G, m), see `vpmsearch.evaluation.metrics.shares_key`.
        device: where distances are computed.

    Raises:
        FeatureError: a region that counts is not finite.
    """

    def __init__(
        self, gallery: RegionFeatures, weights: Float32, pids: Int64, camids: Int64, device: torch.device
    ) -> None:
        self._gallery = _Side.of(gallery, weights, device, "gallery image")
        self._pids, self._camids, self._device = pids, camids, device
        self._scaled = self._gallery.scaled
        self._mean = self._visible_mean()
        self._squares = self._squared_norms(self._gallery)  # (G, p)
        self._radius = float(self._squares.max().sqrt()) if self._squares.numel() else 0.0
        # A distance and its column are sorted together as one integer, with the column in the last bits.
        self._column_bits = max(1, int(len(pids) - 1).bit_length())

    def rank(self, queries: RegionFeatures, weights: Float32, pids: Int64, camids: Int64) -> Iterator[QueryMetrics]:
        """The metrics of Q queries, block by block; weights (Q, p), pids and camids (Q,).

        Raises:
            FeatureError: a region that counts is not finite.
        """
        rows = max(1, BLOCK_ELEMENTS // max(1, len(self._pids)))
        for start in range(0, len(pids), rows):
            some = slice(start, start + rows)
            yield self._block(
                _Side.of(queries[some], weights[some], self._device, f"query {start} +"), pids[some], camids[some]
            )

    def distances(self, queries: RegionFeatures, weights: Float32) -> Iterator[tuple[slice, Float64]]:
        """Eq. 4 of all pairs: for each block of queries its rows and (B, G); inf where no region is shared.

        The error is at most 2·10⁻⁷ times the sum of the two images' largest region norms, after the gallery's mean is
        subtracted.

        Raises:
            FeatureError: a region that counts is not finite.
        """
        rows = max(1, BLOCK_ELEMENTS // max(1, len(self._pids)))
        for start in range(0, len(queries), rows):
            some = slice(start, start + rows)
            side = _Side.of(queries[some], weights[some], self._device, f"query {start} +")
            yield some, self._approximate(side).cpu().numpy()

    def pairs(self, queries: RegionFeatures, weights: Float32, rows: Int64, columns: Int64) -> Float64:
        """(n,), Eq. 4 of queries `rows` (n,) and gallery images `columns` (n,), by the exact function."""
        return self._direct(_Side.of(queries, weights, self._device, "query"), rows, columns)

    def _block(self, queries: _Side, pids: Int64, camids: Int64) -> QueryMetrics:
        same = pids[:, None] == self._pids  # (B, G)
        relevant = same & ~shares_key(camids, self._camids)
        rows, columns = np.nonzero(relevant)
        near = self._direct(queries, rows, columns)
        retrieved = np.isfinite(near)
        hits = _Hits.of(rows[retrieved], columns[retrieved], near[retrieved], len(pids))
        approximate = self._approximate(queries)
        # `hits.place` counts the relevant images, and those of the query's own camera do not count at all.
        approximate[torch.from_numpy(same).to(self._device)] = torch.inf
        keys = self._sorted_keys(approximate)
        reach = self._reach(queries)  # (B,)
        others = self._nearer(queries, keys, hits, reach)
        return query_metrics(hits.place + others, hits.count, relevant.sum(axis=1))

    def _approximate(self, queries: _Side) -> Tensor:
        """(B, G) float64, Eq. 4 within `_reach`; inf where no region is shared."""
        q_scaled, q_squares, everything = queries.scaled, self._squared_norms(queries), slice(None)
        result = q_scaled @ self._scaled.T  # (B, G), the sums of weights, the divisors
        left = []  # (B, d + 2) by region
        for i in range(q_scaled.shape[1]):
            factor = q_scaled[:, i, None].square()
            q = queries.centred(i, self._mean, everything)
            left.append(torch.cat([-2 * q, q_squares[:, i, None], torch.ones_like(factor)], dim=1) * factor)
        for start in range(0, len(self._gallery), GALLERY_ROWS):
            some = slice(start, start + GALLERY_ROWS)
            total = torch.zeros_like(result[:, some])
            for i, a in enumerate(left):
                factor = self._scaled[some, i, None].square()
                g = self._gallery.centred(i, self._mean, some)
                # [−2 w²a, w²‖a‖², w²] · [v²b, v², v²‖b‖²] = w²v² ‖a − b‖²
                b = torch.cat([g, torch.ones_like(factor), self._squares[some, i, None]], dim=1) * factor
                total += (a @ b.T).clamp_(min=0).sqrt_()
            weight = result[:, some]
            result[:, some] = torch.where(weight > 0, total / weight, torch.inf)
        return result

    def _reach(self, queries: _Side) -> Float64:
        """(B,), c: the largest error of an approximate distance."""
        steps = (queries.embeddings.shape[2] + 16) * 2.0**-53
        radius = self._squared_norms(queries).amax(dim=1).sqrt().cpu().numpy()
        reach: Float64 = steps**0.5 * (radius + self._radius) + _UNDERFLOW
        return reach

    def _sorted_keys(self, distances: Tensor) -> Int64:
        """(B, G), distance and column as one integer, sorted along G. Floats ≥ 0 sort like their bits as integers."""
        keys: Int64 = distances.cpu().numpy().view(np.int64)
        keys &= ~self._column_mask
        keys |= np.arange(keys.shape[1])
        keys.sort(axis=1)
        return keys

    @property
    def _column_mask(self) -> int:
        return (1 << self._column_bits) - 1

    def _nearer(self, queries: _Side, keys: Int64, hits: _Hits, reach: Float64) -> Int64:
        """(hits,), how many images that are not relevant rank before each hit."""
        rounding = (min(queries.embeddings.shape[2], RUN) / 2 + 8) * 2.0**-24  # relative, of the direct computation
        cut = 2.0 ** (self._column_bits - 52)  # relative, of a distance whose last bits hold the column
        c = reach[hits.row]
        low = np.maximum(hits.distance * (1 - rounding - cut) - c, 0)
        high = (hits.distance * (1 + 2 * rounding) + c) * (1 + 2 * cut)
        low_keys, high_keys = low.view(np.int64) & ~self._column_mask, high.view(np.int64) | self._column_mask
        begin, end = np.empty((2, len(c)), np.int64)
        for query, some in hits.by_row():
            begin[some] = np.searchsorted(keys[query], low_keys[some], side="left")
            end[some] = np.searchsorted(keys[query], high_keys[some], side="right")
        # The intervals of one row ascend and may overlap; each place is taken once.
        first = begin.copy()
        first[1:] = np.where(hits.row[1:] == hits.row[:-1], np.maximum(begin[1:], end[:-1]), begin[1:])
        length = np.maximum(end - first, 0)
        owner = np.repeat(np.arange(len(c)), length)
        place = first[owner] + np.arange(len(owner)) - (np.cumsum(length) - length)[owner]
        row: Int64 = hits.row[owner]
        column: Int64 = keys[row, place] & self._column_mask
        distance = self._direct(queries, row, column)
        nearer = begin.copy()
        bounds = np.searchsorted(row, np.arange(len(reach) + 1))
        for query, some in hits.by_row():
            doubtful = slice(bounds[query], bounds[query + 1])
            nearer[some] += _count_before(
                distance[doubtful, None], column[doubtful, None], place[doubtful, None], hits, some, begin, end
            )
        return nearer

    def _direct(self, queries: _Side, rows: Int64, columns: Int64) -> Float64:
        """(n,), Eq. 4 of pairs by the exact function, computed in float32."""
        step = max(1, PAIR_NUMBERS // max(1, queries.embeddings[0].numel()))
        parts = [np.empty(0, np.float32)]
        for start in range(0, len(rows), step):
            q = torch.from_numpy(rows[start : start + step]).to(self._device)
            g = torch.from_numpy(columns[start : start + step]).to(self._device)
            values = visibility_weighted_distance(  # n times (1, p, d) against (1, p, d)
                queries.embeddings[q, None],
                queries.weights[q, None],
                self._gallery.embeddings[g, None],
                self._gallery.weights[g, None],
            )
            parts.append(values.flatten().cpu().numpy())  # (n, 1, 1)
        return np.concatenate(parts).astype(np.float64)

    def _visible_mean(self) -> Tensor:
        """(p, d) float64, the gallery's mean over regions that count. Subtracting it makes norms and errors smaller."""
        _, p, d = self._gallery.embeddings.shape
        total = torch.zeros(p, d, dtype=torch.float64, device=self._device)
        for start in range(0, len(self._gallery), GALLERY_ROWS):
            some = slice(start, start + GALLERY_ROWS)
            for i in range(p):
                total[i] += self._gallery.centred(i, torch.zeros_like(total), some).sum(dim=0)
        return total / (self._gallery.weights > 0).sum(dim=0).clamp(min=1)[:, None]

    def _squared_norms(self, side: _Side) -> Tensor:
        """(n, p) float64, ‖f_i − mean‖²; 0 where a region does not count."""
        squares = torch.zeros_like(side.weights, dtype=torch.float64)
        for start in range(0, len(side), GALLERY_ROWS):
            some = slice(start, start + GALLERY_ROWS)
            for i in range(squares.shape[1]):
                squares[some, i] = side.centred(i, self._mean, some).square().sum(dim=1)
        return squares


@dataclass(frozen=True)
class _Hits:
    """Relevant images that are retrieved, sorted by query, then by rank.

    row, column: (hits,), the query and the image. distance: (hits,). place: (hits,), from 1 among the query's hits.
    count: (B,), hits of each query.
    """

    row: Int64
    column: Int64
    distance: Float64
    place: Int64
    count: Int64

    @classmethod
    def of(cls, rows: Int64, columns: Int64, distances: Float64, num_queries: int) -> _Hits:
        order = np.lexsort((columns, distances, rows))
        count = np.bincount(rows, minlength=num_queries)
        place = np.arange(1, len(rows) + 1) - np.repeat(np.cumsum(count) - count, count)
        return cls(rows[order], columns[order], distances[order], place, count)

    def by_row(self) -> Iterator[tuple[int, slice]]:
        """Each query that has hits, with the slice of its hits."""
        ends = np.cumsum(self.count)
        for row in np.flatnonzero(self.count).tolist():
            yield row, slice(int(ends[row] - self.count[row]), int(ends[row]))


def _count_before(
    distance: Float64, column: Int64, place: Int64, hits: _Hits, some: slice, begin: Int64, end: Int64
) -> Int64:
    """(k,), how many of one query's doubtful images (m, 1) are in the interval of each of its k hits and before it."""
    within = (place >= begin[some]) & (place < end[some])  # (m, k)
    tie = (distance == hits.distance[some]) & (column < hits.column[some])
    before: Bool = within & ((distance < hits.distance[some]) | tie)
    count: Int64 = before.sum(axis=0)
    return count
