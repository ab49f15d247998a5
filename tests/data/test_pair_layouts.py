"""CUHK03, CUHK01 and the set of two cameras and eight angles, as their repositories unpack them."""

from __future__ import annotations

from pathlib import Path

import pytest

from vpmsearch.data.datasets import read_dataset, read_gallery
from vpmsearch.errors import DataError


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def labels(images):
    return [(image.path.name, image.pid, image.camid) for image in images]


@pytest.fixture
def cuhk(tmp_path):
    for boxes in ("labeled", "detected"):
        for folder, pid in (("train", 0), ("train", 742), ("val", 0)):
            touch(*(tmp_path / boxes / folder / f"{pid:04d}_{image:02d}.jpg" for image in (0, 4, 5, 9)))
    for pid in (1, 485, 486):
        touch(*(tmp_path / "CUHK01/campus" / f"{pid:04d}{image:03d}.png" for image in (1, 2, 3, 4)))
    touch(tmp_path / "labeled/val/Thumbs.db")
    return tmp_path


@pytest.mark.parametrize(("name", "boxes"), [("cuhk03", ["detected", "labeled"]), ("cuhk03-detected", ["detected"])])
def test_cuhk03(cuhk, name, boxes):
    dataset = read_dataset(name, cuhk)
    assert (dataset.name, dataset.train_pids) == (name, (0, 742))
    assert sorted({image.path.parts[-3] for image in dataset.train}) == boxes
    assert len(dataset.train) == 8 * len(boxes)
    # Images 00-04 are of camera 1, 05-09 of camera 2; `val` has another person 0 than `train`.
    assert {(image.path.name[5:7], image.camid) for image in dataset.train} == {
        ("00", 1),
        ("04", 1),
        ("05", 2),
        ("09", 2),
    }
    assert labels(dataset.query) == [("0000_00.jpg", 10_000, 1), ("0000_04.jpg", 10_000, 1)]
    assert labels(dataset.gallery) == [("0000_05.jpg", 10_000, 2), ("0000_09.jpg", 10_000, 2)]
    assert {image.path.parts[-3] for image in (*dataset.query, *dataset.gallery)} == {boxes[-1]}
    assert read_gallery(name, cuhk) == list(dataset.gallery)


@pytest.mark.parametrize("inner", ["", "CUHK01"])
def test_cuhk01(cuhk, inner):
    dataset = read_dataset("cuhk01", cuhk / inner)
    assert dataset.train_pids == (1, 485)
    assert labels(dataset.query) == [("0486001.png", 486, 1), ("0486002.png", 486, 1)]
    assert labels(dataset.gallery) == [("0486003.png", 486, 2), ("0486004.png", 486, 2)]
    assert read_gallery("cuhk01", cuhk) == list(dataset.gallery)


def test_two_cameras_and_eight_angles(tmp_path):
    data = tmp_path / "data"
    touch(data / "train/001/01_1.png", data / "train/001/02_8.png")
    touch(*(data / "val" / split / "004/02_3.png" for split in ("all_imgs", "gallery", "query")))
    dataset = read_dataset("pku-reid", tmp_path)
    assert dataset.train == ()
    assert labels(dataset.query) == [("01_1.png", 1, 1), ("02_8.png", 1, 2), ("02_3.png", 4, 2)]
    assert dataset.gallery == dataset.query, "an image in three folders is one image"
    assert read_gallery("pku-reid", tmp_path) == list(dataset.gallery)


@pytest.mark.parametrize(
    ("name", "wrong", "message"),
    [
        ("cuhk03", "labeled/train/0001_10.jpg", "images 00 to 09"),
        ("cuhk03", "labeled/val/portrait.jpg", "not named such as 0000_00.jpg"),
        ("cuhk01", "CUHK01/campus/0001005.png", "images 001 to 004"),
        ("cuhk01", "CUHK01/campus/0001000.png", "images 001 to 004"),
        ("cuhk01", "CUHK01/campus/1.png", "not named such as 0001001.png"),
    ],
)
def test_a_file_of_another_name_is_refused(cuhk, name, wrong, message):
    touch(cuhk / wrong)
    with pytest.raises(DataError, match=message):
        read_dataset(name, cuhk)


def test_what_is_missing_is_named(cuhk, tmp_path):
    for name, root in (("cuhk03", cuhk / "CUHK01"), ("cuhk01", cuhk / "labeled"), ("pku-reid", cuhk)):
        with pytest.raises(DataError, match="does not hold"):
            read_dataset(name, root)
    touch(tmp_path / "p/train/others/01_1.png", tmp_path / "p/val/query/004/01_1.png")
    with pytest.raises(DataError, match="in no identity's folder"):
        read_dataset("pku-reid", tmp_path / "p")
