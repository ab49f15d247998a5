"""Boxes of people as tools write them whose classes are numbered otherwise than the format says."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from box_files import read, three_frames, write
from hypothesis import given
from hypothesis import strategies as st

from vpmsearch.data.boxes.class_names import person_class
from vpmsearch.data.labelled import LabelledImage
from vpmsearch.errors import DataError


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    return three_frames(tmp_path / "frames")


def names(found: list[LabelledImage]) -> list[str]:
    return [image.path.name for image in found]


def test_mot_of_boxmot(frames: Path) -> None:
    """BoxMOT's columns are score, its detector's class (0: person) and the detection's number; pixels count from 0."""
    rows = ["1,1,10,20,30,40,0.91,0,0", "1,2,60,20,30,40,0.5,1,1", "2,1,11,20,30,40,1,0,3", "3,1,12,20,30,40,0.25,0,-1"]
    found, aside = read(frames, write(frames, "MOT17-04.txt", "\n".join(rows)), min_score=0.3)
    assert [(image.path.name, image.track, dict(image.attributes)) for image in found] == [
        ("000001.png#xywh=10,20,30,40", "1", {"frame": "1", "score": "0.91"}),
        ("000002.png#xywh=11,20,30,40", "1", {"frame": "2", "score": "1"}),
    ]
    assert aside == {"boxes of other classes than pedestrian (0)": 1, "boxes with a score below 0.3": 1}


@pytest.mark.parametrize("name", ["person", "Pedestrian"])
def test_mot_of_cvat(frames: Path, name: str) -> None:
    """CVAT's and Datumaro's classes are the lines of labels.txt; their pixels count from 0."""
    path = write(frames, "gt/gt.txt", "1,1,10.0,20.0,30.0,40.0,1,1,1.0\n1,2,60.0,20.0,30.0,40.0,1,2,1.0\n")
    write(frames, "gt/labels.txt", f"car\n{name}\n")
    found, aside = read(frames, path)
    assert [(image.path.name, image.track) for image in found] == [("000001.png#xywh=60,20,30,40", "2")]
    assert aside == {"boxes of other classes than pedestrian (2)": 1}
    write(frames, "gt/labels.txt", "car\nbus\n")
    with pytest.raises(DataError, match=r"labels\.txt has no class 'person', only: car, bus"):
        read(frames, path)


@pytest.mark.parametrize(
    ("row", "score"),
    [("1,5,11,21,30,40,1,-1,-1", None), ("1,5,11,21,30,40,-1,-1,-1", None), ("1,5,11,21,30,40,0.75,-1,-1", "0.75")],
)
def test_mot_whose_class_is_not_told(frames: Path, row: str, score: str | None) -> None:
    found, aside = read(frames, write(frames, "det.txt", row))
    assert names(found) == ["000001.png#xywh=10,20,30,40"]
    assert (dict(found[0].attributes).get("score"), aside) == (score, {})


def test_yolo_scores_and_tracks(frames: Path) -> None:
    """Ultralytics writes a score of 1.0 as 1: the score is then the first of the two."""
    box = "0 0.5 0.5 0.2 0.4"
    write(frames, "labels/000001.txt", f"{box} 1 7\n")
    write(frames, "labels/000002.txt", f"{box} 7\n")
    write(frames, "labels/000003.txt", f"{box} 0.5\n")
    found, _ = read(frames, frames.parent / "labels")
    assert [(image.track, dict(image.attributes).get("score")) for image in found] == [
        ("7", "1"),
        ("7", None),
        (None, "0.5"),
    ]


YAML = [
    "train: ../train/images\nnc: 3\nnames: ['bag', 'car', 'Person']\nroboflow:\n  names: x\n",  # Roboflow
    "names:\n- bag\n- car\n- person\nnc: 3\n",  # supervision
    "path: .  # root\nnames:\n  0: bag # carried\n  1: car\n\n  2: person\n\ndownload: |\n  names: no\n",  # Ultralytics
    'names: {7: bag, 2: "person"}\nnc: 2\n',
    "nc: 3\nnames: [\n  bag,\n  car, # red\n  person,\n]\n",
]


@pytest.mark.parametrize("told", YAML)
@pytest.mark.parametrize("place", ["labels", ".", "up/labels", "labels/train"])
def test_yolo_with_the_names_of_its_classes(frames: Path, told: str, place: str) -> None:
    """Class 0 is another class than people where classes are in the order of the alphabet."""
    labels = write(frames, f"{place}/boxes/labels/x.txt", "").parent if place == "." else frames.parent / place
    write(frames, f"{labels.relative_to(frames.parent)}/000001.txt", "0 0.5 0.5 0.2 0.4\n2 0.5 0.5 0.1 0.1\n")
    root = {".": "./boxes", "up/labels": ".", "labels/train": "."}.get(place, place)
    write(frames, f"{root}/data.yaml", told)
    found, aside = read(frames, labels)
    assert (names(found), aside) == (["000001.png#xywh=90,45,20,10"], {"boxes of other classes than person": 1})


def test_yolo_of_cvat(frames: Path) -> None:
    write(frames, "cvat/obj_train_data/000001.txt", "0 0.5 0.5 0.2 0.4\n1 0.5 0.5 0.1 0.1\n")
    write(frames, "cvat/obj.names", "car\nperson\n")
    write(frames, "cvat/train.txt", "data/obj_train_data/000001.jpg\n")
    assert names(read(frames, frames.parent / "cvat" / "obj_train_data")[0]) == ["000001.png#xywh=90,45,20,10"]


@pytest.mark.parametrize(
    ("told", "says"),
    [
        ("names: [bag, car]\n", "has no class 'person', only: bag, car"),
        ("nc: 2\n", "has no names of classes; write them to classes.txt"),
        ("names:\n", "names are not understood; write them to classes.txt"),
        ("names: &all [person]\n", "names are not understood"),
        ("names: [bag, [person]]\n", "names are not understood"),
        ("names: |\n  person\n", "names are not understood"),
        ("names: [person\n", "names are not understood"),
        ("names: []\n", "names are not understood"),
        ("names:\n  0:\n    bag\n  1: person\n", "names are not understood"),  # YAML, which reads 0: bag
        ("names:\n  -\n    bag\n  - person\n", "names are not understood"),
        ("names:\n  - a long\n    bag\n  - person\n", "names are not understood"),
        ("names:\n  0: a long\n    bag\n  1: person\n", "names are not understood"),
    ],
)
def test_names_of_classes_that_do_not_tell(frames: Path, told: str, says: str) -> None:
    write(frames, "labels/000001.txt", "0 0.5 0.5 0.2 0.4\n")
    write(frames, "labels/data.yaml", told)
    with pytest.raises(DataError, match=says):
        read(frames, frames.parent / "labels")


@pytest.mark.parametrize("told", ["", "\n \n"])
def test_a_file_of_no_names_is_called_so(frames: Path, told: str) -> None:
    write(frames, "labels/000001.txt", "0 0.5 0.5 0.2 0.4\n")
    write(frames, "labels/classes.txt", told)
    with pytest.raises(DataError, match="only: empty lines; rename"):
        read(frames, frames.parent / "labels")


WORDS = st.lists(st.text(max_size=8) | st.sampled_from(["person", "no", "1", "a b"]), min_size=1, max_size=6)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("names")


@given(before=WORDS, after=WORDS, block=st.booleans(), numbered=st.booleans(), wide=st.sampled_from([20, 1000]))
def test_names_are_read_as_yaml_reads_them_or_refused(
    before: list[str], after: list[str], block: bool, numbered: bool, wide: int, folder: Path
) -> None:
    names = [*before, "person", *after]
    told = {"names": dict(enumerate(names)) if numbered else names, "nc": len(names), "train": "a"}
    (folder / "data.yaml").write_text(yaml.safe_dump(told, default_flow_style=False if block else None, width=wide))
    read = yaml.safe_load((folder / "data.yaml").read_text())["names"]
    right = min(n for n, name in enumerate(names) if str(read[n]).strip().lower() == "person")
    try:
        found, refusal = person_class([folder], ["data.yaml"]), ""
    except DataError as error:
        found, refusal = right, str(error)
    assert found == right
    assert not refusal or "not understood" in refusal
