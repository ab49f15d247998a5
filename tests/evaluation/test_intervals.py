"""Bootstrap intervals."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vpmsearch.evaluation.intervals import mean_interval


@settings(deadline=None, max_examples=12)
@given(count=st.integers(1, 60), seed=st.integers(0, 2**16), shift=st.floats(-5, 5), scale=st.floats(0, 9))
def test_the_mean_lies_within_and_units_do_not_matter(count, seed, shift, scale):
    values = np.random.default_rng(seed).normal(size=count)
    low, high = mean_interval(values, seed)
    assert values.min() - 1e-9 <= low <= high <= values.max() + 1e-9
    moved = mean_interval(values * scale + shift, seed)
    np.testing.assert_allclose(moved, [low * scale + shift, high * scale + shift], atol=1e-9)


def test_it_is_as_wide_as_theory_has_it():
    """Of 4,000 coins: 2 · 1.96 · √(q(1 − q) / n)."""
    values = (np.random.default_rng(0).random(4000) < 0.3).astype(float)
    low, high = mean_interval(values)
    assert high - low == pytest.approx(2 * 1.96 * math.sqrt(0.21 / 4000), rel=0.1)
    assert low < values.mean() < high


def test_it_covers_as_often_as_it_says():
    rng = np.random.default_rng(1)
    inside = 0
    for trial in range(100):
        low, high = mean_interval((rng.random(90) < 0.6).astype(float), trial)
        inside += low <= 0.6 <= high
    assert 88 <= inside <= 100  # 95 expected; three standard deviations


def test_queries_that_do_not_count_do_not():
    values = np.random.default_rng(2).random(50)
    with_gaps = np.insert(values, [0, 7, 50], np.nan)
    assert mean_interval(with_gaps) == mean_interval(values)
    assert mean_interval(with_gaps) != mean_interval(values, seed=1)
    assert all(map(math.isnan, mean_interval(np.full(3, np.nan))))
    assert all(map(math.isnan, mean_interval(np.empty(0))))
    assert mean_interval(np.full(9, 0.5)) == (0.5, 0.5)
