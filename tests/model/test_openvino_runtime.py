"""OpenVINO gives what torch gives, for any number of images and from any thread; or it is refused."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from tiny_weights import write_weights

from vpmsearch.errors import DataError, WeightsError
from vpmsearch.model import openvino_runtime as module
from vpmsearch.model.torch_runtime import TorchRuntime
from vpmsearch.model.weights import read_weights

pytestmark = pytest.mark.usefixtures("tiny")


@pytest.fixture(scope="module")
def loaded(tmp_path_factory, tiny):
    return read_weights(write_weights(tmp_path_factory.mktemp("openvino") / "tiny.safetensors"))


def test_it_gives_what_torch_gives(loaded):
    pytest.importorskip("openvino")
    height, width = loaded.config.input_size
    pixels = np.random.default_rng(1).integers(0, 256, (37, height, width, 3), dtype=np.uint8)
    runtime = module.OpenVinoRuntime(loaded, threads=1)
    expected = TorchRuntime(loaded, torch.device("cpu")).features(pixels)
    with ThreadPoolExecutor(2) as pool:
        for count, found in zip(
            (1, 16, 37), pool.map(lambda n: runtime.features(pixels[:n]), (1, 16, 37)), strict=True
        ):
            np.testing.assert_allclose(found.visibility, expected.visibility[:count], atol=1e-5)
            np.testing.assert_allclose(found.embeddings, expected.embeddings[:count], atol=1e-4)


@pytest.mark.slow
def test_other_numbers_are_refused(loaded, monkeypatch):
    pytest.importorskip("openvino")
    monkeypatch.setattr(module, "TOLERANCE", -1.0)
    with pytest.raises(WeightsError, match=r"does not give what torch gives for .*tiny\.safetensors"):
        module.OpenVinoRuntime(loaded, threads=1)


def test_without_it(loaded, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(DataError, match="pip install 'vpmsearch\\[openvino\\]'"):
        module.OpenVinoRuntime(loaded)
