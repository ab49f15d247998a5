"""Boxes of YOLO's labels: a folder with one text file for each picture, with the name of the picture.

A line is class, centre x, centre y, width, height. The last four are fractions of the picture, 0 to 1. A score (a
number with a decimal point) and a track (a whole number) may follow, as Ultralytics writes them
(https://docs.ultralytics.com/datasets/detect/).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from vpmsearch.data import not_taken
from vpmsearch.data.boxes.coco import PERSON
from vpmsearch.data.boxes.found import FoundBox
from vpmsearch.errors import DataError
from vpmsearch.system.regular import open_regular
from vpmsearch.words import printable

_LARGEST = 1 << 26  # bytes of one file
_NAMES = "classes.txt"


def yolo_boxes(folder: Path, size_of: Callable[[str], tuple[int, int] | None]) -> Iterator[FoundBox]:
    """The people of a folder of labels: class 0 or, where the folder has a classes.txt, the class "person".

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
    person = _person(folder)
    names = [name for name in names if Path(name).name != _NAMES]
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
        more = fields[5:]
        score = next((float(each) for each in more if not each.isdigit()), None)
        track = next((each for each in more if each.isdigit()), None)
    except (ValueError, OverflowError) as error:
        text = " ".join(str(error).split())[:100]
        raise DataError(f"{where}: not class, centre x, centre y, width, height as fractions ({text})") from error
    if kind != person:
        return None
    wide, high = size
    return FoundBox(
        (x - width / 2) * wide, (y - height / 2) * high, width * wide, height * high, stem, score=score, track=track
    )


def _person(folder: Path) -> int:
    for place in (folder, folder.parent):
        try:
            names = [line.strip().lower() for line in _lines(place / _NAMES)]
        except DataError:
            continue
        if PERSON not in names:
            raise DataError(f"{printable(place / _NAMES)} has no class {PERSON!r}, only: {', '.join(names[:10])}")
        return names.index(PERSON)
    return 0


def _lines(path: Path) -> list[str]:
    try:
        with open_regular(path, _LARGEST, follow=True) as file:
            return file.read(_LARGEST).decode("utf-8-sig", "replace").splitlines()
    except OSError as error:
        raise DataError(f"{printable(path)} cannot be read ({error.strerror or error})") from error
