"""Intervals of means over queries: honest at the ends, as wide as theory has them, as often right as they say."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vpmsearch.evaluation.intervals import DIFFERENCE, mean_interval


def binomial_tail(n: int, k: int, q: float) -> float:
    """P(at least k of n) at a rate q."""
    return math.fsum(math.comb(n, i) * q**i * (1 - q) ** (n - i) for i in range(k, n + 1))


def clopper_pearson(n: int, k: int) -> tuple[float, float]:
    """By bisection of the exact tails."""

    def solve(tail, wanted):
        low, high = 0.0, 1.0
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if tail(middle) < wanted else (low, middle)
        return low

    low = 0.0 if k == 0 else solve(lambda q: binomial_tail(n, k, q), 0.025)
    high = 1.0 if k == n else solve(lambda q: binomial_tail(n, k + 1, q), 0.975)
    return low, high


@pytest.mark.parametrize(("n", "k"), [(138, 138), (138, 0), (1, 1), (9, 9), (20, 3), (138, 137), (400, 250)])
def test_of_hits_it_is_clopper_and_pearsons(n, k):
    found = mean_interval(np.repeat([1.0, 0.0], [k, n - k]))
    assert found == pytest.approx(clopper_pearson(n, k), abs=0.1 * math.sqrt(0.25 / n) / 2 + 0.002)
    assert found.low < 1
    assert found.high > 0
    assert found.low <= k / n <= found.high


def test_138_of_138_is_not_certain():
    found = mean_interval(np.ones(138))
    assert found == pytest.approx((0.974, 1.0), abs=0.002)
    assert mean_interval(np.zeros(138)) == pytest.approx((0.0, 0.026), abs=0.002)
    assert mean_interval(np.full(138, 0.5)).low < 0.5 < mean_interval(np.full(138, 0.5)).high
    equal = mean_interval(np.zeros(138), bounds=DIFFERENCE)  # two systems that agree on every query
    assert equal == pytest.approx((-0.026, 0.026), abs=0.002)


@settings(max_examples=settings.default.max_examples // 2)
@given(count=st.integers(1, 60), seed=st.integers(0, 2**16), shift=st.floats(-5, 5), scale=st.floats(0.1, 9))
def test_the_mean_lies_within_and_units_do_not_matter(count, seed, shift, scale):
    values = np.random.default_rng(seed).beta(0.5, 0.5, size=count)
    low, high = mean_interval(values, seed)
    assert 0 <= low <= values.mean() <= high <= 1
    moved = mean_interval(values * scale + shift, seed, bounds=(shift - 1e-9, shift + scale + 1e-9))
    np.testing.assert_allclose(moved, [low * scale + shift, high * scale + shift], atol=1e-6)


def test_it_is_as_wide_as_theory_has_it():
    """Of 4,000 coins: 2 · 1.96 · √(q(1 − q) / n)."""
    values = (np.random.default_rng(0).random(4000) < 0.3).astype(float)
    low, high = mean_interval(values)
    assert high - low == pytest.approx(2 * 1.96 * math.sqrt(0.21 / 4000), rel=0.1)
    assert low < values.mean() < high


@pytest.mark.parametrize("rate", [0.6, 0.98, 0.01])
def test_it_covers_as_often_as_it_says(rate):
    rng = np.random.default_rng(1)
    inside = 0
    for trial in range(60):
        low, high = mean_interval((rng.random(90) < rate).astype(float), trial)
        inside += low <= rate <= high
    assert inside >= 52  # of 60: 57 expected; three standard deviations


def test_queries_that_do_not_count_do_not():
    values = np.random.default_rng(2).random(50)
    with_gaps = np.insert(values, [0, 7, 50], np.nan)
    assert mean_interval(with_gaps) == mean_interval(values)
    assert mean_interval(with_gaps) != mean_interval(values, seed=1)
    assert all(map(math.isnan, mean_interval(np.full(3, np.nan))))
    assert all(map(math.isnan, mean_interval(np.empty(0))))


def test_what_is_out_of_bounds_is_refused():
    with pytest.raises(ValueError, match="do not lie in"):
        mean_interval(np.array([-0.5, 0.5]))
    assert mean_interval(np.array([-0.5, 0.5]), bounds=DIFFERENCE).low < -0.4
