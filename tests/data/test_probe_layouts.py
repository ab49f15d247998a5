"""Partial-REID, Partial-iLIDS and Occluded-REID as they are unpacked, and as they are passed on."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from vpmsearch.data.datasets import read_dataset, read_gallery
from vpmsearch.errors import DataError

LAYOUTS = {
    "partial-reid": ("Partial-REID_Dataset", "partial_body_images", "whole_body_images", "{0:03d}_{1:03d}.jpg"),
    "partial-reid-occluded": ("Partial_REID", "occluded_body_images", "whole_body_images", "{0:03d}_{1:03d}.jpg"),
    "partial-ilids": ("Partial_iLIDS", "Probe", "Gallery", "{0:03d}.jpg"),
    "occluded-reid": ("Occluded_REID", "occluded_body_images", "whole_body_images", "{0:03d}/{0:03d}_{1:02d}.tif"),
}


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def unpack(root: Path, query: str, gallery: str, pattern: str) -> None:
    for folder in (query, gallery):
        for pid in (1, 60):
            for shot in (1, 2):
                touch(root / folder / pattern.format(pid, shot))
    touch(root / query / "Thumbs.db")


@pytest.mark.parametrize("passed_on", [False, True])
@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("name", LAYOUTS)
def test_both_splits(tmp_path: Path, name: str, inside: bool, passed_on: bool):
    inner, query, gallery, pattern = LAYOUTS[name]
    folders = ("query", "gallery") if passed_on else (query, gallery)
    unpack(tmp_path / inner if inside else tmp_path, *folders, pattern)
    shots = 1 if name == "partial-ilids" else 2
    dataset = read_dataset(name, tmp_path)
    assert (dataset.name, dataset.train) == (name, ())
    for images, camid in ((dataset.query, 0), (dataset.gallery, 1)):
        assert [(image.pid, image.camid) for image in images] == [(1, camid)] * shots + [(60, camid)] * shots
        assert all(image.path.is_file() for image in images)
    assert read_gallery(name, tmp_path) == list(dataset.gallery)


def test_the_two_query_folders_of_partial_reid_are_two_data_sets(tmp_path: Path):
    for folder in ("partial_body_images", "occluded_body_images", "whole_body_images"):
        touch(tmp_path / folder / "001_001.jpg")
    partial, occluded = (read_dataset(name, tmp_path).query for name in ("partial-reid", "partial-reid-occluded"))
    assert partial[0].path.parent.name == "partial_body_images"
    assert occluded[0].path.parent.name == "occluded_body_images"


def test_pictures_as_tif_can_be_read(tmp_path: Path):
    from vpmsearch.data.images import load_image

    unpack(tmp_path, "query", "gallery", "{0:03d}/{0:03d}_{1:02d}.tif")
    (first, *_) = read_dataset("occluded-reid", tmp_path).query
    Image.new("RGB", (8, 16), (10, 200, 30)).save(first.path)
    assert load_image(first.path).getpixel((3, 3)) == (10, 200, 30)


def test_what_is_wrong_is_named(tmp_path: Path):
    with pytest.raises(
        DataError, match=r"no Probe and Gallery, nor partial_body_images .*, nor query and gallery.*Partial_iLIDS"
    ):
        read_dataset("partial-ilids", tmp_path)
    touch(tmp_path / "Probe" / "001.jpg")
    with pytest.raises(DataError, match=r"no Gallery, nor .* \(there are Probe\)"):
        read_gallery("partial-ilids", tmp_path)
    (tmp_path / "Gallery").mkdir()
    with pytest.raises(DataError, match="no images"):
        read_gallery("partial-ilids", tmp_path)
    bad = touch(tmp_path / "Gallery" / "anna.jpg")
    with pytest.raises(DataError, match=r"anna\.jpg is not named as in Partial-iLIDS"):
        read_dataset("partial-ilids", tmp_path)
    bad.rename(touch(tmp_path / "Gallery" / "007" / "008_01.jpg"))
    with pytest.raises(DataError, match="another identity"):
        read_dataset("partial-ilids", tmp_path)


def test_occluded_duke_lies_as_market(tmp_path: Path):
    for name in ("bounding_box_train/0001_c2_f0046182.jpg", "query/0005_c2_f0046985.jpg",
                 "bounding_box_test/0005_c1_f0046985.jpg"):  # fmt: skip
        touch(tmp_path / "Occluded_Duke" / name)
    dataset = read_dataset("market1501", tmp_path)
    assert [len(split) for split in (dataset.train, dataset.query, dataset.gallery)] == [1, 1, 1]
