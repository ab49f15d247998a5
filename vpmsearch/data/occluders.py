"""Occluders for training: something drawn over a part of a photograph, and which pixels of T it hides.

`evaluate --photo fenced` measures models behind a fence of upright boards. Nothing here draws upright stripes, so that
the measurement is on an occluder that no training showed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vpmsearch.types import Bool, Float32

Side = Literal["bottom", "top", "left", "right"]
Texture = Literal["photograph", "plain", "gradient", "blobs", "bars"]

_FROM_THE_BOTTOM = 0.7
"""Most things that hide a person stand on the ground: walls, cars, bags, hedges."""
_OTHER_SIDES: tuple[Side, ...] = ("top", "left", "right")
_TEXTURES: tuple[Texture, ...] = ("photograph", "photograph", "plain", "gradient", "blobs", "bars")
_DEPTH = (0.15, 0.5)
_TILT = 0.4
_PIECE = (0.2, 0.7)
"""Width and height of the piece of another photograph, as shares of its own."""


@dataclass(frozen=True)
class Occluder:
    """Where an occluder lies. It begins at one edge of the image and reaches into it.

    side: the edge. depth: how far it reaches into the image, as a share of its height if the edge is the bottom or top,
    else of its width. tilt: in (-1, 1). The depth is (1 - tilt) · depth at the left or upper end of the edge, and
    (1 + tilt) · depth at the other end. start, stop: which part of the edge it takes, 0 ≤ start < stop ≤ 1, counted
    from the left or from the top.
    """

    side: Side
    depth: float
    tilt: float = 0.0
    start: float = 0.0
    stop: float = 1.0

    def covers(self, height: int, width: int) -> Bool:
        """Which cells of a grid laid over the image are hidden: those whose centre is.

        A straight edge that cuts a cell hides its centre exactly if it hides more than half of the cell.

        Args:
            height, width: of the grid, in cells.

        Returns:
            (height, width) bool.
        """
        rows = ((np.arange(height) + 0.5) / height)[:, None]
        columns = ((np.arange(width) + 0.5) / width)[None, :]
        along, into = (columns, rows) if self.side in ("bottom", "top") else (rows, columns)
        if self.side in ("bottom", "right"):
            into = 1 - into
        reach = self.depth * (1 + self.tilt * (2 * along - 1))
        hidden: Bool = (into < reach) & (self.start <= along) & (along < self.stop)
        return hidden


def drawn_occluder(rng: np.random.Generator) -> Occluder:
    """An occluder over 15 to 50 % of the height or width, seven of ten times from the bottom.

    Half of them take the whole edge, the others 50 to 100 % of it. Half of them have a slanting end.
    """
    side: Side = "bottom" if rng.random() < _FROM_THE_BOTTOM else _OTHER_SIDES[int(rng.integers(3))]
    depth = float(rng.uniform(*_DEPTH))
    tilt = float(rng.uniform(-_TILT, _TILT)) if rng.random() < 0.5 else 0.0
    length = float(rng.uniform(0.5, 1)) if rng.random() < 0.5 else 1.0
    start = float(rng.uniform(0, 1 - length))
    return Occluder(side, depth, tilt, start, start + length)


def occluded(
    image: Image.Image, occluder: Occluder, rng: np.random.Generator, another: Callable[[], Image.Image]
) -> Image.Image:
    """The photograph behind an occluder.

    Args:
        image: RGB. rng: draws what the occluder looks like. another: a photograph, from which a piece may be taken.
    """
    pixels = np.array(image)
    hidden = occluder.covers(image.height, image.width)
    rows, columns = (np.flatnonzero(hidden.any(axis=axis)) for axis in (1, 0))
    if not len(rows):  # a photograph of a few pixels
        return image
    inside = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    size = len(columns), len(rows)
    pixels[inside] = np.where(hidden[inside][:, :, None], _painted(size, rng, another), pixels[inside])
    return Image.fromarray(pixels)


def _painted(size: tuple[int, int], rng: np.random.Generator, another: Callable[[], Image.Image]) -> NDArray[np.uint8]:
    """A texture of that size (width, height) as (height, width, 3)."""
    texture = _TEXTURES[int(rng.integers(len(_TEXTURES)))]
    if texture == "photograph":
        return _piece(another(), size, rng)
    first, second = _colour(rng), _colour(rng)
    if texture == "plain":
        mixture = np.zeros(size[::-1], np.float32)
    elif texture == "gradient":
        mixture = _slope(size, float(rng.uniform(0, 2 * np.pi)))
    elif texture == "blobs":
        coarse = Image.fromarray(rng.random((int(rng.integers(2, 13)), int(rng.integers(2, 13))), dtype=np.float32))
        smooth = rng.random() < 0.5
        mixture = np.asarray(coarse.resize(size, Image.Resampling.BILINEAR if smooth else Image.Resampling.NEAREST))
    else:
        mixture = _bars(size, rng)
    grain = 4 * rng.standard_normal((*size[::-1], 1), dtype=np.float32)
    colours = first + mixture[:, :, None] * (second - first) + grain  # (H, W, 1) with (3,) -> (H, W, 3)
    painted: NDArray[np.uint8] = np.clip(colours, 0, 255).astype(np.uint8)
    return painted


def _piece(image: Image.Image, size: tuple[int, int], rng: np.random.Generator) -> NDArray[np.uint8]:
    """A piece of a photograph, turned by a multiple of 90 degrees and resized: a surface rather than a person."""
    turns = int(rng.integers(4))
    width, height = (float(rng.uniform(*_PIECE)) * side for side in image.size)
    left, top = float(rng.uniform(0, image.width - width)), float(rng.uniform(0, image.height - height))
    wanted = size if turns % 2 == 0 else size[::-1]
    piece = image.resize(wanted, Image.Resampling.BILINEAR, box=(left, top, left + width, top + height))
    return np.rot90(np.asarray(piece), turns)


def _slope(size: tuple[int, int], angle: float) -> Float32:
    """(height, width): rises from 0 to 1 over the image, in the direction of the angle; π/2 is downwards."""
    width, height = size
    across = np.cos(angle) * np.linspace(-1, 1, width, dtype=np.float32)
    down = np.sin(angle) * np.linspace(-1, 1, height, dtype=np.float32)
    rise = (down[:, None] + across[None, :]) / (abs(np.cos(angle)) + abs(np.sin(angle)))
    slope: Float32 = ((rise + 1) / 2).astype(np.float32)
    return slope


def _bars(size: tuple[int, int], rng: np.random.Generator) -> Float32:
    """(height, width) of 0 and 1: bars that are level or slant by at most 45 degrees, never upright."""
    width, height = size
    period = max(2.0, float(rng.uniform(0.05, 0.3)) * height)
    wave = (np.arange(height)[:, None] + float(rng.uniform(-1, 1)) * np.arange(width)[None, :]) / period
    bars: Float32 = (wave % 1 < rng.uniform(0.3, 0.7)).astype(np.float32)
    return bars


def _colour(rng: np.random.Generator) -> Float32:
    """A colour (3,), mostly dull: a grey level with a tint."""
    colour: Float32 = (rng.uniform(20, 235) + rng.uniform(-40, 40, 3)).astype(np.float32)
    return colour
