"""Crops and region labels against an exact ROI projection (tests/oracles.py)."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import oracles
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from vpmsearch.data.crops import STRATEGIES, CropBox, jittered_box, region_labels, sample_crop, visible_regions
from vpmsearch.errors import DataError

GRIDS = [(6, 1), (3, 2), (1, 1), (4, 3), (8, 1), (1, 5)]
MAPS = [(24, 8), (16, 8), (6, 3), (4, 2), (1, 1), (7, 5)]


def floats(box):
    return CropBox(*(float(value) for value in box))


@st.composite
def boxes(draw):
    """(left, top, right, bottom) as exact fractions of the holistic image."""
    denominator = draw(st.sampled_from([2, 3, 7, 10, 16, 24, 96]))
    cuts = st.lists(st.integers(0, denominator), min_size=2, max_size=2, unique=True).map(sorted)
    (left, right), (top, bottom) = draw(cuts), draw(cuts)
    return tuple(Fraction(value, denominator) for value in (left, top, right, bottom))


# ---------------------------------------------------------------------------------------------------- crops


@pytest.mark.parametrize("strategy", STRATEGIES)
@given(gamma=st.floats(0.01, 1), seed=st.integers(0, 2**32 - 1))
def test_a_crop_has_the_area_asked_for_and_lies_in_the_image(strategy, gamma, seed):
    box = sample_crop(strategy, gamma, np.random.default_rng(seed))
    assert math.isclose(box.area, gamma, rel_tol=1e-9)
    assert 0 <= box.left < box.right <= 1
    assert 0 <= box.top < box.bottom <= 1


def test_each_strategy_keeps_its_edge():
    rng = np.random.default_rng(0)
    assert sample_crop("top", 0.25, rng) == CropBox(bottom=0.25)
    assert sample_crop("bottom", 0.25, rng) == CropBox(top=0.75)
    assert sample_crop("left", 0.25, rng) == CropBox(right=0.25)
    assert sample_crop("right", 0.25, rng) == CropBox(left=0.75)


def test_bilateral_is_top_or_bottom_as_often():
    rng = np.random.default_rng(0)
    drawn = [sample_crop("bilateral", 0.5, rng) for _ in range(400)]
    tops = drawn.count(CropBox(bottom=0.5))
    assert tops + drawn.count(CropBox(top=0.5)) == 400
    assert 150 < tops < 250


def test_random_crops_differ_in_place_and_shape():
    rng = np.random.default_rng(0)
    drawn = [sample_crop("random", 0.5, rng) for _ in range(200)]
    heights = [box.bottom - box.top for box in drawn]
    assert min(heights) < 0.55
    assert max(heights) > 0.95
    assert len({(box.left, box.top) for box in drawn}) == 200


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_seed_decides(strategy):
    first, second = (sample_crop(strategy, 0.6, np.random.default_rng(5)) for _ in range(2))
    assert first == second


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_gamma_1_is_the_whole_image(strategy):
    assert sample_crop(strategy, 1.0, np.random.default_rng(0)) == CropBox()


@pytest.mark.parametrize("gamma", [0, -0.1, 1.0001, math.nan, math.inf])
def test_impossible_ratios(gamma):
    with pytest.raises(DataError, match="gamma"):
        sample_crop("top", gamma, np.random.default_rng(0))


def test_an_unknown_strategy_names_the_known():
    with pytest.raises(DataError, match="bilateral"):
        sample_crop("middle", 0.5, np.random.default_rng(0))


def test_a_box_in_pixels():
    assert CropBox(0.25, 0.5, 0.75, 1.0).pixels(64, 128) == (16, 64, 48, 128)
    assert CropBox().pixels(64, 128) == (0, 0, 64, 128)


# ---------------------------------------------------------------------------------------------------- labels


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("map_size", MAPS)
@settings(max_examples=settings.default.max_examples // 2)
@given(box=boxes())
@example(box=(Fraction(0), Fraction(0), Fraction(1), Fraction(1)))
def test_labels_are_the_roi_projection(grid, map_size, box):
    expected = oracles.region_labels(box, grid, map_size)
    np.testing.assert_array_equal(region_labels(floats(box), grid, map_size), expected)


def test_the_stride_does_not_matter_to_the_projection():
    """[x / S] is of the map: the oracle says so for any S."""
    box = (Fraction(0), Fraction(1, 7), Fraction(1), Fraction(6, 7))
    for stride in (8, 16, 32):
        np.testing.assert_array_equal(
            region_labels(floats(box), (6, 1), (24, 8)), oracles.region_labels(box, (6, 1), (24, 8), stride)
        )


def test_the_whole_image_in_the_papers_setting():
    labels = region_labels(CropBox(), (6, 1), (24, 8))
    assert labels.shape == (24, 8)
    assert labels.dtype == np.int64
    np.testing.assert_array_equal(labels, np.repeat(np.arange(6), 4)[:, None].repeat(8, axis=1))


def test_half_of_the_image_shows_half_of_the_regions():
    top = region_labels(CropBox(bottom=0.5), (6, 1), (24, 8))
    np.testing.assert_array_equal(top[:, 0], np.repeat([0, 1, 2], 8))
    assert visible_regions(top, 6).tolist() == [True, True, True, False, False, False]
    bottom = region_labels(CropBox(top=0.5), (6, 1), (24, 8))
    np.testing.assert_array_equal(bottom, top + 3)
    left = region_labels(CropBox(right=0.5), (3, 2), (24, 8))
    assert visible_regions(left, 6).tolist() == [True, False] * 3


def test_halves_round_up():
    """A border 3.5 pixels down is at pixel 4, also where floating point makes 3.4999… of it."""
    assert region_labels(CropBox(), (2, 1), (7, 1)).ravel().tolist() == [0, 0, 0, 0, 1, 1, 1]
    assert region_labels(CropBox(), (4, 1), (6, 1)).ravel().tolist() == [0, 0, 1, 2, 2, 3]
    for tenths in (6, 7, 8, 9):  # each border of the ten regions lies at n + 1/2 pixels, if γ were exact
        for box in [(0, 0, 1, Fraction(tenths, 10)), (0, 1 - Fraction(tenths, 10), 1, 1)]:
            labels = region_labels(floats(box), (10, 1), (tenths * 7 // 2 * 2, 1))
            np.testing.assert_array_equal(labels, oracles.region_labels(box, (10, 1), labels.shape))


@given(
    seed=st.integers(0, 2**32 - 1),
    strategy=st.sampled_from(STRATEGIES),
    gamma=st.floats(0.05, 1),
    grid=st.tuples(st.integers(1, 8), st.integers(1, 4)),
    map_size=st.tuples(st.integers(1, 30), st.integers(1, 12)),
)
def test_labels_of_any_crop(seed, strategy, gamma, grid, map_size):
    box = sample_crop(strategy, gamma, np.random.default_rng(seed))
    labels = region_labels(box, grid, map_size)
    rows, columns = np.divmod(labels, grid[1])
    assert labels.shape == map_size
    assert labels.min() >= 0
    assert labels.max() < grid[0] * grid[1]
    assert (np.diff(rows, axis=0) >= 0).all()
    assert (np.diff(columns, axis=1) >= 0).all()
    assert (rows == rows[:, :1]).all(), "a row of T is one row of the grid"
    assert (columns == columns[:1]).all()
    visible = visible_regions(labels, grid[0] * grid[1])
    assert set(np.flatnonzero(visible)) == set(labels.ravel())
    # What a region shows of itself, in pixels of T, is off by rounding at its two edges at most.
    for row in range(grid[0]):
        shown = max(0.0, min(box.bottom, (row + 1) / grid[0]) - max(box.top, row / grid[0]))
        expected = shown / (box.bottom - box.top) * map_size[0]
        assert abs((rows[:, 0] == row).sum() - expected) <= 1 + 1e-6


@given(
    grid=st.tuples(st.integers(1, 8), st.integers(1, 4)),
    more=st.tuples(st.integers(0, 20), st.integers(0, 9)),
)
def test_a_whole_image_shows_every_region(grid, more):
    labels = region_labels(CropBox(), grid, (grid[0] + more[0], grid[1] + more[1]))
    assert visible_regions(labels, grid[0] * grid[1]).all()


def test_visible_regions_of_a_batch_and_of_none():
    labels = np.array([[[0, 0], [1, 1]], [[2, 2], [2, 2]]])
    assert visible_regions(labels, 4).tolist() == [[True, True, False, False], [False, False, True, False]]
    assert visible_regions(labels[0], 4).tolist() == [True, True, False, False]
    assert visible_regions(labels[:0], 4).shape == (0, 4)


@given(seed=st.integers(0, 10_000), most=st.floats(0, 0.4))
def test_a_jittered_box_moves_no_side_further_than_told(seed, most):
    rng = np.random.default_rng(seed)
    box = sample_crop("random", 0.3, rng)
    moved = jittered_box(box, most, rng)
    width, height = box.right - box.left, box.bottom - box.top
    for side, of in (("left", width), ("right", width), ("top", height), ("bottom", height)):
        assert abs(getattr(moved, side) - getattr(box, side)) <= most * of + 1e-9
    assert moved.left < moved.right
    assert moved.top < moved.bottom
    labels = region_labels(moved, (6, 1), (16, 8))
    assert labels.min() >= 0
    assert labels.max() <= 5
