"""Changes of light and small occlusions, so that a model does not depend on one colour or one spot."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance

from vpmsearch.data.poor import as_jpeg, smaller

_AREA = (0.02, 0.15)
"""Area of an erased rectangle, as a share of the image."""
_ASPECT = (0.5, 2.0)
"""Height of an erased rectangle divided by its width, in pixels."""
_SHRINK = (0.25, 0.9)
"""Share of its width and height to which a poor photograph is shrunk."""
_QUALITY = (20, 75)
"""JPEG quality of a poor photograph."""


def jittered(image: Image.Image, strength: float, rng: np.random.Generator) -> Image.Image:
    """The image with other brightness, contrast and saturation. Each is multiplied by a factor of its own.

    Args:
        image: RGB. strength: in [0, 1). rng: draws the factors evenly from [1 − strength, 1 + strength].
    """
    for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        image = enhance(image).enhance(float(rng.uniform(1 - strength, 1 + strength)))
    return image


def shifted(image: Image.Image, share: float, rng: np.random.Generator) -> Image.Image:
    """The image moved within its frame, as in a detector's inexact box. The gap gets the image's mean colour.

    Args:
        image: RGB. share: largest shift, as a share of the width and of the height, in [0, 1). rng: draws both shifts
            evenly.
    """
    x, y = (round(float(rng.uniform(-share, share)) * length) for length in image.size)
    mean = tuple(int(channel) for channel in np.asarray(image).mean(axis=(0, 1)))
    frame = Image.new("RGB", image.size, mean)
    frame.paste(image, (x, y))
    return frame


def erased(pixels: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """A copy with one rectangle in the image's mean colour (Zhong et al., *Random Erasing*, AAAI 2020).

    Args:
        pixels: (H, W, 3). rng: draws area, shape and place.
    """
    height, width = pixels.shape[:2]
    area = float(rng.uniform(*_AREA)) * height * width
    aspect = float(np.exp(rng.uniform(*np.log(_ASPECT))))
    rows = min(max(round((area * aspect) ** 0.5), 1), height)
    columns = min(max(round((area / aspect) ** 0.5), 1), width)
    top, left = int(rng.integers(height - rows + 1)), int(rng.integers(width - columns + 1))
    result = pixels.copy()
    result[top : top + rows, left : left + columns] = pixels.mean(axis=(0, 1))
    return result


def degraded(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """The image as a poor photograph: shrunk, and saved as a JPEG of low quality, each with a chance of 2/3.

    The JPEG is made of the small picture, so its blocks are as large as in the video of a distant camera.

    Args:
        image: RGB. rng: draws both chances, the size and the quality.
    """
    if rng.random() < 2 / 3:
        image = smaller(image, float(rng.uniform(*_SHRINK)))
    if rng.random() < 2 / 3:
        image = as_jpeg(image, int(rng.integers(*_QUALITY)))
    return image


def padded(image: Image.Image, share: float) -> Image.Image:
    """The image with a margin on all sides, which stands for the background. It repeats the pixels of the edge.

    Args:
        image: RGB. share: width of the margin on each side, as a share of the image's width and height; at least 0.
    """
    x, y = (int(np.ceil(share * side)) for side in image.size)
    pixels = np.pad(np.asarray(image), ((y, y), (x, x), (0, 0)), mode="edge")
    return Image.fromarray(pixels)
