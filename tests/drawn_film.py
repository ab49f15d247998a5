"""Films whose pictures tell their number, to see whether a picture is the right one."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

BITS, SIDE = 8, 16


def numbered(number: int, size: tuple[int, int] = (160, 96)) -> np.ndarray:
    """A picture (H, W, 3) whose first rows hold a number in black and white squares, something moving below."""
    width, height = size
    pixels = np.full((height, width, 3), 128, np.uint8)
    for bit in range(BITS):
        pixels[:SIDE, bit * SIDE : (bit + 1) * SIDE] = 255 if number >> bit & 1 else 0
    x = (number * 7) % (width - 24)
    pixels[40:90, x : x + 24] = (200, 40 + number % 100, 60)
    return pixels


def number_of(image: Image.Image) -> int:
    """What `numbered` wrote."""
    grey = np.asarray(image.convert("L"))
    return sum(int(grey[SIDE // 2, bit * SIDE + SIDE // 2] > 127) << bit for bit in range(BITS))


def write_film(
    path: Path, ticks: Sequence[int], *, codec: str = "libx264", rate: int = 25, options: dict[str, str] | None = None
) -> Path:
    """A film whose n-th picture, from 0, is `numbered(n)`, shown at ticks[n] / rate seconds."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, options=options or {})
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
        stream.codec_context.time_base = Fraction(1, rate)
        stream.time_base = Fraction(1, rate)
        for number, tick in enumerate(ticks):
            frame = av.VideoFrame.from_ndarray(numbered(number), format="rgb24")
            frame.pts, frame.time_base = tick, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path
