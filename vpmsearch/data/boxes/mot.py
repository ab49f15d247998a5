"""Boxes of MOTChallenge: det.txt, gt.txt, and files that trackers write in the same format.

A line is frame, track, left, top, width, height, score and more (https://motchallenge.net/instructions). Frames and
pixels count from 1. Since 2016 a line of gt.txt has nine columns: the seventh is 0 if the box is to be ignored, the
eighth is the class (1: pedestrian, 2: person on a vehicle, 8: distractor …), the ninth is the visible share, 0 to 1.

Two tools write nine columns that mean something else. Both count pixels from 0.
CVAT and Datumaro: the class is a line's number in labels.txt, which lies beside gt.txt.
BoxMOT: score, class as its detector numbers it (0: person), number of the detection in its frame.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from vpmsearch.data import not_taken
from vpmsearch.data.boxes.class_names import person_class
from vpmsearch.data.boxes.found import FoundBox
from vpmsearch.errors import DataError
from vpmsearch.system.regular import open_regular
from vpmsearch.words import printable

PEDESTRIAN = 1
_LARGEST, _LONGEST = 1 << 30, 1000  # bytes of a file, characters of a line
_WITH_CLASS = 9  # columns of a line that has a class
_UNKNOWN = -1.0  # a class or score that is not told
_LOOKED_AT = 1000  # lines that tell who wrote a file


class _Written(NamedTuple):
    """How a file's writer counts.

    pixel: the number of the first pixel. person: the class of people. judged: a line says whether it counts, and has no
    score.
    """

    pixel: float = 1.0
    person: int = PEDESTRIAN
    judged: bool = True


def mot_boxes(path: Path) -> Iterator[FoundBox]:
    """The people of a det.txt, a gt.txt or a tracker's file.

    Raises:
        DataError: the file cannot be read, or a line is not of this form.
    """
    how = _written(path)
    for number, text in _lines(path):
        box = _line(text, path, number, how)
        if box is not None:
            yield box


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines that are not empty, with their numbers."""
    try:
        with open_regular(path, _LARGEST, follow=True) as file:
            number = 0
            while raw := file.readline(_LONGEST):
                number += 1
                if text := raw.decode("utf-8-sig", "replace").strip():
                    yield number, text
    except OSError as error:
        raise DataError(f"{printable(path)} cannot be read ({error.strerror or error})") from error


def _written(path: Path) -> _Written:
    """Who wrote a file: labels.txt beside it says CVAT; scores where ground truth has 0 and 1 say BoxMOT."""
    named = person_class([path.parent], ["labels.txt"], ("person", "pedestrian"))
    if named is not None:
        return _Written(pixel=0.0, person=named + 1)
    for _, text in islice(_lines(path), _LOOKED_AT):
        fields = _fields(text)
        try:
            counts, kind, visible = map(float, fields[6:])
        except ValueError:
            continue  # another number of columns, or `_line` says what is wrong
        if kind == _UNKNOWN and counts not in (0, 1):
            return _Written(judged=False)
        if kind != _UNKNOWN and (counts not in (0, 1) or kind < 1 or visible > 1):
            return _Written(pixel=0.0, person=0, judged=False)
    return _Written()


def looks_like_mot(line: str) -> bool:
    """Whether a file's first line has MOTChallenge's format: six numbers or more and nothing else."""
    fields = _fields(line)
    return len(fields) >= 6 and all(re.fullmatch(r"[-+]?[0-9.]+(e[-+]?[0-9]+)?|nan", each, re.I) for each in fields)


def _fields(line: str) -> list[str]:
    return [field.strip() for field in (line.split(",") if "," in line else line.split())]


def _line(text: str, path: Path, number: int, how: _Written) -> FoundBox | None:
    fields = _fields(text)
    try:
        values = [float(field) for field in fields]
        frame, track = int(values[0]), fields[1]
        left, top, width, height = values[2:6]
        if frame != values[0] or frame < 1:
            raise ValueError("the frame is no whole number from 1 on")
    except (ValueError, IndexError, OverflowError) as error:
        raise DataError(
            f"{printable(path)}, line {number}: not frame, track, left, top, width, height, score … as MOTChallenge "
            f"writes it ({' '.join(str(error).split())[:100]})"
        ) from error
    score: float | None = values[6] if len(values) > 6 else None
    if len(values) == _WITH_CLASS and values[7] not in (how.person, _UNKNOWN):
        not_taken.note(f"boxes of other classes than pedestrian ({how.person})", str(path))
        return None
    if len(values) == _WITH_CLASS and how.judged:
        if values[6] == 0:
            not_taken.note("boxes that are marked not to count", str(path))
            return None
        score = None
    elif score == _UNKNOWN and values[7:] == [_UNKNOWN] * len(values[7:]):
        score = None
    known = math.isfinite(values[1]) and values[1] >= 0
    return FoundBox(
        left - how.pixel,
        top - how.pixel,
        width,
        height,
        frame=frame,
        score=score,
        track=str(int(values[1])) if known and values[1] == int(values[1]) else track if known else None,
    )
