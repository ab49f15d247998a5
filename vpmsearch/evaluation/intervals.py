"""How far a figure may be from what other queries would have given: the percentile bootstrap over queries."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000
LEVEL = 0.95
_BLOCK_NUMBERS = 2**20


class Interval(NamedTuple):
    """A range [low, high] that holds the mean with a confidence of `LEVEL`, as far as the queries are like others."""

    low: float
    high: float


def mean_interval(values: NDArray[np.floating], seed: int = 0) -> Interval:
    """The interval of a mean over queries; of two systems' differences, query by query, for a paired comparison.

    Queries are drawn again with replacement, as many as there are, `RESAMPLES` times (Efron, 1979). It knows nothing
    of training again from another seed, nor of other identities than the data set's.

    Args:
        values: (Q,) one a query; NaN where the query is not valid. seed: of the drawing.

    Returns:
        NaN for both ends where no query is valid.
    """
    valid = values[~np.isnan(values)].astype(np.float64)
    if len(valid) == 0:
        return Interval(np.nan, np.nan)
    rng = np.random.default_rng(seed)
    even = np.full(len(valid), 1 / len(valid))
    # How often each query is drawn, rather than which: one row a resample, some rows at a time.
    rows = max(1, _BLOCK_NUMBERS // len(valid))
    blocks = [min(rows, RESAMPLES - start) for start in range(0, RESAMPLES, rows)]
    means = np.concatenate([rng.multinomial(len(valid), even, size=block) @ valid for block in blocks]) / len(valid)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(low), float(high))
