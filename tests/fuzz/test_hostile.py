"""Files made by hand to cost time or memory, or to lead elsewhere: what chance mutations would hardly find."""

from __future__ import annotations

import io
import os
import struct

import h5py
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

import vpmsearch.data.manifest as manifests
from vpmsearch.data.decoding import MAX_SCANS, MAX_TAG_VALUES
from vpmsearch.data.images import load_image
from vpmsearch.data.manifest import MAX_ROW, read_manifest
from vpmsearch.errors import DataError, ImageError, StoreDamagedError, TrainingError, WeightsError
from vpmsearch.store.folder import embeddings, faiss_file
from vpmsearch.store.folder.region_index import RegionIndex
from vpmsearch.training.checkpoint import Progress, load_checkpoint, save_checkpoint

# ------------------------------------------------------------------------------------------------------------ images


def test_a_jpeg_of_endless_scans(tmp_path):
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), (9, 90, 200)).save(buffer, "JPEG", progressive=True)
    whole = buffer.getvalue()
    last = whole.rindex(b"\xff\xda")
    path = tmp_path / "a.jpg"
    path.write_bytes(whole)
    assert load_image(path).size == (64, 64)
    path.write_bytes(whole[:-2] + whole[last:-2] * MAX_SCANS + whole[-2:])
    with pytest.raises(ImageError, match="scans"):
        load_image(path)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("big", [False, True])
def test_a_tiff_whose_tags_are_millions_of_numbers(tmp_path, order, big):
    def written(count):
        tags = [(256, 3, 1, 8), (257, 3, 1, 8), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, count, 400)]
        head = b"II" if order == "<" else b"MM"
        if big:
            start = head + struct.pack(f"{order}HHHQ", 43, 8, 0, 16) + struct.pack(f"{order}Q", len(tags))
            return start + b"".join(struct.pack(f"{order}HHQQ", *tag) for tag in tags) + b"\0" * 1000
        start = head + struct.pack(f"{order}HI", 42, 8) + struct.pack(f"{order}H", len(tags))
        return start + b"".join(struct.pack(f"{order}HHII", *tag) for tag in tags) + b"\0" * 1000

    path = tmp_path / "a.tif"
    path.write_bytes(written(MAX_TAG_VALUES))
    with pytest.raises(ImageError, match="numbers in its tags"):
        load_image(path)
    path.write_bytes(written(MAX_TAG_VALUES - 100))  # what else is wrong with it is found later
    with pytest.raises(ImageError, match=r"damaged|known format"):
        load_image(path)


def test_bands_give_the_pixels_that_the_whole_gives(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (37, 11, 4), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    Image.fromarray(rng.integers(0, 65536, (37, 11)).astype(np.uint16)).save(tmp_path / "b.png")
    Image.fromarray(rng.normal(size=(37, 11)).astype(np.float32)).save(tmp_path / "c.tif")
    names = ["a.png", "b.png", "c.tif"]
    whole = [np.asarray(load_image(tmp_path / name)) for name in names]
    monkeypatch.setattr("vpmsearch.data.decoding._BAND", 23)
    for name, expected in zip(names, whole, strict=True):
        np.testing.assert_array_equal(np.asarray(load_image(tmp_path / name)), expected)
    share = pixels[..., 3:].astype(float) / 255
    np.testing.assert_allclose(whole[0], pixels[..., :3] * share + 255 * (1 - share), atol=1.01)


# --------------------------------------------------------------------------------------------------------- manifests


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", "path\n" + "a," * MAX_ROW),
        ("a.csv", "path\n" + '"\n",' * MAX_ROW),
        ("a.jsonl", '{"path": "' + "a" * MAX_ROW + '"}'),
        ("a.jsonl", " " * (2 * MAX_ROW)),
    ],
)
def test_a_row_without_end(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=rf"line \d+: a row of more than {MAX_ROW} characters"):
        list(read_manifest(tmp_path / name))


def test_too_many_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(manifests, "MAX_ROWS", 5)
    (tmp_path / "a.csv").write_text("path\n" + "a.jpg\n" * 5)
    assert len(list(read_manifest(tmp_path / "a.csv"))) == 5
    (tmp_path / "a.csv").write_text("path\n" + "a.jpg\n" * 6)
    with pytest.raises(DataError, match="line 7: more than 5 rows"):
        list(read_manifest(tmp_path / "a.csv"))


@pytest.mark.parametrize("value", ["[" * 900 + "]" * 900, '"' + "x" * 5000 + '"', "1e400", '{"a": "\\n"}'])
def test_an_odd_value_is_told_on_one_short_line(tmp_path, value):
    (tmp_path / "a.jsonl").write_text('{"path": "a", "pid": ' + value + "}")
    with pytest.raises(DataError, match="line 1: pid") as caught:
        list(read_manifest(tmp_path / "a.jsonl"))
    assert len(str(caught.value)) < 1000
    assert str(caught.value).isprintable()


def test_not_a_number_is_an_unknown_pid(tmp_path):
    """pandas writes NaN into JSON lines where a pid is missing."""
    (tmp_path / "a.jsonl").write_text('{"path": "a", "pid": NaN}')
    assert [image.pid for image in read_manifest(tmp_path / "a.jsonl")] == [None]


def test_paths_elsewhere_are_opened_as_images_only(tmp_path):
    os.mkfifo(tmp_path / "fifo.jpg")
    (tmp_path / "a.csv").write_text("path\n/etc/passwd\n/dev/zero\nfifo.jpg\n../../../etc/hosts\n/proc/self/mem\n")
    rows = list(read_manifest(tmp_path / "a.csv"))
    assert len(rows) == 5
    for row in rows:
        with pytest.raises(ImageError):
            load_image(row.path)


# -------------------------------------------------------------------------------------------------------- checkpoints


def trained():
    torch.manual_seed(0)
    module = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(module.parameters())
    module(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    return module, optimizer


@pytest.mark.parametrize(
    "change",
    [
        {"optimizer.0.exp_avg": torch.zeros(3, 3)},
        {"optimizer.0.step": torch.zeros(2)},
        {"optimizer.0.exp_avg": torch.zeros(2, 3, dtype=torch.int64)},
        {"optimizer.7.step": torch.zeros(())},
        {"optimizer.x.step": torch.zeros(())},
        {"optimizer.²": torch.zeros(())},
        {"optimizer.0": torch.zeros(())},
        {"optimizer.0.__class__": torch.zeros(())},
        {"optimizer.0.step": None},
        {"module.weight": torch.zeros(2, 3, dtype=torch.int32)},
        {"module.weight": None},
        {"module.weight": torch.zeros(2, 3, dtype=torch.complex64)},
    ],
)
def test_a_checkpoint_that_does_not_fit(tmp_path, change):
    path = tmp_path / "c.safetensors"
    save_checkpoint(path, *trained(), Progress(1, 2, {"seed": 3}))
    assert load_checkpoint(path, *trained(), {"seed": 3}) == Progress(1, 2, {"seed": 3})
    from safetensors.torch import load_file

    from vpmsearch.model.weights import read_metadata

    tensors = {name: tensor for name, tensor in (load_file(path) | change).items() if tensor is not None}
    save_file(tensors, path, read_metadata(path))
    with pytest.raises((TrainingError, WeightsError)):
        load_checkpoint(path, *trained(), {"seed": 3})


@pytest.mark.parametrize("count", ["-1", "1e999", "true", '"3"', "null", "9" * 400, "1.5"])
def test_absurd_progress(tmp_path, count):
    text = '{"progress": {"epochs": ' + count + ', "steps": 1}, "run": {}}'
    save_file({"a": torch.zeros(1)}, tmp_path / "c", {"checkpoint": text})
    with pytest.raises(TrainingError, match="damaged checkpoint"):
        load_checkpoint(tmp_path / "c", *trained(), {})


@pytest.mark.parametrize(
    ("progress", "run"),
    [
        ('{"epochs": 1, "steps": 1}', "[[1, 2]]"),
        ('{"epochs": 1, "steps": 1}', "[]"),
        ('{"epochs": 1, "steps": 1, "within": 2}', "{}"),
        ('{"epochs": 1, "steps": 1, "within": -1}', "{}"),
        ('{"epochs": 1, "steps": 1, "within": 0.5}', "{}"),
        ("[1, 1]", "{}"),
    ],
)
def test_absurd_runs(tmp_path, progress, run):
    text = f'{{"progress": {progress}, "run": {run}}}'
    save_file({"a": torch.zeros(1)}, tmp_path / "c", {"checkpoint": text})
    with pytest.raises(TrainingError, match="damaged checkpoint"):
        load_checkpoint(tmp_path / "c", *trained(), {"seed": 3})


@pytest.mark.parametrize("init", ["\\ud800", "a\\u0000b", "x" * 5000, "\\u001b[31m"])
def test_the_start_of_a_run_may_be_any_text(tmp_path, init):
    text = '{"progress": {"epochs": 1, "steps": 1}, "run": {"settings": {"init": "' + init + '"}}}'
    save_file({"a": torch.zeros(1)}, tmp_path / "c", {"checkpoint": text})
    with pytest.raises(TrainingError, match="settings \\(init ") as raised:
        load_checkpoint(tmp_path / "c", *trained(), {"settings": {"init": "mine.safetensors"}})
    assert str(raised.value).isprintable()
    assert len(str(raised.value)) < 1000


# ------------------------------------------------------------------------------------------------------------- index


def elsewhere(file, folder):
    file["embedding"] = h5py.ExternalLink(str(folder / "other.h5"), "embedding")


def bomb(file, folder):
    file.create_dataset("embedding", (1 << 40, 1, 1), "<f4", chunks=(1 << 20, 1, 1), compression="gzip")


def outside(file, folder):
    (folder / "raw").write_bytes(b"\0" * 64)
    file.create_dataset("embedding", (2, 2, 2), "<f4", external=[(str(folder / "raw"), 0, 32)])


def virtual(file, folder):
    layout = h5py.VirtualLayout((2, 2, 2), "<f4")
    layout[:] = h5py.VirtualSource(str(folder / "other.h5"), "embedding", (2, 2, 2))
    file.create_virtual_dataset("embedding", layout)


def nothing_there(file, folder):
    file.create_dataset("embedding", (1 << 40, 1, 1), "<f4")


def a_loop(file, folder):
    file["embedding"] = h5py.SoftLink("/embedding")


@pytest.mark.parametrize("trap", [elsewhere, bomb, outside, virtual, nothing_there, a_loop])
def test_hdf5_that_leads_elsewhere_or_costs_all_memory(tmp_path, trap):
    embeddings.write(tmp_path / "other.h5", np.arange(2), (2, 2), [np.zeros((2, 2, 2), np.float32)], "float32")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["image_id"] = np.arange(2)
        trap(file, tmp_path)
    with pytest.raises(StoreDamagedError, match=r"a\.h5"):
        embeddings.read(tmp_path / "a.h5")


@pytest.mark.parametrize("kind", ["flat", "hnsw", "ivf-flat", "ivf-sq8", "ivf-pqfs"])
def test_each_number_of_a_faiss_files_head_may_be_anything(tmp_path, kind):
    n = 1100 if kind.startswith("ivf") else 40
    vectors = np.random.default_rng(0).normal(size=(n, 4)).astype(np.float32)
    path = tmp_path / "a.faiss"
    RegionIndex.build(vectors, np.arange(n), kind).write(path)
    assert faiss_file.problem(path) == ""
    whole = path.read_bytes()
    refused = 0
    for place in range(0, 160):
        for number in (b"\xff" * 8, b"\xff" * 7 + b"\x7f", b"\0\0\0\0\1\0\0\0"):
            path.write_bytes(whole[:place] + number + whole[place + 8 :])
            refused += faiss_file.problem(path) != ""
    assert refused > 150  # the rest are vectors, which may be anything
    for size in (0, 3, 4, 50, len(whole) - 1):
        path.write_bytes(whole[:size])
        assert faiss_file.problem(path) != ""
    path.write_bytes(whole + b"\0")
    assert "after its end" in faiss_file.problem(path)


def test_each_number_that_tells_how_a_fast_scan_reads_its_codes_may_be_anything(tmp_path):
    n, d = 1100, 6  # three pieces: with two, one would do as well
    path = tmp_path / "a.faiss"
    vectors = np.random.default_rng(0).normal(size=(n, d)).astype(np.float32)
    RegionIndex.build(vectors, np.arange(n), "ivf-pqfs").write(path)
    whole = path.read_bytes()
    (lists,) = struct.unpack_from("<q", whole, 37)
    quantizer, blocks = 98 + 4 * d * lists, whole.index(b"ilbl")
    first = blocks + 36  # the list whose ids and codes come first
    (held,) = struct.unpack_from("<q", whole, first)
    codes = first + 8 + 8 * held
    for place in (*range(quantizer, quantizer + 74), *range(blocks, first + 8), *range(codes, codes + 8)):
        for number in (0, 1, 2, 3, 0x7F, 0xFF):
            changed = bytearray(whole)
            changed[place] = number
            path.write_bytes(changed)
            if whole[place] != number:
                assert faiss_file.problem(path) != "", (place, number)


def test_an_image_id_that_would_cost_all_memory(tmp_path):
    vectors = np.zeros((2, 4), np.float32)
    with pytest.raises(StoreDamagedError, match="limit"):
        RegionIndex.build(vectors, np.array([1, faiss_file.MAX_IMAGE_ID]))
    largest = RegionIndex.build(vectors, np.array([1, 1000]))
    largest.write(tmp_path / "a.faiss")
    whole = (tmp_path / "a.faiss").read_bytes()
    (tmp_path / "a.faiss").write_bytes(whole[:-8] + struct.pack("<q", 1 << 40))
    with pytest.raises(StoreDamagedError, match="image id"):
        RegionIndex.read(tmp_path / "a.faiss")
