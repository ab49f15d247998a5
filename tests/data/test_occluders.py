"""Occluders: which pixels they hide against loops, what they leave alone, and the labels of samples behind them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import oracles
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import vpmsearch.data.training_set as module
from vpmsearch.data.crops import visible_behind
from vpmsearch.data.occluders import Occluder, drawn_occluder, occluded
from vpmsearch.data.poor import fenced
from vpmsearch.data.training_set import CropSettings, TrainingSet

SETTINGS = CropSettings(
    input_size=(64, 32), map_size=(12, 4), grid=(6, 1), strategies=("top",), gamma=(1.0, 1.0), flip=False, occlude=1.0
)
INDICES = np.array([0, 5, 23, 11])
SEEDS = st.integers(0, 2**32 - 1)


def drawn(seed):
    return drawn_occluder(np.random.default_rng(seed))


def same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


# ---------------------------------------------------------------------------------------------------- places


def covered(occluder, height, width):
    """The definition, pixel by pixel."""
    hidden = np.zeros((height, width), bool)
    for i in range(height):
        for j in range(width):
            y, x = (i + 0.5) / height, (j + 0.5) / width
            along = x if occluder.side in ("bottom", "top") else y
            into = {"bottom": 1 - y, "top": y, "left": x, "right": 1 - x}[occluder.side]
            near, far = occluder.depth * (1 - occluder.tilt), occluder.depth * (1 + occluder.tilt)
            hidden[i, j] = occluder.start <= along < occluder.stop and into < near + (far - near) * along
    return hidden


@pytest.mark.parametrize("side", ["bottom", "top", "left", "right"])
@pytest.mark.parametrize("size", [(16, 8), (24, 8), (7, 5), (1, 1)])
def test_what_is_hidden_agrees_with_a_loop(side, size):
    shapes = [(0.3, 0, 0, 1), (0.43, 0.31, 0, 1), (0.21, -0.37, 0.13, 0.77), (0.5, 0, 0.5, 1.0)]
    for occluder in (Occluder(side, *shape) for shape in shapes):
        np.testing.assert_array_equal(occluder.covers(*size), covered(occluder, *size))


def test_a_rectangle_at_a_known_place():
    hidden = Occluder("bottom", 0.25, start=0.5).covers(8, 4)
    expected = np.zeros((8, 4), bool)
    expected[6:, 2:] = True
    np.testing.assert_array_equal(hidden, expected)
    assert Occluder("right", 0.5).covers(2, 4).tolist() == [[False, False, True, True]] * 2


@given(SEEDS)
def test_drawn_occluders_are_within_their_ranges(seed):
    occluder = drawn(seed)
    assert 0.15 <= occluder.depth <= 0.5
    assert abs(occluder.tilt) <= 0.4
    assert 0 <= occluder.start < occluder.stop <= 1 + 1e-12
    assert occluder.stop - occluder.start >= 0.5 - 1e-12
    assert 0.05 < occluder.covers(160, 80).mean() < 0.55


def test_most_occluders_stand_on_the_ground():
    sides = [drawn(seed).side for seed in range(400)]
    assert 240 < sides.count("bottom") < 320
    assert all(20 < sides.count(side) < 65 for side in ("top", "left", "right"))


# ---------------------------------------------------------------------------------------------------- pictures


def photograph(seed=0, width=32, height=64):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.mark.parametrize("size", [(32, 64), (9, 21), (1, 1), (40, 3)])
def test_nothing_else_is_painted_over(size):
    before = photograph(0, *size)
    kept = np.asarray(before).copy()
    for seed in range(40):
        occluder = drawn(seed)
        after = np.asarray(occluded(before, occluder, np.random.default_rng(seed), lambda: photograph(1, 20, 10)))
        hidden = occluder.covers(*size[::-1])
        np.testing.assert_array_equal(after[~hidden], kept[~hidden])
        assert not hidden.any() or size == (1, 1) or (after[hidden] != kept[hidden]).any()
        np.testing.assert_array_equal(before, kept)


def test_a_piece_of_another_photograph_is_taken_about_as_often_as_stated():
    asked = []
    for seed in range(120):
        occluded(photograph(), drawn(seed), np.random.default_rng(seed), lambda: asked.append(1) or photograph(1))
    assert 25 < len(asked) < 56, "two of six textures"


def edges(picture, columns=slice(None)):
    """How many borders between bright and dark run from the top of the lower 40 % to the bottom."""
    grey = np.asarray(picture)[77:, columns].astype(float).mean(axis=2)
    return int((np.abs(np.diff(grey, axis=1)) > 10).all(axis=0).sum())


def test_no_occluder_has_the_upright_boards_of_the_fence_in_the_tests():
    blank = Image.new("RGB", (64, 128))
    assert edges(fenced(blank)) >= 6
    for wall, columns in ((Occluder("bottom", 0.45), slice(None)), (Occluder("left", 0.5), slice(0, 32))):
        for seed in range(60):
            picture = occluded(blank, wall, np.random.default_rng(seed), lambda: photograph(1))
            assert edges(picture, columns) < 3


# ---------------------------------------------------------------------------------------------------- samples


@given(st.integers(1, 5), SEEDS)
def test_the_visible_set_agrees_with_a_loop(p, seed):
    rng = np.random.default_rng(seed)
    labels, hidden = rng.integers(0, p, (4, 3)), rng.random((4, 3)) < rng.random()
    expected = []
    for region in range(p):
        pixels = [(i, j) for i in range(4) for j in range(3) if labels[i, j] == region]
        seen = [at for at in pixels if not hidden[at]]
        expected.append(bool(pixels) and 2 * len(seen) >= len(pixels))
    assert visible_behind(labels, hidden, p).tolist() == expected


def of_rectangle(monkeypatch, images, occluder, **changes):
    monkeypatch.setattr(module, "drawn_occluder", lambda rng: occluder)
    return TrainingSet(images, replace(SETTINGS, **changes)).batch(INDICES, (0,))


@pytest.mark.parametrize("occluder_class", [False, True])
def test_targets_and_visible_sets_at_chosen_places(drawn_images, monkeypatch, occluder_class):
    """Six regions of two rows each. A row is a twelfth of the height."""
    for occluder, rows, columns, seen in [
        (Occluder("bottom", 4 / 12), slice(8, 12), slice(0, 4), [1, 1, 1, 1, 0, 0]),
        (Occluder("bottom", 3 / 12), slice(9, 12), slice(0, 4), [1, 1, 1, 1, 1, 0]),  # half of a region is no more
        (Occluder("bottom", 3.4 / 12), slice(9, 12), slice(0, 4), [1, 1, 1, 1, 1, 0]),
        (Occluder("bottom", 3.6 / 12), slice(8, 12), slice(0, 4), [1, 1, 1, 1, 0, 0]),
        (Occluder("bottom", 0.5, start=0.5), slice(6, 12), slice(2, 4), [1, 1, 1, 1, 1, 1]),  # half of their width
        (Occluder("bottom", 0.5, start=0.25), slice(6, 12), slice(1, 4), [1, 1, 1, 0, 0, 0]),
        (Occluder("top", 2 / 12), slice(0, 2), slice(0, 4), [0, 1, 1, 1, 1, 1]),
        (Occluder("left", 0.75), slice(0, 12), slice(0, 3), [0] * 6),
    ]:
        batch = of_rectangle(monkeypatch, drawn_images, occluder, occluder_class=occluder_class)
        expected = oracles.region_labels((0, 0, 1, 1), (6, 1), (12, 4))
        if occluder_class:
            expected[rows, columns] = 6
        assert (batch.labels == expected).all()
        assert (batch.visible == np.array(seen, bool)).all()


def test_regions_of_a_cut_lie_behind_its_occluder(drawn_images, monkeypatch):
    """The upper half shows three regions of four rows each; the occluder takes the lowest, and half of the next."""
    changes = {"gamma": (0.5, 0.5), "occluder_class": True}
    batch = of_rectangle(monkeypatch, drawn_images, Occluder("bottom", 0.5), **changes)
    assert batch.labels[0, :, 0].tolist() == [0] * 4 + [1] * 2 + [6] * 6
    assert (batch.visible == [True, True, False, False, False, False]).all()


def test_whole_views_stay_as_they_are(drawn_images):
    settings = replace(SETTINGS, two_views=True, cuts=2, occluder_class=True)
    batch = TrainingSet(drawn_images, settings).batch(INDICES, (0,))
    plain = TrainingSet(drawn_images, replace(settings, occlude=0.0)).batch(INDICES, (0,))
    assert same([field[:4] for field in batch[:5]], [field[:4] for field in plain[:5]])
    assert (batch.labels[4:] == 6).any(axis=(1, 2)).all()
    assert (batch.pixels[4:] != plain.pixels[4:]).any(axis=(1, 2, 3)).all()


@pytest.mark.parametrize(("share", "least", "most"), [(0.0, 0, 0), (0.3, 15, 43), (1.0, 96, 96)])
def test_the_stated_share_of_samples_is_occluded(drawn_images, share, least, most):
    settings = replace(SETTINGS, occlude=share, occluder_class=True)
    batch = TrainingSet(drawn_images, settings).batch(np.arange(96) % 24, (0,))
    assert least <= (batch.labels == 6).any(axis=(1, 2)).sum() <= most


def test_the_seed_decides_in_any_thread(drawn_images):
    settings = replace(
        SETTINGS, occlude=0.6, occluder_class=True, two_views=True, color_jitter=0.2, degrade=0.5, box_jitter=0.1
    )
    expected = [TrainingSet(drawn_images, settings).batch(INDICES, (0, step)) for step in range(4)]
    data = TrainingSet(drawn_images, settings)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda step: data.batch(INDICES, (0, step)), range(4)))
    assert all(same(a, b) for a, b in zip(expected, found, strict=True))
    assert not same(expected[0], expected[1])
