"""The onnxruntime way: the same numbers as torch's, a cache that is made once and never believed, clear errors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_weights import picture, write_weights

from vpmsearch.errors import DataError, WeightsError
from vpmsearch.extraction import Extractor
from vpmsearch.models import onnx_runtime
from vpmsearch.models.export import export_onnx
from vpmsearch.models.onnx_runtime import OnnxRuntime, exported_path
from vpmsearch.models.weights import LoadedWeights, read_weights

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> LoadedWeights:
    return read_weights(write_weights(tmp_path_factory.mktemp("weights") / "tiny.safetensors"))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.setenv(onnx_runtime.CACHE, str(tmp_path / "cache"))
    return tmp_path / "cache" / "vpmsearch"


def test_where_the_exported_model_is_kept(tiny, tmp_path: Path, monkeypatch):
    name = f"{tiny.fingerprint}.onnx"
    monkeypatch.setenv("HOME", str(tmp_path))
    for given, folder in (
        (str(tmp_path / "mine"), tmp_path / "mine"),
        ("", tmp_path / ".cache"),
        ("relative", tmp_path / ".cache"),
    ):
        monkeypatch.setenv(onnx_runtime.CACHE, given)
        assert exported_path(tiny) == folder / "vpmsearch" / name


def test_without_onnxruntime(tiny, cache: Path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(DataError, match=r"pip install 'vpmsearch\[onnx\]'"):
        OnnxRuntime(tiny)
    assert not cache.exists()


def test_a_cache_that_cannot_be_made(tiny, cache: Path):
    pytest.importorskip("onnxruntime")
    cache.parent.mkdir(exist_ok=True)
    cache.write_text("a file, not a folder")
    with pytest.raises(DataError, match=r"cannot be made \(.*\); name another folder in \$XDG_CACHE_HOME"):
        OnnxRuntime(tiny)


@pytest.mark.slow
@pytest.mark.parametrize("found", ["nothing", "damaged", "of another model"])
def test_it_gives_what_torch_gives_whatever_the_cache_holds(tiny, cache: Path, tmp_path: Path, found: str):
    pytest.importorskip("onnxruntime")
    path = exported_path(tiny)
    cache.mkdir(parents=True)
    if found == "damaged":
        path.write_bytes(b"\x08\x07 no ONNX model")
    if found == "of another model":
        other = read_weights(write_weights(tmp_path / "other.safetensors", seed=1))
        export_onnx(other, path)
    told: list[Path] = []
    runtime = OnnxRuntime(tiny, told.append)
    assert told == [path]
    images = [picture(seed) for seed in range(5)]
    expected = Extractor(tiny, CPU, batch_size=2).extract_images(images)
    seen = Extractor(tiny, CPU, batch_size=2, runtime=runtime).extract_images(images)  # batches of 2, 2 and 1
    assert (seen.visibility.dtype, seen.embeddings.dtype) == (np.float32, np.float32)
    np.testing.assert_allclose(seen.visibility, expected.visibility, atol=1e-6)
    np.testing.assert_allclose(seen.embeddings, expected.embeddings, atol=1e-5)
    assert Extractor(tiny, CPU, runtime=runtime).extract_images([]).embeddings.shape == expected[:0].embeddings.shape
    OnnxRuntime(tiny, told.append)
    assert told == [path], "what is there and right is not made again"


@pytest.mark.slow
def test_other_numbers_than_torchs_are_refused(tiny, cache: Path, tmp_path: Path, monkeypatch):
    pytest.importorskip("onnxruntime")
    other = read_weights(write_weights(tmp_path / "other.safetensors", seed=1))
    monkeypatch.setattr(onnx_runtime, "export_onnx", lambda weights, path: export_onnx(other, path))
    with pytest.raises(WeightsError, match=r"does not give what torch gives .* use --runtime torch"):
        OnnxRuntime(tiny)
