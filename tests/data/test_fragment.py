"""Parts of photographs as paths, and the pixels behind them."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from vpmsearch.data.fragment import Part, PixelBox, box_from, file_of, is_there, parse_box, part_of, with_box
from vpmsearch.data.images import boxed, content_hash, image_size, load_image, read_image
from vpmsearch.data.reading import SceneReader, scene_name
from vpmsearch.errors import DataError, ImageError

sides = st.integers(1, 5000)
boxes = st.builds(PixelBox, st.integers(0, 5000), st.integers(0, 5000), sides, sides)


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(3).integers(0, 256, (90, 160, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "scene.png")
    return tmp_path / "scene.png"


@given(st.none() | boxes, st.none() | st.integers(0, 10**9).map(lambda n: n / 1000))
def test_a_part_is_read_back_as_it_was_written(box: PixelBox | None, seconds: float | None) -> None:
    part = Part("dir/a b#c.mp4", box, seconds)
    assert part_of(part.path) == part
    assert file_of(part.path) == "dir/a b#c.mp4"


@pytest.mark.parametrize(
    "name",
    ["a.jpg", "a#b.jpg", "a.jpg#", "a.jpg#xywh=1,2,3", "a.jpg#xywh=-1,2,3,4", "a.jpg#t=", "a.jpg#xywh=1,2,3,4.jpg"],
)
def test_other_names_are_names(name: str) -> None:
    assert part_of(name) == Part(name)


def test_a_file_whose_name_ends_so_is_that_file(scene: Path) -> None:
    odd = scene.with_name("scene.png#xywh=1,2,3,4")
    odd.write_bytes(scene.read_bytes())
    assert part_of(odd) == Part(str(odd))
    assert load_image(odd).size == (160, 90)
    assert load_image(f"{odd}#xywh=1,2,3,4").size == (3, 4)  # and a part of it
    odd.unlink()
    assert load_image(odd).size == (3, 4)


def test_a_part_has_the_pixels_of_the_same_crop_as_a_file(scene: Path) -> None:
    whole = np.asarray(Image.open(scene))
    path = f"{scene}#xywh=10,20,60,50"
    assert np.array_equal(np.asarray(load_image(path)), whole[20:70, 10:70])
    assert image_size(path) == (60, 50)
    beyond = np.asarray(load_image(f"{scene}#xywh=150,80,60,50"))
    assert np.array_equal(beyond, whole[80:, 150:])
    digest, _ = read_image(path)
    assert digest == content_hash(path) != content_hash(scene)
    assert content_hash(path) != content_hash(f"{scene}#xywh=10,20,60,51")
    twin = scene.with_name("other.png")
    twin.write_bytes(scene.read_bytes())
    assert content_hash(f"{twin}#xywh=10,20,60,50") == digest  # the same part of the same bytes


@pytest.mark.parametrize("suffix", ["#xywh=160,0,5,5", "#xywh=0,90,5,5", "#xywh=1,1,0,5", "#t=3", "#t=3&xywh=1,1,5,5"])
def test_what_is_not_in_the_picture_is_refused(scene: Path, suffix: str) -> None:
    for read in (load_image, image_size) if "t=" not in suffix else (load_image,):
        with pytest.raises(ImageError):
            read(f"{scene}{suffix}")


def test_boxes_are_of_the_upright_picture(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    for name in ("a.jpg", "a.png"):
        Image.new("RGB", (40, 20), (9, 9, 9)).save(tmp_path / name, exif=exif)
        assert image_size(tmp_path / name) == (20, 40) == load_image(tmp_path / name).size


def test_boxes_by_hand(scene: Path) -> None:
    assert parse_box("10,20,60,50") == parse_box("xywh=9.6, 19.7,60,50.2") == PixelBox(10, 20, 60, 50)
    for bad in ("", "1,2,3", "a,b,c,d", "1,2,0,4", "1,2,nan,4", "1,2,inf,4", "1,2,3,4,5"):
        with pytest.raises(DataError):
            parse_box(bad)
    assert boxed(scene, PixelBox(-10, 80, 50, 50)) == f"{scene}#xywh=0,80,40,10"
    assert boxed(f"{scene}#xywh=100,10,50,60", PixelBox(10, 10, 99, 99)) == f"{scene}#xywh=110,20,40,50"
    with pytest.raises(ImageError):
        boxed(scene, PixelBox(200, 0, 5, 5))
    with pytest.raises(ImageError):
        with_box(scene, PixelBox(-9, 0, 5, 5))


@given(st.floats(-500, 500), st.floats(-500, 500), st.floats(0.01, 500), st.floats(0.01, 500))
def test_edges_are_the_nearest_pixels(x: float, y: float, width: float, height: float) -> None:
    box = box_from(x, y, width, height)
    assert box is not None
    assert abs(box.x - x) <= 0.5
    assert abs(box.y - y) <= 0.5
    assert box.width >= 1
    assert abs(box.x + box.width - (x + width)) <= 0.5 or box.width == 1


def test_whether_a_part_is_there_says_its_file(scene: Path) -> None:
    assert is_there(f"{scene}#xywh=1,1,5,5")
    assert not is_there(f"{scene}x#xywh=1,1,5,5")
    assert file_of(f"{scene}#xywh=1,1,0,5") == str(scene)  # also of a box that cannot be used
    assert scene_name(f"{scene}#xywh=1,1,5,5") == "scene.png"


def test_parts_of_one_scene_are_decoded_once(scene: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from vpmsearch.data import reading

    decoded = []
    whole = reading.read_scene
    monkeypatch.setattr(reading, "read_scene", lambda part: decoded.append(part.file) or whole(part))
    twin = scene.with_name("twin.png")
    twin.write_bytes(scene.read_bytes())
    with SceneReader(2) as reader:
        for box in ("1,1,5,5", "2,2,9,9", "3,3,20,20"):
            for file in (scene, twin):
                path = f"{file}#xywh={box}"
                digest, image = reader.read(path)
                assert digest == content_hash(path)
                assert np.array_equal(np.asarray(image), np.asarray(load_image(path)))
    assert decoded == [str(scene), str(twin)]


def test_a_scene_that_cannot_be_read_is_so_for_each_part(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"nothing")
    with SceneReader(2) as reader:
        for _ in range(2):
            with pytest.raises(ImageError, match="not an image"):
                reader.read(f"{tmp_path / 'a.jpg'}#xywh=1,1,5,5")


def test_a_jpeg_is_cut_from_all_its_pixels(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (400, 400, 3), dtype=np.uint8)).save(buffer, "JPEG")
    (tmp_path / "a.jpg").write_bytes(buffer.getvalue())
    whole = np.asarray(load_image(tmp_path / "a.jpg"))
    assert np.array_equal(np.asarray(load_image(f"{tmp_path / 'a.jpg'}#xywh=5,6,70,80")), whole[6:86, 5:75])
