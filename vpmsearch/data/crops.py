"""Self-supervision (paper section 3.3): partial images cut from holistic ones, and the region labels that follow.

A crop is a rectangle in fractions of the holistic image. It is cut out and resized to H × W pixels. The p = m·n regions
of the holistic person move with it. Projected onto the feature map T, they give each pixel of T its region label. The
regions that have a pixel are the visible set V.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vpmsearch.errors import DataError
from vpmsearch.types import Bool, Int64

STRATEGIES = ("top", "bottom", "left", "right", "bilateral", "random")
"""What a crop keeps. "top", "bottom", "left" and "right" keep that edge. "bilateral" keeps the top or the bottom, by a
coin; so we read the paper's "top crop + bottom crop". "random" keeps a window anywhere, of any shape with the area."""


@dataclass(frozen=True)
class CropBox:
    """A rectangle in fractions of the holistic image: 0 ≤ left < right ≤ 1, 0 ≤ top < bottom ≤ 1.

    A box from `jittered_box` may reach beyond the image, below 0 or above 1.
    """

    left: float = 0.0
    top: float = 0.0
    right: float = 1.0
    bottom: float = 1.0

    @property
    def area(self) -> float:
        """Area ratio γ in (0, 1]."""
        return (self.right - self.left) * (self.bottom - self.top)

    def pixels(self, width: int, height: int) -> tuple[float, float, float, float]:
        """The box (left, top, right, bottom) in pixels of an image of that size."""
        return (self.left * width, self.top * height, self.right * width, self.bottom * height)


def sample_crop(strategy: str, gamma: float, rng: np.random.Generator) -> CropBox:
    """Cut a holistic image to area ratio γ.

    Args:
        strategy: one of `STRATEGIES`.
        gamma: γ in (0, 1].
        rng: used by bilateral and random.

    Raises:
        DataError: an unknown strategy, or γ outside (0, 1].
    """
    if not 0 < gamma <= 1:
        raise DataError(f"gamma is an area ratio in (0, 1], got {gamma}")
    if strategy == "bilateral":
        strategy = "top" if rng.random() < 0.5 else "bottom"
    if strategy == "top":
        return CropBox(bottom=gamma)
    if strategy == "bottom":
        return CropBox(top=1 - gamma)
    if strategy == "left":
        return CropBox(right=gamma)
    if strategy == "right":
        return CropBox(left=1 - gamma)
    if strategy == "random":
        height = float(np.exp(rng.uniform(np.log(gamma), 0)))  # log-uniform in [γ, 1]: tall and wide are equally likely
        return _anywhere(gamma / height, height, rng)
    raise DataError(f"unknown crop strategy {strategy!r}; choose one of {', '.join(STRATEGIES)}")


def low_crop(strategy: str, height: float, rng: np.random.Generator) -> CropBox:
    """A crop of a given height, as the second look of a training sees it.

    Args:
        strategy: one of `STRATEGIES`. "random" gives a window anywhere, of 0.6 to 1 of the image's width. Any other
            gives the top or the bottom at full width.
        height: of the crop, as a fraction of the image's; a number outside of [0.05, 1] is moved to its nearer end.
        rng: draws the place.
    """
    height = min(max(height, 0.05), 1.0)
    if strategy != "random":
        return sample_crop("bilateral", height, rng)
    return _anywhere(float(rng.uniform(0.6, 1)), height, rng)


def _anywhere(width: float, height: float, rng: np.random.Generator) -> CropBox:
    """A window of this size, in fractions of the image's, at a place drawn evenly."""
    left, top = float(rng.uniform(0, 1 - width)), float(rng.uniform(0, 1 - height))
    return CropBox(left, top, min(left + width, 1.0), min(top + height, 1.0))


def jittered_box(box: CropBox, most: float, rng: np.random.Generator) -> CropBox:
    """The box with each side moved, as detectors and people draw inexact boxes.

    Regions are still places on the holistic image. What lies beyond its edge belongs to the region at that edge.

    Args:
        box: within the image. most: farthest a side is moved, as a share of the box's width or height, in [0, 0.4].
            rng: draws the four moves evenly.

    Returns:
        A box that reaches beyond the image by at most `most`.
    """
    width, height = box.right - box.left, box.bottom - box.top
    left, right = (float(rng.uniform(-most, most)) * width for _ in range(2))
    top, bottom = (float(rng.uniform(-most, most)) * height for _ in range(2))
    return CropBox(box.left + left, box.top + top, box.right + right, box.bottom + bottom)


def region_labels(box: CropBox, grid: tuple[int, int], map_size: tuple[int, int]) -> Int64:
    """Label every pixel of T by ROI projection (paper section 3.3).

    A region of the holistic image, moved into the crop and resized, spans [x1, x2] × [y1, y2] input pixels; on T it
    spans [x1/S] to [x2/S], rounded, where S is the stride. Neighbours share their edge, so each pixel of T gets
    exactly one label.

    Args:
        box: the crop. grid: (m, n). map_size: (h, w) of T.

    Returns:
        (h, w) int64 in [0, m·n), row-major over the grid.
    """
    rows = _axis_labels(box.top, box.bottom, grid[0], map_size[0])  # (h,)
    columns = _axis_labels(box.left, box.right, grid[1], map_size[1])  # (w,)
    return rows[:, None] * grid[1] + columns[None, :]


def _axis_labels(start: float, stop: float, cells: int, pixels: int) -> Int64:
    """The labels of the pixels of T along one axis.

    Args:
        start, stop: the crop's edges, as fractions of the holistic image. cells: regions along the axis; each takes the
            same share of [0, 1]. pixels: of T along the axis; each takes the same share of [start, stop].

    Returns:
        (pixels,) int64 in [0, cells).
    """
    edges = np.arange(1, cells) / cells  # inner edges on the holistic image
    # In pixels of T: x / S with x in input pixels, so (edge − start) / (stop − start) of all of them. The small number
    # makes an exact half that came out as 3.4999… round as a half for every γ.
    projected = (edges - start) / (stop - start) * pixels
    rounded = np.floor(np.clip(projected, 0, pixels) + 0.5 + 1e-9)
    return np.searchsorted(rounded, np.arange(pixels), side="right").astype(np.int64)


def visible_behind(labels: Int64, hidden: Bool, num_regions: int) -> Bool:
    """The visible set V of a crop behind an occluder.

    A region is visible if it has a pixel of T and the occluder covers at most half of its pixels.

    Args:
        labels: (h, w) int64, of the crop without the occluder. hidden: (h, w), the pixels that the occluder covers.
        num_regions: p.

    Returns:
        (p,) bool.
    """
    owned = np.bincount(labels.ravel(), minlength=num_regions)
    covered = np.bincount(labels[hidden], minlength=num_regions)
    visible: Bool = (owned > 0) & (2 * covered <= owned)
    return visible


def visible_regions(labels: Int64, num_regions: int) -> Bool:
    """The visible set V: regions that own at least one pixel of T.

    Args:
        labels: (…, h, w) int64. num_regions: p.

    Returns:
        (…, p) bool.
    """
    visible: Bool = (labels[..., None] == np.arange(num_regions)).any(axis=(-3, -2))  # (…, h, w, p) -> (…, p)
    return visible
