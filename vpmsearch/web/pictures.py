"""Pictures of images of the index, and parts of photographs."""

from __future__ import annotations

import io

from PIL import Image

from vpmsearch.data.crops import CropBox
from vpmsearch.data.fragment import PixelBox, part_of
from vpmsearch.data.images import part_hash, read_image, read_scene
from vpmsearch.errors import ImageError
from vpmsearch.report.scene import outlined
from vpmsearch.types import ImageRecord

Box = CropBox | PixelBox
"""A part of a photograph, in fractions or in pixels."""

THUMBNAIL = (192, 256)
"""Largest width and height of a thumbnail, in pixels."""
PICTURE = (1024, 1024)
"""Largest width and height of a picture that is shown whole."""
SCENE = (2048, 2048)
"""The same of a scene, in which people are small."""


def read_stored(record: ImageRecord) -> Image.Image:
    """The picture that was indexed. Another picture that lies at its path by now is shown to nobody.

    Raises:
        ImageError: its file is gone or has changed.
    """
    digest, image = read_image(record.path)
    _check_same(record, digest)
    return image


def read_whole(record: ImageRecord) -> Image.Image:
    """The whole picture that an image is a part of, its box outlined.

    Raises:
        ImageError: its file is gone or has changed.
    """
    part = part_of(record.path)
    digest, image = read_scene(part)
    _check_same(record, part_hash(digest, part))
    if part.box is not None:
        image = outlined(image, part.box)
    return image


def _check_same(record: ImageRecord, digest: str) -> None:
    if not record.content_hash or digest != record.content_hash:
        raise ImageError("the file has changed since it was indexed; index the gallery again")


def cropped(image: Image.Image, box: Box | None) -> Image.Image:
    """The part of an image in a box, at least one pixel; all of it for None."""
    if box is None:
        return image
    left, top, right, bottom = box.pixels(image.width, image.height)
    return image.crop((int(left), int(top), max(int(left) + 1, round(right)), max(int(top) + 1, round(bottom))))


def jpeg(image: Image.Image, largest: tuple[int, int], quality: int) -> bytes:
    """A JPEG of at most (width, height) pixels, without the metadata of the file; changes the image itself."""
    image.thumbnail(largest, Image.Resampling.BICUBIC, reducing_gap=2.0)
    image.info = {}
    target = io.BytesIO()
    image.save(target, "JPEG", quality=quality)
    return target.getvalue()
