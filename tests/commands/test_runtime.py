"""`index --runtime`: both ways the same index, and what cannot be run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny_weights import write_pictures

from vpmsearch.models import onnx_runtime
from vpmsearch.store import GalleryStore


@pytest.mark.slow
def test_the_same_index_both_ways(cli, common_weights: Path, tmp_path: Path, monkeypatch):
    pytest.importorskip("onnxruntime")
    monkeypatch.setenv(onnx_runtime.CACHE, str(tmp_path / "cache"))
    write_pictures(tmp_path / "gallery", 7)
    (tmp_path / "gallery" / "broken.jpg").write_bytes(b"no image")
    features = {}
    for runtime in ("torch", "onnx", "onnx again"):
        index = tmp_path / runtime
        options = ("--index", index, "--weights", common_weights, "--device", "cpu", "--runtime", runtime.split()[0])
        said = cli("index", tmp_path / "gallery", *options, "--batch-size", "3").stderr
        assert ("exporting the model, once, to" in said) == (runtime == "onnx")
        with GalleryStore.open(index) as store:
            assert len(store.snapshot) == 7
            assert [Path(path).name for path, _ in store.rejected()] == ["broken.jpg"]
            features[runtime] = store.snapshot.features_of(list(range(1, 8)))
    for runtime in ("onnx", "onnx again"):
        np.testing.assert_allclose(features[runtime].embeddings, features["torch"].embeddings, atol=1e-5)
        np.testing.assert_allclose(features[runtime].visibility, features["torch"].visibility, atol=1e-6)


def test_a_runtime_that_is_not_there(cli, gallery: Path, weights: Path, monkeypatch):
    assert "'tensorrt' is not one of torch, onnx" in cli("index", gallery, "--runtime", "tensorrt", code=2).stderr
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    run = ("index", gallery, "--weights", weights, "--runtime", "onnx", "--device", "cpu")
    assert cli(*run, code=1).error == "the runtime onnx needs onnxruntime: pip install 'vpmsearch[onnx]'"


def test_onnx_runs_on_the_cpu_alone(cli, gallery: Path, monkeypatch):
    import torch

    monkeypatch.setattr("vpmsearch.models.device.choose_device", lambda name: torch.device("cuda"))
    said = cli("index", gallery, "--runtime", "onnx", code=2).stderr
    assert "runs on the CPU and not on cuda" in said
