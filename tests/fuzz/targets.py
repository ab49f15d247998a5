"""What is fuzzed: for each kind of file the valid samples to damage, and what the package does with such a file.

A target either takes a file or raises a `VpmsearchError`; `child` sees to it that nothing else happens.
"""

from __future__ import annotations

import io
import json
import random
import sqlite3
import tempfile
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
from mutations import mend_png, mutate
from PIL import Image

from vpmsearch.data.images import read_image
from vpmsearch.data.manifest import read_manifest
from vpmsearch.store import GalleryStore, verify
from vpmsearch.store.folder import embeddings
from vpmsearch.store.folder.region_index import Allowed, RegionIndex
from vpmsearch.types import ImageRecord, ModelInfo, RegionFeatures, SearchFilter


@dataclass(frozen=True)
class Target:
    """suffix: of the file's name. samples: valid files. run: use the file at that path, all of it.

    damage: (samples, seed) -> a damaged file.
    """

    suffix: str
    samples: Callable[[], list[bytes]]
    run: Callable[[Path], object]
    damage: Callable[[Sequence[bytes], int], bytes] = mutate


# ------------------------------------------------------------------------------------------------------------ images


def _picture(mode: str = "RGB") -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (48, 40, 4), dtype=np.uint8)
    image = Image.fromarray(np.ascontiguousarray(pixels[..., :3]))
    if mode == "RGBA":
        return Image.fromarray(pixels)
    return Image.fromarray(pixels[..., 0].astype(np.uint16) * 257) if mode == "I;16" else image.convert(mode)


def _saved(kind: str, mode: str = "RGB", **options: object) -> bytes:
    buffer = io.BytesIO()
    image = _picture(mode)
    exif = Image.Exif()
    exif[0x0112] = 6
    if kind in ("JPEG", "PNG", "WEBP", "TIFF"):
        options["exif"] = exif
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _use_image(path: Path) -> None:
    for shrink_to in (None, (8, 8)):
        _, image = read_image(path, shrink_to=shrink_to)
        assert image.mode == "RGB"


def _images(*wanted: tuple[str, str, dict[str, object]]) -> Target:
    return Target(".jpg", lambda: [_saved(kind, mode, **options) for kind, mode, options in wanted], _use_image)


def _damaged_png(samples: Sequence[bytes], seed: int) -> bytes:
    """Damage within the chunks as often as damage that their checksums show."""
    return mend_png(mutate(samples, seed)) if seed % 2 else mutate(samples, seed)


# --------------------------------------------------------------------------------------------------------- manifests


def _csv_samples() -> list[bytes]:
    head = "path,pid,camid,captured_at,split\n"
    rows = [f'"a b/{i}.jpg",{i % 5},{i % 3},2024-05-01T13:45:{i % 60:02}Z,gallery\n' for i in range(30)]
    quoted = 'path,pid\n"with ""quotes"", and\nlines.jpg",3\n/absolute/../b.jpg,-1\n'
    return [(head + "".join(rows)).encode(), b"\xef\xbb\xbf" + quoted.encode(), "path\r\nü.jpg\r\n".encode()]


def _jsonl_samples() -> list[bytes]:
    rows = [{"path": f"{i}.jpg", "pid": i, "camid": None, "captured_at": "2024-05-01", "split": "query"}
            for i in range(20)]  # fmt: skip
    return ["".join(json.dumps(row) + "\n" for row in rows).encode(), b'{"path": "\\u00fc\\ud800.jpg"}\n']


def _use_manifest(path: Path) -> None:
    for row in read_manifest(path):
        assert isinstance(row.path, Path)


# ------------------------------------------------------------------------------------------- weights and checkpoints


@cache
def _model():
    import torch
    from tiny_trunk import tiny_backbone

    from vpmsearch.model.trunks import BACKBONES
    from vpmsearch.model.vpm import Vpm

    BACKBONES["tiny"] = tiny_backbone
    torch.manual_seed(0)
    return Vpm("tiny", (3, 2), 8)


def _optimizer(kind: str):
    import torch

    model = _model()
    parameters = list(model.parameters())
    return torch.optim.AdamW(parameters) if kind == "adamw" else torch.optim.SGD(parameters, lr=0.1, momentum=0.9)


def _damaged_header(samples: Sequence[bytes], seed: int) -> bytes:
    """Damage of the header's JSON with its length made right, as often as damage of any byte."""
    rng = random.Random(seed)
    if rng.random() < 0.5:
        return mutate(samples, seed)
    whole = rng.choice(samples)
    end = 8 + int.from_bytes(whole[:8], "little")
    header = json.loads(whole[8:end])
    _change(rng, header)
    text = json.dumps(header).encode()
    if rng.random() < 0.2:
        text = mutate([text], seed)
    return len(text).to_bytes(8, "little") + text + whole[end:]


ODD = (None, True, -1, 0, 2**31, 2**63, 10**400, 1e308, float("nan"), "", "x" * 3000, "\x1b[2J\n\ud800", [], {},
       [[]] * 3, [2**62, 2**62], {"a": [1]}, "F64", "C64", "BOOL", [0, 0])  # fmt: skip


def _change(rng: random.Random, value: object) -> None:
    """Put something odd at one to three places of JSON; what is JSON within a text is changed within."""
    for _ in range(rng.choice((1, 1, 3))):
        at = value
        while isinstance(at, dict | list) and at:
            key = rng.choice(list(at)) if isinstance(at, dict) else rng.randrange(len(at))
            inner = at[key]
            if isinstance(inner, str) and inner.startswith("{"):
                parsed = json.loads(inner)
                _change(rng, parsed)
                at[key] = json.dumps(parsed)
                break
            if isinstance(inner, dict | list) and inner and rng.random() < 0.8:
                at = inner
                continue
            if isinstance(at, dict) and rng.random() < 0.3:
                at[rng.choice(("x\n", "optimizer.0.step", "module.", "format", "optimizer.9.x", key + "."))] = at.pop(
                    key
                )
            else:
                at[key] = rng.choice(ODD)
            break


def _weights_samples() -> list[bytes]:
    import torch

    from vpmsearch.model.weights import WeightsConfig, save_weights

    model = _model()
    config = WeightsConfig(
        "tiny", (3, 2), 8, True, (64, 32), (0.4, 0.5, 0.6), (0.2, 0.2, 0.2), "fuzz", "none", 7, {"epochs": 1}
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "w")
        save_weights(path, model, config)
        whole = path.read_bytes()
        save_weights(path, model, config, torch.float16)
        return [whole, path.read_bytes()]


def _use_weights(path: Path) -> None:
    import torch

    from vpmsearch.model.weights import read_weights

    _model()
    loaded = read_weights(path)
    height, width = loaded.config.input_size
    with torch.inference_mode():
        loaded.model(torch.zeros(1, 3, height, width))
    assert loaded.info.p >= 1


RUN = {"settings": {"epochs": 3}, "images": 5}


def _checkpoint_samples(kind: str) -> list[bytes]:
    import torch

    from vpmsearch.training.checkpoint import Progress, save_checkpoint

    model, optimizer = _model(), _optimizer(kind)
    model(torch.zeros(2, 3, 32, 32)).embeddings.sum().backward()
    optimizer.step()
    with tempfile.TemporaryDirectory() as folder:
        save_checkpoint(Path(folder, "c"), model, optimizer, Progress(1, 10, RUN))
        return [Path(folder, "c").read_bytes()]


def _use_checkpoint(path: Path, kind: str) -> None:
    import copy

    import torch

    from vpmsearch.training.checkpoint import load_checkpoint

    model = copy.deepcopy(_model())
    parameters = list(model.parameters())
    optimizer = torch.optim.AdamW(parameters) if kind == "adamw" else torch.optim.SGD(parameters, lr=0.1, momentum=0.9)
    load_checkpoint(path, model, optimizer, RUN)
    model(torch.zeros(2, 3, 32, 32)).embeddings.sum().backward()
    optimizer.step()  # with a state that does not fit it would fail here


# ------------------------------------------------------------------------------------------------------------- index


DIM, IMAGES = 8, 30


def _h5_samples() -> list[bytes]:
    rng = np.random.default_rng(0)
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for dtype, n in (("float32", IMAGES), ("float16", 3 * IMAGES)):
            path = Path(folder, f"{dtype}{n}")
            block = rng.normal(size=(n, 2, DIM)).astype(dtype)
            embeddings.write(path, np.arange(1, n + 1), (2, DIM), [block], dtype)
            found.append(path.read_bytes())
    return found


def _use_h5(path: Path) -> None:
    mapped, ids = embeddings.read(path)
    assert mapped.shape[0] == len(ids)
    with np.errstate(all="ignore"):
        mapped.sum(dtype=np.float64)  # every byte is really there


def _faiss_samples(kind: str) -> list[bytes]:
    n = 10_500 if kind == "ivf-pq" else 1100 if kind.startswith("ivf") else 60
    vectors = np.random.default_rng(0).normal(size=(n, DIM)).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        RegionIndex.build(vectors, np.arange(n) * 3, kind).write(Path(folder, "0"))
        samples = [Path(folder, "0").read_bytes()]
        if kind in ("flat", "hnsw"):
            RegionIndex.build(vectors[:0], np.arange(0), kind).write(Path(folder, "1"))
            samples.append(Path(folder, "1").read_bytes())
    return samples


def _use_faiss(path: Path) -> None:
    index = RegionIndex.read(path)
    queries = np.zeros((2, index.dim), np.float32)
    for masked in (False, True):
        index.masked = masked
        for allowed in (None, Allowed(index.ids[::2]), Allowed(index.ids[:1])):
            for k in (1, 7, len(index)):
                index.search(queries, k, allowed)


@cache
def _store_folder() -> Path:
    """An index of one segment, as its files are found."""
    folder = Path(tempfile.mkdtemp()) / "index"
    rng = np.random.default_rng(0)
    info = ModelInfo((2, 1), DIM, "feed", weights="w", name="n", input_size=(64, 32))
    with GalleryStore.create(folder, info) as store, store.writer() as writer:
        records = [ImageRecord(f"{i}.jpg", f"hash{i}", i % 5, i % 3, None, 64, 128) for i in range(IMAGES)]
        scores = rng.dirichlet([0.5, 0.5], IMAGES).astype(np.float32)
        writer.add(records, RegionFeatures(scores, rng.normal(size=(IMAGES, 2, DIM)).astype(np.float32)))
        writer.reject("bad.jpg", "damaged")
        writer.commit()
        writer.remove([7])
        writer.commit()
    with closing(sqlite3.connect(folder / "catalog.sqlite3")) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return folder


@cache  # the folder's own is overwritten by each input
def _sql_samples() -> list[bytes]:
    return [(_store_folder() / "catalog.sqlite3").read_bytes()]


STRANGE = ("NULL", "-1", "0", "9223372036854775807", "-9223372036854775808", "1e308", "9e999", "''", "'x'", "x'00ff'",
           "'2024-99-99'", "zeroblob(8)", "zeroblob(100000)", "char(0,10,27)", "'1'", "1.5", "3e9", "id",
           "3000000000")  # fmt: skip


def _sql_values(samples: Sequence[bytes], seed: int) -> bytes:
    """A catalog of the right form with values that are not, as SQLite's dynamic types allow them."""
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "c")
        path.write_bytes(samples[0])
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("PRAGMA ignore_check_constraints = ON")
            tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
            for _ in range(rng.choice((1, 1, 3))):
                table = rng.choice(tables)
                columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
                where = rng.choice(("", "", f"WHERE rowid = {rng.randrange(1, 31)}"))
                change = f"UPDATE OR IGNORE {table} SET {rng.choice(columns)} = {rng.choice(STRANGE[:-2])} {where}"
                try:
                    connection.execute(rng.choice((change, change, change, f"DELETE FROM {table} {where}")))
                except sqlite3.Error:
                    continue
        return path.read_bytes()


def _use_store(path: Path) -> None:
    """Everything that reads: open, search, stats, verify."""
    folder = _store_folder()
    (folder / "catalog.sqlite3").write_bytes(path.read_bytes())
    for name in ("catalog.sqlite3-wal", "catalog.sqlite3-shm"):
        (folder / name).unlink(missing_ok=True)
    assert isinstance(verify(folder).problems, tuple)
    with GalleryStore.open(folder) as store:
        view = store.snapshot
        queries = np.zeros((1, store.model_info.embedding_dim), np.float32)
        for region in range(min(store.model_info.p, 4)):
            view.search_region(region, queries, 3)
        view.records(np.arange(len(view)))
        view.select(SearchFilter(pids=(1,)))
        view.embeddings(np.arange(len(view)))
        store.stats()
        store.live_files()
        store.rejected()
        store.find(pids=[1])


TARGETS: dict[str, Target] = {
    "jpeg": _images(
        ("JPEG", "RGB", {"quality": 80}), ("JPEG", "CMYK", {"progressive": True}), ("JPEG", "L", {"subsampling": 0})
    ),
    "png": replace(
        _images(("PNG", "RGB", {}), ("PNG", "I;16", {}), ("PNG", "RGBA", {}), ("PNG", "P", {})), damage=_damaged_png
    ),
    "tiff": _images(
        *(("TIFF", "RGB", {"compression": kind}) for kind in ("raw", "tiff_lzw", "tiff_adobe_deflate", "jpeg")),
        ("TIFF", "1", {"compression": "group4"}),
        ("TIFF", "F", {}),
        ("TIFF", "I;16", {"compression": "packbits"}),
    ),
    "webp": _images(("WEBP", "RGB", {}), ("WEBP", "RGBA", {"lossless": True})),
    "avif": _images(("AVIF", "RGB", {"speed": 10}), ("AVIF", "RGBA", {"speed": 10})),
    "gif": _images(("GIF", "P", {}), ("GIF", "RGB", {"save_all": True, "append_images": [_picture()]})),
    "bmp": _images(("BMP", "RGB", {}), ("BMP", "P", {}), ("BMP", "1", {})),
    "ppm": _images(("PPM", "RGB", {}), ("PPM", "L", {}), ("PPM", "I;16", {}), ("PPM", "1", {})),
    "csv": Target(".csv", _csv_samples, _use_manifest),
    "jsonl": Target(".jsonl", _jsonl_samples, _use_manifest),
    "weights": Target(".safetensors", _weights_samples, _use_weights, _damaged_header),
    "checkpoint-sgd": Target(
        ".safetensors", lambda: _checkpoint_samples("sgd"), lambda p: _use_checkpoint(p, "sgd"), _damaged_header
    ),
    "checkpoint-adamw": Target(
        ".safetensors", lambda: _checkpoint_samples("adamw"), lambda p: _use_checkpoint(p, "adamw"), _damaged_header
    ),
    "hdf5": Target(".h5", _h5_samples, _use_h5),
    **{
        f"faiss-{kind}": Target(".faiss", lambda kind=kind: _faiss_samples(kind), _use_faiss)
        for kind in ("flat", "hnsw", "ivf-flat", "ivf-sq8", "ivf-pq", "ivf-pqfs")
    },
    "sqlite": Target(".sqlite3", _sql_samples, _use_store),
    "sqlite-values": Target(".sqlite3", _sql_samples, _use_store, _sql_values),
}
