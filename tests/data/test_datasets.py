"""Data sets by layout, manifests and identities held out."""

import copy
import json
import os
from collections import defaultdict
from dataclasses import FrozenInstanceError, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpmsearch.data.datasets import (
    DATASET_NAMES,
    LabelledImage,
    ReidDataset,
    hold_out,
    read_dataset,
    read_gallery,
)
from vpmsearch.data.manifest import read_manifest
from vpmsearch.errors import DataError
from vpmsearch.evaluation.metrics import evaluate_rank
from vpmsearch.types import as_utc


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def labels(images):
    return [(image.path.name, image.pid, image.camid) for image in images]


# market1501 ---------------------------------------------------------------------------------------


def market(root):
    return touch(
        root,
        "bounding_box_train/0002_c1s1_000451_03.jpg",
        "bounding_box_train/0002_c6s4_000451_03.jpg",
        "bounding_box_train/0007_c3s3_077419_03.jpg",
        "bounding_box_train/Thumbs.db",
        "query/0001_c1s1_001051_00.jpg",
        "bounding_box_test/-1_c1s1_000401_03.jpg",
        "bounding_box_test/0000_c1s1_000151_01.jpg",
        "bounding_box_test/0001_c2s1_000301_00.jpg",
        "bounding_box_test/Thumbs.db",
        "readme.txt",
    )


@pytest.mark.parametrize("inner", ["", "Market-1501-v15.09.15", "DukeMTMC-reID"])
def test_market(tmp_path, inner):
    market(tmp_path / inner)
    dataset = read_dataset("market1501", tmp_path)
    assert labels(dataset.train) == [
        ("0002_c1s1_000451_03.jpg", 2, 1),
        ("0002_c6s4_000451_03.jpg", 2, 6),
        ("0007_c3s3_077419_03.jpg", 7, 3),
    ]
    assert labels(dataset.query) == [("0001_c1s1_001051_00.jpg", 1, 1)]
    gallery = [("0000_c1s1_000151_01.jpg", 0, 1), ("0001_c2s1_000301_00.jpg", 1, 2)]
    assert labels(dataset.gallery) == gallery
    assert (dataset.num_train_pids, dataset.train_pids, dataset.num_query_pids) == (2, (2, 7), 1)
    assert labels(read_gallery("market1501", tmp_path)) == gallery
    assert all(image.path.is_file() for image in (*dataset.train, *dataset.query, *dataset.gallery))


def test_duke_names(tmp_path):
    touch(
        tmp_path,
        "bounding_box_train/0001_c2_f0046182.jpg",
        "query/0005_c2_f0046985.jpg",
        "bounding_box_test/0005_c12_f0046985.jpg",
    )
    dataset = read_dataset("market1501", tmp_path)
    assert labels(dataset.train + dataset.gallery) == [
        ("0001_c2_f0046182.jpg", 1, 2),
        ("0005_c12_f0046985.jpg", 5, 12),
    ]


def test_market_gallery_of_one_folder(tmp_path):
    market(tmp_path)
    assert labels(read_gallery("market1501", tmp_path / "query")) == [("0001_c1s1_001051_00.jpg", 1, 1)]
    assert len(read_gallery("market1501", tmp_path / "bounding_box_test")) == 2


def test_market_incomplete_or_foreign(tmp_path):
    touch(tmp_path, "bounding_box_train/0002_c1s1_000451_03.jpg", "query/0001_c1s1_001051_00.jpg")
    with pytest.raises(
        DataError, match=r"holds no bounding_box_test \(there are bounding_box_train, query\); give the folder"
    ):
        read_dataset("market1501", tmp_path)
    touch(tmp_path, "bounding_box_test/holiday.jpg")
    with pytest.raises(DataError, match=r"holiday\.jpg is not named as in Market-1501"):
        read_dataset("market1501", tmp_path)
    with pytest.raises(DataError, match=r"holiday\.jpg is not named as in Market-1501"):
        read_gallery("market1501", tmp_path)


@pytest.mark.market1501
def test_market_counts():
    dataset = read_dataset("market1501", os.environ["VPMSEARCH_MARKET1501"])
    assert (len(dataset.train), dataset.num_train_pids) == (12_936, 751)
    assert (len(dataset.query), dataset.num_query_pids) == (3_368, 750)
    assert len(dataset.gallery) == 15_913
    assert sum(image.pid == 0 for image in dataset.gallery) == 2_798
    folder = dataset.gallery[0].path.parent
    assert sum(1 for path in folder.iterdir() if path.suffix == ".jpg") == 19_732
    assert {image.camid for image in dataset.train} == set(range(1, 7))
    assert read_gallery("market1501", folder) == list(dataset.gallery)
    training, validation = hold_out(dataset, 100)
    assert (training.num_train_pids, validation.num_query_pids) == (651, 100)


# msmt17 -------------------------------------------------------------------------------------------


def msmt(root, train="train", test="test"):
    lists = {
        "list_train.txt": (train, ["0000/0000_000_01_0303morning_0015_0.jpg 0"]),
        "list_val.txt": (train, ["0000/0000_022_12_0303noon_0065_1.jpg 0", ""]),
        "list_query.txt": (test, ["0000/0000_000_02_0113morning_0941_0.jpg 0", "0003/0003_001_03_a_b.jpg 3"]),
        "list_gallery.txt": (test, ["0003/0003_000_15_0303noon_0001_0.jpg 3"]),
    }
    root.mkdir(parents=True, exist_ok=True)
    for name, (folder, lines) in lists.items():
        (root / name).write_text("\n".join(lines) + "\n")
        touch(root, *(f"{folder}/{line.split(' ')[0]}" for line in lines if line))
    return root


@pytest.mark.parametrize(
    ("inner", "train", "test"),
    [("", "train", "test"), ("MSMT17_V1", "train", "test"), ("MSMT17_V2", "mask_train_v2", "mask_test_v2")],
)
def test_msmt(tmp_path, inner, train, test):
    msmt(tmp_path / inner, train, test)
    dataset = read_dataset("msmt17", tmp_path)
    assert [(image.pid, image.camid) for image in dataset.train] == [(0, 1), (0, 12)]
    assert [(image.pid, image.camid) for image in dataset.query] == [(0, 2), (3, 3)]
    assert [(image.pid, image.camid) for image in dataset.gallery] == [(3, 15)]
    assert all(image.path.is_file() for image in (*dataset.train, *dataset.query, *dataset.gallery))
    assert read_gallery("msmt17", tmp_path) == list(dataset.gallery)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("../../secret/0000_000_01_x.jpg 0", "line 2: .* leads out"),
        ("/etc/0000_000_01_x.jpg 0", "line 2: .* leads out"),
        ("0000/0000_000_01_0303morning_0015_0.jpg", "line 2: not a line"),
        ("0000/holiday.jpg 0", r"line 2: .*holiday\.jpg is not named as in MSMT17"),
        ("0000/0000_000_01_x.jpg zero", "line 2: not a line"),
    ],
)
def test_msmt_bad_lines(tmp_path, line, message):
    msmt(tmp_path)
    with (tmp_path / "list_gallery.txt").open("a") as file:
        file.write(line + "\n")
    with pytest.raises(DataError, match=message):
        read_dataset("msmt17", tmp_path)
    with pytest.raises(DataError, match=message):
        read_gallery("msmt17", tmp_path)


def test_msmt_incomplete(tmp_path):
    with pytest.raises(DataError, match=r"list_train\.txt"):
        read_dataset("msmt17", tmp_path)
    msmt(tmp_path)
    next((tmp_path / "test" / "0003").glob("*_15_*")).unlink()
    with pytest.raises(DataError, match="is missing; unpack"):
        read_gallery("msmt17", tmp_path)
    (tmp_path / "test").rename(tmp_path / "elsewhere")
    with pytest.raises(DataError, match="holds no test, nor mask_train_v2 and mask_test_v2"):
        read_dataset("msmt17", tmp_path)
    (tmp_path / "elsewhere").rename(tmp_path / "test")
    (tmp_path / "list_query.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="not UTF-8"):
        read_dataset("msmt17", tmp_path)


# folder -------------------------------------------------------------------------------------------


def test_folder_keeps_words(tmp_path):
    touch(tmp_path, "bob/1.jpg", "alice/c2_x.jpg", "alice/deep/x_c13s1.PNG", "alice/notes.txt", "empty/notes.txt")
    dataset = read_dataset("folder", tmp_path)
    assert labels(dataset.train) == [("c2_x.jpg", "alice", 2), ("x_c13s1.PNG", "alice", 13), ("1.jpg", "bob", None)]
    assert dataset.query == dataset.gallery == ()


def test_folder_keeps_whole_numbers(tmp_path):
    touch(tmp_path, "0010/a.jpg", "2/abc3.jpg", "-1/junk.jpg", "0/b.jpg")
    dataset = read_dataset("folder", tmp_path)
    assert sorted((image.pid, image.camid) for image in dataset.train) == [(0, None), (2, None), (10, None)]


def test_folder_takes_each_name_by_itself(tmp_path):
    """A word beside numbers changes none of them, and a pid does not depend on the splits that are asked for."""
    touch(tmp_path, "train/0010/a.jpg", "train/P-017/b.jpg", "train/00-1/junk.jpg", "query/0010/c.jpg")
    assert [image.pid for image in read_dataset("folder", tmp_path, ("train",)).train] == [10, "P-017"]
    assert [image.pid for image in read_dataset("folder", tmp_path, ("query",)).query] == [10]
    listed = tmp_path / "list.csv"
    listed.write_text("path,pid\ntrain/P-017/b.jpg,P-017\n")
    assert [image.pid for image in read_dataset("csv", listed).train] == ["P-017"]  # the same word as by any other way
    by_pattern = read_gallery("folder", tmp_path / "train", pattern="{pid}/{}.jpg")
    assert {image.pid for image in by_pattern} >= {10, "P-017"}


def test_folder_with_splits_shares_identities(tmp_path):
    touch(tmp_path, "train/zoe/1.jpg", "query/bob/1.jpg", "gallery/bob/2.jpg", "gallery/ann/1.jpg", "other/x/1.jpg")
    dataset = read_dataset("folder", tmp_path)
    assert [image.pid for image in dataset.train] == ["zoe"]
    assert [image.pid for image in dataset.query] == ["bob"]
    assert sorted(image.pid for image in dataset.gallery) == ["ann", "bob"]


def test_folder_refuses_what_it_would_have_to_guess(tmp_path):
    touch(tmp_path, "7/a.jpg", "07/a.jpg")
    with pytest.raises(DataError, match="the folders 07 and 7 are one pid, 7; rename one"):
        read_dataset("folder", tmp_path)
    touch(tmp_path / "odd", "a\nb/a.jpg")
    with pytest.raises(DataError, match=r"the folder a\\nb is no pid .*; rename it"):
        read_dataset("folder", tmp_path / "odd")
    touch(tmp_path / "heap", "bob/a.jpg", "stray.jpg")
    with pytest.raises(DataError, match=r"stray\.jpg is in no identity's folder"):
        read_dataset("folder", tmp_path / "heap")


def test_folder_gallery_guesses_no_identities(tmp_path):
    touch(tmp_path, "0001/c1_a.jpg", "b.jpg", "0002_c1s1_x.jpg", "notes.txt")
    assert labels(read_gallery("folder", tmp_path)) == [
        ("c1_a.jpg", None, None),
        ("0002_c1s1_x.jpg", None, None),
        ("b.jpg", None, None),
    ]


# csv ----------------------------------------------------------------------------------------------


def write(path, text, encoding="utf-8"):
    path.write_bytes(text.encode(encoding))
    return path


def test_csv(tmp_path):
    text = 'Path,pid, camid ,captured_at,split\r\n"a, b.jpg",7,1,2024-05-01T13:45:00Z,query\r\n\r\nü.jpg,,,,\r\n'
    rows = list(read_manifest(write(tmp_path / "list.csv", text, "utf-8-sig")))
    assert [(row.path, row.pid, row.camid, row.split, row.line) for row in rows] == [
        (tmp_path / "a, b.jpg", 7, 1, "query", 2),
        (tmp_path / "ü.jpg", None, None, None, 4),
    ]
    assert [row.captured_at for row in rows] == [datetime(2024, 5, 1, 13, 45, tzinfo=UTC), None]
    images = read_gallery("csv", tmp_path / "list.csv")
    noted = (("split", "query"),)
    taken = datetime(2024, 5, 1, 13, 45, tzinfo=UTC)
    assert images[0] == LabelledImage(tmp_path / "a, b.jpg", 7, 1, taken, attributes=noted)
    assert images[1] == LabelledImage(tmp_path / "ü.jpg")


def test_json_lines(tmp_path):
    lines = [
        {"path": "/data/a.jpg", "pid": 7, "camid": "2", "captured_at": "2024-05-01"},
        {"path": "b\udcff.jpg", "pid": None},
    ]
    manifest = write(tmp_path / "list.JSONL", "\n".join(map(json.dumps, lines)) + "\n\n")
    first, second = read_gallery("csv", manifest)
    assert (first.path, first.pid, first.camid) == (Path("/data/a.jpg"), 7, 2)
    assert first.captured_at == datetime(2024, 5, 1, tzinfo=UTC)  # without a time zone it is UTC
    assert os.fsencode(second.path.name) == b"b\xff.jpg"


def test_csv_splits(tmp_path):
    text = "path,pid,camid,split\n1.jpg,1,1,\n2.jpg,2,1,train\n3.jpg,3,1,query\n4.jpg,3,2,gallery\n5.jpg,-1,2,gallery\n"
    manifest = write(tmp_path / "list.csv", text)
    dataset = read_dataset("csv", manifest)
    assert [image.pid for image in dataset.train] == [1, 2]
    assert [image.pid for image in dataset.query] == [3]
    assert [image.pid for image in dataset.gallery] == [3]
    assert len(read_gallery("csv", manifest)) == 5


def test_csv_data_set_needs_pids_and_gallery_each_path_once(tmp_path):
    with pytest.raises(DataError, match="line 3: no pid"):
        read_dataset("csv", write(tmp_path / "a.csv", "path,pid\na.jpg,1\nb.jpg,\n"))
    with pytest.raises(DataError, match="line 4: the path of line 2 again"):
        read_gallery("csv", write(tmp_path / "a.csv", "path\na.jpg\nb.jpg\na.jpg\n"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: the file is empty"),
        ("\n\n", "line 1: the file is empty"),
        ("frame,pid\n1,1\n", "line 1: there is no column path"),
        ("1,-1,794.2,47.5,71.2,174.8,67.5,-1,-1,-1\n", "line 1: the first line is .* as trackers write them"),
        ("a.jpg,1,2\nb.jpg,1,2\n", "line 1: the first line is .*: an image, no names of columns"),
        ("path,captured_at\na.jpg,20260329\n", "line 2: captured_at '20260329' may be a date or a count"),
        ("path\nC:\\people\\a.jpg\n", r"line 2: C:.*is a path as Windows writes it; .*: people/a\.jpg"),
        ("path\npeople\\a.jpg\n", "line 2: people.*is a path as Windows writes it"),
        ("path,pid,PID\na.jpg,1,1\n", "line 1: a column is named twice"),
        ("path,pid\na.jpg\n", "line 2: 1 field where the header has 2"),
        ("path,pid\na.jpg,1\nb.jpg,1,2\n", "line 3: 3 fields"),
        ("path,pid\n,1\n", "line 2: the path is empty"),
        ("path,pid\na\0.jpg,1\n", "line 2: "),
        ("path,pid\na.jpg," + "x" * 201 + "\n", "line 2: pid: a label has up to 200 characters"),
        ("path,camid\na.jpg,a\tb\n", r"line 2: camid: the label 'a.tb' holds a control character"),
        ("path,captured_at\na.jpg,yesterday\n", "line 2: captured_at 'yesterday'"),
        ("path,split\na.jpg,test\n", "line 2: split 'test'"),
        ('path,pid\n"a\nb.jpg",1\nc.jpg,\x1b\n', "line 4: pid"),
        ('path,pid\na.jpg,1\n"b.jpg,1\n', "line 3: not valid CSV"),
        ("path\n" + "a" * 200_000 + "\n", "line 2: not valid CSV"),
    ],
)
def test_bad_csv(tmp_path, text, message):
    with pytest.raises(DataError, match=rf"list\.csv, {message}"):
        read_gallery("csv", write(tmp_path / "list.csv", text))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: the file is empty"),
        ('{"path": "a.jpg"}\n{"path": \n', "line 2: not valid JSON"),
        ('["a.jpg"]\n', "line 1: not a JSON object"),
        ('{"pid": 1}\n', "line 1: there is no column path"),
        ('{"path": 3}\n', "line 1: the path is empty or not text"),
        ('{"path": "a\\u0000.jpg"}\n', "line 1: the path holds a NUL"),
        ('\n{"path": "a.jpg", "pid": true}\n', "line 2: pid must be"),
        ('{"path": "a.jpg", "pid": 1.5}\n', "line 1: pid must be"),
        ('{"path": "a.jpg", "pid": 9223372036854775808}\n', "line 1: pid: .* does not fit"),
        ('{"path": "a.jpg", "captured_at": 1714571100}\n', "line 1: captured_at 1714571100 may count"),
        ("[" * 100_000 + "\n", "line 1: not valid JSON"),
        (' {"path": "a.jpg"} \t\r\n{"path": "b.jpg"} x\n', "line 2: not valid JSON .Extra data"),
    ],
)
def test_bad_json_lines(tmp_path, text, message):
    with pytest.raises(DataError, match=rf"list\.jsonl, {message}"):
        read_gallery("csv", write(tmp_path / "list.jsonl", text))


def test_bad_encoding(tmp_path):
    with pytest.raises(DataError, match="not UTF-8"):
        read_gallery("csv", write(tmp_path / "list.csv", "path\nü.jpg\n", "latin-1"))
    with pytest.raises(DataError, match="not UTF-8"):
        read_gallery("csv", write(tmp_path / "list.csv", "path\na.jpg\n", "utf-16"))


@pytest.mark.parametrize("name", ["list.csv", "list.jsonl"])
@pytest.mark.parametrize(
    "again", ["a/b.jpg", "./a/b.jpg", "a//b.jpg", "a/./b.jpg", "a/b.jpg/", "a/b.jpg/.", "{}/a/b.jpg", "{}//a/./b.jpg"]
)
def test_one_path_written_in_two_ways(tmp_path, name, again):
    paths = ["a/b.jpg", "a/.b.jpg", "a/../b.jpg", ".a/b.jpg", "a/b.jpg.", again.format(tmp_path)]
    lines = [json.dumps({"path": path}) for path in paths] if name.endswith("jsonl") else ["path", *paths]
    manifest = write(tmp_path / name, "\n".join(lines))
    first = 1 + name.endswith("csv")
    with pytest.raises(DataError, match=f"line {first + 5}: the path of line {first} again"):
        read_gallery("csv", manifest)
    assert [row.path for row in read_manifest(manifest)] == [tmp_path / path for path in paths]


def test_a_list_is_a_sequence_of_its_images(tmp_path, monkeypatch):
    times = ["", "1969-12-31T23:59:59.999999", "9999-12-31T23:59:59.999999+00:00", "0001-01-01", "2024-05-01T00:00+05"]
    pids = ["", "0", "-9223372036854775808", "+9223372036854775807", " 7 "]
    lines = [f"{row}.jpg,{pid},{row},{time}\n" for row, (pid, time) in enumerate(zip(pids, times, strict=True))]
    write(tmp_path / "list.csv", "path,pid,camid,captured_at\n" + "".join(lines))
    monkeypatch.chdir(tmp_path)
    for manifest in (tmp_path / "list.csv", Path("list.csv")):
        moments = [None, *(as_utc(datetime.fromisoformat(time)) for time in times[1:])]
        expected = [
            LabelledImage(manifest.parent / f"{row}.jpg", int(pid) if pid else None, row, moment)
            for row, (pid, moment) in enumerate(zip(pids, moments, strict=True))
        ]
        images = read_gallery("csv", manifest)
        assert list(images) == expected
        assert images[1:4] == expected[1:4]
        assert (images[-1], len(images), expected[2] in images) == (expected[-1], 5, True)
        with pytest.raises(IndexError):
            images[5]


def test_a_path_given_as_text_becomes_one_when_it_is_asked_for():
    image = LabelledImage("a//b.jpg", 1)
    assert image.path == Path("a/b.jpg")
    assert image.path is image.path
    assert image == LabelledImage(Path("a/b.jpg"), 1)
    assert hash(image) == hash(LabelledImage(Path("a/b.jpg"), 1))
    assert replace(image, pid=2).path == Path("a/b.jpg")
    assert repr(LabelledImage("a.jpg")) == repr(LabelledImage(Path("a.jpg")))
    assert copy.deepcopy(LabelledImage("a.jpg")).path == Path("a.jpg")
    with pytest.raises(FrozenInstanceError):
        image.path = Path("c.jpg")


def test_lists_of_more_than_one_block(tmp_path, monkeypatch):
    """Rows are taken in together. What is known of each stays with it; the first path that is there again is named."""
    monkeypatch.setattr("vpmsearch.data.lists._BLOCK", 3)
    lines = [
        f"{i}.jpg,{i % 3 or ''},{'north' * (i % 2)},{f'2026-03-01T00:00:0{i}Z' if i % 4 else ''}" for i in range(8)
    ]
    (tmp_path / "a.csv").write_text("path,pid,site,captured_at\n" + "\n".join(lines))
    images = read_gallery("csv", tmp_path / "a.csv")
    assert [
        (i.path.name, i.pid, dict(i.attributes).get("site"), i.captured_at and i.captured_at.second) for i in images
    ] == [(f"{i}.jpg", i % 3 or None, "north" if i % 2 else None, i if i % 4 else None) for i in range(8)]
    (tmp_path / "b.csv").write_text(
        "path\n" + "\n".join(["0.jpg", *(f"{i}.jpg" for i in range(1, 7)), "5.jpg", "0.jpg"])
    )
    with pytest.raises(DataError, match="line 9: the path of line 7 again"):
        read_gallery("csv", tmp_path / "b.csv")


def test_manifest_is_read_as_it_is_needed(tmp_path):
    # The bad last line shows only when it is reached: nothing is held but the row at hand.
    text = "path,pid\n" + "".join(f"{row}.jpg,{row}\n" for row in range(5_000)) + "last.jpg,\x1b\n"
    rows = read_manifest(write(tmp_path / "list.csv", text))
    assert sum(next(rows).pid for _ in range(5_000)) == 5_000 * 4_999 // 2
    with pytest.raises(DataError, match="line 5002: pid"):
        next(rows)


def test_manifest_that_is_no_file(tmp_path):
    with pytest.raises(DataError, match="is not a regular file; name a CSV"):
        read_gallery("csv", tmp_path)
    with pytest.raises(DataError, match="does not exist; name a CSV"):
        next(read_manifest(tmp_path / "gone.csv"))


def test_manifest_cannot_be_read(tmp_path, monkeypatch):
    manifest = write(tmp_path / "list.csv", "path\na.jpg\n")

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied", str(manifest))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(DataError, match=r"list\.csv cannot be read \(Permission denied\)"):
        read_gallery("csv", manifest)


# all ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("read", [read_dataset, read_gallery])
def test_unknown_missing_and_empty(tmp_path, read):
    with pytest.raises(
        DataError, match=r"unknown data set .cuhk.; known are market1501, dukemtmc-reid, .*, folder, csv"
    ):
        read("cuhk", tmp_path)
    for name in DATASET_NAMES:
        with pytest.raises(DataError, match="does not exist"):
            read(name, tmp_path / "gone")
    with pytest.raises(DataError, match="no images in"):
        read("folder", tmp_path)
    with pytest.raises(DataError, match="names no images"):
        read("csv", write(tmp_path / "list.csv", "path,pid\n"))
    with pytest.raises(DataError, match="Not a directory"):
        read("folder", write(tmp_path / "list.txt", "path,pid\n"))


def test_unreadable_folder(tmp_path, monkeypatch):
    market(tmp_path)

    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_dir", refuse)
    with pytest.raises(DataError, match=r"cannot be read .Permission denied.; check"):
        read_gallery("market1501", tmp_path)


# hold_out -----------------------------------------------------------------------------------------


def training_set(draws):
    """One image for each (pid, camid)."""
    images = [LabelledImage(Path(f"{row}.jpg"), pid, camid) for row, (pid, camid) in enumerate(draws)]
    return ReidDataset("drawn", train=tuple(images), query=(LabelledImage(Path("q.jpg"), 99, 1),))


def assert_every_query_counts(validation):
    query_pids, query_camids = zip(*((image.pid, image.camid) for image in validation.query), strict=True)
    gallery_pids, gallery_camids = zip(*((image.pid, image.camid) for image in validation.gallery), strict=True)
    distmat = np.zeros((len(query_pids), len(gallery_pids)))
    result = evaluate_rank(distmat, query_pids, gallery_pids, query_camids, gallery_camids)
    assert result.num_valid_queries == len(query_pids)


@given(
    st.lists(st.tuples(st.integers(1, 8), st.integers(1, 3)), min_size=2, max_size=60),
    st.integers(1, 4),
    st.integers(0, 1000),
)
def test_hold_out(draws, count, seed):
    dataset = training_set(draws)
    cameras = defaultdict(set)
    for pid, camid in draws:
        cameras[pid].add(camid)
    able = {pid for pid, seen in cameras.items() if len(seen) > 1}
    if count >= len(cameras) or count > len(able):
        with pytest.raises(DataError):
            hold_out(dataset, count, seed)
        return
    training, validation = hold_out(dataset, count, seed)
    aside = {image.pid for image in validation.query}
    assert len(aside) == count
    assert aside <= able
    assert {image.pid for image in validation.gallery} == aside
    assert {image.pid for image in training.train} == set(cameras) - aside
    assert sorted(training.train + validation.query + validation.gallery, key=str) == sorted(dataset.train, key=str)
    assert len({(image.pid, image.camid) for image in validation.query}) == len(validation.query)
    assert training.query == training.gallery == validation.train == ()
    assert_every_query_counts(validation)
    assert hold_out(dataset, count, seed) == (training, validation)


def test_hold_out_takes_one_query_a_camera_and_fractions():
    dataset = training_set([(pid, camid) for pid in range(1, 21) for camid in (1, 2, 3) for _ in range(4)])
    training, validation = hold_out(dataset, 0.25, seed=3)
    assert training.num_train_pids == 15
    assert len(validation.query) == 5 * 3
    assert len(validation.gallery) == 5 * 9
    others = {hold_out(dataset, 0.25, seed=seed)[1] for seed in range(5)}
    assert len(others) > 1


def test_hold_out_without_cameras():
    dataset = training_set([(pid, None) for pid in (1, 1, 1, 2, 2, 3)])
    training, validation = hold_out(dataset, 2)
    assert [image.pid for image in training.train] == [3]
    assert [(image.pid, image.camid) for image in validation.query] == [(1, 0), (2, 0)]
    assert [(image.pid, image.camid) for image in validation.gallery] == [(1, 1), (1, 1), (2, 1)]
    assert_every_query_counts(validation)


@pytest.mark.parametrize("share", [0, -1, 0.0, 1.0, 2.5, 3, 5, float("nan")])
def test_hold_out_refuses(share):
    dataset = training_set([(pid, camid) for pid in (1, 2, 3) for camid in (1, 2)])
    with pytest.raises(DataError):
        hold_out(dataset, share)


def test_a_list_without_the_asked_split_says_where_splits_stand(tmp_path):
    (tmp_path / "a.csv").write_text("path,pid\n1.jpg,1\n")
    with pytest.raises(DataError, match="names no images of query or gallery; the column split says"):
        read_dataset("csv", tmp_path / "a.csv", ("query", "gallery"))
