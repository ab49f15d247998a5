"""Confidence intervals for means over queries, by Gaffke's method.

A percentile bootstrap draws the observed values again. If all are equal, every draw is equal too: 138 hits of 138 gave
[1, 1], as if the next query could not miss. Gaffke's bound (*Three test statistics for a nonparametric one-sided
hypothesis on the mean of a nonnegative variable*, 2005; Learned-Miller and Thomas, arXiv:1905.06208) only requires that
the values are bounded. It adds one value at the end of the range and gives all n + 1 values random weights (W_0 … W_n,
uniform on the simplex, as in the Bayesian bootstrap):

    low    the 2.5 % quantile of  W_0 · lowest possible  + Σ W_i x_i
    high   the 97.5 % quantile of W_0 · highest possible + Σ W_i x_i

For values of 0 or 1 this is the Clopper-Pearson interval: 138 of 138 gives [0.974, 1]. For many different values it is
the interval of the Bayesian bootstrap, which is close to the percentile bootstrap's.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

FEWEST_DRAWS, MOST_DRAWS = 2000, 20_000
"""How often the weights are drawn: more often if few distinct values make a draw cheap."""
LEVEL = 0.95
RATE = (0.0, 1.0)
"""The bounds of a hit, a share or an average precision."""
DIFFERENCE = (-1.0, 1.0)
"""The bounds of a difference of two such values."""
_BLOCK_NUMBERS = 2**20


class Interval(NamedTuple):
    """A range [low, high] that contains the mean with confidence `LEVEL`, for queries drawn like the measured ones."""

    low: float
    high: float


def mean_interval(values: NDArray[np.floating], seed: int = 0, *, bounds: tuple[float, float] = RATE) -> Interval:
    """The confidence interval of a mean over queries. For a paired comparison, give two systems' differences.

    It covers the choice of queries only, not another training seed or other identities.

    Args:
        values: (Q,), one for each query; NaN where the query is not valid. seed: of the random weights.
        bounds: lowest and highest possible value: `RATE`, or `DIFFERENCE` for differences.

    Returns:
        The interval; both ends are NaN if no query is valid.

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
    # Uniform weights on the simplex are exponentials divided by their sum. Equal values can share one weight: the sum
    # of their exponentials, which has a gamma distribution.
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
