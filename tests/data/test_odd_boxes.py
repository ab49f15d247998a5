"""Lists of boxes with values that no detector should write: refused with words, or counted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from vpmsearch.data.boxes.read import read_boxes
from vpmsearch.data.not_taken import counting_not_taken
from vpmsearch.errors import DataError

IMAGES = [{"id": 1, "file_name": "000001.png"}]
BOX = {"image_id": 1, "bbox": [1, 1, 20, 20]}


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    folder = tmp_path / "frames"
    folder.mkdir()
    for number in (1, 2):
        Image.new("RGB", (60, 40), (number, 2, 3)).save(folder / f"{number:06d}.png")
    return folder


def coco(frames: Path, **told: object) -> Path:
    path = frames.parent / "boxes.json"
    path.write_text(json.dumps({"images": IMAGES, "annotations": [BOX]} | told))
    return path


@pytest.mark.parametrize(
    ("told", "what"),
    [
        ({"annotations": [BOX | {"category_id": [1]}]}, "annotation 1 has an id"),
        ({"annotations": [BOX | {"image_id": {}}]}, "annotation 1 has an id"),
        ({"images": [{"id": [1], "file_name": "a.png"}]}, "an image has an id"),
        ({"categories": [{"id": {}, "name": "person"}]}, "a category has an id"),
        ({"annotations": [BOX | {"attributes": {"pid": "7"}}]}, "annotation 1: 'pid' is no attribute"),
        ({"annotations": [BOX | {"attributes": {"note": "a\0b"}}]}, "annotation 1: .* control character"),
        ({"annotations": [BOX | {"attributes": {str(n): n for n in range(101)}}]}, "annotation 1: .* up to 100"),
        ({"annotations": [BOX | {"track_id": "x" * 5000}]}, "annotation 1: .* 4000 characters"),
    ],
)
def test_coco_is_refused_with_words(frames: Path, told: dict[str, object], what: str) -> None:
    with pytest.raises(DataError, match=what):
        read_boxes(frames, coco(frames, **told))


def test_attributes_of_coco_are_written_as_those_of_a_list(frames: Path) -> None:
    more = {"bag": True, "age": 30.0, "no": float("nan"), "empty": "", "deep": [1], "track_id": 4}
    (found,) = read_boxes(frames, coco(frames, annotations=[BOX | {"attributes": more}]))
    assert (found.attributes, found.track) == ((("age", "30"), ("bag", "true")), "4")


@pytest.mark.parametrize(
    ("rotation", "crop"),
    [
        (90, "xywh=11,9,18,12"),  # the centre of 14, 6, 12, 18 is 20, 15
        (270.0, "xywh=11,9,18,12"),
        (-45.0, "xywh=9,4,22,22"),  # (12 + 18) / √2 = 21.2 on each side
        (45.0, "xywh=9,4,22,22"),
        (180, "xywh=14,6,12,18"),
        (360.0, "xywh=14,6,12,18"),
    ],
)
def test_of_a_rotated_box_the_upright_box_around_is_taken_and_counted(frames: Path, rotation: float, crop: str) -> None:
    """CVAT writes the box before its rotation, and the degrees as an attribute."""
    box = BOX | {"bbox": [14, 6, 12, 18], "attributes": {"occluded": False, "rotation": rotation}}
    with counting_not_taken() as aside:
        (found,) = read_boxes(frames, coco(frames, annotations=[box]))
    assert found.path.name == f"000001.png#{crop}"
    assert dict(aside.counts) == {"rotations of boxes (the upright box around each is read)": 1}


@pytest.mark.parametrize("rotation", [0.0, 0, None, "left", True, float("nan"), float("inf"), [90]])
def test_what_is_no_rotation_leaves_a_box_as_it_is(frames: Path, rotation: object) -> None:
    box = BOX | {"bbox": [14, 6, 12, 18], "attributes": {"rotation": rotation}}
    with counting_not_taken() as aside:
        (found,) = read_boxes(frames, coco(frames, annotations=[box]))
    assert found.path.name == "000001.png#xywh=14,6,12,18"
    assert not aside.counts


@pytest.mark.parametrize(
    ("rotation", "attributes"),
    [
        (0.0, {}),
        (0, {}),
        (-0.0, {}),
        (90.0, {"rotation": "90"}),
        ("left", {"rotation": "left"}),  # no degrees: a label of the user's own
        (False, {"rotation": "false"}),
    ],
)
def test_that_a_box_is_not_rotated_is_no_label(frames: Path, rotation: object, attributes: dict[str, str]) -> None:
    """CVAT writes "rotation": 0.0 to every rectangle that nobody turned."""
    box = BOX | {"bbox": [14, 6, 12, 18], "attributes": {"occluded": False, "rotation": rotation}}
    (found,) = read_boxes(frames, coco(frames, annotations=[box]))
    assert dict(found.attributes) == {"occluded": "false"} | attributes


@pytest.mark.parametrize("frame", ["inf", "-inf", "+nan", "1e400", "1.5", "0", "-1"])
def test_a_frame_of_a_list_that_is_no_number(frames: Path, frame: str) -> None:
    path = frames.parent / "boxes.csv"
    path.write_text(f"path,frame,x,y,w,h\n000001.png,{frame},1,1,9,9\n")
    with pytest.raises(DataError, match="line 2: the frame is no whole number"):
        read_boxes(frames, path)


@pytest.mark.parametrize("track", ["inf", "nan", "-1", "1e400"])
def test_a_track_of_motchallenge_that_is_no_number_is_unknown(frames: Path, track: str) -> None:
    path = frames.parent / "det.txt"
    path.write_text(f"1,5,1,1,9,9,1,-1,-1,-1\n1,{track},3,1,9,9,1,-1,-1,-1\n")
    assert [image.track for image in read_boxes(frames, path)] == ["5", None]


def test_two_pictures_of_a_list_are_never_one(frames: Path) -> None:
    path = frames.parent / "boxes.csv"
    path.write_text("path,x,y,w,h\ncam1/000001.png,1,1,9,9\ncam1/000001.png,3,1,9,9\ncam1/000002.png,1,1,9,9\n")
    assert len(read_boxes(frames, path)) == 3  # they lie elsewhere than their list says
    path.write_text("path,x,y,w,h\ncam1/000001.png,1,1,9,9\ncam2/000001.png,1,1,9,9\n")
    with pytest.raises(DataError, match=r"cam1/000001\.png and cam2/000001\.png are two pictures"):
        read_boxes(frames, path)


def test_a_box_is_never_taken_for_the_file_of_its_name(frames: Path) -> None:
    Image.new("RGB", (60, 40), "red").save(frames / "000001.png#xywh=1,2,9,9", "PNG")
    path = frames.parent / "boxes.csv"
    path.write_text("path,x,y,w,h\n000001.png,1,2,9,9\n000001.png,2,2,9,9\n000001.png,-1e9,2,9,9\n")
    with counting_not_taken() as aside:
        (found,) = read_boxes(frames, path)
    assert found.path.name == "000001.png#xywh=2,2,9,9"
    assert aside.counts["boxes whose name is that of a file"] == 1
    assert aside.counts["boxes outside of their picture"] == 1
