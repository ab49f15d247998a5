"""Boxes of people in the forms in which detectors, trackers and annotation tools write them."""

from __future__ import annotations

from pathlib import Path

import pytest
from box_files import read, three_frames, write
from PIL import Image

from vpmsearch.data.boxes.pictures import Every
from vpmsearch.data.boxes.read import read_boxes
from vpmsearch.data.labelled import LabelledImage
from vpmsearch.errors import DataError

PERSON = {"id": 1, "name": "person"}


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    return three_frames(tmp_path / "frames")


def names(found: list[LabelledImage]) -> list[str]:
    return [image.path.name for image in found]


def coco(frames: Path, *rows: dict[str, object], **more: object) -> Path:
    images = [{"id": 10 + n, "file_name": f"{n:06d}.png", "width": 200, "height": 100} for n in (1, 2, 3)]
    told = {"images": images, "annotations": list(rows), "categories": [PERSON, {"id": 7, "name": "dog"}], **more}
    return write(frames, "coco.json", told)


def test_coco(frames: Path) -> None:
    path = coco(
        frames,
        {"image_id": 12, "category_id": 1, "bbox": [10.4, 20, 30.2, 40], "score": 0.9, "track_id": 5},
        {"image_id": 11, "category_id": 1, "bbox": [-5, -5, 20, 20], "attributes": {"bag": "red"}},
        {"image_id": 11, "category_id": 7, "bbox": [1, 1, 20, 20]},
        {"image_id": 11, "category_id": 1, "bbox": [1, 1, 20, 20], "iscrowd": 1},
        {"image_id": 11, "category_id": 1, "bbox": [200, 1, 20, 20]},
        {"image_id": 11, "category_id": 1, "bbox": [5, 1, 0, 20]},
        {"image_id": 11, "category_id": 1, "bbox": [float("nan"), 1, 20, 20]},
        {"image_id": 12, "category_id": 1, "bbox": [1, 1, 20, 20], "score": 0.1},
        {"image_id": 12, "category_id": 1, "bbox": [10, 20, 31, 40], "score": 0.8},
    )
    found, aside = read(frames, path, min_score=0.5)
    assert names(found) == ["000001.png#xywh=0,0,15,15", "000002.png#xywh=10,20,31,40"]
    assert found[0].attributes == (("bag", "red"),)
    assert found[1].track == "5"
    assert found[1].attributes == (("score", "0.9"),)
    assert dict(aside) == {
        "boxes of other categories than person": 1,
        "boxes of crowds": 1,
        "boxes outside of their picture": 1,
        "boxes that are empty": 1,
        "boxes that are not finite": 1,
        "boxes with a score below 0.5": 1,
        "boxes that are there twice": 1,
    }


def test_coco_results(frames: Path) -> None:
    rows = [
        {"image_id": 2, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5},
        {"image_id": 3, "category_id": 18, "bbox": [1, 2, 3, 4], "score": 1},
    ]
    assert names(read(frames, write(frames, "r.json", rows))[0]) == ["000002.png#xywh=1,2,3,4"]
    rows = [{"image_id": 13, "category_id": 7, "bbox": [1, 2, 3, 4], "score": 0.5}]
    images = coco(frames, categories=[{"id": 7, "name": "Person"}])
    assert names(read(frames, write(frames, "r.json", rows), images=images)[0]) == ["000003.png#xywh=1,2,3,4"]
    named = [{"image_id": "000001", "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}]
    assert names(read(frames, write(frames, "r.json", named))[0]) == ["000001.png#xywh=1,2,3,4"]


def test_coco_of_other_sizes_or_places(frames: Path, tmp_path: Path) -> None:
    Image.new("RGB", (200, 100)).save(tmp_path / "outside.png")
    images = [
        {"id": 1, "file_name": "000001.png", "width": 100, "height": 200},
        {"id": 2, "file_name": "../outside.png"},
        {"id": 3, "file_name": str(tmp_path / "outside.png")},
        {"id": 4, "file_name": "sub/000002.png"},
    ]
    rows = [{"image_id": n, "category_id": 1, "bbox": [1, 2, 3, 4]} for n in (1, 2, 3, 4)]
    found, aside = read(frames, write(frames, "c.json", {"images": images, "annotations": rows}))
    assert names(found) == ["000002.png#xywh=1,2,3,4"]
    assert aside == {
        "boxes of a picture of another size than their list says": 1,
        "boxes whose picture is not there": 2,
    }


def test_mot_detections(frames: Path) -> None:
    (frames / "img1").mkdir()
    for frame in sorted(frames.glob("*.png")):
        frame.rename(frames / "img1" / frame.name)
    text = "2,-1,11,21,30,40,0.7,-1,-1,-1\n1,-1,1,1,5.6,6,-1,-1,-1,-1\n9,-1,1,1,5,6,1,-1,-1,-1\n"
    found, aside = read(frames, write(frames, "det.txt", text))
    # Pixels count from 1: a box at (1, 1) begins in the corner.
    assert [str(image.path.relative_to(frames)) for image in found] == [
        "img1/000001.png#xywh=0,0,6,6",
        "img1/000002.png#xywh=10,20,30,40",
    ]
    assert [image.track for image in found] == [None, None]
    assert [dict(image.attributes) for image in found] == [{"frame": "1"}, {"frame": "2", "score": "0.7"}]
    assert aside == {"boxes whose picture is not there": 1}


def test_mot_ground_truth(frames: Path) -> None:
    text = "1,4,11,21,30,40,1,1,0.9\n1,5,11,21,30,41,0,1,0.9\n1,6,11,21,30,42,1,3,0.9\n2,4,11,21,30,40,1,1,0.5\n"
    found, aside = read(frames, write(frames, "gt.txt", text))
    assert [(image.path.name, image.track, dict(image.attributes)) for image in found] == [
        ("000001.png#xywh=10,20,30,40", "4", {"frame": "1"}),
        ("000002.png#xywh=10,20,30,40", "4", {"frame": "2"}),
    ]
    assert aside == {"boxes of other classes than pedestrian (1)": 1, "boxes that are marked not to count": 1}
    assert names(read(frames, write(frames, "gt.txt", text), every="2")[0]) == ["000001.png#xywh=10,20,30,40"]


def test_yolo(frames: Path) -> None:
    write(frames, "labels/000001.txt", "0 0.5 0.5 0.2 0.4\n2 0.5 0.5 0.1 0.1\n0 0.1 0.1 0.3 0.3 0.75 12\n")
    write(frames, "labels/000009.txt", "0 0.5 0.5 0.2 0.4\n")
    found, aside = read(frames, frames.parent / "labels")
    assert [(image.path.name, image.track, dict(image.attributes)) for image in found] == [
        ("000001.png#xywh=80,30,40,40", None, {}),
        ("000001.png#xywh=0,0,50,25", "12", {"score": "0.75"}),
    ]
    assert aside == {"boxes of other classes than person": 1, "boxes whose picture is not there": 1}
    write(frames, "labels/classes.txt", "car\nbus\nperson\n")
    assert names(read(frames, frames.parent / "labels")[0]) == ["000001.png#xywh=90,45,20,10"]


def test_table(frames: Path) -> None:
    text = (
        "path,x,y,w,h,track,score,frame,captured_at,pid,camid,coat\n"
        "000001.png,1.2,2,30,40,7,0.5,3,2026-01-02 03:04,11,2,red\n"
        "000001.png,nan,2,30,40,7,0.5,3,,,,\n"
    )
    found, aside = read(frames, write(frames, "boxes.csv", text))
    (image,) = found
    assert (image.path.name, image.track, image.pid, image.camid) == ("000001.png#xywh=1,2,30,40", "7", 11, 2)
    assert image.captured_at is not None
    assert image.captured_at.isoformat().startswith("2026-01-02T03:04")
    assert dict(image.attributes) == {"coat": "red", "score": "0.5", "frame": "3"}
    assert aside == {"boxes that are not finite": 1}
    rows = '{"path": "000002.png", "x": 1, "y": 2, "w": 3, "h": 4}\n'
    assert names(read(frames, write(frames, "boxes.jsonl", rows))[0]) == ["000002.png#xywh=1,2,3,4"]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.json", "{", "no JSON"),
        ("a.json", "[" * 100_000, "no JSON"),
        ("a.json", {"images": []}, "no COCO"),
        ("a.json", [{"image_id": 1, "bbox": [1, 2, 3], "category_id": 1}], "bbox"),
        ("a.json", {"images": [], "annotations": [{"image_id": 4, "bbox": [1, 2, 3, 4]}]}, "images do not have"),
        ("a.json", {"images": [], "annotations": [], "categories": [{"id": 1, "name": "cat"}]}, "no category"),
        ("a.txt", "1,2,3,4,5,6,1\n1,2,x,4,5,6,1\n", "line 2"),
        ("a.txt", "hello\n", "no list of boxes"),
        ("a.csv", "path,x,y\n000001.png,1,2\n", "x, y, w"),
        ("a.csv", "path,x,y,w,h\n000001.png,1,2,a,4\n", "must be a number"),
        ("a.png", "x", "no list of boxes"),
        ("labels/000001.txt", "0 0.1 0.2\n", "line 1"),
        ("labels/000001.txt", "0 0.1 0.2 0.1 0.2 0.1 0.2 0.1 0.2\n", "outline"),
        ("labels/a.md", "", "holds no .txt"),
        ("a.csv", "path,x,y,w,h\n000001.png,300,2,3,4\n", "no person"),
    ],
)
def test_what_is_no_list_of_boxes(frames: Path, name: str, content: object, says: str) -> None:
    path = write(frames, name, content)
    with pytest.raises(DataError, match=says):
        read_boxes(frames, path.parent if name.startswith("labels") else path)


def test_boxes_of_one_photograph(frames: Path) -> None:
    path = coco(frames, *({"image_id": 10 + n, "category_id": 1, "bbox": [n, 2, 3, 4]} for n in (1, 2, 3)))
    assert names(read(frames / "000002.png", path)[0]) == ["000002.png#xywh=2,2,3,4"]


def test_boxes_of_a_film(tmp_path: Path) -> None:
    pytest.importorskip("av")
    from drawn_film import write_film

    film = write_film(tmp_path / "film.mp4", [0, 1, 2, 5, 9, 25, 30, 50])
    text = "".join(f"{frame},3,{frame},1,20,30,0.5\n" for frame in (8, 1, 4, 7, 9))
    found, aside = read(film, write(tmp_path / "film", "a.txt", text))
    assert names(found) == [f"film.mp4#t={t}&xywh={x},0,20,30" for t, x in (("0", 0), ("0.2", 3), ("1.2", 6), ("2", 7))]
    assert [dict(image.attributes)["frame"] for image in found] == ["1", "4", "7", "8"]
    assert aside == {"boxes of frames that the film does not have": 1}
    assert names(read(film, tmp_path / "a.txt", every="1s")[0]) == [
        "film.mp4#t=0&xywh=0,0,20,30",
        "film.mp4#t=2&xywh=7,0,20,30",
    ]
    table = write(tmp_path / "film", "b.csv", "frame,x,y,w,h\n4,1,2,3,4\n")
    assert names(read(film, table)[0]) == ["film.mp4#t=0.2&xywh=1,2,3,4"]


def test_every() -> None:
    times = [0.0, 0.1, 0.5, 0.99, 1.0, 1.4, 3.7, 4.0]
    assert Every.of("").chosen(times) == list(range(1, 9))
    assert Every.of("3").chosen(times) == [1, 4, 7]
    assert Every.of("1s").chosen(times) == [1, 5, 7, 8]
    assert Every.of("0.5s").chosen(times) == [1, 3, 5, 7, 8]
    for bad in ("0", "s", "-1", "0s", "1m", "nan"):
        with pytest.raises(DataError):
            Every.of(bad)
