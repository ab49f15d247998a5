"""When to stop a search: a lower bound of the distance of every image that the lists have not named.

Let τ_i be the last distance of list i. An image in none of the lists has D_i ≥ τ_i in every region that it shares with
the query. So by Eq. 4 its distance is at least Σ w_i τ_i / Σ w_i over the shared regions. Here w_i = C_i^q C_i^g, and
the visibility C_i^g is known for every image. A list that ended has named every image in which its region is visible.

A million images are bounded in groups of similar visibility. All images of a group show the same regions, and the
visibility of each region lies in a range. Over such a box the least value of the ratio is known in closed form. Images
are bounded one by one only in groups whose least value is not above the limit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vpmsearch.eq4 import expansion_error, underflow_error
from vpmsearch.types import Bool, Float32, Int64

Float64 = NDArray[np.float64]

GROUPS = 2048
"""Groups, about. Bounding a group takes about as long as bounding an image."""
SMALLEST = 16
"""A group of fewer images is not split."""
SLACK = 5e-5
"""Allowance for float32 rounding: both the bound and the distance it is compared with are exact to 1e-5."""


def certain_distance(reported: Float32, norm: float, dim: int) -> Float64:
    """A lower bound of the true Euclidean distance where FAISS reports at least `reported` in float32.

    For batches FAISS expands ‖a‖² + ‖b‖² − 2ab. Its rounding error is at most γ (‖a‖ + ‖b‖)², see `expansion_error`,
    and ‖b‖ ≤ ‖a‖ + ‖a − b‖. For single queries FAISS computes differences, whose error is smaller. Both forms lose
    squares that are too small for float32, see `underflow_error`.

    Args:
        reported: distances of any shape, may be infinite. norm: ‖a‖ of the query's embedding. dim: d.
    """
    distance = np.asarray(reported, np.float64)
    with np.errstate(invalid="ignore"):  # ∞ − ∞
        squared = np.square(distance) - expansion_error(dim) * np.square(2 * norm + distance) - underflow_error(dim)
    return np.where(np.isinf(distance), np.inf, np.sqrt(np.fmax(squared, 0)))


@dataclass(frozen=True)
class Grouped:
    """The n images of a segment in G groups of similar visibility. Immutable, so later snapshots can share it.

    order: (n,) rows of the segment, group after group. starts: (G,) where each group begins in `order`. low, high:
    (p, G), the range of each region's visibility in each group. One region's ranges are contiguous, as computations
    need them.
    """

    order: Int64
    starts: Int64
    low: Float64
    high: Float64

    @classmethod
    def of(cls, visibility: Float32, largest: int) -> Grouped:
        """Group images by their visibility (n, p), 0 where a region does not count as visible.

        Args:
            largest: a group of more images is split if their visibilities differ.
        """
        images = len(visibility)
        order = np.arange(images)
        pattern = np.packbits(visibility > 0, axis=1)  # (n, ⌈p/8⌉)
        order = np.lexsort(pattern.T) if images else order
        sorted_pattern = pattern[order]
        changes = (sorted_pattern[1:] != sorted_pattern[:-1]).any(axis=1)
        starts = np.concatenate([[0], np.flatnonzero(changes) + 1]) if images else np.zeros(0, np.int64)
        starts = _split(visibility, order, starts, largest)
        sorted_visibility = visibility[order]
        low, high = (_reduced(function, sorted_visibility, starts) for function in (np.minimum, np.maximum))
        return cls(order, starts, low, high)


def largest_group(images: int) -> int:
    """Images that a group may have at most in a snapshot of so many images."""
    return max(SMALLEST, images // GROUPS)


class VisibilityGroups:
    """The images of a snapshot in groups of similar visibility. A group belongs to one segment.

    Args:
        visibility: (N, p) ≥ 0; 0 where a region does not count as visible. segments: the groups of each segment, and
            the row in the snapshot of each of its images (n,), −1 for removed ones. They hold each of the N rows once.
    """

    def __init__(self, visibility: Float32, segments: Sequence[tuple[Grouped, Int64]]) -> None:
        self._visibility = visibility
        regions = visibility.shape[1]
        orders, sizes = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        low, high = [np.zeros((regions, 0))], [np.zeros((regions, 0))]
        for grouped, rows in segments:
            order = rows[grouped.order]
            left = np.diff(np.append(grouped.starts, len(order)))
            if len(order) and rows.min() < 0:  # a group keeps its range when images are removed from it
                left = np.add.reduceat(order >= 0, grouped.starts, dtype=np.int64)
                order = order[order >= 0]
            kept = left > 0
            orders.append(order)
            sizes.append(left[kept])
            low.append(grouped.low[:, kept])
            high.append(grouped.high[:, kept])
        self._order: Int64 = np.concatenate(orders)
        self._sizes = np.concatenate(sizes)
        self._starts: Int64 = np.cumsum(self._sizes) - self._sizes
        self._low: Float64 = np.concatenate(low, axis=1)
        self._high: Float64 = np.concatenate(high, axis=1)

    def __len__(self) -> int:
        return len(self._starts)

    def holding(self, allowed: Bool) -> Bool:
        """Which groups (G,) hold at least one of the allowed images (N,)."""
        if len(self) == 0:
            return np.zeros(0, np.bool_)
        held: Bool = np.logical_or.reduceat(allowed[self._order], self._starts)
        return held

    def within(
        self, weights: Float32, nearest: Float64, limit: float, most: int, alive: Bool | None = None
    ) -> Int64 | None:
        """Rows of all images that the lists may not have named and that may be as near as `limit`.

        The result is a superset: it can also hold images that the lists have named.

        Args:
            weights: (p,) visibility of the query, 0 where it does not count. nearest: (p,) τ_i, ∞ where the list
                ended or the query does not show the region. limit: a distance.
            most: how many images may be bounded one by one. alive: (G,) the groups to consider, all by default.

        Returns:
            Rows, ascending; None if more than `most` images would have to be bounded.
        """
        reached = boxes_within(self._low, self._high, weights, nearest, limit)
        groups = np.flatnonzero(reached if alive is None else reached & alive)
        if int(self._sizes[groups].sum()) > most:
            return None
        rows = np.concatenate([np.zeros(0, np.int64), *(self._rows(group) for group in groups.tolist())])
        return np.sort(rows[images_within(self._visibility[rows], weights, nearest, limit)])

    def _rows(self, group: int) -> Int64:
        start = self._starts[group]
        rows: Int64 = self._order[start : start + self._sizes[group]]
        return rows


def boxes_within(low: Float64, high: Float64, weights: Float32, nearest: Float64, limit: float) -> Bool:
    """Which of G boxes of visibilities may hold an image that no list names and that is as near as `limit`.

    Args:
        low, high: (p, G) ends of each box's ranges. Either all images of a box show a region (high > 0) or none does.
        weights, nearest, limit: as in `VisibilityGroups.within`.

    Returns:
        (G,).
    """
    shown = high > 0
    regions = np.flatnonzero(weights > 0)
    regions = regions[np.argsort(nearest[regions], kind="stable")]
    # A list that ended has named all images that show its region.
    possible = shown[regions].any(axis=0) & ~shown[regions[np.isinf(nearest[regions])]].any(axis=0)
    regions = regions[np.isfinite(nearest[regions])]
    w, tau = weights[regions].astype(np.float64), nearest[regions]
    reached: Bool = possible & _may_reach(_least(low[regions], high[regions], w, tau), limit)
    return reached


def images_within(visibility: Float32, weights: Float32, nearest: Float64, limit: float) -> Bool:
    """As `boxes_within`, for single images by their visibility (m, p), 0 where it does not count: (m,)."""
    regions = np.flatnonzero((weights > 0) & np.isfinite(nearest))
    own = visibility[:, regions] * weights[regions].astype(np.float64)
    return _may_reach(_ratio(own @ nearest[regions], own.sum(axis=1)), limit)


def _may_reach(bound: Float64, limit: float) -> Bool:
    """Whether images whose distance is at least `bound` can be nearer than `limit` or tie with it."""
    reaches: Bool = bound * (1 - SLACK) <= limit * (1 + SLACK)
    return reaches


def _least(low: Float64, high: Float64, weights: Float64, tau: Float64) -> Float64:
    """The least Σ w_i v_i τ_i / Σ w_i v_i with low ≤ v ≤ high, for each of G boxes: (r, G), w and τ (r,), τ ascending.

    A ratio of linear functions takes its least value at a corner of the box. There every region with τ below that
    value has its highest visibility, and every other region its lowest. So only r + 1 corners need be tried: those
    where the first j visibilities are high. ∞ where there is no region.
    """
    weighed, total = (weights * tau) @ low, weights @ low
    least = _ratio(weighed, total)
    for region in range(len(tau)):
        gain = weights[region] * (high[region] - low[region])
        weighed += tau[region] * gain
        total += gain
        np.minimum(least, _ratio(weighed, total), out=least)
    return least


def _ratio(weighed: Float64, total: Float64) -> Float64:
    """`weighed` / `total`; ∞ where the total is 0, as no region is shared there."""
    ratio = np.full_like(total, np.inf)
    np.divide(weighed, total, out=ratio, where=total > 0)
    return ratio


def _reduced(function: np.ufunc, values: Float32, starts: Int64) -> Float64:
    """Values (n, p), reduced over each of the groups that start at `starts` (G,): (p, G)."""
    if len(starts) == 0:
        return np.zeros((values.shape[1], 0))
    return np.ascontiguousarray(function.reduceat(values, starts, axis=0).T, dtype=np.float64)


def _split(visibility: Float32, order: Int64, starts: Int64, largest: int) -> Int64:
    """Halve groups at the median of their widest range until they are small. Reorders `order` within each group."""
    done: list[int] = []
    waiting = list(zip(starts.tolist(), np.append(starts, len(order))[1:].tolist(), strict=True))
    while waiting:
        start, stop = waiting.pop()
        values = visibility[order[start:stop]]
        ranges = np.ptp(values, axis=0)
        widest = int(ranges.argmax())
        if stop - start <= largest or ranges[widest] == 0:
            done.append(start)
            continue
        middle = (stop - start) // 2
        order[start:stop] = order[start:stop][np.argpartition(values[:, widest], middle)]
        waiting += [(start, start + middle), (start + middle, stop)]
    return np.sort(np.array(done, dtype=np.int64))
