"""The bound against a plain loop: it never lets go of an image that may be near."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpmsearch.search import bound
from vpmsearch.search.bound import Grouped, VisibilityGroups, certain_distance, largest_group

MOST = 10**9


def make_visibility(n: int, p: int, seed: int, alike: bool = False) -> np.ndarray:
    """(n, p): about a third not visible; `alike`: only a few different rows."""
    rng = np.random.default_rng(seed)
    visibility = rng.dirichlet(np.full(p, 0.7), n).astype(np.float32).reshape(n, p)
    visibility[visibility < 0.1] = 0
    return visibility[rng.integers(0, min(3, n), n)] if alike and n else visibility


def groups_of(visibility: np.ndarray, segments: int = 1, removed: float = 0.0, seed: int = 0) -> VisibilityGroups:
    """The groups of a snapshot whose images are spread over segments, which hold removed images too."""
    rng = np.random.default_rng(seed)
    n, p = visibility.shape
    segment_of, parts = rng.integers(0, segments, n), []
    for segment in range(segments):
        rows = np.flatnonzero(segment_of == segment)
        gone = int(removed * 3 * len(rows)) + (removed > 0)
        held = np.concatenate([visibility[rows], make_visibility(gone, p, seed + 1)])
        place = rng.permutation(len(held))
        parts.append((Grouped.of(held[place], largest_group(n)), np.append(rows, np.full(gone, -1))[place]))
    return VisibilityGroups(visibility, parts)


def oracle(visibility: np.ndarray, weights: np.ndarray, nearest: np.ndarray, limit: float) -> set[int]:
    """Images that no list needs to have named and whose bound is not above the limit."""
    found = set()
    for row, own in enumerate(visibility.tolist()):
        shared = [i for i in range(len(own)) if own[i] > 0 and weights[i] > 0]
        if not shared or any(math.isinf(nearest[i]) for i in shared):
            continue
        total = math.fsum(float(weights[i]) * own[i] for i in shared)
        if math.fsum(float(weights[i]) * own[i] * float(nearest[i]) for i in shared) / total <= limit:
            found.add(row)
    return found


@given(
    n=st.integers(0, 200),
    p=st.integers(1, 9),
    seed=st.integers(0, 2**16),
    alike=st.booleans(),
    groups=st.sampled_from([1, 4, 4096]),
    smallest=st.sampled_from([1, 16]),
    ran_out=st.floats(0, 1),
    segments=st.integers(1, 4),
    removed=st.sampled_from([0.0, 0.0, 0.3, 1.0]),
)
def test_no_image_below_the_limit_is_let_go(n, p, seed, alike, groups, smallest, ran_out, segments, removed):
    rng = np.random.default_rng(seed + 1)
    visibility = make_visibility(n, p, seed, alike)
    weights = make_visibility(1, p, seed + 2)[0]
    nearest = rng.random(p) * rng.choice([0.0, 1.0, 1.0], p)
    nearest[rng.random(p) < ran_out / 2] = np.inf
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bound, "GROUPS", groups)
        patch.setattr(bound, "SMALLEST", smallest)
        built = groups_of(visibility, segments, removed, seed)
    for limit in (0.0, 0.3, 0.6, 1.0, math.inf):
        needed = oracle(visibility, weights, nearest, limit)
        found = built.within(weights, nearest, limit, MOST)
        assert found is not None
        assert found.tolist() == sorted(set(found.tolist()))
        assert needed <= set(found.tolist()) <= oracle(visibility, weights, nearest, limit * 1.001 + 1e-9)
        fewer = built.within(weights, nearest, limit, len(needed) - 1)
        assert fewer is None or len(needed) == 0


@given(
    n=st.integers(0, 100),
    seed=st.integers(0, 2**16),
    share=st.floats(0, 1),
    segments=st.integers(1, 3),
    removed=st.sampled_from([0.0, 0.5]),
)
def test_groups_without_an_allowed_image_are_left_out(n, seed, share, segments, removed):
    visibility = make_visibility(n, 4, seed)
    allowed = np.random.default_rng(seed).random(n) < share
    built = groups_of(visibility, segments, removed, seed)
    alive = built.holding(allowed)
    assert alive.shape == (len(built),)
    weights, nearest = np.full(4, 0.25, np.float32), np.zeros(4)
    found = built.within(weights, nearest, math.inf, MOST, alive)
    assert found is not None
    sharing = set(np.flatnonzero((visibility > 0).any(axis=1)).tolist())
    assert set(np.flatnonzero(allowed).tolist()) & sharing <= set(found.tolist())
    if not allowed.any():
        assert len(found) == 0


@given(
    d=st.integers(1, 300),
    seed=st.integers(0, 2**16),
    scale=st.sampled_from([1e-3, 1.0, 1e3]),
    apart=st.sampled_from([0.0, 1e-4, 1e-2, 1.0]),
)
def test_a_reported_distance_is_never_certain_beyond_the_true_one(d, seed, scale, apart):
    """‖a‖² + ‖b‖² − 2ab, as FAISS computes it for batches, against float64."""
    rng = np.random.default_rng(seed)
    a = (rng.normal(size=d) * scale).astype(np.float32)
    b = (a + apart * scale * rng.normal(size=d)).astype(np.float32)
    true = math.sqrt(math.fsum((float(x) - float(y)) ** 2 for x, y in zip(a, b, strict=True)))
    squared = np.float32(np.float32(a @ a) + np.float32(b @ b)) - np.float32(2) * np.float32(a @ b)
    reported = np.sqrt(np.maximum(squared, np.float32(0)), dtype=np.float32)
    norm = float(np.linalg.norm(a.astype(np.float64)))
    assert certain_distance(reported, norm, d) <= true
    assert certain_distance(np.float32(true), norm, d) <= true
    # And it costs little where the images are apart.
    assert certain_distance(np.float32(3 * norm + scale), norm, d) >= 0.999 * (3 * norm + scale)


@given(
    d=st.integers(1, 300),
    seed=st.integers(0, 2**16),
    scale=st.floats(1e-24, 1e-18),
    apart=st.sampled_from([1e-3, 1.0]),
    by_differences=st.booleans(),
)
def test_squares_that_underflow_are_no_certain_distance(d, seed, scale, apart, by_differences):
    """Beside 2⁻¹²⁶ a square keeps a few digits or none, so a sum of squares may come out too large."""
    rng = np.random.default_rng(seed)
    a = (rng.normal(size=d) * scale).astype(np.float32)
    b = (a + apart * scale * rng.normal(size=d)).astype(np.float32)
    true = math.sqrt(math.fsum((float(x) - float(y)) ** 2 for x, y in zip(a, b, strict=True)))
    squared = np.float32(0)
    for x, y in zip(a, b, strict=True):
        squared += (x - y) * (x - y) if by_differences else x * x + y * y - np.float32(2) * x * y
    reported = np.sqrt(np.maximum(squared, np.float32(0)), dtype=np.float32)
    assert certain_distance(reported, float(np.linalg.norm(a.astype(np.float64))), d) <= true


def test_a_list_that_ran_out_is_certain_of_everything():
    assert math.isinf(certain_distance(np.float32(np.inf), 1.0, 256))
    assert certain_distance(np.float32(0), 0.0, 256) == 0
