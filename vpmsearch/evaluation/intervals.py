"""How far a mean over queries may be from what other queries would have given: Gaffke's interval.

A percentile bootstrap draws the observed values again. Where all of them are equal every draw is equal too, so 138 hits
of 138 gave [1, 1], as if the next query could not miss. Gaffke's bound (*Three test statistics for a nonparametric
one-sided hypothesis on the mean of a nonnegative variable*, 2005; Learned-Miller and Thomas, arXiv:1905.06208) needs no
more than that the values are bounded. It adds one value at the far end of the range and gives all n + 1 values random
weights (W_0 … W_n, flat on the simplex, as in the Bayesian bootstrap):

    low    the 2.5 % quantile of  W_0 · lowest possible  + Σ W_i x_i
    high   the 97.5 % quantile of W_0 · highest possible + Σ W_i x_i

For values that are 0 or 1 that is the Clopper-Pearson interval: 138 of 138 is [0.974, 1]. For many different values it
is the Bayesian bootstrap's, which the percentile bootstrap is close to.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

FEWEST_DRAWS, MOST_DRAWS = 2000, 20_000
"""Of the weights: more where few distinct values make a draw cheap."""
LEVEL = 0.95
RATE = (0.0, 1.0)
"""Bounds of a hit, a share or an average precision."""
DIFFERENCE = (-1.0, 1.0)
"""Bounds of the difference of two of them."""
_BLOCK_NUMBERS = 2**20


class Interval(NamedTuple):
    """A range [low, high] that holds the mean with a confidence of `LEVEL`, as far as the queries are like others."""

    low: float
    high: float


def mean_interval(values: NDArray[np.floating], seed: int = 0, *, bounds: tuple[float, float] = RATE) -> Interval:
    """The interval of a mean over queries; of two systems' differences, query by query, for a paired comparison.

    It knows nothing of training again from another seed, nor of other identities than the data set's.

    Args:
        values: (Q,) one a query; NaN where the query is not valid. seed: of the random weights.
        bounds: between which every value lies: `RATE`, or `DIFFERENCE` for differences.

    Returns:
        NaN for both ends where no query is valid.

    Raises:
        ValueError: a value is out of bounds.
    """
    valid = values[~np.isnan(values)].astype(np.float64)
    if len(valid) == 0:
        return Interval(np.nan, np.nan)
    lowest, highest = bounds
    if valid.min() < lowest or valid.max() > highest:
        raise ValueError(f"values from {valid.min():g} to {valid.max():g} do not lie in [{lowest:g}, {highest:g}]")
    distinct, counts = np.unique(valid, return_counts=True)
    rng = np.random.default_rng(seed)
    # Flat weights on the simplex are exponentials over their sum, and equal values share the sum of theirs, a gamma.
    low, high = [], []
    draws = min(MOST_DRAWS, max(FEWEST_DRAWS, _BLOCK_NUMBERS // len(distinct)))
    rows = max(1, _BLOCK_NUMBERS // len(distinct))
    for block in (min(rows, draws - start) for start in range(0, draws, rows)):
        weights = rng.standard_gamma(counts, size=(block, len(distinct)))
        added = rng.standard_exponential(block)
        total, weighted = weights.sum(axis=1) + added, weights @ distinct
        low.append((weighted + added * lowest) / total)
        high.append((weighted + added * highest) / total)
    mean = valid.mean()
    return Interval(
        min(float(np.quantile(np.concatenate(low), (1 - LEVEL) / 2)), float(mean)),
        max(float(np.quantile(np.concatenate(high), (1 + LEVEL) / 2)), float(mean)),
    )
