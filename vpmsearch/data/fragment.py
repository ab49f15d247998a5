"""Parts of photographs and films as paths: `frames/0001.jpg#xywh=10,20,60,180`, `film.mp4#t=12.48&xywh=10,20,60,180`.

The form is that of W3C Media Fragments 1.0 (https://www.w3.org/TR/media-frags/). `xywh` is a box: left, top, width and
height in whole pixels of the upright picture. `t` is a moment of a film, in seconds from its first picture. If a file's
own name ends like a fragment, the path means that file and no part of another. docs/decisions/0017-scenes.md says why
parts are paths.
"""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass, replace
from typing import NamedTuple

from vpmsearch.errors import DataError, ImageError

MAX_SIDE = 1_000_000
"""Largest number of a box: pixels."""

_FRAGMENT = re.compile(
    r"#(?:t=(?:npt:)?(?P<t>[0-9]{1,9}(?:\.[0-9]{1,9})?))?"
    r"(?:(?:(?<!#)&|(?<=#))xywh=(?:pixel:)?(?P<box>[0-9]{1,7},[0-9]{1,7},[0-9]{1,7},[0-9]{1,7}))?\Z"
)


class PixelBox(NamedTuple):
    """A rectangle of at least one whole pixel. (0, 0) is the top left corner of the upright picture."""

    x: int
    y: int
    width: int
    height: int

    def __str__(self) -> str:
        return f"{self.x},{self.y},{self.width},{self.height}"

    def clipped(self, width: int, height: int) -> PixelBox | None:
        """The part of it inside a picture of that size; None if there is none."""
        left, top = max(self.x, 0), max(self.y, 0)
        right, bottom = min(self.x + self.width, width), min(self.y + self.height, height)
        return PixelBox(left, top, right - left, bottom - top) if left < right and top < bottom else None

    def pixels(self, width: int, height: int) -> tuple[float, float, float, float]:
        """(left, top, right, bottom) in pixels of a picture of that size, as `CropBox.pixels` gives them.

        Raises:
            ImageError: it lies outside of the picture.
        """
        inside = self.clipped(width, height)
        if inside is None:
            raise ImageError(f"the box {self} lies outside of the picture of {width}×{height} pixels (width×height)")
        return (inside.x, inside.y, inside.x + inside.width, inside.y + inside.height)


@dataclass(frozen=True)
class Part:
    """Where the pixels of an image are.

    file: the photograph or film. box: the part of it; None is all. seconds: the moment of a film; None is none.
    """

    file: str
    box: PixelBox | None = None
    seconds: float | None = None

    @property
    def fragment(self) -> str:
        """What follows the `#`; "" for a whole file. One part has one fragment."""
        pieces = [] if self.seconds is None else [f"t={_written(self.seconds)}"]
        return "&".join(pieces if self.box is None else [*pieces, f"xywh={self.box}"])

    @property
    def path(self) -> str:
        """The part as a path."""
        return f"{self.file}#{self.fragment}" if self.fragment else self.file

    @property
    def scene(self) -> str:
        """The whole picture that the box is of, as a path: the photograph, or the film's picture of that moment."""
        return replace(self, box=None).path


def part_of(path: str | os.PathLike[str]) -> Part:
    """The part that a path names. Looks for a file of the whole name only if the name ends like a fragment.

    Raises:
        ImageError: the box has no pixel.
    """
    text = os.fspath(path)
    found = _FRAGMENT.search(text) if "#" in text else None
    if found is None or not (found["t"] or found["box"]) or _is_there(text):
        return Part(text)
    seconds = None if found["t"] is None else float(found["t"])
    if found["box"] is None:
        return Part(text[: found.start()], None, seconds)
    box = PixelBox(*map(int, found["box"].split(",")))
    if not (box.width and box.height) or max(box) > MAX_SIDE:
        raise ImageError(f"the box {box} has no pixel, or numbers above {MAX_SIDE}")
    return Part(text[: found.start()], box, seconds)


def part_or_file(path: str | os.PathLike[str]) -> Part:
    """As `part_of`, for names in an index. A name with an impossible box is taken for a file's name. Never raises."""
    try:
        return part_of(path)
    except ImageError:
        return Part(os.fspath(path))


def file_of(path: str | os.PathLike[str]) -> str:
    """The file that holds an image: the path without its fragment. Never raises."""
    try:
        return part_of(path).file
    except ImageError:
        return os.fspath(path).rpartition("#")[0]


def is_there(path: str | os.PathLike[str]) -> bool:
    """Whether the file that holds an image, or a link of its name, is there."""
    return _is_there(file_of(path))


def parse_box(text: str) -> PixelBox:
    """Read "x,y,width,height" in pixels, whole numbers or not, also with "xywh=" before it.

    Raises:
        DataError: it is no such box, or an empty one.
    """
    try:
        x, y, width, height = map(float, text.strip().removeprefix("xywh=").split(","))
    except ValueError as error:
        raise DataError(f"{text[:80]!r} is no box; give x,y,width,height in pixels, such as 10,20,60,180") from error
    box = box_from(x, y, width, height)
    if box is None:
        raise DataError(f"the box {text[:80]!r} is empty or not finite; give x,y,width,height in pixels")
    return box


def box_from(x: float, y: float, width: float, height: float) -> PixelBox | None:
    """The box whose edges are the nearest whole pixels. It may reach beyond a picture.

    Args:
        x, y, width, height: in pixels, fractions allowed.

    Returns:
        None if the box is empty or not finite, or if an edge is more than `MAX_SIDE` away from 0.
    """
    edges = (x, y, x + width, y + height)
    if not all(math.isfinite(edge) and abs(edge) <= MAX_SIDE for edge in edges) or not (width > 0 and height > 0):
        return None
    left, top, right, bottom = (math.floor(edge + 0.5) for edge in edges)
    return PixelBox(left, top, max(right - left, 1), max(bottom - top, 1))


def with_box(path: str | os.PathLike[str], box: PixelBox) -> str:
    """The path of a part of an image. If the image is a box itself, the new box is relative to it.

    Raises:
        ImageError: the box is wholly outside of the picture: left of it, above it or, if its size is known, beyond it.
    """
    part = part_of(path)
    outer = part.box or PixelBox(0, 0, MAX_SIDE, MAX_SIDE)
    inside = box.clipped(outer.width, outer.height)
    if inside is None:
        raise ImageError(f"the box {box} lies outside of the picture")
    moved = PixelBox(inside.x + outer.x, inside.y + outer.y, inside.width, inside.height)
    return replace(part, box=moved).path


def _is_there(path: str) -> bool:
    try:
        return os.path.lexists(path)
    except ValueError:  # a NUL
        return False


def _written(seconds: float) -> str:
    """Seconds as a path has them: at most six decimals, without zeros at the end. Examples: 12.48, 0, 3."""
    text = f"{seconds:.6f}".rstrip("0").rstrip(".")
    return text or "0"
