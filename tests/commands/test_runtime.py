"""`index --runtime`: both ways the same index, and what cannot be run."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from fake_onnx import FakeOnnx
from tiny_weights import write_pictures

from vpmsearch.commands.index import runtime_device
from vpmsearch.model import device as devices
from vpmsearch.model import export, onnx_file
from vpmsearch.model.export import check_packages
from vpmsearch.model.weights import read_weights
from vpmsearch.store import GalleryStore


@pytest.mark.slow
def test_the_same_index_both_ways(cli, common_weights: Path, tmp_path: Path, monkeypatch):
    pytest.importorskip("onnxruntime")
    monkeypatch.setenv(onnx_file.CACHE, str(tmp_path / "cache"))
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


@pytest.fixture
def exports(weights: Path, tmp_path: Path, monkeypatch) -> FakeOnnx:
    """No onnxruntime and no export, but what they would do, with a cache of its own."""
    monkeypatch.setenv(onnx_file.CACHE, str(tmp_path / "cache"))
    return FakeOnnx(monkeypatch, read_weights(weights))


def test_a_runtime_that_is_not_known(cli, gallery: Path):
    assert "'tensorrt' is not one of auto, torch, onnx" in cli("index", gallery, "--runtime", "tensorrt", code=2).stderr


@pytest.mark.parametrize("missing", ["onnxruntime", "onnx", "onnxscript"])
def test_a_missing_package_leaves_no_index_behind(
    cli, gallery: Path, weights: Path, tmp_path: Path, exports, monkeypatch, missing: str
):
    monkeypatch.setattr(export, "check_packages", check_packages)  # the real one again
    for package in ("onnx", "onnxscript"):  # installed or not
        monkeypatch.setitem(sys.modules, package, ModuleType(package))
    monkeypatch.setitem(sys.modules, missing, None)
    index = tmp_path / "new"
    said = cli("index", gallery, "--index", index, "--weights", weights, "--runtime", "onnx", code=1)
    if missing == "onnxruntime":
        assert said.error == "the runtime onnx needs onnxruntime: pip install onnxruntime"
    else:
        assert said.error == f"exporting a model needs {missing}: pip install 'vpmsearch[onnx]'"
    assert not index.exists()
    assert not (tmp_path / "cache").exists()


def test_a_runtime_that_fails_leaves_no_index_behind(
    cli, gallery: Path, weights: Path, other_weights: Path, tmp_path: Path, exports
):
    """It knows the other weights not at all."""
    index = tmp_path / "new"
    run = ("index", gallery, "--index", index, "--runtime", "onnx", "--weights")
    assert "does not give what torch gives" in cli(*run, other_weights, code=1).error
    assert not index.exists()
    cli(*run, weights)
    assert index.is_dir()


def test_an_index_that_is_there_is_left_as_it_was(cli, gallery: Path, index: Path, exports, monkeypatch):
    before = cli("stats", "--index", index, "--json").json
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    cli("index", gallery, "--index", index, "--runtime", "onnx", code=1)
    assert cli("stats", "--index", index, "--json").json == before


def test_a_cache_that_cannot_be_used_is_said_and_no_more(cli, gallery: Path, weights: Path, tmp_path: Path, exports):
    (tmp_path / "cache").write_text("a file, not a folder")
    said = cli("index", gallery, "--weights", weights, "--runtime", "onnx").stderr
    assert said.count("$XDG_CACHE_HOME may name another folder") == 1
    assert "6 indexed" in said


def test_onnx_runs_on_the_cpu_alone(cli, gallery: Path, weights: Path, tmp_path: Path, exports, monkeypatch):
    """On a machine with a GPU "auto" is the CPU; a GPU that was asked for is refused before the gallery is read."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    for device in ("cuda", "cuda:0"):
        run = ("index", tmp_path / "no gallery", "--runtime", "onnx", "--device", device)
        assert (
            cli(*run, code=1).error == f"the runtime onnx runs on the CPU and not on {device}; use --device cpu or auto"
        )
    for device in ("auto", "cpu"):
        index, before = tmp_path / device, len(exports.seen)
        cli("index", gallery, "--index", index, "--weights", weights, "--runtime", "onnx", "--device", device)
        assert len(exports.seen) > before


def test_an_index_in_bfloat16_stays_so_and_finds_its_images_at_0(
    cli, common_weights: Path, exported: Path, tmp_path: Path, monkeypatch
):
    pytest.importorskip("openvino")
    from vpmsearch.model import openvino_runtime

    monkeypatch.setenv(onnx_file.CACHE, str(exported))
    gallery, index = tmp_path / "gallery", tmp_path / "index"
    write_pictures(gallery, 3)
    options = ("--index", index, "--weights", common_weights, "--device", "cpu")
    wanted = "bfloat16" if openvino_runtime.computes_in("bfloat16") else "float32"
    said = cli("index", gallery, *options, "--precision", "auto").stderr
    assert (", in bfloat16" in said) == (wanted == "bfloat16")
    with GalleryStore.open(index) as store:
        assert store.model_info.fingerprint.endswith("+bfloat16") == (wanted == "bfloat16")
    first = sorted(gallery.iterdir())[0]
    nearest = cli("query", first, *options, "--json").json[0]["matches"][0]
    # In float32 it is torch's, whose last bits depend on the batch that an image came in.
    assert nearest["distance"] <= (0 if wanted == "bfloat16" else 1e-6)
    assert nearest["path"] == str(first)
    write_pictures(gallery, 5)
    cli("index", gallery, *options)
    with GalleryStore.open(index) as store:
        assert len(store.snapshot) == 5
        assert store.model_info.fingerprint.endswith("+bfloat16") == (wanted == "bfloat16")
    if wanted == "bfloat16":  # no index mixes images of two precisions
        write_pictures(gallery, 6)
        refused = cli("index", gallery, *options, "--runtime", "torch", code=1).stderr
        assert "was built in bfloat16, and images computed in float32 would differ" in refused
        with GalleryStore.open(index) as store:
            assert len(store.snapshot) == 5
    other = "float32" if wanted == "bfloat16" else "bfloat16"
    monkeypatch.setattr(openvino_runtime, "computes_in", lambda precision: True)
    assert f"built in {wanted}, not in {other}" in cli("index", gallery, *options, "--precision", other, code=1).stderr
    monkeypatch.setattr(openvino_runtime, "computes_in", lambda precision: False)
    new = ("--index", tmp_path / "new", "--weights", common_weights, "--precision", "bfloat16")
    assert "bfloat16 needs a CPU that has it" in cli("index", gallery, *new, code=2).stderr
    assert "'int8' is not one of" in cli("index", gallery, *new[:-1], "int8", code=2).stderr


@pytest.mark.parametrize(
    ("runtime", "asked"), [("auto", "auto"), ("torch", "auto"), ("onnx", "cpu"), ("openvino", "cpu")]
)
def test_only_the_runtimes_of_a_cpu_keep_auto_from_a_gpu(monkeypatch, runtime: str, asked: str):
    seen = list[str]()
    chosen = devices.choose_device("cpu")
    monkeypatch.setattr(devices, "choose_device", lambda name: seen.append(name) or chosen)
    assert runtime_device("auto", runtime) == chosen
    assert seen == ["auto" if runtime in ("auto", "torch") else "cpu"]
