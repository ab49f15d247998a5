"""One box of a list, before it is known whether its picture has it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from vpmsearch.labels import Label


@dataclass(frozen=True, slots=True)
class FoundBox:
    """A person in a picture.

    x, y, width, height: pixels from the picture's left top corner, any numbers, also NaN. name: of the picture, as the
    list has it. frame: its number from 1; of name and frame at least one is known. size: (width, height) of the
    picture, where the list tells it. score: the detector's; None where unknown. track: None where unknown. pid, camid,
    captured_at, attributes: as `LabelledImage` has them.
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
