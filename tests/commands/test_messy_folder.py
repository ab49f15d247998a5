"""A folder as people have it: index what is an image, say what is wrong with the rest, and find everything again."""

from __future__ import annotations

import os
import shutil
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_weights import picture

BAD = {  # name -> a word of the reason
    "corrupt.png": "damaged or truncated",
    "truncated.jpg": "truncated",
    "bomb.png": "limit",
    "zero.jpg": "empty",
    "text.jpg": "not an image",
    "loop.png": "cannot be read",
    "dangling.png": "no such file",
    "fifo.jpg": "FIFO",
    "caf\\udce9.png": "UTF-8",
}


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def write_good(folder: Path) -> list[Path]:
    """One image of each kind; all show something else."""
    folder.mkdir()
    deep = np.random.default_rng(0).integers(0, 65536, (8, 4), dtype=np.uint16).repeat(8, 0).repeat(8, 1)
    turned = Image.Exif()
    turned[0x0112] = 6
    picture(0).save(folder / "plain.jpg")
    picture(1).convert("L").save(folder / "grey.png")
    picture(2).convert("CMYK").save(folder / "cmyk.jpg")
    Image.fromarray(deep).save(folder / "deep.png")
    picture(3).quantize(32).save(folder / "palette.png")
    picture(4).convert("RGBA").rotate(30).save(folder / "rgba.png")
    picture(5, 64, 32).save(folder / "turned.jpg", exif=turned)
    picture(6).save(folder / "moving.gif", save_all=True, append_images=[picture(7), picture(8)], duration=50)
    picture(9).save(folder / "größe 写真.png")
    picture(10).save(folder / "really-a-png.jpg", format="PNG")
    picture(11).save(folder / "UPPER.JPEG")
    (folder / "deeper" / "down").mkdir(parents=True)
    picture(12).save(folder / "deeper" / "down" / "w.webp")
    return sorted(path for path in folder.rglob("*") if path.is_file())


def write_bad(folder: Path) -> None:
    jpeg = (folder / "plain.jpg").read_bytes()
    png = bytearray((folder / "grey.png").read_bytes())
    png[len(png) // 3 : len(png) // 2] = bytes(len(png) // 2 - len(png) // 3)
    (folder / "corrupt.png").write_bytes(png)
    (folder / "truncated.jpg").write_bytes(jpeg[: len(jpeg) // 2])
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    bomb = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    (folder / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bomb)
    (folder / "zero.jpg").touch()
    (folder / "text.jpg").write_text("holiday plans")
    (folder / "loop.png").symlink_to("loop.png")
    (folder / "dangling.png").symlink_to("nowhere.png")
    os.mkfifo(folder / "fifo.jpg")
    shutil.copy(folder / "plain.jpg", os.fsencode(folder) + b"/caf\xe9.png")


def write_ignored(folder: Path) -> None:
    (folder / "notes.txt").write_text("not for us")
    picture(20).save(folder / ".hidden.png")
    (folder / ".thumbnails").mkdir()
    picture(21).save(folder / ".thumbnails" / "small.png")
    (folder / "deeper" / "around").symlink_to("..", target_is_directory=True)


@pytest.fixture
def messy(tmp_path: Path) -> tuple[Path, list[Path]]:
    folder = tmp_path / "messy"
    good = write_good(folder)
    write_bad(folder)
    write_ignored(folder)
    return folder, good


def test_a_messy_folder(cli, messy: tuple[Path, list[Path]], weights: Path):
    folder, good = messy
    indexed = cli("index", "messy", "--weights", weights)
    assert f"{len(good)} indexed" in indexed.stderr
    assert f"{len(BAD)} rejected" in indexed.stderr
    aside = ["hidden: 2", ".txt: 1 (messy/notes.txt)", "links to folders: 1 (messy/deeper/around)"]
    assert sorted(indexed.stderr.splitlines()[0].removeprefix("left aside: ").split("; ")) == sorted(aside)
    (stats,) = cli("stats", "--rejected", "--json").json
    assert (stats["images"], stats["rejected"]) == (len(good), len(BAD))
    reasons = {Path(item["path"]).name: item["reason"] for item in stats["rejections"]}
    assert sorted(reasons) == sorted(BAD)
    for name, word in BAD.items():
        assert word in reasons[name], (name, reasons[name])
        assert Path(stats["rejections"][0]["path"]).parent == folder
    assert cli("verify", "--json").json == [{"ok": True, "images": len(good), "problems": []}]

    found = cli("query", *good, "--json", "--top", 2).json
    for path, line in zip(good, found, strict=True):
        assert line["matches"][0]["path"] == str(path)
        assert line["matches"][0]["distance"] < 1e-4 < line["matches"][1]["distance"]

    again = cli("index", "messy")
    assert f"0 indexed (0 of them changed), {len(good)} unchanged" in again.stderr
    for name in BAD:  # none of them may stop a query either
        if "\\" not in name:
            assert BAD[name] in cli("query", folder / name, code=1).error


def test_nothing_hangs_or_fails_in_show_either(cli, messy: tuple[Path, list[Path]], weights: Path):
    folder, _ = messy
    for name in ("fifo.jpg", "loop.png", "bomb.png", "corrupt.png"):
        assert BAD[name] in cli("show", folder / name, "--weights", weights, code=1).error
    cli("show", folder / "cmyk.jpg", "--weights", weights, "--output", "cmyk.png")
