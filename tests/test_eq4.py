"""Eq. 4 in NumPy: what loops in float64 and what torch's has, and a pair's value depends on that pair alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from oracles import region_distances as right_distances
from oracles import visibility_weighted_distance as right

from vpmsearch import eq4, equations
from vpmsearch.eq4 import distances_to, region_distances, widened


def images(n: int, p: int, d: int, seed: int, centre: float = 0.0, spread: float = 1.0):
    rng = np.random.default_rng(seed)
    visibility = rng.dirichlet(np.full(p, 0.5), n).astype(np.float32).reshape(n, p)
    visibility[rng.random((n, p)) < 0.3] = 0
    return visibility, (centre + spread * rng.normal(size=(n, p, d))).astype(np.float32)


@given(
    m=st.integers(0, 12), p=st.integers(1, 5), d=st.sampled_from([1, 2, 7, 64, 520]), seed=st.integers(0, 2**16),
    place=st.sampled_from([(0.0, 1.0), (1.0, 1e-4), (300.0, 1e-3), (0.0, 1e-12), (0.0, 1e15), (1.0, 0.0)]),
    dtype=st.sampled_from([np.float16, np.float32]), tile=st.sampled_from([1, 100, 1 << 16]),
)  # fmt: skip
def test_it_is_eq_4(m, p, d, seed, place, dtype, tile):
    if place[1] > 1e4:
        dtype = np.float32  # float16 ends at 65504
    (query_visibility, query), (visibility, gallery) = images(1, p, d, seed, *place), images(m, p, d, seed + 1, *place)
    gallery = gallery.astype(dtype)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(eq4, "TILE", tile)
        found = distances_to(query[0], query_visibility[0], gallery, visibility)
        each = region_distances(query, gallery)
    assert (found.dtype, each.dtype) == (np.float32, np.float32)
    expected = right(query, query_visibility, gallery.astype(np.float32), visibility)[0]
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    np.testing.assert_allclose(each, right_distances(query, gallery.astype(np.float32))[0], rtol=1e-5)
    tensors = (query, query_visibility, gallery, visibility)
    by_torch = equations.visibility_weighted_distance(*map(torch.from_numpy, tensors))[0].numpy()
    np.testing.assert_allclose(found, by_torch, rtol=1e-5)


@pytest.mark.parametrize("dim", [2048, 65536])
def test_long_embeddings_whose_rounding_goes_one_way(dim):
    """Equal squares, summed one after the other in float32, would lose 1e-5 at 2,048 and more beyond."""
    a, b = np.zeros((1, 1, dim), np.float32), np.full((1, 1, dim), 0.1, np.float32)
    np.testing.assert_allclose(region_distances(a, b)[0, 0], np.float64(np.float32(0.1)) * np.sqrt(dim), rtol=1e-6)


@given(
    m=st.integers(2, 40), p=st.integers(1, 4), d=st.sampled_from([1, 3, 16, 100, 300]), seed=st.integers(0, 2**16),
    tile=st.sampled_from([1, 50, 1000, 1 << 16]), dtype=st.sampled_from([np.float16, np.float32]),
)  # fmt: skip
def test_a_value_depends_on_its_pair_alone(m, p, d, seed, tile, dtype):
    """Alone, among others, at other addresses and by other tiles: the same bits."""
    (query_visibility, query), (visibility, gallery) = images(1, p, d, seed), images(m, p, d, seed + 1)
    gallery = gallery.astype(dtype)
    whole = distances_to(query[0], query_visibility[0], gallery, visibility)
    pairs = region_distances(np.repeat(query, m, axis=0), gallery)
    np.testing.assert_array_equal(pairs, region_distances(query, gallery))
    some = np.random.default_rng(seed).permutation(m)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(eq4, "TILE", tile)
        shuffled = distances_to(query[0], query_visibility[0], gallery[some], visibility[some])
    np.testing.assert_array_equal(shuffled, whole[some])
    for row in (0, m - 1):
        alone = distances_to(query[0], query_visibility[0], gallery[row : row + 1], visibility[row : row + 1])
        np.testing.assert_array_equal(alone, whole[row : row + 1])


def test_what_no_region_shares_may_hold_anything():
    query = np.array([[1.0, 2.0], [0.0, 0.0], [3.0, 0.0]], np.float32)
    gallery = np.array(
        [[[1.0, 3.0], [np.inf, 0.0], [np.nan, 1.0]], [[np.nan, 0.0], [1.0, 1.0], [3.0, 4.0]]], np.float32
    )
    shown = np.array([[0.5, 0.5, 0.0], [0.0, 0.5, 0.5]], np.float32)
    found = distances_to(query, np.array([0.5, 0.0, 0.5], np.float32), gallery, shown)
    assert found.tolist() == [1.0, 4.0]
    assert np.isinf(
        distances_to(query, np.array([0.0, 1.0, 0.0], np.float32), gallery[:1], shown[:1] * [1, 0, 1])
    ).all()
    assert np.isinf(distances_to(query, np.zeros(3, np.float32), gallery, shown)).all()


def test_the_product_of_two_tiny_visibilities_is_a_weight():
    tiny = np.array([[1e-30, 0.0]], np.float32)
    gallery = np.array([[[3.0], [0.0]]], np.float32)
    other = np.array([[1e-30, 1.0]], np.float32)
    assert distances_to(np.zeros((2, 1), np.float32), tiny[0], gallery, other).tolist() == [3.0]


@pytest.mark.parametrize("flush", [False, True])
def test_every_float16_becomes_the_same_number(flush):
    """Also where a host program has told the processor to flush small numbers to 0."""
    bits = np.arange(1 << 16, dtype=np.uint16)
    halves = bits.view(np.float16)
    halves = halves[np.isfinite(halves)].reshape(-1, 8)
    expected = halves.astype(np.float32)
    torch.set_flush_denormal(flush)
    try:
        found = widened(halves, np.empty(halves.shape, np.float32))
    finally:
        torch.set_flush_denormal(False)
    np.testing.assert_array_equal(found.view(np.uint32), expected.view(np.uint32))
