"""Decoding, resizing and finding images."""

import contextlib
import copy
import hashlib
import io
import math
import os
import re
import socket
import struct
import threading
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from vpmsearch.data import decoding, images
from vpmsearch.data.image_files import image_files
from vpmsearch.data.images import content_hash, load_image, read_image, to_array
from vpmsearch.errors import DataError, ImageError
from vpmsearch.words import printable


def picture(height=24, width=16, seed=0):
    """Smooth, so that lossy formats keep it nearly as it is, and different in every corner."""
    y, x = np.mgrid[0:height, 0:width]
    channels = [y * 255 / height, x * 255 / width, 255 - y * 120 / height - x * 120 / width]
    return Image.fromarray(np.rint(np.stack(channels, axis=-1)).astype(np.uint8))


def saved(path, image=None, **options):
    (image or picture()).save(path, **options)
    return path


def palette_image():
    image = Image.new("P", (4, 4), 3)
    image.putpalette([9, 8, 7] * 8)
    return image


def exif(orientation):
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


def reason(path):
    with pytest.raises(ImageError) as caught:
        load_image(path)
    message = str(caught.value)
    assert "\n" not in message
    assert message.count(printable(path)) == 1
    assert caught.value.reason in message
    assert printable(path) not in caught.value.reason
    return caught.value.reason


# formats and modes ------------------------------------------------------------------------------------


@pytest.mark.parametrize("extension", ["jpg", "png", "bmp", "webp", "tif", "gif", "ppm", "avif"])
def test_formats(tmp_path, extension):
    options = {"quality": 95} if extension in ("jpg", "webp", "avif") else {}
    loaded = load_image(saved(tmp_path / f"a.{extension}", **options))
    assert loaded.mode == "RGB"
    assert loaded.size == (16, 24)
    assert loaded.info == {"full_size": (16, 24)}
    difference = np.asarray(loaded).astype(int) - np.asarray(picture())
    limit = {"png": 0, "bmp": 0, "tif": 0, "ppm": 0}.get(extension, 40)
    assert np.abs(difference).max() <= limit
    assert abs(difference.mean()) < 4


def test_extension_says_nothing_about_the_format(tmp_path):
    saved(tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / "a.jpg")
    assert load_image(tmp_path / "a.jpg").size == (16, 24)


@pytest.mark.parametrize(
    ("image", "options", "expected"),
    [
        (Image.new("1", (4, 4), 1), {}, (255, 255, 255)),
        (Image.new("L", (4, 4), 77), {}, (77, 77, 77)),
        (Image.new("LA", (4, 4), (0, 0)), {}, (255, 255, 255)),
        (Image.new("LA", (4, 4), (40, 255)), {}, (40, 40, 40)),
        (Image.new("RGBA", (4, 4), (10, 20, 30, 255)), {}, (10, 20, 30)),
        (Image.new("RGBA", (4, 4), (0, 0, 0, 0)), {}, (255, 255, 255)),
        (Image.new("RGBA", (4, 4), (0, 0, 0, 51)), {}, (204, 204, 204)),
        (palette_image(), {"transparency": 3}, (255, 255, 255)),
        (palette_image(), {}, (9, 8, 7)),
        (Image.new("L", (4, 4), 9), {"transparency": 9}, (255, 255, 255)),
        (Image.new("RGB", (4, 4), (1, 2, 3)), {"transparency": (1, 2, 3)}, (255, 255, 255)),
        (Image.new("RGB", (4, 4), (1, 2, 3)), {"transparency": (9, 9, 9)}, (1, 2, 3)),
    ],
)
def test_modes(tmp_path, image, options, expected):
    loaded = load_image(saved(tmp_path / "a.png", image, **options))
    assert loaded.mode == "RGB"
    assert set(loaded.get_flattened_data()) == {expected}


@pytest.mark.parametrize("extension", ["png", "tif", "pgm"])
def test_16_bits_are_stretched_to_their_range(tmp_path, extension):
    shown = [0, 1, 128, 255]
    for values in ([0, 257, 32768, 65535], [0, 16, 2048, 4095], [7000, 7006, 7753, 8500]):  # full, 12 bits, raw counts
        grey = Image.fromarray(np.array([values], dtype=np.uint16))
        loaded = load_image(saved(tmp_path / f"a.{extension}", grey))
        assert np.asarray(loaded)[0, :, 0].tolist() == shown
        assert np.asarray(loaded)[0, :, 2].tolist() == shown


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([[0, 65535]], dtype=np.int32), [0, 255]),
        (np.array([[-100, 0, 300]], dtype=np.int32), [0, 64, 255]),
        (np.array([[0, 2**31 - 1]], dtype=np.int32), [0, 255]),
        (np.array([[0.0, 0.5, 1.0]], dtype=np.float32), [0, 128, 255]),
        (np.array([[0.25, 0.5, 0.75]], dtype=np.float32), [0, 128, 255]),
        (np.array([[288.0, 298.0, 308.0]], dtype=np.float32), [0, 128, 255]),  # kelvin
        (np.array([[0.0, 5.0, 20.0]], dtype=np.float32), [0, 64, 255]),
        (np.array([[7e4, 7e4]], dtype=np.float32), [0, 0]),
    ],
)
def test_wide_grey_is_scaled(tmp_path, values, expected):
    loaded = load_image(saved(tmp_path / "a.tif", Image.fromarray(values)))
    assert np.asarray(loaded)[0, :, 1].tolist() == expected


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32])
def test_a_tiff_whose_zero_is_white_is_shown_white(tmp_path, kind):
    path = saved(tmp_path / "a.tif", Image.fromarray(np.array([[0, 64, 255]], dtype=kind)))
    data = bytearray(path.read_bytes())
    entry = data.index(struct.pack("<HHIH", 262, 3, 1, 1))  # PhotometricInterpretation, one SHORT, 1: BlackIsZero
    for photometric, expected in ((1, [0, 64, 255]), (0, [255, 191, 0])):
        data[entry + 8] = photometric
        path.write_bytes(data)
        assert np.asarray(load_image(path))[0, :, 1].tolist() == expected


def test_grey_that_is_not_finite_is_refused(tmp_path):
    path = saved(tmp_path / "a.tif", Image.fromarray(np.array([[0.0, math.nan]], dtype=np.float32)))
    assert "not finite" in reason(path)


def test_cmyk(tmp_path):
    cyan = Image.new("CMYK", (8, 8), (255, 0, 0, 0))
    for name in ("a.jpg", "a.tif"):
        red, green, blue = load_image(saved(tmp_path / name, cyan)).getpixel((4, 4))
        assert red < 20
        assert min(green, blue) > 150


def test_first_frame_counts(tmp_path):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue", "green")]
    for name in ("a.gif", "a.png", "a.tif", "a.webp"):
        path = saved(tmp_path / name, frames[0], save_all=True, append_images=frames[1:])
        red, _, blue = load_image(path).getpixel((4, 4))
        assert red > 240
        assert blue < 15


@pytest.mark.parametrize("extension", ["jpg", "png", "tif", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path, extension, orientation):
    # What the camera stored for each orientation so that it shows upright: numpy as the oracle.
    upright = np.asarray(picture(32, 16))
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    options = {"quality": 95} if extension in ("jpg", "webp") else {}
    image = Image.fromarray(np.ascontiguousarray(stored))
    path = saved(tmp_path / f"a.{extension}", image, exif=exif(orientation), **options)
    loaded = load_image(path)
    assert loaded.info["full_size"] == loaded.size == (16, 32)
    assert np.abs(np.asarray(loaded).astype(int) - upright).mean() < 4


@pytest.mark.parametrize("block", [b"Exif\0\0garbage", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0", b"\0" * 9])
def test_damaged_metadata_spoils_no_image(tmp_path, block):
    for name in ("a.jpg", "a.png", "a.webp"):
        assert load_image(saved(tmp_path / name, exif=block)).size == (16, 24)


@pytest.mark.parametrize("orientation", [1, 6])
def test_shrinking_while_decoding(tmp_path, orientation):
    upright = (400, 600) if orientation == 1 else (600, 400)
    path = saved(tmp_path / "a.jpg", picture(600, 400), exif=exif(orientation))
    loaded = load_image(path, shrink_to=(64, 32))
    assert loaded.info["full_size"] == upright
    assert 2 * 32 <= loaded.width < upright[0]
    assert 2 * 64 <= loaded.height < upright[1]
    full = to_array(load_image(path), (64, 32)).astype(int)
    assert np.abs(to_array(loaded, (64, 32)) - full).mean() < 2
    assert load_image(path, shrink_to=(600, 400)).size == upright
    png = load_image(saved(tmp_path / "a.png", picture(600, 400)), shrink_to=(64, 32))
    assert png.size == png.info["full_size"] == (400, 600)


# what cannot be read --------------------------------------------------------------------------------------


def test_not_a_regular_file(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "fifo.jpg")
    assert "FIFO" in reason(tmp_path / "fifo.jpg")
    (tmp_path / "folder.jpg").mkdir()
    assert "folder" in reason(tmp_path / "folder.jpg")
    assert "device" in reason(Path("/dev/zero"))
    with socket.socket(socket.AF_UNIX) as server:
        monkeypatch.chdir(tmp_path)  # a socket's name may have 107 bytes
        server.bind("s.jpg")
        assert "socket" in reason(tmp_path / "s.jpg")


def test_missing_empty_and_not_an_image(tmp_path):
    assert "no such file" in reason(tmp_path / "gone.jpg")
    (tmp_path / "link.jpg").symlink_to(tmp_path / "gone.jpg")
    assert "no such file" in reason(tmp_path / "link.jpg")
    (tmp_path / "loop.jpg").symlink_to(tmp_path / "loop.jpg")
    assert "cannot be read" in reason(tmp_path / "loop.jpg")
    (tmp_path / "empty.jpg").touch()
    assert "empty" in reason(tmp_path / "empty.jpg")
    (tmp_path / "text.jpg").write_text("not an image\n" * 10)
    assert "not an image" in reason(tmp_path / "text.jpg")
    assert "cannot be read" in reason(tmp_path / "text.jpg" / "below.jpg")


@pytest.mark.parametrize("name", ["a\0b.jpg", "\ud800.jpg", "x" * 300 + ".jpg"])
def test_impossible_names(tmp_path, name):
    reason(str(tmp_path / name))


def test_no_exotic_decoder_runs(tmp_path):
    # Pillow knows EPS, and would start Ghostscript.
    (tmp_path / "a.jpg").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n")
    assert "not an image" in reason(tmp_path / "a.jpg")
    saved(tmp_path / "a.ico", picture(16, 16))
    (tmp_path / "a.ico").rename(tmp_path / "b.png")
    assert "not an image" in reason(tmp_path / "b.png")


def test_permission_and_io_errors(tmp_path, monkeypatch):
    path = saved(tmp_path / "a.png")

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "open", refuse)
    assert reason(path) == "cannot be read (Permission denied)"


def test_too_many_pixels(tmp_path):
    path = saved(tmp_path / "a.png")
    assert load_image(path, max_pixels=16 * 24).size == (16, 24)
    with pytest.raises(ImageError, match="limit of 383 pixels"):
        load_image(path, max_pixels=16 * 24 - 1)


@pytest.mark.parametrize("side", [9_000, 10_000, 60_000])
def test_decompression_bomb(tmp_path, side):
    # Below Pillow's warning, between its warning and its error, beyond its error: one answer, no warning.
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    assert "limit" in reason(tmp_path / "a.png")


def test_too_many_bytes(tmp_path, monkeypatch):
    path = saved(tmp_path / "a.png")
    monkeypatch.setattr(images, "MAX_FILE_BYTES", path.stat().st_size)
    assert load_image(path).size == (16, 24)
    monkeypatch.setattr(images, "MAX_FILE_BYTES", path.stat().st_size - 1)
    assert "limit" in reason(path)


@pytest.mark.parametrize("extension", ["jpg", "png", "bmp", "webp", "tif", "gif", "ppm", "avif"])
def test_truncated(tmp_path, extension):
    data = saved(tmp_path / f"a.{extension}", picture(96, 64)).read_bytes()
    for share in (0.2, 0.5, 0.8):
        path = tmp_path / "cut"
        path.write_bytes(data[: int(len(data) * share)])
        reason(path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    extension=st.sampled_from(["JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "PPM"]),
    edits=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=8),
)
def test_any_damage_gives_an_image_or_an_image_error(tmp_path, extension, edits):
    buffer = io.BytesIO()
    picture().save(buffer, extension, exif=exif(6))
    data = bytearray(buffer.getvalue())
    for place, value in edits:
        data[int(place * len(data))] = value
    path = tmp_path / "a"
    path.write_bytes(data)
    with contextlib.suppress(ImageError):
        assert load_image(path, max_pixels=10_000).mode == "RGB"


def test_warnings_neither_leak_nor_are_lost_in_threads(tmp_path):
    # This EXIF makes Pillow warn at each load; warnings are errors in the tests.
    path = saved(tmp_path / "a.jpg", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff")
    before = list(warnings.filters)
    failures = []

    def work():
        try:
            for _ in range(50):
                load_image(path)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert list(warnings.filters) == before
    with pytest.raises(UserWarning):
        warnings.warn("still an error", stacklevel=1)


def test_image_error_survives_copying():
    # What carries it from a worker process copies it the same way.
    error = copy.copy(ImageError("damaged", "a.jpg"))
    assert (str(error), error.reason, error.path) == ("a.jpg: damaged", "damaged", "a.jpg")


# hashes ---------------------------------------------------------------------------------------------------------


def test_hash_and_image_are_of_the_same_bytes(tmp_path):
    path = saved(tmp_path / "a.png")
    digest, image = read_image(path)
    assert digest == content_hash(path) == hashlib.blake2b(path.read_bytes(), digest_size=32).hexdigest()[:32]
    np.testing.assert_array_equal(np.asarray(image), np.asarray(load_image(path)))
    with path.open("ab") as file:
        file.write(b"x")
    assert content_hash(path) != digest
    with pytest.raises(ImageError, match="no such file"):
        content_hash(tmp_path / "gone.png")


# to_array -------------------------------------------------------------------------------------------------------


def plain_resize(pixels, size, box):
    """Triangle filter as wide as the shrinkage, one axis after the other, float64 loops; (H, W, 3)."""

    def axis_weights(length, low, high, count):
        scale = (high - low) / count
        support = max(scale, 1.0)
        table = np.zeros((count, length))
        for out in range(count):
            centre = low + (out + 0.5) * scale
            for source in range(length):
                inside = centre - support <= source + 0.5 <= centre + support
                table[out, source] = max(0.0, 1 - abs(source + 0.5 - centre) / support) if inside else 0.0
        return table / table.sum(axis=1, keepdims=True)

    left, top, right, bottom = box
    # Nothing outside of the pixels that the box touches has a say.
    x, y = math.floor(left), math.floor(top)
    pixels = pixels[y : math.ceil(bottom), x : math.ceil(right)]
    left, top, right, bottom = left - x, top - y, right - x, bottom - y
    rows = axis_weights(pixels.shape[0], top, bottom, size[0])
    columns = axis_weights(pixels.shape[1], left, right, size[1])
    return np.einsum("hy,yxc,wx->hwc", rows, pixels.astype(np.float64), columns)


@pytest.mark.parametrize("size", [(8, 4), (24, 16), (50, 33), (1, 1), (5, 60)])
@pytest.mark.parametrize("box", [None, (0, 0, 16, 24), (3, 5, 12, 20), (2.5, 0.25, 15.75, 19.5)])
def test_resize_matches_plain_loop(size, box):
    pixels = np.random.default_rng(0).integers(0, 256, (24, 16, 3), dtype=np.uint8)
    result = to_array(Image.fromarray(pixels), size, box)
    assert result.shape == (*size, 3)
    assert result.dtype == np.uint8
    assert result.flags.writeable
    expected = plain_resize(pixels, size, box or (0, 0, 16, 24))
    # Pillow rounds to 8 bits after each axis.
    assert np.abs(result - expected).max() <= 1.01


def test_same_size_keeps_the_pixels():
    image = picture()
    np.testing.assert_array_equal(to_array(image, (24, 16)), np.asarray(image))


def test_other_modes_are_converted():
    assert to_array(Image.new("L", (4, 4), 5), (2, 3)).tolist() == [[[5, 5, 5]] * 3] * 2


def test_box_may_miss_the_edge_by_rounding():
    image = picture()
    exact = to_array(image, (8, 8), (0, 0, 16, 24))
    np.testing.assert_array_equal(to_array(image, (8, 8), (-1e-9, 0, 16 + 1e-9, 24 + 1e-6)), exact)


@pytest.mark.parametrize(
    "box", [(0, 0, 17, 24), (-1, 0, 16, 24), (5, 5, 5, 9), (9, 0, 3, 24), (0, 0, math.nan, 24), (16, 0, 16.0005, 24)]
)
def test_bad_boxes_are_refused(box):
    with pytest.raises(DataError, match="box"):
        to_array(picture(), (8, 8), box)


@pytest.mark.parametrize("size", [(0, 8), (8, -1)])
def test_bad_sizes_are_refused(size):
    with pytest.raises(DataError, match="at least 1"):
        to_array(picture(), size)


# image_files ----------------------------------------------------------------------------------------------------


def names(folder):
    return [str(path.relative_to(folder)) for path in image_files(folder)]


def test_finds_images_in_order(tmp_path):
    for name in ("b.JPG", "a.png", "c/z.jpeg", "c/d/e.Tiff", "é.webp", "c.x/y.bmp", "..a.gif/q.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    for name in ("Thumbs.db", ".hidden.jpg", "._a.jpg", "notes.txt", "jpg", "a.jpg.part"):
        (tmp_path / name).touch()
    for folder in (".git", "@eaDir", "__MACOSX"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.jpg").touch()
    (tmp_path / "d.jpg").mkdir()
    assert names(tmp_path) == ["a.png", "b.JPG", "c.x/y.bmp", "c/d/e.Tiff", "c/z.jpeg", "é.webp"]


def test_follows_links_to_files_but_not_to_folders(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a.jpg").touch()
    (tmp_path / "real" / "loop").symlink_to(tmp_path)
    (tmp_path / "b.jpg").symlink_to(tmp_path / "real" / "a.jpg")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert names(tmp_path) == ["b.jpg", "real/a.jpg"]
    assert names(tmp_path / "link") == ["a.jpg"]


def test_names_of_any_bytes(tmp_path):
    for name in (b"\xff\xfe.jpg", b"a\nb.jpg", "日本.jpg".encode()):
        saved(tmp_path / os.fsdecode(name))
    found = image_files(tmp_path)
    assert [os.fsencode(path.name) for path in found] == [b"a\nb.jpg", "日本.jpg".encode(), b"\xff\xfe.jpg"]
    assert all(load_image(path).size == (16, 24) for path in found)
    for path in found:
        path.write_bytes(b"")
        reason(path).encode()
        printable(path).encode()


def test_relative_folder(tmp_path, monkeypatch):
    (tmp_path / "a.jpg").touch()
    monkeypatch.chdir(tmp_path)
    assert image_files("") == image_files(".") == [Path("a.jpg")]


def test_folders_that_cannot_be_listed(tmp_path, monkeypatch):
    assert image_files(tmp_path) == []
    with pytest.raises(DataError, match="No such file"):
        image_files(tmp_path / "gone")
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="Not a directory"):
        image_files(tmp_path / "file")
    (tmp_path / "closed").mkdir()
    scan = os.scandir

    def refuse(path):
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DataError, match="closed: the folder cannot be listed"):
        image_files(tmp_path)


def heic(tmp_path, size=(40, 80)):
    pillow_heif = pytest.importorskip("pillow_heif")
    path = tmp_path / "photo.HEIC"
    pillow_heif.from_pillow(Image.new("RGB", size, (200, 30, 40))).save(path, quality=90)
    return path


def test_heic_is_read_where_its_decoder_is_installed(tmp_path):
    path = heic(tmp_path)
    image = load_image(path)
    assert image.size == (40, 80)
    assert np.allclose(image.getpixel((20, 40)), (200, 30, 40), atol=8)
    assert image_files(tmp_path) == [path]
    renamed = path.rename(tmp_path / "called.jpg")
    assert load_image(renamed).size == (40, 80)


def test_heic_without_a_decoder_says_what_it_is(tmp_path, monkeypatch):
    path = heic(tmp_path)
    monkeypatch.setattr(decoding, "HEIC_EXTENSIONS", ())
    decoding._load_heic.cache_clear()
    assert reason(path).startswith("a HEIC photograph; `pip install 'vpmsearch[heic]'`")
    decoding._load_heic.cache_clear()


def test_damaged_heic_is_an_image_error(tmp_path):
    path = heic(tmp_path)
    data = path.read_bytes()
    for cut in (12, 40, len(data) // 2, len(data) - 7):
        path.write_bytes(data[:cut])
        assert "damaged" in reason(path) or "not an image" in reason(path)


def test_the_filter_is_the_one_that_the_onnx_page_names():
    """Who resizes before an exported model goes by that page; another filter moves every embedding."""
    page = (Path(__file__).parents[2] / "docs/decisions/0008-onnx.md").read_text()
    named = re.search(r"Image\.Resampling\.([A-Z]+)", page)
    pixels = np.random.default_rng(0).integers(0, 256, (90, 40, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    expected = image.resize((32, 64), Image.Resampling[named[1]])
    assert np.array_equal(to_array(image, (64, 32)), np.asarray(expected))
