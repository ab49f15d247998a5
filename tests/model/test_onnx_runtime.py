"""The onnxruntime way: the same numbers as torch's, a file that is kept for one user alone, clear errors."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from fake_onnx import FakeOnnx
from tiny_weights import picture, write_weights

from vpmsearch.errors import DataError, WeightsError
from vpmsearch.model import export, onnx_file, runtimes
from vpmsearch.model.export import check_packages
from vpmsearch.model.extraction import Extractor
from vpmsearch.model.onnx_file import METADATA, OUTPUTS, exported_path
from vpmsearch.model.onnx_runtime import OnnxRuntime
from vpmsearch.model.torch_runtime import TorchRuntime
from vpmsearch.model.weights import EARLIER, LoadedWeights, read_weights

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> LoadedWeights:
    return read_weights(write_weights(tmp_path_factory.mktemp("weights") / "tiny.safetensors"))


@pytest.fixture(scope="module")
def other(tmp_path_factory) -> LoadedWeights:
    return read_weights(write_weights(tmp_path_factory.mktemp("weights") / "other.safetensors", seed=1))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.setenv(onnx_file.CACHE, str(tmp_path / "cache"))
    return tmp_path / "cache" / "vpmsearch"


@pytest.fixture
def exports(tiny, other, monkeypatch) -> FakeOnnx:
    """No onnxruntime and no export, but what they would do; `made` counts exports."""
    return FakeOnnx(monkeypatch, tiny, other)


def summed(content: bytes) -> bytes:
    """As a kept file has it."""
    return hashlib.sha256(content).digest() + content


def of(weights: LoadedWeights, cache: Path) -> Path:
    return cache / f"{weights.fingerprint}.model"


@pytest.fixture
def kept(tiny, cache: Path, exports) -> Path:
    """What a first start has kept."""
    OnnxRuntime(tiny)
    assert exports.made == 1
    return of(tiny, cache)


def test_where_the_exported_model_is_kept(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    for given, folder in (
        (str(tmp_path / "mine"), tmp_path / "mine"),
        ("", tmp_path / ".cache"),
        ("relative", tmp_path / ".cache"),
    ):
        monkeypatch.setenv(onnx_file.CACHE, given)
        assert exported_path("abc") == folder / "vpmsearch" / "abc.model"


def test_without_onnxruntime(tiny, cache: Path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(DataError, match=r"^the runtime onnx needs onnxruntime: pip install onnxruntime$"):
        OnnxRuntime(tiny)
    assert not cache.exists()


def test_without_what_an_export_needs(tiny, cache: Path, exports, monkeypatch):
    OnnxRuntime(tiny)
    monkeypatch.setattr(export, "check_packages", check_packages)  # the real one again
    monkeypatch.setitem(sys.modules, "onnx", None)
    OnnxRuntime(tiny)  # what is kept needs no export
    of(tiny, cache).unlink()
    told: list[str] = []
    with pytest.raises(DataError, match=r"^exporting a model needs onnx: pip install 'vpmsearch\[onnx\]'$"):
        OnnxRuntime(tiny, told.append)
    assert told == []


@pytest.mark.parametrize("umask", [0o022, 0o002, 0o000])
def test_it_is_made_once_and_for_this_user_alone(tiny, cache: Path, exports, umask: int):
    before = os.umask(umask)
    try:
        told: list[str] = []
        OnnxRuntime(tiny, told.append)
        OnnxRuntime(tiny, told.append)
    finally:
        os.umask(before)
    path = of(tiny, cache)
    assert told == [f"exporting the model, once, to {path}: some 15 seconds"]
    assert exports.made == 1
    assert list(cache.iterdir()) == [path]
    assert (stat.S_IMODE(cache.stat().st_mode), stat.S_IMODE(path.stat().st_mode)) == (0o700, 0o600)


@pytest.mark.parametrize("what", ["damaged", "empty", "of another model"])
def test_what_is_wrong_is_made_anew(tiny, other, kept: Path, exports, what: str):
    right = kept.read_bytes()
    kept.write_bytes({"damaged": right[:-1], "empty": b"", "of another model": summed(exports.content(other))}[what])
    OnnxRuntime(tiny)
    assert exports.made == 2
    assert kept.read_bytes() == right


def test_a_folder_in_its_place(tiny, cache: Path, exports):
    of(tiny, cache).mkdir(parents=True, mode=0o700)
    cache.chmod(0o700)
    told: list[str] = []
    OnnxRuntime(tiny, told.append)
    assert len(told) == 2
    assert told[1].startswith("the exported model is used now, but it is not kept (")
    assert [path.name for path in cache.iterdir()] == [of(tiny, cache).name]


@pytest.mark.parametrize("mode", [0o620, 0o602])
def test_a_file_that_others_may_write_is_made_anew(tiny, kept: Path, exports, mode: int):
    kept.chmod(mode)
    OnnxRuntime(tiny)
    OnnxRuntime(tiny)
    assert exports.made == 2
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600


@pytest.mark.parametrize("mode", [0o770, 0o707])
def test_a_folder_that_others_may_write_to_is_not_used(tiny, kept: Path, exports, mode: int):
    content = b"put there by others"
    kept.write_bytes(content)
    kept.parent.chmod(mode)
    told: list[str] = []
    OnnxRuntime(tiny, told.append)
    assert exports.made == 2
    assert content not in exports.opened
    assert told == [
        "exporting the model: some 15 seconds at each start, as it is not kept "
        f"({kept.parent}: another user's, or others may write to it (chmod go-w)); "
        "$XDG_CACHE_HOME may name another folder"
    ]
    assert kept.read_bytes() == content


def test_what_belongs_to_somebody_else_is_not_used(tiny, kept: Path, exports, monkeypatch):
    them = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: them + 1)
    told: list[str] = []
    OnnxRuntime(tiny, told.append)
    assert exports.made == 2
    assert len(told) == 1
    assert "others may write to it" in told[0]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_of_somebody_elses_in_ones_own_folder(tiny, kept: Path, exports):
    os.chown(kept, os.geteuid() + 1, -1)
    OnnxRuntime(tiny)
    OnnxRuntime(tiny)
    assert exports.made == 2
    assert kept.stat().st_uid == os.geteuid()


def test_a_cache_that_cannot_be_made(tiny, cache: Path, exports):
    cache.parent.mkdir()
    cache.write_text("a file, not a folder")
    told: list[str] = []
    OnnxRuntime(tiny, told.append)
    assert told == [
        "exporting the model: some 15 seconds at each start, as it is not kept "
        f"({cache}: File exists); $XDG_CACHE_HOME may name another folder"
    ]


def test_a_cache_that_cannot_be_written(tiny, other, kept: Path, exports, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # a read-only disk; root may write to any other
    told: list[str] = []
    OnnxRuntime(tiny, told.append)
    assert (exports.made, told) == (1, []), "reading is enough"
    OnnxRuntime(other, told.append)
    assert len(told) == 1
    assert f"not kept ({kept.parent}: it cannot be written)" in told[0]
    assert list(kept.parent.iterdir()) == [kept]


@pytest.mark.parametrize(("call", "made", "said"), [("mkdir", 0, []), ("open", 1, [False]), ("stat", 1, [True])])
def test_a_cache_that_may_not_be_looked_into(
    tiny, kept: Path, exports, monkeypatch, call: str, made: int, said: list[bool]
):
    """Somebody else's home, say; root sees into all of them."""
    real = getattr(Path, call)

    def refused(path: Path, *args: object, **options: object) -> object:
        if path in (kept, kept.parent):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path, *args, **options)

    told: list[str] = []
    with monkeypatch.context() as patched:
        patched.setattr(Path, call, refused)
        OnnxRuntime(tiny, told.append)
    assert exports.made == 1 + made
    # A file that may not be read is replaced; a folder that may not be looked into keeps nothing.
    assert [f"not kept ({kept.parent}: Permission denied)" in line for line in told] == said


def test_no_home(tiny, exports, monkeypatch):
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv(onnx_file.CACHE, raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    told: list[str] = []
    OnnxRuntime(tiny, told.append)
    assert len(told) == 1
    assert "(~/.cache: this user has no home folder); $XDG_CACHE_HOME may name" in told[0]


def test_a_disk_that_is_full(tiny, cache: Path, exports, monkeypatch):
    def full(path: Path, content: bytes) -> int:
        with path.open("wb") as file:
            file.write(content[:3])
        raise OSError(errno.ENOSPC, "No space left on device")

    told: list[str] = []
    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_bytes", full)
        OnnxRuntime(tiny, told.append)
    assert told[1:] == [
        f"the exported model is used now, but it is not kept ({of(tiny, cache)}: No space left on device); "
        "$XDG_CACHE_HOME may name another folder"
    ]
    assert list(cache.iterdir()) == []


def test_two_at_once_with_an_empty_cache(tiny, cache: Path, exports):
    """Both find nothing and export; each then replaces the other's file by the same one, whole."""
    exports.together = threading.Barrier(2, timeout=60)
    told: list[str] = []
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda _: OnnxRuntime(tiny, told.append), range(2)))
    assert exports.made == len(told) == 2
    exports.together = None
    OnnxRuntime(tiny)
    assert exports.made == 2
    assert list(cache.iterdir()) == [of(tiny, cache)]
    pixels = np.zeros((3, *tiny.config.input_size, 3), np.uint8)
    first, second = (runtime.features(pixels) for runtime in both)
    np.testing.assert_array_equal(first.embeddings, second.embeddings)


def test_other_noise_at_each_export(tiny, kept: Path, exports):
    kept.unlink()
    OnnxRuntime(tiny)
    first, second = exports.seen
    assert first.shape == second.shape == (2, *tiny.config.input_size, 3)
    assert (first != second).mean() > 0.9  # 255 of 256, when drawn afresh


def test_what_is_kept_is_used_without_torchs_model(tiny, kept: Path, exports):
    again = read_weights(tiny.path)
    assert isinstance(runtimes.choose_runtime(again, CPU), OnnxRuntime)
    assert not again.is_built
    assert isinstance(runtimes.choose_runtime(again, CPU, "torch"), TorchRuntime)
    assert isinstance(runtimes.choose_runtime(again, CPU), TorchRuntime), "it is built now"
    kept.unlink()
    assert isinstance(runtimes.choose_runtime(read_weights(tiny.path), CPU), TorchRuntime)
    assert exports.made == 1


def test_one_image_at_a_time(tiny, kept: Path, exports):
    """What a model gives for an image may depend in the last bit on what is computed beside it: here nothing is."""
    runtime = OnnxRuntime(tiny)
    pixels = np.random.default_rng(0).integers(0, 256, (3, *tiny.config.input_size, 3), dtype=np.uint8)
    before = len(exports.seen)
    features, sight = runtime.features(pixels), runtime.see(pixels)
    assert [len(each) for each in exports.seen[before:]] == [1] * 6
    assert len(features) == len(sight.features) == len(sight.labels) == 3
    np.testing.assert_array_equal(features.embeddings, sight.embeddings)
    np.testing.assert_array_equal(sight.labels, sight.probabilities.argmax(axis=1))
    np.testing.assert_allclose(sight.probabilities.mean(axis=(2, 3)), features.visibility, rtol=1e-5)


def test_an_output_that_is_not_finite(tmp_path: Path, cache: Path, exports):
    """Finite numbers that the model multiplies beyond float32: the file is whole, what it says is not."""
    weights = read_weights(write_weights(tmp_path / "large.safetensors"))
    with torch.no_grad():
        for parameter in weights.model.parameters():
            parameter.fill_(3e38)
    with pytest.raises(WeightsError, match=r"large\.safetensors: the model's output is not finite; .* are damaged$"):
        OnnxRuntime(weights)
    assert exports.made == 0


def test_other_numbers_than_torchs_are_refused(tiny, other, cache: Path, exports, monkeypatch):
    monkeypatch.setattr(export, "onnx_bytes", lambda weights: exports.content(other))
    with pytest.raises(WeightsError, match=r"does not give what torch gives .* use --runtime torch"):
        OnnxRuntime(tiny)
    assert list(cache.iterdir()) == [], "what is refused is not kept"


@pytest.mark.slow
@pytest.mark.parametrize("found", ["nothing", "damaged", "of another model"])
def test_it_gives_what_torch_gives_whatever_the_cache_holds(tiny, other, cache: Path, found: str):
    pytest.importorskip("onnxruntime")
    path = of(tiny, cache)
    cache.mkdir(parents=True, mode=0o700)
    if found == "damaged":
        path.write_bytes(summed(b"\x08\x07 no ONNX model"))
    if found == "of another model":
        path.write_bytes(summed(export.onnx_bytes(other)))
    told: list[str] = []
    runtime = OnnxRuntime(tiny, told.append)
    assert len(told) == 1
    images = [picture(seed) for seed in range(5)]
    expected = Extractor(tiny, CPU, batch_size=2).extract_images(images)
    seen = Extractor(tiny, CPU, batch_size=2, runtime=runtime).extract_images(images)  # batches of 2, 2 and 1
    assert (seen.visibility.dtype, seen.embeddings.dtype) == (np.float32, np.float32)
    np.testing.assert_allclose(seen.visibility, expected.visibility, atol=1e-6)
    np.testing.assert_allclose(seen.embeddings, expected.embeddings, atol=1e-5)
    assert Extractor(tiny, CPU, runtime=runtime).extract_images([]).embeddings.shape == expected[:0].embeddings.shape
    OnnxRuntime(tiny, told.append)
    assert len(told) == 1, "what is there and right is not made again"


@pytest.mark.parametrize("weights", EARLIER, ids=lambda path: path.stem)
def test_the_exported_model_in_the_package_is_that_of_its_weights(weights):
    """Else `python docs/make_onnx.py` was forgotten. Through onnxruntime itself; in batches the same bits as alone."""
    loaded = read_weights(weights)
    runtime = OnnxRuntime.if_ready(loaded)
    assert runtime is not None
    assert weights.with_suffix(".onnx").stat().st_size < 5e6
    session = runtime._session
    told = json.loads(session.get_modelmeta().custom_metadata_map[METADATA])
    assert told["fingerprint"] == loaded.fingerprint
    assert [output.name for output in session.get_outputs()] == list(OUTPUTS)
    pixels = np.random.default_rng(0).integers(0, 256, (3, *loaded.config.input_size, 3), dtype=np.uint8)
    seen, expected = runtime.see(pixels), TorchRuntime(loaded, CPU).see(pixels)
    np.testing.assert_allclose(seen.visibility, expected.visibility, atol=1e-5)
    np.testing.assert_allclose(seen.embeddings, expected.embeddings, atol=1e-4)
    np.testing.assert_allclose(seen.probabilities, expected.probabilities, atol=1e-4)
    alone = runtime.features(pixels[2:])
    np.testing.assert_array_equal(alone.embeddings[0], seen.embeddings[2])
    np.testing.assert_array_equal(alone.visibility[0], seen.visibility[2])


def test_in_the_background(tiny, cache: Path, exports, monkeypatch):
    """A process of its own is begun once, and not where it would be of no use."""
    begun: list[list[str]] = []

    class Begun:
        def __init__(self, command: list[str], **options: object) -> None:
            begun.append(command)
            assert options["start_new_session"]

        def wait(self) -> int:
            return 0

    monkeypatch.setattr(runtimes.subprocess, "Popen", Begun)
    monkeypatch.setattr(runtimes, "find_spec", lambda package: package)
    told: list[str] = []
    runtimes.export_in_background(tiny, told.append)
    assert begun == [], "the tests forbid it"
    monkeypatch.delenv(runtimes.EXPORT)
    runtimes.export_in_background(tiny, told.append)
    assert len(begun) == len(told) == 1
    assert str(tiny.path.resolve()) in begun[0][-1]
    monkeypatch.setattr(os, "nice", lambda more: None)
    runtimes.keep_export(str(tiny.path))  # what that process does
    assert exports.made == 1
    assert exports.content(tiny) in of(tiny, cache).read_bytes()
    runtimes.keep_export(str(tiny.path))
    runtimes.export_in_background(tiny, told.append)
    assert (exports.made, len(begun)) == (1, 1), "it is there"
    of(tiny, cache).unlink()
    monkeypatch.setattr(runtimes, "find_spec", lambda package: None)
    runtimes.export_in_background(tiny, told.append)
    assert len(begun) == 1, "without the packages"
