"""One box of a list. Nobody has checked yet that its picture is there and contains it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from vpmsearch.labels import Label


@dataclass(frozen=True, slots=True)
class FoundBox:
    """A person in a picture.

    x, y, width, height: pixels, from the left top corner of the picture; any numbers, also NaN.
    name: the picture's name in the list. frame: its number, from 1. At least one of the two is known.
    size: (width, height) of the picture in pixels. score: the detector's confidence. track: the track's name. All three
    are None if the list does not have them.
    pid, camid, captured_at, attributes: as in `LabelledImage`.
    """

    x: float
    y: float
    width: float
    height: float
    name: str | None = None
    frame: int | None = None
    size: tuple[int, int] | None = None
    score: float | None = None
    track: str | None = None
    pid: Label | None = None
    camid: Label | None = None
    captured_at: datetime | None = None
    attributes: tuple[tuple[str, str], ...] = ()
