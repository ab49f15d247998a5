"""Decodes the bytes of an image file, and refuses dangerous ones before a decoder sees them.

Only `vpmsearch.data.images` uses this. No decoder's exception and no warning of Pillow's gets out.
"""

from __future__ import annotations

import functools
import importlib.util
import io
import math
import struct
from collections.abc import Iterator

import numpy as np

# Importing a plugin registers it. So only these decoders can run, never one that starts other programs (EPS).
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)

from vpmsearch.data.quiet import quiet_pillow
from vpmsearch.errors import ImageError
from vpmsearch.words import pixel_count

MAX_SCANS = 100
"""A JPEG with more scans is refused. Decoding goes over the whole image for each scan, and a scan may be ten bytes
long, so a small file could take very long."""

MAX_TAG_VALUES = 1_000_000
"""A TIFF with more numbers in its tags is refused: Pillow makes a 32-byte object of each."""

_BAND = 1 << 22  # pixels converted at once

HEIC_EXTENSIONS = (".heic", ".heif", ".hif") if importlib.util.find_spec("pillow_heif") else ()
"""HEIC, which phones write. It needs vpmsearch[heic]. Its decoder is loaded for the first such file."""

_FORMATS = tuple(
    plugin.format
    for plugin in (
        JpegImagePlugin.JpegImageFile,
        PngImagePlugin.PngImageFile,
        BmpImagePlugin.BmpImageFile,
        WebPImagePlugin.WebPImageFile,
        TiffImagePlugin.TiffImageFile,
        GifImagePlugin.GifImageFile,
        PpmImagePlugin.PpmImageFile,
        AvifImagePlugin.AvifImageFile,
    )
)
_HEIC_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")
_ORIENTATION_TAG = 0x0112
_PHOTOMETRIC_TAG = 0x0106
_TRANSPOSES = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = (5, 6, 7, 8)
_PNG_TURNS = (b"eXIf", b"Raw profile", b"adobe.xmp")
_BYTE_KINDS = (1, 2, 7)  # of TIFF tags: Pillow keeps them as they are


def decoded(data: bytes, name: str, max_pixels: int, shrink_to: tuple[int, int] | None) -> Image.Image:
    """The pixels of a whole file, upright and in mode RGB; see `vpmsearch.data.images.load_image`.

    Args:
        data: the file. name: its name in messages.

    Raises:
        ImageError: whatever is wrong with the bytes.
    """
    try:
        _check_greed(data)
        with quiet_pillow(), Image.open(io.BytesIO(data), formats=_formats_of(data)) as image:
            if image.width * image.height > max_pixels:
                raise ImageError(_too_large(image, max_pixels))
            return _upright_rgb(image, shrink_to)
    except ImageError as error:
        raise ImageError(error.reason, name) from error
    except UnidentifiedImageError as error:
        raise ImageError("not an image of a known format", name) from error
    except Image.DecompressionBombError as error:
        raise ImageError(f"more than the limit of {pixel_count(max_pixels)}", name) from error
    except Exception as error:
        # On damaged files decoders raise nearly anything: OSError, SyntaxError, ValueError, struct.error …
        raise ImageError(f"damaged or truncated ({short(error)})", name) from error


def header_size(data: bytes, name: str, max_pixels: int) -> tuple[int, int]:
    """(width, height) of a file's upright picture, by its header alone.

    Raises:
        ImageError: it is no image, or one of too many pixels.
    """
    try:
        _check_greed(data)
        with quiet_pillow(), Image.open(io.BytesIO(data), formats=_formats_of(data)) as image:
            if image.width * image.height > max_pixels:
                raise ImageError(_too_large(image, max_pixels))
            if image.format == "PNG" and any(mark in data for mark in _PNG_TURNS):
                return _upright_rgb(image, None).size  # its orientation may be stored behind the pixels
            return image.size[::-1] if _orientation(image) in _SIDEWAYS else image.size
    except ImageError as error:
        raise ImageError(error.reason, name) from error
    except Exception as error:
        raise ImageError(f"not an image, or damaged ({short(error)})", name) from error


def _formats_of(data: bytes) -> tuple[str, ...]:
    """The decoders that may look at a file."""
    heic = data[4:8] == b"ftyp" and data[8:12] in _HEIC_BRANDS and b"avif" not in data[8:64]
    return _load_heic() if heic else _FORMATS


@functools.cache
def _load_heic() -> tuple[str, ...]:
    """Make Pillow read HEIC. Returns Pillow's names of the format.

    Raises:
        ImageError: nothing that reads it is installed.
    """
    if not HEIC_EXTENSIONS:
        raise ImageError("a HEIC photograph; `pip install 'vpmsearch[heic]'` to read such")
    from pillow_heif import register_heif_opener

    register_heif_opener(thumbnails=False)
    return ("HEIF",)


def _check_greed(data: bytes) -> None:
    """Refuse files that cost Pillow far more time or memory than their pixels need."""
    if data.startswith(b"\xff\xd8") and data.count(b"\xff\xda") > MAX_SCANS:
        raise ImageError(f"a JPEG of more than {MAX_SCANS} scans")
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    if order is None:
        return
    try:
        big = struct.unpack_from(f"{order}H", data, 2)[0] == 43  # BigTIFF, else TIFF
        (start,) = struct.unpack_from(f"{order}Q" if big else f"{order}I", data, 8 if big else 4)
        (tags,) = struct.unpack_from(f"{order}Q" if big else f"{order}H", data, start)
        first, size, form = (start + 8, 20, "HHQ") if big else (start + 2, 12, "HHI")
        values = 0
        for place in range(first, min(first + tags * size, len(data) - size + 1), size):
            _, kind, count = struct.unpack_from(f"{order}{form}", data, place)
            values += 0 if kind in _BYTE_KINDS else count
    except struct.error:
        return  # no TIFF, or one that Pillow cannot read either
    if values > MAX_TAG_VALUES:
        raise ImageError(f"a TIFF of more than {MAX_TAG_VALUES} numbers in its tags")


def _too_large(image: Image.Image, max_pixels: int) -> str:
    return f"{image.width}×{image.height} is more than the limit of {pixel_count(max_pixels)}"


def short(error: BaseException) -> str:
    """An error on one line. An OSError's file name is left out, as the message has it already."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split())[:200] or type(error).__name__


def _upright_rgb(image: ImageFile.ImageFile, shrink_to: tuple[int, int] | None) -> Image.Image:
    stored = image.size
    drafted = shrink_to is not None and image.format in ("JPEG", "MPO")
    if shrink_to is not None and drafted:
        height, width = shrink_to[::-1] if _orientation(image) in _SIDEWAYS else shrink_to
        image.draft(None, (2 * max(width, 1), 2 * max(height, 1)))
    image.load()
    # Only now: PNG may hold its EXIF after the pixels, and TIFF is turned by its plugin while it loads.
    orientation = _orientation(image)
    rgb = to_rgb(image)
    image.close()  # free its pixels first, since turning needs a second copy
    if orientation in _TRANSPOSES:
        rgb = rgb.transpose(_TRANSPOSES[orientation])
    full_size = (stored[::-1] if orientation in _SIDEWAYS else stored) if drafted else rgb.size
    rgb.info = {"full_size": full_size}
    return rgb


def _orientation(image: Image.Image) -> int:
    """EXIF orientation 1-8; 1 if there is none or it cannot be read. Damaged metadata does not make an image
    unreadable.
    """
    try:
        value = int(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:
        return 1
    return value if 1 <= value <= 8 else 1


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert any mode to RGB. Returns a new image, or the given one if it is loaded and RGB."""
    if image.mode.startswith("I") or image.mode == "F":
        return _grey_to_rgb(image)
    if image.mode not in ("RGBA", "LA", "PA", "RGBa", "La") and "transparency" not in image.info:
        return image.convert("RGB")  # a copy where it is RGB already: free of the file
    result = Image.new("RGB", image.size)
    for box in _bands(image):
        rgba = image.crop(box).convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        result.paste(Image.alpha_composite(white, rgba).convert("RGB"), box[:2])
    return result


def _bands(image: Image.Image) -> Iterator[tuple[int, int, int, int]]:
    """Boxes of whole rows, top to bottom. Converting band by band needs no large intermediate image."""
    rows = max(1, _BAND // max(1, image.width))
    for top in range(0, image.height, rows):
        yield 0, top, image.width, min(top + rows, image.height)


def _zero_is_white(image: Image.Image) -> bool:
    """True for a TIFF of PhotometricInterpretation 0 (TIFF 6.0, page 37), as black-hot infrared is stored."""
    return isinstance(image, TiffImagePlugin.TiffImageFile) and image.tag_v2.get(_PHOTOMETRIC_TAG) == 0


def _grey_to_rgb(image: Image.Image) -> Image.Image:
    """16-bit, 32-bit or floating-point grey to mode RGB: stretched from its smallest to its largest value.

    All grey of more than 8 bits follows this rule, because such files do not tell their scale. Cameras write 12 bits,
    or raw counts of some hundred levels, into 16 bits. With the full scale (65535) only 2 to 13 of 256 grey levels
    would be left. A TIFF whose 0 is white is turned round; Pillow does that for 8 bits alone.
    """
    low, high = math.inf, -math.inf
    for box in _bands(image):
        values = np.asarray(image.crop(box))
        if not np.isfinite(values).all():
            raise ValueError("pixels that are not finite")
        low, high = min(low, float(values.min())), max(high, float(values.max()))
    scale = 255.0 / ((high - low) or 1.0)  # 1: all pixels the same, then black
    if _zero_is_white(image):
        low, scale = high, -scale
    result = Image.new("RGB", image.size)
    for box in _bands(image):
        scaled = (np.asarray(image.crop(box)).astype(np.float64) - low) * scale
        result.paste(Image.fromarray(np.rint(scaled).astype(np.uint8)).convert("RGB"), box[:2])
    return result
