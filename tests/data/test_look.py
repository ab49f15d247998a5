"""What `vpmsearch layout` says of lists of images and of boxes."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from vpmsearch.data.look import Example, look_at
from vpmsearch.errors import DataError

LIST = """;file;Person;cam;time;split;site
0;a/1.jpg;alice;lobby;2026-03-28T12:00:00;query;north
1;a/2.jpg;7.0;lobby;2026-07-01 12:00:00;gallery;
2;a/3.jpg;;2;;;south
3;a/4.jpg;alice;NA;;gallery;south
"""


def test_a_list_of_images(tmp_path: Path):
    (tmp_path / "people.csv").write_text(LIST)
    found = look_at(tmp_path / "people.csv", ZoneInfo("Europe/Berlin"))
    assert found.kind == "list"
    assert found.columns == {
        "": "left out", "file": "path", "Person": "pid", "cam": "camid", "time": "captured_at", "split": "split",
        "site": "attribute",
    }  # fmt: skip
    assert (found.rows, found.people, found.cameras, found.unlabelled) == (4, 2, 2, 1)
    assert found.captured == (datetime(2026, 3, 28, 11, tzinfo=UTC), datetime(2026, 7, 1, 10, tzinfo=UTC))
    assert (found.splits, found.attributes) == ({"query": 1, "gallery": 2}, {"site": 3})
    assert len(found.examples) == 3
    assert found.examples[2] == Example(str(tmp_path / "a/3.jpg"), {"camid": "2", "site": "south"})
    assert found.missing == tmp_path / "a/1.jpg"
    (tmp_path / "a").mkdir()
    for number in (1, 2, 3):
        (tmp_path / "a" / f"{number}.jpg").touch()
    assert look_at(tmp_path / "people.csv").missing is None
    (tmp_path / "twice.csv").write_text("path\na.jpg\na.jpg\n")
    with pytest.raises(DataError, match="line 3: the path of line 2 again"):  # as indexing it says
        look_at(tmp_path / "twice.csv")


def test_json_lines_with_keys_that_differ(tmp_path: Path):
    (tmp_path / "a.jsonl").write_text('{"path": "1.jpg", "pid": 3}\n{"file": "2.jpg", "camera": "x", "note": 5}\n')
    found = look_at(tmp_path / "a.jsonl")
    assert found.columns == {"path": "path", "pid": "pid", "file": "path", "camera": "camid", "note": "attribute"}
    assert (found.rows, found.people, found.cameras, found.attributes) == (2, 1, 1, {"note": 1})


def test_boxes(tmp_path: Path):
    coco = {
        "images": [{"id": 1, "file_name": "s.jpg", "width": 9, "height": 9}],
        "categories": [{"id": 1, "name": "person"}, {"id": 2, "name": "dog"}],
        "annotations": [
            {"id": n, "image_id": 1, "category_id": category, "bbox": [1, 2, 3, 4]}
            for n, category in enumerate((1, 2, 1))
        ],
    }
    (tmp_path / "coco.json").write_text(json.dumps(coco))
    (tmp_path / "gt.txt").write_text("1,7,10,20,30,40,1,1,0.5\n1,8,10,20,30,40,1,1,1\n2,7,11,20,30,40,1,3,1\n")
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "s.txt").write_text("0 0.5 0.5 0.2 0.2\n1 0.5 0.5 0.2 0.2\n")
    (tmp_path / "boxes.csv").write_text(
        "path,left,top,width,height,pid,cam,zone\ns.jpg,1,2,3,4,ann,9,a\nt.jpg,5,6,7,8,,9,b\n"
    )
    (tmp_path / "film.csv").write_text("frame,x,y,w,h,track\n3,1,2,3,4,t1\n9,1,2,3,4,t1\n")
    told = {}
    for name in ("coco.json", "gt.txt", "labels", "boxes.csv", "film.csv"):
        found = look_at(tmp_path / name)
        told[name] = (found.kind, found.rows, found.pictures, found.people, found.tracks, found.left_out)
        assert found.missing is None
    assert told == {
        "coco.json": ("coco", 2, 1, 0, 0, {"boxes of other categories than person": 1}),
        "gt.txt": ("mot", 2, 1, 0, 2, {"boxes of other classes than pedestrian (1)": 1}),
        "labels": ("yolo", 1, 1, 0, 0, {"boxes of other classes than person": 1}),
        "boxes.csv": ("table", 2, 2, 1, 0, {}),
        "film.csv": ("table", 2, 2, 0, 1, {}),
    }
    assert look_at(tmp_path / "boxes.csv").columns["width"] == "attribute"
    assert look_at(tmp_path / "boxes.csv").examples[0].labels == {"pid": "ann", "camid": "9", "zone": "a"}
    for name, message in (("x.json", "no COCO file"), ("x.txt", "no list of boxes that is known")):
        (tmp_path / name).write_text("{}")
        with pytest.raises(DataError, match=message):
            look_at(tmp_path / name)
