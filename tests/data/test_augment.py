"""Changes of light and small occlusions: within their bounds, decided by the seed, and what they leave alone."""

from __future__ import annotations

import numpy as np
import oracles
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from vpmsearch.data import poor
from vpmsearch.data.augment import degraded, erased, jittered, padded, shifted

SEEDS = st.integers(0, 2**32 - 1)
SIZES = [(64, 32), (192, 64), (33, 47), (32, 32)]


def noise(height, width, seed=0):
    """Random levels none of which is near the mean, so that an erased pixel differs in every channel."""
    levels = np.concatenate([np.arange(90), np.arange(166, 256)]).astype(np.uint8)
    return np.random.default_rng(seed).choice(levels, (height, width, 3))


def grey(level):
    """Has no contrast and no colour: brightness alone changes it."""
    return Image.new("RGB", (4, 3), (level,) * 3)


# ---------------------------------------------------------------------------------------------------- light


@pytest.mark.parametrize("strength", [0.0, 0.1, 0.4, 0.9])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (6, 5), (16, 8)])
def test_jitter_agrees_with_the_loop(height, width, strength):
    for seed in range(5):
        pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)
        image = jittered(Image.fromarray(pixels), strength, np.random.default_rng(seed))
        factors = np.random.default_rng(seed).uniform(1 - strength, 1 + strength, 3)
        # Rounding of greys to whole levels may fall the other way, and grows with the factors.
        np.testing.assert_allclose(np.asarray(image), oracles.jittered(pixels, *factors), rtol=0, atol=3)


@given(SEEDS, st.floats(0, 0.99), st.integers(0, 255))
def test_brightness_stays_within_the_strength(seed, strength, level):
    red, green, blue = jittered(grey(level), strength, np.random.default_rng(seed)).getpixel((0, 0))
    assert red == green == blue
    assert level * (1 - strength) - 2 <= red <= level * (1 + strength) + 1


def test_brightness_reaches_both_ends_of_the_strength():
    levels = [jittered(grey(100), 0.4, np.random.default_rng(seed)).getpixel((0, 0))[0] for seed in range(200)]
    assert 59 <= min(levels) <= 62
    assert 138 <= max(levels) <= 140


def test_no_strength_changes_nothing():
    pixels = noise(16, 8)
    np.testing.assert_array_equal(jittered(Image.fromarray(pixels), 0.0, np.random.default_rng(0)), pixels)


def test_jitter_is_decided_by_the_seed_and_leaves_its_image_alone():
    pixels = noise(16, 8)
    image = Image.fromarray(pixels)
    first, again, other = (np.asarray(jittered(image, 0.4, np.random.default_rng(seed))) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    np.testing.assert_array_equal(image, pixels)


# ---------------------------------------------------------------------------------------------------- place


@pytest.mark.parametrize(("height", "width"), SIZES)
@settings(max_examples=settings.default.max_examples // 2)
@given(seed=SEEDS, share=st.floats(0, 0.99))
def test_an_image_is_moved_within_its_frame(height, width, seed, share):
    before = noise(height, width, seed)
    after = np.asarray(shifted(Image.fromarray(before), share, np.random.default_rng(seed)))
    draws = np.random.default_rng(seed)
    x, y = (round(float(draws.uniform(-share, share)) * length) for length in (width, height))
    mean = before.astype(np.float64).mean(axis=(0, 1))
    assert after.shape == before.shape
    for row in range(height):
        for column in range(width):
            if 0 <= row - y < height and 0 <= column - x < width:
                assert (after[row, column] == before[row - y, column - x]).all()
            else:
                assert (np.abs(after[row, column] - mean) < 1).all()


def test_shifts_go_both_ways_and_as_far_as_stated():
    pixels = np.zeros((41, 41, 3), np.uint8)
    pixels[20, 20] = 255
    moved = [np.asarray(shifted(Image.fromarray(pixels), 0.25, np.random.default_rng(seed))) for seed in range(300)]
    places = np.array([np.argwhere(image[:, :, 0] == 255)[0] for image in moved]) - 20
    assert (places.min(axis=0) == -10).all()
    assert (places.max(axis=0) == 10).all()


# ---------------------------------------------------------------------------------------------------- occlusion


def rectangle(before, after):
    """The one rectangle that differs, as slices of rows and columns."""
    changed = (before != after).all(axis=2)
    np.testing.assert_array_equal((before != after).any(axis=2), changed)
    rows, columns = (np.flatnonzero(changed.any(axis=axis)) for axis in (1, 0))
    where = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    assert changed[where].all()
    assert changed.sum() == changed[where].size
    return where


@pytest.mark.parametrize(("height", "width"), SIZES)
@given(seed=SEEDS)
def test_one_rectangle_of_the_mean_colour_is_erased(height, width, seed):
    before = noise(height, width, seed)
    kept = before.copy()
    after = erased(before, np.random.default_rng(seed))
    np.testing.assert_array_equal(before, kept)
    assert after.dtype == np.uint8
    where = rectangle(before, after)
    assert (after[where] == after[where][0, 0]).all()
    assert (np.abs(after[where][0, 0] - before.mean(axis=(0, 1))) < 1).all()
    rows, columns = after[where].shape[:2]
    # 2 to 15 % of the image, from half as high as wide to twice; each side is rounded to whole pixels.
    assert (rows - 0.5) * (columns - 0.5) <= 0.15 * height * width
    assert (rows + 0.5) * (columns + 0.5) >= 0.02 * height * width
    assert (rows - 0.5) / (columns + 0.5) <= 2
    assert (rows + 0.5) / (columns - 0.5) >= 0.5


def test_areas_shapes_and_places_are_drawn_over_their_ranges():
    before = noise(128, 64)
    drawn = [erased(before, np.random.default_rng(seed)) for seed in range(200)]
    shapes = np.array([after[rectangle(before, after)].shape[:2] for after in drawn])
    areas, aspects = shapes.prod(axis=1) / before[:, :, 0].size, shapes[:, 0] / shapes[:, 1]
    assert areas.min() < 0.03
    assert areas.max() > 0.14
    assert np.median(areas) == pytest.approx(0.085, abs=0.015)
    assert aspects.min() < 0.55
    assert aspects.max() > 1.8
    assert 70 < (aspects < 1).sum() < 130, "tall and wide are as likely"


def test_a_rectangle_may_touch_every_pixel():
    before = noise(16, 8)
    hit = sum((before != erased(before, np.random.default_rng(seed))).any(axis=2) for seed in range(1000))
    assert (hit > 0).all()
    assert (hit < 500).all(), "and stands in no fixed place"


@pytest.mark.parametrize(("height", "width"), [(1, 9), (9, 1), (2, 300), (300, 2)])
def test_images_of_any_shape_are_erased(height, width):
    checks = np.indices((height, width, 3))[:2].sum(axis=0).astype(np.uint8) % 2 * 255
    for seed in range(30):
        where = rectangle(checks, erased(checks, np.random.default_rng(seed)))
        assert checks[where].size < checks.size / 2


def test_a_single_pixel_is_its_own_mean():
    pixel = np.array([[[1, 2, 3]]], np.uint8)
    assert (erased(pixel, np.random.default_rng(0)) == pixel).all()


def test_erasing_is_decided_by_the_seed():
    before = noise(64, 32)
    first, again, other = (erased(before, np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


@pytest.fixture
def photograph():
    pixels = np.random.default_rng(3).integers(0, 256, (60, 30, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def test_grey_is_the_luminance_three_times(photograph):
    found = np.asarray(poor.grey(photograph)).astype(int)
    red, green, blue = np.asarray(photograph).astype(int).transpose(2, 0, 1)
    expected = 0.299 * red + 0.587 * green + 0.114 * blue  # ITU-R 601-2, as Pillow states
    assert np.abs(found - expected[:, :, None]).max() <= 1


def test_a_degraded_photograph_is_smaller_poorer_or_both(photograph):
    """Each with a chance of 2/3, so that a ninth stays as it is; the same draws give the same photograph."""
    seen = [degraded(photograph, np.random.default_rng(seed)) for seed in range(90)]
    smaller = [image.size != photograph.size for image in seen]
    same = [image.size == photograph.size and image.tobytes() == photograph.tobytes() for image in seen]
    assert 0.5 < np.mean(smaller) < 0.83
    assert 0.02 < np.mean(same) < 0.25
    for image in seen:
        assert image.mode == "RGB"
        assert 8 <= image.width <= 30
        assert 15 <= image.height <= 60
    again = degraded(photograph, np.random.default_rng(7))
    assert again.tobytes() == seen[7].tobytes()


def test_a_margin_repeats_the_edge(photograph):
    found = np.asarray(padded(photograph, 0.1))
    assert found.shape == (60 + 2 * 6, 30 + 2 * 3, 3)
    pixels = np.asarray(photograph)
    for row in range(72):
        for column in range(36):
            expected = pixels[min(max(row - 6, 0), 59), min(max(column - 3, 0), 29)]
            assert np.array_equal(found[row, column], expected)
