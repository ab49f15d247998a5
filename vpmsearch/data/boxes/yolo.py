"""Boxes of YOLO's labels: a folder with one text file for each picture, with the name of the picture.

A line is class, centre x, centre y, width, height. The last four are fractions of the picture, 0 to 1. A score and a
track may follow, as Ultralytics writes them (https://docs.ultralytics.com/datasets/detect/). Where there is only one of
them, a whole number is a track.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from vpmsearch.data import not_taken
from vpmsearch.data.boxes.class_names import person_class
from vpmsearch.data.boxes.found import FoundBox
from vpmsearch.errors import DataError
from vpmsearch.system.regular import open_regular
from vpmsearch.words import printable

_LARGEST = 1 << 26  # bytes of one file
_NAMES = ("classes.txt", "obj.names", "data.yaml", "data.yml", "dataset.yaml")
_NO_LABELS = ("classes.txt", "train.txt", "val.txt", "test.txt")  # the last three list pictures


def yolo_boxes(folder: Path, size_of: Callable[[str], tuple[int, int] | None]) -> Iterator[FoundBox]:
    """The people of a folder of labels: the class "person" where names of classes lie beside them, else class 0.

    Names are looked for in the folder and the one around it; of a folder labels/train or train/labels also one further.

    Args:
        size_of: name of a picture without its extension -> its (width, height) in pixels; None if there is no such
            picture.

    Raises:
        DataError: a file cannot be read, or a line is not of this form.
    """
    try:
        names = sorted(os.fspath(path.relative_to(folder)) for path in folder.rglob("*.txt"))
    except OSError as error:
        raise DataError(f"{printable(folder)} cannot be read ({error.strerror or error})") from error
    person = person_class(_places(folder), _NAMES) or 0
    names = [name for name in names if name not in _NO_LABELS]
    if not names:
        raise DataError(f"{printable(folder)} holds no .txt: YOLO's labels are a text file for each picture")
    for name in names:
        stem = name.removesuffix(".txt")
        size = size_of(stem)
        for number, line in enumerate(_lines(folder / name), start=1):
            if not line.strip():
                continue
            if size is None:
                not_taken.note("boxes whose picture is not there", os.fspath(folder / name))
                continue
            box = _box(line, stem, size, person, f"{printable(folder / name)}, line {number}")
            if box is None:
                not_taken.note("boxes of other classes than person", os.fspath(folder / name))
            else:
                yield box


def _box(line: str, stem: str, size: tuple[int, int], person: int, where: str) -> FoundBox | None:
    fields = line.split()
    try:
        kind, (x, y, width, height) = int(float(fields[0])), map(float, fields[1:5])
        if len(fields) > 7:
            raise ValueError(f"{len(fields)} numbers: an outline, no box")
        score, track = _score_and_track(fields[5:])
    except (ValueError, OverflowError) as error:
        text = " ".join(str(error).split())[:100]
        raise DataError(f"{where}: not class, centre x, centre y, width, height as fractions ({text})") from error
    if kind != person:
        return None
    wide, high = size
    return FoundBox(
        (x - width / 2) * wide, (y - height / 2) * high, width * wide, height * high, stem, score=score, track=track
    )


def _score_and_track(more: list[str]) -> tuple[float | None, str | None]:
    """Of the numbers behind a box: the score comes first, a track is whole."""
    track = next((each for each in reversed(more) if each.isdigit()), None)
    rest = more[:1] if len(more) == 2 else [each for each in more if not each.isdigit()]
    return (float(rest[0]) if rest else None), track


def _places(folder: Path) -> list[Path]:
    """Where the names of classes may lie: CVAT and Roboflow put them above the folders of labels."""
    above = folder.absolute().parent
    return [folder, above, above.parent] if "labels" in (folder.absolute().name, above.name) else [folder, above]


def _lines(path: Path) -> list[str]:
    try:
        with open_regular(path, _LARGEST, follow=True) as file:
            return file.read(_LARGEST).decode("utf-8-sig", "replace").splitlines()
    except OSError as error:
        raise DataError(f"{printable(path)} cannot be read ({error.strerror or error})") from error
