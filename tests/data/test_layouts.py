"""Every row of the table of layouts reads its drawn example; roots that hold several sets or lie too high are told."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from tests.data.drawn_layouts import DRAWN, MARKET, MSMT, Drawn, boxes
from vpmsearch.data.datasets import read_dataset, read_gallery
from vpmsearch.data.guess import guesses
from vpmsearch.data.labelled import SPLITS, LabelledImage
from vpmsearch.data.layout_table import BY_NAME, LAYOUTS
from vpmsearch.errors import DataError
from vpmsearch.evaluation.labels import labels_of
from vpmsearch.evaluation.metrics import shares_key


def told(images, root: Path) -> list[tuple]:
    return sorted((str(i.path.relative_to(root)), i.pid, i.camid, i.track, i.clothes) for i in images)


def test_every_row_has_a_drawn_example_and_one_name():
    assert set(DRAWN) == set(BY_NAME)
    assert len(BY_NAME) == len(LAYOUTS)


@pytest.mark.parametrize("name", DRAWN)
def test_drawn_example(tmp_path: Path, name: str):
    layout, drawn = BY_NAME[name], DRAWN[name]
    root = drawn.write(tmp_path / "sets" / (layout.roots or ("x",))[0])
    dataset = read_dataset(name, root)
    for split in SPLITS:
        assert told(getattr(dataset, split), root) == drawn.of(split)
    assert dataset.protocol == layout.protocol
    gallery = drawn.of("gallery")
    for place in (root, root.parent):  # the root itself, and a folder too high that holds nothing else
        if gallery:
            assert told(read_gallery(name, place), root) == gallery
        for split in (split for split in SPLITS if drawn.of(split)):
            one = read_dataset(name, place, (split,))
            assert told(getattr(one, split), root) == drawn.of(split)
    missing = [split for split in SPLITS if not drawn.of(split)]
    for split in missing:
        with pytest.raises(DataError, match=f"has no {split} of its own"):
            read_dataset(name, root, (split,))


def test_who_is_a_distractor():
    rows = {name: BY_NAME[name].distractors for name in BY_NAME if BY_NAME[name].distractors}
    assert rows == {name: frozenset({0}) for name in ("market1501", "mars", "grid")}


def test_distractors_are_marked(tmp_path: Path):
    MARKET.write(tmp_path / "market")
    marked = {image.pid: image.distractor for image in read_gallery("market1501", tmp_path / "market")}
    assert marked == {0: True, 1: False}
    MSMT.write(tmp_path / "msmt")
    assert {(i.pid, i.distractor) for i in read_gallery("msmt17", tmp_path / "msmt")} == {(0, False)}


@pytest.mark.parametrize(
    "folders", [("query", "gallery"), ("partial_body_images", "whole_body_images"),
                ("occluded_body_images", "whole_body_images"), ("Probe", "Gallery")]
)  # fmt: skip
def test_partial_ilids_goes_round_in_four_ways(tmp_path: Path, folders: tuple[str, str]):
    for folder in folders:
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "007.jpg").touch()
    dataset = read_dataset("partial-ilids", tmp_path)
    assert [(i.pid, i.camid) for i in (*dataset.query, *dataset.gallery)] == [(7, 0), (7, 1)]


def test_msmt_of_version_1(tmp_path: Path):
    files = {name.replace("mask_", "").replace("_v2", ""): labels for name, labels in MSMT.files.items()}
    drawn = Drawn(files, MSMT.lists)
    root = drawn.write(tmp_path)
    assert told(read_dataset("msmt17", root).train, root) == drawn.of("train")


def test_only_what_is_needed_must_be_there(tmp_path: Path):
    MARKET.write(tmp_path)
    for path in (tmp_path / "bounding_box_train").iterdir():
        path.unlink()
    (tmp_path / "bounding_box_train").rmdir()
    assert len(read_dataset("market1501", tmp_path, ("query", "gallery")).query) == 1
    with pytest.raises(DataError, match=r"holds no bounding_box_train \(there are bounding_box_test, query\)"):
        read_dataset("market1501", tmp_path, ("train",))


def test_a_root_that_holds_several_sets_is_refused(tmp_path: Path):
    MARKET.write(tmp_path / "market1501" / "Market-1501-v15.09.15")
    DRAWN["dukemtmc-reid"].write(tmp_path / "dukemtmc-reid" / "DukeMTMC-reID")
    for read in (read_dataset, read_gallery):
        with pytest.raises(DataError, match=r"several data sets .*DukeMTMC-reID, .*Market-1501-v15\.09\.15; give"):
            read("market1501", tmp_path)
    # The names tell the one that has a layout of its own.
    assert len(read_gallery("dukemtmc-reid", tmp_path)) == 1
    both = {**boxes("{:04d}_c{}", "_1.png", "labeled/").files, **boxes("{:04d}_c{}", "_1.png", "detected/").files}
    Drawn(both).write(tmp_path / "cuhk03-np")
    with pytest.raises(DataError, match=r"several data sets .*detected, .*labeled"):
        read_gallery("market1501", tmp_path / "cuhk03-np")


@pytest.mark.parametrize("name", ["p-dukemtmc-reid", "veri", "ltcc"])
def test_train_and_query_are_never_taken_for_a_gallery(tmp_path: Path, name: str):
    DRAWN[name].write(tmp_path)
    with pytest.raises(DataError, match="holds no bounding_box_test"):
        read_gallery("market1501", tmp_path)


@pytest.mark.parametrize("name", ["msmt17", "ltcc", "cuhk01", "vc-clothes", "partial-ilids"])
def test_a_set_of_another_name_is_told(tmp_path: Path, name: str):
    root = DRAWN[name].write(tmp_path / BY_NAME[name].roots[0])
    for read in (
        lambda: read_dataset("market1501", root, ("query", "gallery")),
        lambda: read_gallery("market1501", root),
    ):
        with pytest.raises(DataError, match=f"bounding_box_test.*. It looks like .*: --dataset {name}$"):
            read()


def test_a_split_without_images_is_no_guess(tmp_path: Path):
    """People 1 to 485 of CUHK01 are none of those whom cuhk01-486 tests with."""
    DRAWN["cuhk01"].write(tmp_path / "CUHK01")
    found = {guess.layout.name: set(guess.splits) for guess in guesses(tmp_path / "CUHK01")}
    assert found == {"cuhk01": {"query", "gallery"}, "cuhk01-486": {"train"}}


def test_one_folder_of_a_set_is_read_by_itself(tmp_path: Path):
    MARKET.write(tmp_path)
    assert [image.pid for image in read_gallery("market1501", tmp_path / "query")] == [1]
    with pytest.raises(DataError, match="holds no Gallery, nor whole_body_images, nor gallery; give"):
        read_gallery("partial-ilids", tmp_path / "query")  # its names tell no camera


@pytest.mark.parametrize("name", ["p-dukemtmc-reid", "prcc", "viper", "sysu-mm01", "ilids-vid", "randperson"])
def test_the_layout_folder_takes_no_split_or_camera_for_a_person(tmp_path: Path, name: str):
    DRAWN[name].write(tmp_path / "set")
    with pytest.raises(DataError, match=r"no people|no identity's folder"):
        read_dataset("folder", tmp_path / "set")


def test_the_layout_folder_reads_marks_of_other_sets(tmp_path: Path):
    names = {
        "train/0001/0001C3T0001F001.jpg": 3, "train/0002/0002_C6_F0001.jpg": 6, "train/0/cam1_person001_00317.png": 1,
        "train/00-1/00-1C1T0001F001.jpg": None, "train/0004/9c4f2a.jpg": None,
    }  # fmt: skip
    Drawn(dict.fromkeys(names)).write(tmp_path)
    images = read_dataset("folder", tmp_path).train
    assert {(i.pid, i.camid, i.distractor) for i in images} == {
        (1, 3, False), (2, 6, False), (0, 1, False), (4, None, False)
    }  # fmt: skip


def test_a_folder_layout_says_what_it_looked_for(tmp_path: Path):
    Drawn(dict.fromkeys(["train/a/1.jpg", "query/a/1.jpg"])).write(tmp_path)
    with pytest.raises(DataError, match="holds no gallery; the layout folder looked for the folders gallery"):
        read_dataset("folder", tmp_path, ("gallery",))


@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("market1501", "{pid}_c{camid}s{}"),
        ("market1501", r"(?P<pid>-?\d+)_c(?P<camid>\d)"),
        ("veri", "{pid}_c{camid}_{}.jpg"),
        ("ltcc", "{pid}_{clothes}_c{camid}_{}.png"),
        ("vc-clothes", "{pid}-{camid}-{clothes}-{}"),
        ("dukemtmc-reid", r"(?P<pid>\d+)_c(?P<camid>\d)_f"),
        ("celeb-reid", "{pid}_{}_{}.jpg"),
        ("personx", r"(?P<pid>\d+)_c(?P<camid>\d)s"),
        ("ilids-vid", r"person(?P<pid>\d+)/cam(?P<camid>\d)_"),
        ("entire-id", "{pid}_c{camid}s0_{}.jpg"),
    ],
)
def test_the_same_files_by_pattern(tmp_path: Path, name: str, pattern: str):
    drawn = DRAWN[name]
    root = drawn.write(tmp_path)
    for split in SPLITS:
        place = next((root / path for path, labels in drawn.files.items() if labels and labels[0] == split), None)
        if place is not None:
            folder = place.parents[1] if name == "ilids-vid" else place.parent
            assert told(read_gallery("folder", folder, pattern=pattern), root) == drawn.of(split)


@pytest.mark.parametrize("name", [name for name in DRAWN if name not in ("mars", "ultralytics-crops")])
def test_the_same_files_by_a_list(tmp_path: Path, name: str):
    drawn = DRAWN[name]
    root = drawn.write(tmp_path)
    with (root / "list.csv").open("w", newline="") as file:
        writer = csv.writer(file, delimiter=";")
        writer.writerow(["split", "image", "person_id", "cam_id", "track", "clothes"])
        for split in SPLITS:
            writer.writerows([split, *("" if v is None else v for v in row)] for row in drawn.of(split))
    listed, named = read_dataset("csv", root / "list.csv"), read_dataset(name, root)
    for split in SPLITS:
        assert told(getattr(listed, split), root) == told(getattr(named, split), root)


def test_images_are_small():
    assert not hasattr(LabelledImage(Path("a")), "__dict__")  # a million of them


@pytest.mark.parametrize(
    ("name", "matrices", "message"),
    [
        ("tracks_test_info", {"a": [[1, 2, 3]]}, "no rows of four numbers"),
        ("tracks_test_info", {"a": [[1, 9, 2, 1]]}, r"row 1: lines 1 to 9 of info/test_name\.txt, which has 6"),
        ("tracks_test_info", {"a": [[3, 3, 7, 1]]}, "0002C1T0001F001.jpg is not of person 7 and camera 1"),
        ("tracks_test_info", {"a": [[1.5, 1, 1, 1]]}, "no single matrix of whole numbers"),
        ("query_IDX", {"a": [5]}, "names rows that"),
        ("query_IDX", {"a": [1], "b": [1]}, "no single matrix"),
    ],
)
def test_tracklets_that_do_not_fit(tmp_path: Path, name: str, matrices: dict, message: str):
    drawn = DRAWN["mars"]
    queries = {"info/query_IDX.mat": {"query_IDX": [1]}}
    Drawn(drawn.files, drawn.lists, {**drawn.matrices, **queries, f"info/{name}.mat": matrices}).write(tmp_path)
    with pytest.raises(DataError, match=message):
        read_dataset("mars", tmp_path, ("query", "gallery"))


def test_a_mat_file_that_is_none(tmp_path: Path):
    DRAWN["mars"].write(tmp_path)
    (tmp_path / "info" / "query_IDX.mat").write_bytes(b"MATLAB 5.0 MAT-file" + bytes(200))
    with pytest.raises(DataError, match=r"cannot be read as a \.mat file"):
        read_dataset("mars", tmp_path, ("query",))


def test_mars_without_its_lists_is_a_gallery_alone(tmp_path: Path):
    drawn = DRAWN["mars"]
    Drawn(drawn.files).write(tmp_path)
    assert len(read_gallery("mars", tmp_path)) == 5  # the junk is left out
    with pytest.raises(DataError, match=r"holds no info/test_name\.txt and info/tracks_test_info\.mat and"):
        read_dataset("mars", tmp_path, ("query", "gallery"))


def test_cameras_2_and_3_of_sysu_stand_at_one_place(tmp_path: Path):
    DRAWN["sysu-mm01"].write(tmp_path)
    dataset = read_dataset("sysu-mm01", tmp_path, ("query", "gallery"))
    query, gallery = labels_of(dataset, dataset.protocol)
    shared = shares_key(query.keys, gallery.keys)
    # Camera 3 asks; of cameras 1, 2 and 4 the second is left out.
    assert dict(zip([i.camid for i in dataset.gallery], shared[0].tolist(), strict=True)) == {
        1: False,
        2: True,
        4: False,
    }
