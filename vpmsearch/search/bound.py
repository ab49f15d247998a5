"""When to stop looking: no image that the lists have not named can be nearer than this.

An image in none of the lists has D_i ≥ τ_i in every region that it shares with the query, τ_i being the last distance
of list i. So by Eq. 4 its distance is at least Σ w_i τ_i / Σ w_i over the shared regions, w_i = C_i^q C_i^g with its
own visibility, which is known for every image. A list that ran out named every image in which its region is visible.

A million images are bounded in groups of alike visibility: all of a group show the same regions, each within a range,
and over such a box the least value of the ratio is known in closed form. Only images of groups whose least value is not
above the limit are looked at one by one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vpmsearch.equations import expansion_error, underflow_error
from vpmsearch.types import Bool, Float32, Int64

Float64 = NDArray[np.float64]

GROUPS = 2048
"""About how many groups there are: bounding them takes about as long as bounding so many images."""
SMALLEST = 16
"""Images below which a group is not split."""
SLACK = 5e-5
"""What float32 may cost: Eq. 4 is computed to 1e-5, here and in what it is compared with."""


def certain_distance(reported: Float32, norm: float, dim: int) -> Float64:
    """The least that a Euclidean distance can be which FAISS reports in float32 as this or more.

    FAISS expands ‖a‖² + ‖b‖² − 2ab for batches, where rounding costs up to γ (‖a‖ + ‖b‖)², see `expansion_error`; and
    ‖b‖ ≤ ‖a‖ + ‖a − b‖. Differences, which it takes for single queries, cost less. Squares too small for float32 are
    lost in either form, see `underflow_error`.

    Args:
        reported: any shape, infinite allowed. norm: ‖a‖ of the query's embedding. dim: d.
    """
    distance = np.asarray(reported, np.float64)
    with np.errstate(invalid="ignore"):  # ∞ − ∞
        squared = np.square(distance) - expansion_error(dim) * np.square(2 * norm + distance) - underflow_error(dim)
    return np.where(np.isinf(distance), np.inf, np.sqrt(np.fmax(squared, 0)))


class VisibilityGroups:
    """The images of a snapshot by visibility.

    Args:
        visibility: (N, p) ≥ 0, what counts: 0 where a region is not visible.
    """

    def __init__(self, visibility: Float32) -> None:
        self._visibility = visibility
        images = len(visibility)
        order = np.arange(images)
        pattern = np.packbits(visibility > 0, axis=1)  # (N, ⌈p/8⌉)
        order = np.lexsort(pattern.T) if images else order
        sorted_pattern = pattern[order]
        changes = (sorted_pattern[1:] != sorted_pattern[:-1]).any(axis=1)
        starts = np.concatenate([[0], np.flatnonzero(changes) + 1]) if images else np.zeros(0, np.int64)
        largest = max(SMALLEST, images // GROUPS)
        self._starts = _split(visibility, order, starts, largest)
        self._order: Int64 = order
        self._sizes = np.diff(np.append(self._starts, images))
        sorted_visibility = visibility[order]
        # (p, G): the ranges of each group, a region's side by side, as they are computed with.
        self._low: Float64 = _reduced(np.minimum, sorted_visibility, self._starts)
        self._high: Float64 = _reduced(np.maximum, sorted_visibility, self._starts)

    def __len__(self) -> int:
        return len(self._starts)

    def holding(self, allowed: Bool) -> Bool:
        """Which groups (G,) hold any of the images allowed (N,)."""
        if len(self) == 0:
            return np.zeros(0, np.bool_)
        held: Bool = np.logical_or.reduceat(allowed[self._order], self._starts)
        return held

    def within(
        self, weights: Float32, nearest: Float64, limit: float, most: int, alive: Bool | None = None
    ) -> Int64 | None:
        """Images that may be unnamed by the lists and as near as `limit`: a superset, named ones included.

        Args:
            weights: (p,) visibility of the query, 0 where it does not count. nearest: (p,) τ_i, ∞ where the list ran
                out or the region is not visible in the query. limit: a distance.
            most: images to look at one by one. alive: (G,) the groups to look at, all by default.

        Returns:
            Rows ascending; None where that would mean to look at more than `most` images.
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
        low, high: (p, G) the ranges of each box; a region is shown by all images of a box (high > 0) or by none.
        weights, nearest, limit: as in `VisibilityGroups.within`.

    Returns:
        (G,).
    """
    shown = high > 0
    regions = np.flatnonzero(weights > 0)
    regions = regions[np.argsort(nearest[regions], kind="stable")]
    # A list that ran out has named all that show its region.
    possible = shown[regions].any(axis=0) & ~shown[regions[np.isinf(nearest[regions])]].any(axis=0)
    regions = regions[np.isfinite(nearest[regions])]
    w, tau = weights[regions].astype(np.float64), nearest[regions]
    reached: Bool = possible & _may_reach(_least(low[regions], high[regions], w, tau), limit)
    return reached


def images_within(visibility: Float32, weights: Float32, nearest: Float64, limit: float) -> Bool:
    """The same for images of such boxes, by their own visibility (m, p), 0 where it does not count: (m,)."""
    regions = np.flatnonzero((weights > 0) & np.isfinite(nearest))
    own = visibility[:, regions] * weights[regions].astype(np.float64)
    return _may_reach(_ratio(own @ nearest[regions], own.sum(axis=1)), limit)


def _may_reach(bound: Float64, limit: float) -> Bool:
    """Whether images whose distance is at least `bound` can be as near as `limit`, or tie with it."""
    reaches: Bool = bound * (1 - SLACK) <= limit * (1 + SLACK)
    return reaches


def _least(low: Float64, high: Float64, weights: Float64, tau: Float64) -> Float64:
    """The least Σ w_i v_i τ_i / Σ w_i v_i with low ≤ v ≤ high, for each of G boxes: (r, G), w and τ (r,), τ ascending.

    A ratio of linear functions is least at a corner, where what is nearer than the least weighs all it can and what is
    farther as little: one of the r + 1 corners at which the first j visibilities are high. Without any region, ∞.
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
    """What is weighed over the total; ∞ where the total is 0, which no image shares."""
    ratio = np.full_like(total, np.inf)
    np.divide(weighed, total, out=ratio, where=total > 0)
    return ratio


def _reduced(function: np.ufunc, values: Float32, starts: Int64) -> Float64:
    """(n, p) by groups that start at (G,): (p, G)."""
    if len(starts) == 0:
        return np.zeros((values.shape[1], 0))
    return np.ascontiguousarray(function.reduceat(values, starts, axis=0).T, dtype=np.float64)


def _split(visibility: Float32, order: Int64, starts: Int64, largest: int) -> Int64:
    """Halve groups at the median of their widest range until they are small; reorders `order` within each."""
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
