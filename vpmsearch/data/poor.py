"""Degrades photographs as poor cameras would, each in one known way. Used to test queries."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable

from PIL import Image, ImageDraw

from vpmsearch.errors import DataError

AS_IT_IS = "as-is"
_BOARDS = 7  # of a fence


def smaller(image: Image.Image, share: float) -> Image.Image:
    """The image made smaller by Pillow's bilinear filter, antialiased. No side becomes shorter than 8 pixels.

    Args:
        share: of its width and height that is left, in (0, 1].
    """
    width, height = (max(8, round(share * side)) for side in image.size)
    return image.resize((width, height), Image.Resampling.BILINEAR)


def as_jpeg(image: Image.Image, quality: int) -> Image.Image:
    """The image saved as a JPEG, and read again.

    Args:
        quality: 1 to 95.
    """
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    with Image.open(file, formats=["JPEG"]) as saved:
        return saved.convert("RGB")


def grey(image: Image.Image) -> Image.Image:
    """The image without colour, as an infrared camera sees. Its three channels are equal."""
    return image.convert("L").convert("RGB")


def fenced(image: Image.Image) -> Image.Image:
    """The photograph behind a drawn fence of upright boards, which hides its lower 40 % over the full width.

    The fence hides the person, but the photograph still includes the place where the legs would be.
    """
    width, height = image.size
    hidden = image.copy()
    draw = ImageDraw.Draw(hidden)
    top = round(0.6 * height)
    if top == height:
        return hidden
    for board in range(_BOARDS):
        left, right = (round(edge * width / _BOARDS) for edge in (board, board + 1))
        if right == left:
            continue  # fewer pixels than boards
        shade = 96 + 24 * (board % 3)
        draw.rectangle((left, top, right - 1, height - 1), (shade, round(0.8 * shade), round(0.6 * shade)))
        draw.line((left, top, left, height - 1), (48, 40, 32), width=max(1, width // 64))
    return hidden


POOR: dict[str, Callable[[Image.Image], Image.Image]] = {
    AS_IT_IS: lambda image: image,
    "half": lambda image: smaller(image, 0.5),
    "quarter": lambda image: smaller(image, 0.25),
    "jpeg30": lambda image: as_jpeg(image, 30),
    "half-jpeg30": lambda image: as_jpeg(smaller(image, 0.5), 30),
    "grey": grey,
    "fenced": fenced,
}
"""How a photograph is made poor, by name. "half" and "quarter" are shares of its width and height. "jpeg30" is a JPEG
of quality 30."""


def check_photos(names: Iterable[str]) -> None:
    """Refuse unknown names.

    Raises:
        DataError: one is not in `POOR`.
    """
    for name in names:
        if name not in POOR:
            raise DataError(f"unknown kind of photograph {name!r}; choose one of {', '.join(POOR)}")
