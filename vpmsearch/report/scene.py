"""An image shown in the picture that it was cut from."""

from __future__ import annotations

import os

from PIL import Image, ImageDraw

from vpmsearch.data.fragment import PixelBox, part_of
from vpmsearch.data.images import read_scene
from vpmsearch.errors import VpmsearchError

_OUTLINE, _AROUND = (255, 190, 0), (0, 0, 0)


def outlined(scene: Image.Image, box: PixelBox) -> Image.Image:
    """A copy of a picture with the outline of a box: a bright line between two dark ones, visible on any ground."""
    shown = scene.convert("RGB") if scene.mode != "RGB" else scene.copy()
    pen = ImageDraw.Draw(shown)
    width = max(1, round(max(shown.size) / 400))
    edges = (box.x - 1, box.y - 1, box.x + box.width, box.y + box.height)
    for grown, color, line in ((2 * width, _AROUND, 3 * width), (width, _OUTLINE, width)):
        left, top, right, bottom = edges
        pen.rectangle((left - grown, top - grown, right + grown, bottom + grown), outline=color, width=line)
    return shown


def scene_of(path: str | os.PathLike[str]) -> Image.Image | None:
    """The picture that an image was cut from, with its box outlined; None if it is no part, or cannot be read."""
    try:
        part = part_of(path)
        return None if part.box is None else outlined(read_scene(part)[1], part.box)
    except VpmsearchError:
        return None
