"""A cut image is seen again at its own height, a whole one is not; the features are the mean of both looks."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tiny_weights import write_weights

from vpmsearch.data.crops import CropBox, region_labels, visible_regions
from vpmsearch.data.images import at_height
from vpmsearch.errors import WeightsError
from vpmsearch.model import onnx_file
from vpmsearch.model.device import choose_device
from vpmsearch.model.extraction import Extractor
from vpmsearch.model.onnx_runtime import OnnxRuntime
from vpmsearch.model.runtime import Sight
from vpmsearch.model.second_look import FULL, LEAST, MOST, SecondLook, heights_to_see
from vpmsearch.model.torch_runtime import TorchRuntime
from vpmsearch.model.weights import read_metadata, read_weights, save_weights

H, W, h, w, p, d = 64, 32, 16, 8, 6, 4


def seen_shares(box, grid=(6, 1), pixels=h):
    """C of a locator that is always right."""
    labels = region_labels(box, grid, (pixels, w))
    return np.bincount(labels.ravel(), minlength=grid[0] * grid[1])[None] / labels.size


@pytest.mark.parametrize("grid", [(6, 1), (4, 2), (3, 1)])
@pytest.mark.parametrize(
    ("top", "bottom"), [(0, 0.5), (0.5, 1), (0.2, 0.7), (0, 0.4), (0.4, 1), (0, 0.3), (0.9, 1), (0, 1), (0.1, 0.95)]
)
def test_the_height_is_that_of_the_crop_on_a_whole_person(grid, top, bottom):
    for pixels in (16, 24, 96):
        expected = max((bottom - top) * pixels, math.ceil(LEAST * pixels))
        found = int(heights_to_see(seen_shares(CropBox(0, top, 1, bottom), grid, pixels), grid, pixels)[0])
        # The borders of regions are rounded to whole rows of T. A region counts as shown whole from FULL of one on.
        off = 1 + grid[0] * (bottom - top) + expected * (2 / (1 + FULL) - 1)
        if found:
            assert abs(found - expected) <= off
            assert math.ceil(LEAST * pixels) <= found <= MOST * pixels
        else:
            assert expected + off > MOST * pixels


@given(st.lists(st.floats(0, 1, width=32), min_size=6, max_size=6), st.integers(2, 40))
def test_any_visibility_gives_a_height_in_range(values, pixels):
    found = int(heights_to_see(np.array([values], np.float32), (6, 1), pixels)[0])
    assert found == 0 or math.ceil(LEAST * pixels) <= found <= MOST * pixels


def test_no_images_and_nothing_visible():
    assert heights_to_see(np.zeros((0, 6), np.float32), (6, 1), h).tolist() == []
    assert heights_to_see(np.zeros((2, 6), np.float32), (6, 1), h).tolist() == [0, 0]
    assert heights_to_see(np.full((2, 6), np.nan, np.float32), (6, 1), h).tolist() == [0, 0], "told as not finite later"
    assert heights_to_see(np.ones((1, 1), np.float32), (1, 1), h).tolist() == [0], "one region tells no height"


class Drawn:
    """A runtime whose answers are easy to compute: the first pixel says which share of a person an image shows."""

    name = "drawn"

    def __init__(self):
        self.calls = []

    def see(self, pixels):
        self.calls.append(pixels.shape)
        rows = pixels.shape[1] * h // H
        sights = [self._one(image, rows) for image in pixels]
        return Sight(*(np.stack(each).astype(np.float32) for each in zip(*sights, strict=True)))

    def features(self, pixels):
        return self.see(pixels).features

    def _one(self, image, rows):
        labels = region_labels(CropBox(bottom=image[0, 0, 0] / 255), (p, 1), (rows, w))
        probabilities = (labels[None] == np.arange(p)[:, None, None]).astype(float)
        embeddings = np.outer(np.arange(1, p + 1), [1, rows, image[-1, -1, 0], 0.5])
        return probabilities.mean(axis=(1, 2)), embeddings, probabilities


def drawn_images(shares):
    """Plain images, so that resizing changes no pixel's value."""
    return np.stack([np.full((H, W, 3), round(255 * share), np.uint8) for share in shares])


@pytest.mark.parametrize("unit", [False, True])
def test_the_features_are_the_mean_of_both_looks(tmp_path, unit):
    config = replace(read_weights(write_weights(tmp_path / "vpm.safetensors")).config, normalize_embeddings=unit)
    images = drawn_images([1.0, 0.5, 0.375, 0.9, 0.5])
    runtime = Drawn()
    found = SecondLook(runtime, config).see(images)
    assert [shape[:2] for shape in runtime.calls] == [(5, H), (1, 24), (2, 32)], "one call for each height"
    for row, (image, height) in enumerate(zip(images, [None, 32, 24, None, 32], strict=True)):
        first = Drawn().see(image[None])
        expected = vars(first)
        if height:
            small = np.asarray(Image.fromarray(image).resize((W, height), Image.Resampling.BILINEAR))
            again = Drawn().see(small[None])
            taller = np.stack([again.probabilities[:, :, int((i + 0.5) * height / H)] for i in range(h)], axis=2)
            embeddings = (first.embeddings + again.embeddings) / 2
            if unit:
                embeddings /= np.linalg.norm(embeddings, axis=2, keepdims=True)
            expected = {
                "visibility": (first.visibility + again.visibility) / 2,
                "embeddings": embeddings,
                "probabilities": (first.probabilities + taller) / 2,
            }
        for name, value in expected.items():
            np.testing.assert_allclose(getattr(found, name)[row], value[0], rtol=1e-6, err_msg=f"{row} {name}")
    assert (found.visibility.sum(axis=1) <= 1 + 1e-6).all()
    features = SecondLook(Drawn(), config).features(images)
    np.testing.assert_array_equal(features.embeddings, found.embeddings)


class Halved(Drawn):
    """As a GPU: `features` computes in half precision, which is told by another number, and `see` does not."""

    def features(self, pixels):
        found = super().features(pixels)
        return replace(found, embeddings=found.embeddings + np.float32(0.25))


@pytest.mark.parametrize("unit", [False, True])
def test_on_a_gpu_features_are_computed_in_half_precision(tmp_path, unit):
    config = replace(read_weights(write_weights(tmp_path / "vpm.safetensors")).config, normalize_embeddings=unit)
    images = drawn_images([1.0, 0.5, 0.375])
    found = SecondLook(Halved(), config, half=True).features(images)
    first, low = (
        Halved().features(images),
        [Halved().features(at_height(images[row], x)[None]) for row, x in ((1, 32), (2, 24))],
    )
    np.testing.assert_array_equal(found.embeddings[0], first.embeddings[0])
    for row, again in zip((1, 2), low, strict=True):
        expected = (first.embeddings[row] + again.embeddings[0]) / 2
        if unit:
            expected /= np.linalg.norm(expected, axis=1, keepdims=True)
        np.testing.assert_allclose(found.embeddings[row], expected, rtol=1e-6)
        np.testing.assert_allclose(found.visibility[row], (first.visibility[row] + again.visibility[0]) / 2)


def test_the_extractor_of_a_gpu_asks_for_half_precision(with_look):
    """The device is only named: the runtime is drawn."""
    images = [Image.fromarray(image) for image in drawn_images([0.5, 1.0])]
    extractor = Extractor(read_weights(with_look), torch.device("cuda"), runtime=Halved())
    exact = SecondLook(Drawn(), read_weights(with_look).config).features(drawn_images([0.5, 1.0]))
    np.testing.assert_allclose(extractor.extract_images(images).embeddings, exact.embeddings + 0.25, rtol=1e-6)


def test_an_image_is_seen_the_same_beside_any_others(tmp_path):
    config = read_weights(write_weights(tmp_path / "vpm.safetensors")).config
    images = drawn_images([0.5, 1.0, 0.35, 0.6])
    together = SecondLook(Drawn(), config).see(images)
    for row in range(len(images)):
        alone = SecondLook(Drawn(), config).see(images[row : row + 1])
        for name in ("visibility", "embeddings", "probabilities"):
            np.testing.assert_array_equal(getattr(together, name)[row], getattr(alone, name)[0])


@pytest.fixture
def with_look(request, tmp_path, tiny):
    """Weights that take a second look, of the trunk that a test names or of the tiny one."""
    backbone = getattr(request, "param", tiny)
    loaded = read_weights(write_weights(tmp_path / "plain.safetensors", backbone=backbone))
    path = tmp_path / "look.safetensors"
    save_weights(path, loaded.model, replace(loaded.config, second_look=True))
    return path


def test_weights_say_that_they_take_it_and_others_say_nothing(with_look):
    assert json.loads(read_metadata(with_look)["vpmsearch"])["second_look"] is True
    assert "second_look" not in json.loads(read_metadata(with_look.with_name("plain.safetensors"))["vpmsearch"])
    assert read_weights(with_look).config.second_look


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"second_look": 1}, "second_look is neither true nor false"),
        ({"second_look": True, "input_size": (8, 8)}, "second_look needs an input_size of at least 32 rows"),
        ({"second_look": True, "architecture": "stripes"}, "only the architecture vpm takes a second_look"),
    ],
)
def test_a_wrong_configuration_is_refused(with_look, change, message):
    loaded = read_weights(with_look)
    save_weights(with_look, loaded.model, replace(loaded.config, **change))
    with pytest.raises(WeightsError, match=message):
        read_weights(with_look)


def test_the_extractor_takes_it_as_the_weights_say(with_look, monkeypatch):
    """The same picture by weights that differ in this setting alone; the locator is made to see half a person."""
    plain = read_weights(with_look.with_name("plain.safetensors"))
    half = np.array([[1, 1, 1, 0, 0, 0]], np.float32) / 3
    see = TorchRuntime.see
    monkeypatch.setattr(
        TorchRuntime, "see", lambda self, pixels: replace(see(self, pixels), visibility=half.repeat(len(pixels), 0))
    )
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 32, 3), dtype=np.uint8))
    cpu = choose_device("cpu")
    once, twice = (Extractor(weights, cpu).extract_images([picture]) for weights in (plain, read_weights(with_look)))
    runtime = TorchRuntime(plain, cpu)
    pixels = np.asarray(picture)[None]
    again = see(runtime, at_height(pixels[0], 32)[None]).embeddings
    np.testing.assert_allclose(twice.embeddings, (once.embeddings + again) / 2, rtol=1e-5, atol=1e-6)
    assert np.abs(twice.embeddings - once.embeddings).max() > 1e-3
    np.testing.assert_array_equal(Extractor(read_weights(with_look), cpu).see(picture).embeddings, twice.embeddings)


@pytest.mark.parametrize("with_look", ["tiny", pytest.param("resnet8", marks=pytest.mark.slow)], indirect=True)
def test_its_onnx_model_takes_images_of_any_height(with_look, exported, monkeypatch):
    """The export is kept: test_openvino_runtime.py takes the same weights."""
    monkeypatch.setenv(onnx_file.CACHE, str(exported))
    loaded = read_weights(with_look)
    session, runtime = OnnxRuntime(loaded), TorchRuntime(loaded, torch.device("cpu"))
    for height in (64, 32, 24):
        pixels = np.random.default_rng(height).integers(0, 256, (2, height, 32, 3), dtype=np.uint8)
        found, expected = vars(session.see(pixels)), vars(runtime.see(pixels))
        for name, theirs in expected.items():
            np.testing.assert_allclose(found[name], theirs, rtol=1e-3, atol=1e-4 * np.abs(theirs).max())


def test_the_visible_set_of_the_oracle():
    """The labels that `seen_shares` counts are those of training."""
    labels = region_labels(CropBox(bottom=0.5), (6, 1), (h, w))
    np.testing.assert_array_equal(visible_regions(labels, 6), seen_shares(CropBox(bottom=0.5))[0] > 0)
