"""Poor photographs, each made poorer in the one way that its name says."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from vpmsearch.data.poor import AS_IT_IS, POOR, check_photos, fenced
from vpmsearch.errors import DataError


@pytest.fixture
def photograph():
    ramp = np.linspace(0, 255, 40 * 80).reshape(80, 40, 1) * [1, 0.5, 0.25]
    return Image.fromarray(ramp.astype(np.uint8))


@pytest.mark.parametrize(
    ("name", "size"),
    [("as-is", (40, 80)), ("half", (20, 40)), ("quarter", (10, 20)), ("jpeg30", (40, 80)), ("half-jpeg30", (20, 40)),
     ("grey", (40, 80))],
)  # fmt: skip
def test_sizes_and_channels(photograph, name, size):
    found = POOR[name](photograph)
    assert (found.size, found.mode) == (size, "RGB")
    pixels = np.asarray(found).astype(int)
    assert (np.ptp(pixels, axis=2).max() == 0) == (name == "grey")
    same = found.size == photograph.size and found.tobytes() == photograph.tobytes()
    assert same == (name == AS_IT_IS)


def test_a_tiny_photograph_keeps_eight_pixels():
    assert POOR["quarter"](Image.new("RGB", (9, 40))).size == (8, 10)


def test_a_name_that_is_none():
    check_photos(["half", "grey"])
    with pytest.raises(DataError, match="unknown kind of photograph 'blurred'; choose one of as-is, half"):
        check_photos(["half", "blurred"])


@pytest.mark.parametrize("size", [(64, 128), (7, 10), (1, 1), (128, 40)])
def test_a_fence_hides_the_lower_two_fifths_and_nothing_else(size):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))
    before = np.asarray(image).copy()
    found, top = np.asarray(fenced(image)), round(0.6 * size[1])
    np.testing.assert_array_equal(found[:top], before[:top])
    np.testing.assert_array_equal(np.asarray(image), before, "the photograph itself stays")
    boards = {(shade, round(0.8 * shade), round(0.6 * shade)) for shade in (96, 120, 144)} | {(48, 40, 32)}
    assert {tuple(colour) for colour in found[top:].reshape(-1, 3).tolist()} <= boards
