"""The ONNX file: what it says of itself, and that it gives what torch gives, for batches of any size."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_weights import EMBEDDING_DIM, INPUT_SIZE, picture, write_weights

from vpmsearch.data.images import to_array
from vpmsearch.errors import DataError
from vpmsearch.model.export import METADATA, PixelModel, check_onnx, export_onnx
from vpmsearch.model.extraction import Extractor
from vpmsearch.model.weights import LoadedWeights, find_weights, read_weights


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> LoadedWeights:
    return read_weights(write_weights(tmp_path_factory.mktemp("weights") / "tiny.safetensors"))


def pixels(count: int, size: tuple[int, int] = INPUT_SIZE, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, *size, 3), dtype=np.uint8)


def test_what_is_inside_is_what_the_extractor_does(tiny):
    """Normalisation included; this needs no onnx."""
    images = [picture(seed) for seed in range(3)]
    expected = Extractor(tiny, torch.device("cpu")).extract_images(images)
    module = PixelModel(tiny.model, tiny.config.mean, tiny.config.std).eval()
    with torch.inference_mode():
        seen = module(torch.from_numpy(np.stack([to_array(image, INPUT_SIZE) for image in images])))
    np.testing.assert_allclose(seen[0].numpy(), expected.visibility, atol=1e-6)
    np.testing.assert_allclose(seen[1].numpy(), expected.embeddings, atol=1e-5)


def test_what_cannot_be_written(tiny, tmp_path: Path, monkeypatch):
    for path, message in ((tmp_path / "model.pt", "ends in .onnx"), (tmp_path / "no" / "model.onnx", "no folder")):
        with pytest.raises(DataError, match=message):
            check_onnx(path)
    for package in ("onnxscript", "onnx"):
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(DataError, match=rf"^exporting a model needs {package}: pip install 'vpmsearch\[onnx\]'$"):
            export_onnx(tiny, tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def exported(tiny, tmp_path_factory):
    pytest.importorskip("onnx", reason="the extra [onnx] is not installed")
    pytest.importorskip("onnxscript", reason="the extra [onnx] is not installed")
    return export_onnx(tiny, tmp_path_factory.mktemp("onnx") / "tiny.onnx")


@pytest.mark.slow
@pytest.mark.parametrize("batch", [1, 2, 7])
def test_it_gives_what_torch_gives(tiny, exported, batch):
    """By onnx's own reference, which shares no code with torch or onnxruntime."""
    from onnx.reference import ReferenceEvaluator

    some = pixels(batch, seed=batch)
    visibility, embeddings = ReferenceEvaluator(str(exported)).run(None, {"pixels": some})
    expected = Extractor(tiny, torch.device("cpu")).extract_images([Image.fromarray(each) for each in some])
    assert (visibility.shape, embeddings.shape) == ((batch, 6), (batch, 6, EMBEDDING_DIM))
    assert (visibility.dtype, embeddings.dtype) == (np.float32, np.float32)
    np.testing.assert_allclose(visibility, expected.visibility, atol=1e-5)
    np.testing.assert_allclose(embeddings, expected.embeddings, atol=1e-4)


@pytest.mark.slow
def test_it_says_what_it_is(tiny, exported):
    import onnx

    model = onnx.load(str(exported))
    (given,) = model.graph.input
    shape = [dim.dim_param or dim.dim_value for dim in given.type.tensor_type.shape.dim]
    assert (given.name, shape) == ("pixels", ["batch", *INPUT_SIZE, 3])
    assert given.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert [output.name for output in model.graph.output] == ["visibility", "embeddings"]
    told = json.loads({entry.key: entry.value for entry in model.metadata_props}[METADATA])
    assert told["fingerprint"] == tiny.fingerprint
    assert tuple(told["config"]["input_size"]) == INPUT_SIZE
    assert told["min_visibility"] == pytest.approx(1 / 12)


@pytest.mark.slow
def test_the_weights_in_the_package(tmp_path: Path):
    """OSNet, with instance normalisation and gates, by onnxruntime."""
    pytest.importorskip("onnxscript", reason="the extra [onnx] is not installed")
    onnxruntime = pytest.importorskip("onnxruntime")
    loaded = read_weights(find_weights())
    path = export_onnx(loaded, tmp_path / "vpm.onnx")
    some = pixels(3, loaded.config.input_size)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    visibility, embeddings = session.run(["visibility", "embeddings"], {"pixels": some})
    expected = Extractor(loaded, torch.device("cpu")).extract_images([Image.fromarray(each) for each in some])
    np.testing.assert_allclose(visibility, expected.visibility, atol=1e-5)
    np.testing.assert_allclose(embeddings, expected.embeddings, atol=1e-4)
