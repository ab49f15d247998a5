"""Boxes of MOTChallenge: det.txt, gt.txt, and files that trackers write in the same format.

A line is frame, track, left, top, width, height, score and more (https://motchallenge.net/instructions). Frames and
pixels count from 1. Since 2016 a line of gt.txt has nine columns: the seventh is 0 if the box is to be ignored, the
eighth is the class (1: pedestrian, 2: person on a vehicle, 8: distractor …), the ninth is the visible share, 0 to 1.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path

from vpmsearch.data import not_taken
from vpmsearch.data.boxes.found import FoundBox
from vpmsearch.errors import DataError
from vpmsearch.system.regular import open_regular
from vpmsearch.words import printable

PEDESTRIAN = 1
_LARGEST, _LONGEST = 1 << 30, 1000  # bytes of a file, characters of a line
_FIRST_PIXEL = 1.0
_GROUND_TRUTH = 9  # columns


def mot_boxes(path: Path) -> Iterator[FoundBox]:
    """The people of a det.txt, a gt.txt or a tracker's file.

    Raises:
        DataError: the file cannot be read, or a line is not of this form.
    """
    try:
        with open_regular(path, _LARGEST, follow=True) as file:
            number = 0
            while raw := file.readline(_LONGEST):
                number += 1
                if text := raw.decode("utf-8-sig", "replace").strip():
                    box = _line(text, path, number)
                    if box is not None:
                        yield box
    except OSError as error:
        raise DataError(f"{printable(path)} cannot be read ({error.strerror or error})") from error


def looks_like_mot(line: str) -> bool:
    """Whether a file's first line has MOTChallenge's format: six numbers or more and nothing else."""
    fields = _fields(line)
    return len(fields) >= 6 and all(re.fullmatch(r"[-+]?[0-9.]+(e[-+]?[0-9]+)?|nan", each, re.I) for each in fields)


def _fields(line: str) -> list[str]:
    return [field.strip() for field in (line.split(",") if "," in line else line.split())]


def _line(text: str, path: Path, number: int) -> FoundBox | None:
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
    if len(values) == _GROUND_TRUTH:
        if values[7] != PEDESTRIAN:
            not_taken.note("boxes of other classes than pedestrian (1)", str(path))
            return None
        if values[6] == 0:
            not_taken.note("boxes that are marked not to count", str(path))
            return None
        score = None
    elif score is not None and score < 0 and values[7:] == [-1.0] * len(values[7:]) and score == -1:
        score = None
    known = math.isfinite(values[1]) and values[1] >= 0
    return FoundBox(
        left - _FIRST_PIXEL,
        top - _FIRST_PIXEL,
        width,
        height,
        frame=frame,
        score=score,
        track=str(int(values[1])) if known and values[1] == int(values[1]) else track if known else None,
    )
