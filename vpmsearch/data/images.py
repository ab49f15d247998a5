"""Decodes image files. Only this module does, so training, indexing and evaluating see the same pixels.

A path may name a part of a photograph or a film, see `vpmsearch.data.fragment`. Whatever is wrong with a file is an
`ImageError`; no decoder's exception and no warning of Pillow's gets out.
"""

from __future__ import annotations

import hashlib
import math
import os
import stat

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vpmsearch.data.decoding import decoded, header_size, short, to_rgb
from vpmsearch.data.film import Film, film_hash, is_film
from vpmsearch.data.fragment import Part, PixelBox, part_of, with_box
from vpmsearch.errors import DataError, ImageError
from vpmsearch.words import byte_size, printable

MAX_PIXELS = 50_000_000
"""An image with more pixels is refused before decoding: it is no person crop and may be a decompression bomb.

At this limit WebP with transparency, the costliest format, takes 0.8 GiB for a moment.
"""

MAX_FILE_BYTES = 128 * 2**20
"""Bytes. A larger file is refused: files are read whole, so that hash and pixels are of the same bytes."""


def load_image(
    path: str | os.PathLike[str], *, max_pixels: int = MAX_PIXELS, shrink_to: tuple[int, int] | None = None
) -> Image.Image:
    """Decode an image file as a person would look at it.

    The picture is turned as its EXIF orientation says. Of an animation the first frame is taken. Transparent pixels
    become white. Grey of more than 8 bits is stretched from its smallest to its largest value.

    Args:
        path: a regular file (or a link to one), or a part of one.
        max_pixels: an image with more pixels is refused. For a part, the whole picture counts.
        shrink_to: (height, width) that the image will be resized to. A large JPEG is then decoded at a half, a quarter
            or an eighth of its size, but never below twice this size. It is faster, and the pixels differ slightly.

    Returns:
        The image in mode RGB; its `info` holds nothing but "full_size", the upright (width, height) of the
        file, which differs from `size` only with `shrink_to`.

    Raises:
        ImageError: whatever is wrong with the file.
    """
    return read_image(path, max_pixels=max_pixels, shrink_to=shrink_to)[1]


def decode_image(
    data: bytes, *, name: str = "", max_pixels: int = MAX_PIXELS, shrink_to: tuple[int, int] | None = None
) -> Image.Image:
    """`load_image` for bytes that are in memory already, such as an upload.

    Args:
        data: a whole file. name: its name in messages. max_pixels, shrink_to: as for `load_image`.

    Raises:
        ImageError: whatever is wrong with the bytes.
    """
    if not data:
        raise ImageError("the file is empty (zero bytes)", printable(name))
    return decoded(data, printable(name), max_pixels, shrink_to)


def read_image(
    path: str | os.PathLike[str], *, max_pixels: int = MAX_PIXELS, shrink_to: tuple[int, int] | None = None
) -> tuple[str, Image.Image]:
    """Hash and decode the same bytes, reading the file once.

    Returns:
        `content_hash` and `load_image` of the file.

    Raises:
        ImageError: whatever is wrong with the file.
    """
    part = _part(path)
    if part.fragment or is_film(part.file):
        digest, scene = read_scene(part, max_pixels=max_pixels)
        return part_hash(digest, part), cut(scene, part, path)
    data = _read(path)
    return hash_of(data), decoded(data, printable(path), max_pixels, shrink_to)


def read_scene(part: Part, *, max_pixels: int = MAX_PIXELS) -> tuple[str, Image.Image]:
    """The hash of a whole file, and the whole picture that an image is a part of, as `load_image` decodes it.

    Raises:
        ImageError: whatever is wrong with the file.
    """
    if is_film(part.file):
        if part.seconds is None:
            raise ImageError("a film, no photograph; name a moment, as in film.mp4#t=12.48", printable(part.file))
        digest = film_hash(part.file)
        with Film(part.file, max_pixels=max_pixels) as film:
            return digest, film.at(part.seconds)
    if part.seconds is not None:
        raise ImageError("a photograph has no moments (t=), only films have", printable(part.path))
    data = _read(part.file)
    return hash_of(data), decoded(data, printable(part.file), max_pixels, None)


def cut(scene: Image.Image, part: Part, path: str | os.PathLike[str] = "") -> Image.Image:
    """Cut the box of a part out of its picture, clipped to the picture.

    Raises:
        ImageError: the box is wholly outside of the picture.
    """
    if part.box is None:
        image = scene.copy()
    else:
        try:
            left, top, right, bottom = part.box.pixels(*scene.size)
        except ImageError as error:
            raise ImageError(error.reason, printable(path)) from error
        image = scene.crop((int(left), int(top), int(right), int(bottom)))
    image.info = {"full_size": image.size}
    return image


def content_hash(path: str | os.PathLike[str]) -> str:
    """The first 16 bytes of the file's BLAKE2b-256, as 32 hexadecimal digits. Equal files have equal hashes.

    The hash of a part is made of the file's hash and the fragment, so equal parts of equal files have equal hashes.

    Raises:
        ImageError: the file cannot be read, is empty or too large.
    """
    part = _part(path)
    if is_film(part.file):
        return part_hash(film_hash(part.file), part)
    return part_hash(hash_of(_read(part.file)), part)


def part_hash(digest: str, part: Part) -> str:
    """`content_hash` of a part of a file with that hash."""
    return hash_of(f"{digest}#{part.fragment}".encode()) if part.fragment else digest


def image_size(path: str | os.PathLike[str], *, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """(width, height) of the upright picture. The pixels of a photograph are not decoded.

    Raises:
        ImageError: whatever is wrong with the file.
    """
    part = _part(path)
    if is_film(part.file):
        with Film(part.file, max_pixels=max_pixels) as film:
            size = film.size
    else:
        size = header_size(_read(part.file), printable(path), max_pixels)
    if part.box is None:
        return size
    left, top, right, bottom = part.box.pixels(*size)
    return int(right - left), int(bottom - top)


def boxed(path: str | os.PathLike[str], box: PixelBox) -> str:
    """The path of a box in a photograph or a film's picture, clipped to the picture.

    Raises:
        ImageError: the box lies wholly outside of the picture, or the file cannot be read.
    """
    inside = box.clipped(*image_size(path))
    if inside is None:
        raise ImageError(f"the box {box} lies outside of the picture", printable(path))
    return with_box(path, inside)


def _part(path: str | os.PathLike[str]) -> Part:
    try:
        return part_of(path)
    except ImageError as error:
        raise ImageError(error.reason, printable(path)) from error


def to_array(
    image: Image.Image, size: tuple[int, int], box: tuple[float, float, float, float] | None = None
) -> NDArray[np.uint8]:
    """Resize an image, or a box of it, to what a model takes. Training, indexing and evaluating all use this.

    The resizing is bilinear, and antialiased if it shrinks. The aspect ratio is not kept (the paper, p. 395: resized to
    a fixed H×W). Of a box only the pixels that it touches are used. So a cut image and the same cut saved to a file
    give the same array.

    Args:
        image: any size; other modes than RGB are converted.
        size: (height, width) of the result.
        box: (left, top, right, bottom) in pixels, fractions allowed; None is the whole image.

    Returns:
        (H, W, 3) uint8 RGB, writable.

    Raises:
        DataError: the size is not positive, or the box is empty or leaves the image.
    """
    height, width = size
    if height < 1 or width < 1:
        raise DataError(f"an image cannot be resized to {height}×{width}: height and width must be at least 1")
    if box is not None:
        box = _check_box(box, image.size)
    rgb = image if image.mode == "RGB" else to_rgb(image)
    if box is not None:
        # Cut first: Pillow's filter would use pixels beyond the box, which a partial image does not have.
        rgb, box = _cut(rgb, box)
    resized = rgb.resize((width, height), Image.Resampling.BILINEAR, box=box)
    return np.array(resized, dtype=np.uint8)


def at_height(pixels: NDArray[np.uint8], height: int) -> NDArray[np.uint8]:
    """An image at another height and the same width. Training and the second look use this.

    Args:
        pixels: (H, W, 3). height: in pixels.

    Returns:
        (height, W, 3) uint8.
    """
    return np.array(Image.fromarray(pixels).resize((pixels.shape[1], height), Image.Resampling.BILINEAR))


def hash_of(data: bytes) -> str:
    """`content_hash` of a file with these bytes."""
    # Truncated, not BLAKE2b-128: so the 32-byte hashes of old indexes can be shortened to these.
    return hashlib.blake2b(data, digest_size=32).hexdigest()[:32]


def _read(path: str | os.PathLike[str]) -> bytes:
    """All bytes of a regular file of 1 to MAX_FILE_BYTES bytes."""
    try:
        status = os.stat(path)  # noqa: PTH116 (before opening: opening a device may have effects)
        if not stat.S_ISREG(status.st_mode):
            raise ImageError(_kind(status.st_mode), printable(path))
        if status.st_size > MAX_FILE_BYTES:
            size, most = byte_size(status.st_size), byte_size(MAX_FILE_BYTES)
            raise ImageError(f"{size}, more than the limit of {most}", printable(path))
        # O_NONBLOCK: should the file have become a FIFO since, opening it must not wait for a writer.
        with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:  # noqa: PTH123
            data = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError as error:
        raise ImageError("there is no such file", printable(path)) from error
    except (OSError, MemoryError) as error:
        raise ImageError(f"cannot be read ({short(error)})", printable(path)) from error
    except ValueError as error:  # a NUL or a lone surrogate
        raise ImageError("no file can have this name", printable(path)) from error
    if not data:
        raise ImageError("the file is empty (zero bytes)", printable(path))
    if len(data) > MAX_FILE_BYTES:  # it grew, or its file system reports no sizes
        raise ImageError(f"more than the limit of {byte_size(MAX_FILE_BYTES)}", printable(path))
    return data


def _kind(mode: int) -> str:
    kinds = {
        stat.S_IFDIR: "a folder",
        stat.S_IFIFO: "a FIFO",
        stat.S_IFSOCK: "a socket",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
    }
    return f"{kinds.get(stat.S_IFMT(mode), 'something else')}, not a regular file"


def _check_box(box: tuple[float, float, float, float], size: tuple[int, int]) -> tuple[float, float, float, float]:
    """The box. Parts that rounding put outside of the image are cut off."""
    left, top, right, bottom = box
    width, height = size
    slack = 1e-3  # pixels
    inside = -slack <= left < right <= width + slack and -slack <= top < bottom <= height + slack
    clipped = (max(left, 0.0), max(top, 0.0), min(right, float(width)), min(bottom, float(height)))
    if not inside or clipped[0] >= clipped[2] or clipped[1] >= clipped[3]:
        raise DataError(f"box {box} is empty or leaves the image of {width}×{height} pixels (width×height)")
    return clipped


def _cut(
    image: Image.Image, box: tuple[float, float, float, float]
) -> tuple[Image.Image, tuple[float, float, float, float]]:
    """The whole pixels that a box touches, and the box within them."""
    slack = 1e-6  # pixels: 7.000000000000001 is 7
    left, top, right, bottom = box
    x, y = math.floor(left + slack), math.floor(top + slack)
    width, height = max(math.ceil(right - slack) - x, 1), max(math.ceil(bottom - slack) - y, 1)
    inner = (max(left - x, 0.0), max(top - y, 0.0), min(right - x, width), min(bottom - y, height))
    return image.crop((x, y, x + width, y + height)), inner
