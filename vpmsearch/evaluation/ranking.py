"""Ranks of relevant images by Eq. 4 without a (Q, G) matrix: matrix products count, doubtful pairs are computed.

The metrics ask only how many images are nearer than each relevant one. For most pairs an approximate distance settles
that, so it comes from one float64 matrix product a region: ‖a − b‖² = ‖a‖² + ‖b‖² − 2ab, the gallery's mean taken off
first, is wrong by at most γ (‖a‖ + ‖b‖)² with γ = n·2⁻⁵³ (Higham, "Accuracy and Stability", lemma 3.1; n = d + a few),
so a distance by at most c = √γ (‖a‖ + ‖b‖), and so is a weighted mean of distances. What lies within that (and within
the rounding of the direct computation) of a relevant image's distance is compared by
`equations.visibility_weighted_distance` itself. The ranks are therefore those that its full matrix would give, to the
last one, ties in the order of the gallery included.
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
"""Gallery images in one matrix product. Fewer fit caches better, but beside other work threads wait at each product."""
PAIR_NUMBERS = 2**23
"""Numbers of embeddings gathered at once for direct comparisons: 32 MiB a side."""
_UNDERFLOW = 1e-18
"""Below this a difference's square, in float32, is 0 in the direct computation."""


@dataclass(frozen=True)
class _Side:
    """Images on the device: embeddings (n, p, d) float32 as given, weights (n, p) float32."""

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
        """(n, p) float64, over the largest of each image, as in Eq. 4's function; the factor cancels."""
        wide = self.weights.double()
        largest = wide.amax(dim=1, keepdim=True)
        return wide / torch.where(largest > 0, largest, 1)

    def centred(self, region: int, mean: Tensor, rows: slice) -> Tensor:
        """(m, d) float64, one region's embeddings less the mean (p, d); 0 where the region does not count."""
        wide = self.embeddings[rows, region].double() - mean[region]
        return torch.where(self.weights[rows, region, None] > 0, wide, 0)


class StreamingRanker:
    """The gallery, ready to rank for queries block by block.

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
        # A distance and the column it belongs to are sorted as one integer, the column in the last bits.
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
        """Eq. 4 of all pairs, block by block of queries: which, and (B, G); inf where no region is shared.

        Each is within 2·10⁻⁷ of the sum of the two images' largest region norms, less the gallery's mean.

        Raises:
            FeatureError: a region that counts is not finite.
        """
        rows = max(1, BLOCK_ELEMENTS // max(1, len(self._pids)))
        for start in range(0, len(queries), rows):
            some = slice(start, start + rows)
            side = _Side.of(queries[some], weights[some], self._device, f"query {start} +")
            yield some, self._approximate(side).cpu().numpy()

    def pairs(self, queries: RegionFeatures, weights: Float32, rows: Int64, columns: Int64) -> Float64:
        """(n,) Eq. 4 of queries `rows` (n,) and gallery images `columns` (n,), by its own function."""
        return self._direct(_Side.of(queries, weights, self._device, "query"), rows, columns)

    def _block(self, queries: _Side, pids: Int64, camids: Int64) -> QueryMetrics:
        same = pids[:, None] == self._pids  # (B, G)
        relevant = same & ~shares_key(camids, self._camids)
        rows, columns = np.nonzero(relevant)
        near = self._direct(queries, rows, columns)
        retrieved = np.isfinite(near)
        hits = _Hits.of(rows[retrieved], columns[retrieved], near[retrieved], len(pids))
        approximate = self._approximate(queries)
        # Relevant images are counted among themselves, and the query's own camera not at all.
        approximate[torch.from_numpy(same).to(self._device)] = torch.inf
        keys = self._sorted_keys(approximate)
        reach = self._reach(queries)  # (B,)
        others = self._nearer(queries, keys, hits, reach)
        return query_metrics(hits.place + others, hits.count, relevant.sum(axis=1))

    def _approximate(self, queries: _Side) -> Tensor:
        """(B, G) float64, Eq. 4 within `_reach`; inf where no region is shared."""
        q_scaled, q_squares, everything = queries.scaled, self._squared_norms(queries), slice(None)
        result = q_scaled @ self._scaled.T  # (B, G), the sum of weights, to be divided by
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
        """(B,) c: how far an approximate distance may be from the true one."""
        steps = (queries.embeddings.shape[2] + 16) * 2.0**-53
        radius = self._squared_norms(queries).amax(dim=1).sqrt().cpu().numpy()
        reach: Float64 = steps**0.5 * (radius + self._radius) + _UNDERFLOW
        return reach

    def _sorted_keys(self, distances: Tensor) -> Int64:
        """(B, G) sorted along G: floats ≥ 0 sort as their bits do, so the column can have the last of them."""
        keys: Int64 = distances.cpu().numpy().view(np.int64)
        keys &= ~self._column_mask
        keys |= np.arange(keys.shape[1])
        keys.sort(axis=1)
        return keys

    @property
    def _column_mask(self) -> int:
        return (1 << self._column_bits) - 1

    def _nearer(self, queries: _Side, keys: Int64, hits: _Hits, reach: Float64) -> Int64:
        """(hits,) how many images that are not relevant rank before each hit."""
        rounding = (min(queries.embeddings.shape[2], RUN) / 2 + 8) * 2.0**-24  # of the direct computation, relative
        cut = 2.0 ** (self._column_bits - 52)  # of a distance by its column, relative
        c = reach[hits.row]
        low = np.maximum(hits.distance * (1 - rounding - cut) - c, 0)
        high = (hits.distance * (1 + 2 * rounding) + c) * (1 + 2 * cut)
        low_keys, high_keys = low.view(np.int64) & ~self._column_mask, high.view(np.int64) | self._column_mask
        begin, end = np.empty((2, len(c)), np.int64)
        for query, some in hits.by_row():
            begin[some] = np.searchsorted(keys[query], low_keys[some], side="left")
            end[some] = np.searchsorted(keys[query], high_keys[some], side="right")
        # Intervals of one row ascend and may overlap: each place once.
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
        """(n,) Eq. 4 of pairs, as float32 has it."""
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
        """(p, d) float64 of the gallery where a region counts: distances stay, errors shrink with the norms."""
        _, p, d = self._gallery.embeddings.shape
        total = torch.zeros(p, d, dtype=torch.float64, device=self._device)
        for start in range(0, len(self._gallery), GALLERY_ROWS):
            some = slice(start, start + GALLERY_ROWS)
            for i in range(p):
                total[i] += self._gallery.centred(i, torch.zeros_like(total), some).sum(dim=0)
        return total / (self._gallery.weights > 0).sum(dim=0).clamp(min=1)[:, None]

    def _squared_norms(self, side: _Side) -> Tensor:
        """(n, p) float64 ‖f_i − mean‖²; 0 where a region does not count."""
        squares = torch.zeros_like(side.weights, dtype=torch.float64)
        for start in range(0, len(side), GALLERY_ROWS):
            some = slice(start, start + GALLERY_ROWS)
            for i in range(squares.shape[1]):
                squares[some, i] = side.centred(i, self._mean, some).square().sum(dim=1)
        return squares


@dataclass(frozen=True)
class _Hits:
    """Relevant images that are retrieved, by query and then by rank.

    row, column: (hits,) the query and the image. distance: (hits,). place: (hits,) from 1, among those of the query.
    count: (B,) hits of each query.
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
        """Each query that has hits, and where they are."""
        ends = np.cumsum(self.count)
        for row in np.flatnonzero(self.count).tolist():
            yield row, slice(int(ends[row] - self.count[row]), int(ends[row]))


def _count_before(
    distance: Float64, column: Int64, place: Int64, hits: _Hits, some: slice, begin: Int64, end: Int64
) -> Int64:
    """(k,) how many doubtful images (m, 1) of one query rank before each of its k hits, if in that hit's interval."""
    within = (place >= begin[some]) & (place < end[some])  # (m, k)
    tie = (distance == hits.distance[some]) & (column < hits.column[some])
    before: Bool = within & ((distance < hits.distance[some]) | tie)
    count: Int64 = before.sum(axis=0)
    return count
