"""The locator's class for occluders: in the softmax of Eq. 1, in files and runtimes, and nowhere in an answer."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import oracles
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_weights import INPUT_SIZE, write_weights

from vpmsearch.errors import ModelError, WeightsError
from vpmsearch.model.baselines import Stripes
from vpmsearch.model.export import export_onnx
from vpmsearch.model.initial import initialise_model
from vpmsearch.model.runtime import Sight, likeliest_regions
from vpmsearch.model.torch_runtime import TorchRuntime
from vpmsearch.model.vpm import Vpm
from vpmsearch.model.weights import read_metadata, read_weights, save_weights

IMAGES = torch.rand(3, 3, *INPUT_SIZE, generator=torch.Generator().manual_seed(1))
PIXELS = np.random.default_rng(0).integers(0, 256, (3, *INPUT_SIZE, 3), dtype=np.uint8)


def seen(model):
    with torch.inference_mode():
        return model.eval()(IMAGES)


@pytest.fixture(scope="module")
def without(tmp_path_factory):
    return write_weights(tmp_path_factory.mktemp("without") / "vpm.safetensors")


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """Weights with the class, which is as sure of itself as the regions are."""
    path = tmp_path_factory.mktemp("with") / "vpm.safetensors"
    return write_weights(path, occluder_class=True)


def test_regions_are_the_first_of_a_softmax_over_one_more(file):
    output = seen(model := read_weights(file).model)
    logits = output.locator_logits.double().numpy()
    assert logits.shape[:2] == (3, 7)
    probabilities = oracles.region_probabilities(logits)[:, :6]
    visibility = oracles.region_visibility(probabilities) / probabilities[0, 0].size
    assert 0.05 < 1 - visibility.sum(axis=1).min() < 0.95, "the class has its share"
    np.testing.assert_allclose(output.probabilities, probabilities, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(output.visibility, visibility, rtol=1e-4, atol=1e-6)
    with torch.inference_mode():
        reduced = model.reduction(output.feature_map).double().numpy()
    expected = oracles.region_embeddings(reduced, probabilities)
    np.testing.assert_allclose(output.embeddings, expected, rtol=1e-3, atol=1e-4)


def test_a_region_that_is_not_seen_at_all_stays_finite(file):
    model = Vpm("resnet8", (6, 1), 16, normalize_embeddings=True, occluder_class=True)
    model.load_state_dict(load_file(file))
    with torch.no_grad():
        model.locator.bias[-1] = 1e4
    output = seen(model)
    assert (output.visibility == 0).all()
    assert torch.isfinite(output.embeddings).all()


# ---------------------------------------------------------------------------------------------------- files


def test_a_file_says_that_it_has_the_class_and_others_say_nothing(file, without):
    told, silent = (json.loads(read_metadata(path)["vpmsearch"]) for path in (file, without))
    assert told["occluder_class"] is True
    assert "occluder_class" not in silent, "versions from before the class refuse keys that they do not know"
    assert (read_weights(file).config.occluder_class, read_weights(without).config.occluder_class) == (True, False)
    loaded = read_weights(file)
    assert (loaded.info.num_regions, loaded.info.embedding_dim) == ((6, 1), 16)
    assert replace(loaded.config, embedding_dim=None).problem() is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"occluder_class": "yes"}, "occluder_class is neither true nor false"),
        ({"occluder_class": 1}, "occluder_class is neither true nor false"),
        ({"occluder_class": True, "architecture": "stripes"}, "only the architecture vpm has an occluder_class"),
        ({"occluder_class": False}, "locator.bias is not part of it"),
    ],
)
def test_a_file_that_lies_of_the_class_is_refused(file, tmp_path, change, message):
    config = json.loads(read_metadata(file)["vpmsearch"]) | change
    save_file(load_file(file), tmp_path / "vpm.safetensors", {"vpmsearch": json.dumps(config)})
    with pytest.raises(WeightsError, match=message):
        _ = read_weights(tmp_path / "vpm.safetensors").model


def test_stripes_have_no_class():
    with pytest.raises(ModelError, match="occluder_class"):
        Stripes("resnet8", (6, 1), 16, occluder_class=True)


# ---------------------------------------------------------------------------------------------------- starts


def test_a_start_from_weights_without_the_class_changes_next_to_nothing(without):
    before = read_weights(without).model
    model = Vpm("resnet8", (6, 1), 16, occluder_class=True)
    initialise_model(model, str(without))
    expected, found = seen(before), seen(model)
    assert torch.equal(found.locator_logits[:, :6], expected.locator_logits)
    taken = 1 - found.probabilities.sum(dim=1)
    assert 0 < taken.max() <= math.exp(-6) / 6 + 1e-6
    torch.testing.assert_close(found.visibility, expected.visibility, rtol=0, atol=1e-3)
    torch.testing.assert_close(found.embeddings, expected.embeddings, rtol=1e-3, atol=1e-3)


def test_a_start_from_weights_with_the_class_takes_it(file):
    model = Vpm("resnet8", (6, 1), 16, occluder_class=True)
    initialise_model(model, str(file))
    assert all(torch.equal(tensor, model.state_dict()[name]) for name, tensor in load_file(file).items())


@pytest.mark.parametrize("grid", [(3, 1), (3, 2)])
def test_another_grid_has_a_locator_of_its_own(without, grid):
    torch.manual_seed(3)
    fresh = Vpm("resnet8", grid, 16, occluder_class=True)
    before = fresh.locator.weight.clone()
    initialise_model(fresh, str(without))
    assert torch.equal(fresh.locator.weight, before)


# ---------------------------------------------------------------------------------------------------- answers


def test_answers_have_the_shapes_of_before(file, without):
    for path in (file, without):
        sight = TorchRuntime(read_weights(path), torch.device("cpu")).see(PIXELS)
        assert (sight.visibility.shape, sight.embeddings.shape) == ((3, 6), (3, 6, 16))
        assert sight.probabilities.shape[:2] == (3, 6)
        hidden = sight.labels == -1
        assert hidden.any() == (path == file)
        most = sight.probabilities.max(axis=1)
        assert (hidden == (1 - sight.probabilities.sum(axis=1) > most)).all()


def test_the_likeliest_region_agrees_with_a_loop():
    shares = np.random.default_rng(0).dirichlet(np.ones(4), (2, 5, 3))  # (B, h, w, p + 1)
    found = likeliest_regions(np.moveaxis(shares[..., :3], -1, 1))
    for at in np.ndindex(2, 5, 3):
        best = max(range(4), key=lambda region, at=at: shares[(*at, region)])
        assert found[at] == (-1 if best == 3 else best)
    sight = Sight(np.zeros((2, 3), np.float32), np.zeros((2, 3, 1), np.float32), np.moveaxis(shares, -1, 1))
    assert (sight.labels >= 0).all(), "four regions without the class"


@pytest.mark.slow
def test_every_runtime_gives_what_torch_gives(file, tmp_path):
    pytest.importorskip("onnxscript", reason="the extra [onnx] is not installed")
    onnxruntime = pytest.importorskip("onnxruntime")
    weights = read_weights(file)
    expected = TorchRuntime(weights, torch.device("cpu")).see(PIXELS)
    path = export_onnx(weights, tmp_path / "vpm.onnx")
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    found = [session.run(None, {"pixels": PIXELS})]
    if pytest.importorskip("openvino"):
        from vpmsearch.model.openvino_runtime import OpenVinoRuntime

        found.append(list(vars(OpenVinoRuntime(weights).see(PIXELS)).values()))
    for values in found:
        for ours, theirs in zip(values, vars(expected).values(), strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_saving_again_gives_the_same_file(file, tmp_path):
    loaded = read_weights(file)
    save_weights(tmp_path / "again.safetensors", loaded.model, loaded.config)
    assert read_weights(tmp_path / "again.safetensors").fingerprint == loaded.fingerprint
