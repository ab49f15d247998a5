"""OpenVINO gives what torch gives, for any number of images and from any thread; or it is refused."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_weights import write_weights

from vpmsearch.errors import DataError, WeightsError
from vpmsearch.model import openvino_runtime as module
from vpmsearch.model.device import choose_device
from vpmsearch.model.runtimes import choose_runtime
from vpmsearch.model.torch_runtime import TorchRuntime
from vpmsearch.model.weights import find_by_fingerprint, precision_of, read_weights, save_weights

pytestmark = pytest.mark.usefixtures("tiny")


@pytest.fixture(scope="module", params=["tiny", pytest.param("resnet8", marks=pytest.mark.slow)])
def loaded(request, tmp_path_factory, tiny, exported):
    """Weights of a small trunk; what is exported and compiled of them is kept."""
    pytest.importorskip("openvino")
    folder = tmp_path_factory.mktemp("openvino")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(exported))
        yield read_weights(write_weights(folder / "tiny.safetensors", backbone=request.param))


@pytest.fixture(scope="module")
def pixels(loaded):
    height, width = loaded.config.input_size
    return np.random.default_rng(1).integers(0, 256, (37, height, width, 3), dtype=np.uint8)


def test_it_gives_what_torch_gives_for_any_number_of_images(loaded, pixels):
    runtime = module.OpenVinoRuntime(loaded, threads=1)
    expected = TorchRuntime(loaded, torch.device("cpu")).features(pixels)
    counts = (1, 16, 37)
    with ThreadPoolExecutor(2) as pool:
        for count, found in zip(counts, pool.map(lambda n: runtime.features(pixels[:n]), counts), strict=True):
            np.testing.assert_allclose(found.visibility, expected.visibility[:count], atol=1e-5)
            np.testing.assert_allclose(found.embeddings, expected.embeddings[:count], atol=1e-4)
    again = module.OpenVinoRuntime(loaded, threads=1).see(pixels[:1])  # compiled before, and read from the cache
    np.testing.assert_array_equal(again.embeddings, runtime.see(pixels[:1]).embeddings)


def test_lower_images_of_a_second_look(loaded, tmp_path, pixels):
    """In any order of heights, and alone or beside others."""
    path = tmp_path / "look.safetensors"
    save_weights(path, loaded.model, replace(loaded.config, second_look=True))
    weights = read_weights(path)
    runtime, torch_runtime = module.OpenVinoRuntime(weights, threads=1), TorchRuntime(weights, torch.device("cpu"))
    first = {}
    for height in (32, 48, 24, 32):
        low = np.ascontiguousarray(pixels[:17, :height])
        found, expected = runtime.see(low), torch_runtime.see(low)  # a batch and a single image
        for name, value in vars(expected).items():
            np.testing.assert_allclose(getattr(found, name), value, atol=1e-4)
        again = first.setdefault(height, found)
        np.testing.assert_array_equal(again.embeddings, found.embeddings)
        np.testing.assert_array_equal(runtime.see(low[3:4]).embeddings, found.embeddings[3:4])


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_what_it_gives_does_not_depend_on_the_images_beside(loaded, pixels, precision):
    if not module.computes_in(precision):
        pytest.skip(f"this CPU has no {precision}")
    runtime = module.OpenVinoRuntime(replace(loaded, precision=precision), threads=1)
    together, alone = runtime.see(pixels[:16]), [runtime.see(pixels[row : row + 1]) for row in range(16)]
    np.testing.assert_array_equal(together.embeddings, np.concatenate([each.embeddings for each in alone]))
    np.testing.assert_array_equal(together.visibility, np.concatenate([each.visibility for each in alone]))


def test_bfloat16_is_another_identity_than_float32(loaded):
    half = replace(loaded, precision="bfloat16")
    assert half.info.fingerprint == f"{loaded.info.fingerprint}+bfloat16"
    assert half.fingerprint == loaded.fingerprint, "of the file"
    found = find_by_fingerprint(half.info.fingerprint, str(loaded.path))
    assert found.info == half.info
    assert find_by_fingerprint(loaded.info.fingerprint, str(loaded.path)).precision == "float32"
    with pytest.raises(WeightsError, match="'int3', which this version does not know"):
        precision_of("abc+int3")


def test_where_bfloat16_cannot_be_had_queries_are_seen_in_float32(loaded, pixels, monkeypatch):
    half, told = replace(loaded, precision="bfloat16"), list[str]()
    monkeypatch.setattr(module, "_computes", lambda core, precision: precision == "float32")
    found = choose_runtime(half, choose_device("cpu"), "auto", told.append)
    expected = TorchRuntime(loaded, torch.device("cpu")).features(pixels[:2])
    np.testing.assert_allclose(found.features(pixels[:2]).embeddings, expected.embeddings, atol=1e-4)
    assert "the index was built in bfloat16, queries are seen in float32 (this CPU does not" in told[-1]
    choose_runtime(half, choose_device("cpu"), "torch", told.append)
    assert "(torch does not)" in told[-1]


@pytest.mark.slow
def test_other_numbers_are_refused(loaded, monkeypatch, tmp_path):
    monkeypatch.setattr(module, "TOLERANCES", {"float32": -1.0})
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(WeightsError, match=r"does not give what onnxruntime gives for .*tiny\.safetensors"):
        module.OpenVinoRuntime(loaded, threads=1)


def test_without_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(DataError, match="pip install 'vpmsearch\\[openvino\\]'"):
        module.OpenVinoRuntime(read_weights(write_weights(tmp_path / "tiny.safetensors")))
