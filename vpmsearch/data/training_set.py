"""Training samples: a holistic image, mirrored by chance, cut to a partial one, with its region labels."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vpmsearch.data.augment import degraded, erased, jittered, padded, shifted
from vpmsearch.data.crops import (
    CropBox,
    jittered_box,
    low_crop,
    region_labels,
    sample_crop,
    visible_behind,
    visible_regions,
)
from vpmsearch.data.datasets import LabelledImage
from vpmsearch.data.fragment import file_of
from vpmsearch.data.images import at_height, load_image, to_array
from vpmsearch.data.occluders import Occluder, drawn_occluder, occluded
from vpmsearch.data.poor import grey
from vpmsearch.errors import DataError
from vpmsearch.labels import in_order
from vpmsearch.types import Bool, Int64

IGNORED = -100
"""The label of pixels that L_R leaves out (torch's default), see `Batch`."""
_HEIGHT = 1 << 20  # of a seed: beyond every position in a batch
CACHE_BYTES = 4 << 30
"""Decoded images kept in memory: all of Market-1501's training split takes 0.4 GiB."""


@dataclass(frozen=True)
class CropSettings:
    """How samples are made. Sizes are (height, width). A strategy is drawn for each cut, and γ evenly from its range.

    two_views: every image is shown whole and cut, both mirrored or neither. cuts: how often it is cut then.
    second_look: the last cut keeps the height that it has on the whole image. The others: as in `TrainSettings`.
    """

    input_size: tuple[int, int]
    map_size: tuple[int, int]
    grid: tuple[int, int]
    strategies: tuple[str, ...]
    gamma: tuple[float, float]
    flip: bool
    two_views: bool = False
    shift: float = 0.0
    color_jitter: float = 0.0
    erase: float = 0.0
    cuts: int = 1
    whole_share: float = 0.0
    box_jitter: float = 0.0
    degrade: float = 0.0
    grey: float = 0.0
    occlude: float = 0.0
    occluder_class: bool = False
    second_look: bool = False

    @property
    def views(self) -> int:
        """How often an image is in a batch."""
        return 1 + self.cuts if self.two_views else 1


class Batch(NamedTuple):
    """B samples, of which the last n are low ones if there is a second look (else n = 0).

    pixels: (B − n, 3, H, W) uint8 RGB. labels: (B, h, w) in [0, p), with an occluder class in [0, p]: p is an occluder.
    visible: (B, p). targets: (B,) class indices. indices: (B,) which image of the set each shows.
    low: (n, 3, H', W), H' < H: cuts of a person at the height that they have on the whole person. All n have one H'.
    Their labels are in the first h' rows; the others are `IGNORED`.
    """

    pixels: NDArray[np.uint8]
    labels: Int64
    visible: Bool
    targets: Int64
    indices: Int64
    low: NDArray[np.uint8] | None = None


class Sample(NamedTuple):
    """One row of a `Batch`: pixels (H, W, 3), or (H', W, 3) of a low one; labels (h, w), visible (p,)."""

    pixels: NDArray[np.uint8]
    labels: Int64
    visible: Bool


class TrainingSet:
    """Labelled images as samples of identity classes, which are numbered from 0. A sample depends on its seed alone.

    Raises:
        DataError: an image has no pid, or its file is missing.
    """

    def __init__(self, images: Sequence[LabelledImage], settings: CropSettings) -> None:
        unlabelled = next((image for image in images if image.pid is None), None)
        if unlabelled is not None or not images:
            raise DataError(
                f"training needs a pid for every image; {unlabelled.path} has none"
                if unlabelled
                else "there are no training images"
            )
        if missing := [image.path for image in images if not os.path.isfile(file_of(image.path))]:  # noqa: PTH113 (Path.is_file raises where a folder above is closed to us)
            raise DataError(f"{len(missing)} of {len(images)} training images are missing, {missing[0]} for one")
        self.images = list(images)
        self.settings = settings
        # A crop has at least γ of the image's height and width. Enough pixels must be left in it.
        height, width = (math.ceil(side / max(settings.gamma[0], 0.01)) for side in settings.input_size)
        self._needed = height, width
        # Sorted, so that class numbers do not depend on the order of files.
        pids = in_order(image.pid for image in images if image.pid is not None)
        classes = {pid: number for number, pid in enumerate(pids)}
        self.num_classes = len(classes)
        self.targets = np.array([classes[image.pid] for image in images if image.pid is not None], dtype=np.int64)
        # Numbered like the classes, as a camid may be any number; an image whose camera is not known has its own.
        cameras = {camid: i for i, camid in enumerate(in_order(i.camid for i in images if i.camid is not None))}
        self.camids = np.array(
            [len(cameras) + i if image.camid is None else cameras[image.camid] for i, image in enumerate(images)],
            dtype=np.int64,
        )
        self._cache: dict[int, Image.Image] = {}
        self._cached_bytes = 0
        self._lock = Lock()

    @property
    def most_cameras(self) -> int:
        """The largest number of cameras that saw one identity."""
        pairs = np.unique(np.stack([self.targets, self.camids]), axis=1)  # (2, N) -> (2, different pairs)
        return int(np.bincount(pairs[0]).max())

    def batch(self, indices: Int64, seed: Sequence[int], share: slice = slice(None)) -> Batch:
        """Cut a batch, or a share of it. (seed, j) decides the samples of image j.

        Returns:
            One sample an index. With two views (1 + cuts) · len(indices): all images whole, then all cut, in the same
            order, then all cut once more.

        Raises:
            ImageError: an image cannot be read.
        """
        chosen = list(enumerate(indices))[share]
        indices = indices[share]
        rows = self._low_rows(seed) if self.settings.second_look else None
        views = [self._views(int(i), np.random.default_rng([*seed, j]), rows) for j, i in chosen]
        samples = [sample for view in zip(*views, strict=True) for sample in view]
        low = [sample.pixels for sample in samples if len(sample.pixels) < self.settings.input_size[0]]
        pixels = [sample.pixels for sample in samples[: len(samples) - len(low)]]
        labels, visible = (np.stack([sample[field] for sample in samples]) for field in (1, 2))
        shown = np.tile(indices, self.settings.views)
        targets = self.targets[shown]
        return Batch(_stacked(pixels), labels, visible, targets, shown, _stacked(low) if low else None)

    def whole(self, indices: Int64) -> NDArray[np.uint8]:
        """Whole images as they are, with nothing drawn: (n,) indices -> (n, 3, H, W) RGB.

        Raises:
            ImageError: an image cannot be read.
        """
        return _stacked([to_array(self._decoded(int(index)), self.settings.input_size) for index in indices])

    def _views(self, index: int, rng: np.random.Generator, rows: int | None) -> list[Sample]:
        """The image cut, or whole and cut."""
        settings = self.settings
        image = self._decoded(index)
        if settings.flip and rng.random() < 0.5:
            # Before the cut: regions are places on the holistic image, mirrored or not.
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        count = settings.cuts if settings.two_views else 1
        boxes = [self._drawn_box(rng) for _ in range(count - (rows is not None))]
        if rows is not None:
            height = (rows + float(rng.uniform(-0.5, 0.5))) / settings.map_size[0]
            boxes.append(low_crop(self._strategy(rng), height, rng))
        if settings.shift:
            image = shifted(image, settings.shift, rng)  # regions are places in the frame, not on the body
        if settings.two_views:
            boxes = [CropBox(), *boxes]
        # A gallery holds whole images, and a cut should resemble them. Photographs that become queries may be poorer.
        lowest = [None] * (len(boxes) - 1) + [rows]
        return [
            self._cut(image, box, rng, poor=not settings.two_views or view > 0, rows=low)
            for view, (box, low) in enumerate(zip(boxes, lowest, strict=True))
        ]

    def _low_rows(self, seed: Sequence[int]) -> int:
        """The rows of T that a batch's low samples have: γ·h for a γ of the settings, at least 1 and fewer than h."""
        h, (least, most) = self.settings.map_size[0], self.settings.gamma
        rows = np.arange(1, h)
        near = rows[(rows >= h * least - 0.5) & (rows <= h * most + 0.5)]
        if not len(near):  # every γ is within half a row of 0 or of the whole image
            near = rows[:1] if h * least < 1 else rows[-1:]
        return int(np.random.default_rng([*seed, _HEIGHT]).choice(near))

    def _strategy(self, rng: np.random.Generator) -> str:
        return self.settings.strategies[int(rng.integers(len(self.settings.strategies)))]

    def _drawn_box(self, rng: np.random.Generator) -> CropBox:
        settings = self.settings
        box = sample_crop(self._strategy(rng), float(rng.uniform(*settings.gamma)), rng)
        return CropBox() if settings.whole_share and rng.random() < settings.whole_share else box

    def _cut(
        self, image: Image.Image, box: CropBox, rng: np.random.Generator, *, poor: bool, rows: int | None = None
    ) -> Sample:
        settings = self.settings
        seen, part = image, box  # the sample is this part of `seen`; a change that needs the sample alone cuts it out
        if settings.box_jitter:
            box = jittered_box(box, settings.box_jitter, rng)
            seen, part = _pixels_of(image, box, settings.box_jitter), CropBox()
        occluder = None
        if poor and settings.occlude and rng.random() < settings.occlude:
            occluder = drawn_occluder(rng)
            # First, as it is a part of the scene: the same light and the same camera.
            seen, part = occluded(_pixels_of(seen, part, 0), occluder, rng, lambda: self._any(rng)), CropBox()
        if settings.color_jitter:
            seen = jittered(seen, settings.color_jitter, rng)
        if poor and settings.grey and rng.random() < settings.grey:
            seen = grey(seen)
        if poor and settings.degrade and rng.random() < settings.degrade:
            seen, part = degraded(_pixels_of(seen, part, 0), rng), CropBox()  # as a file of the cut alone would be
        pixels = to_array(seen, settings.input_size, part.pixels(seen.width, seen.height))
        if settings.erase and rng.random() < settings.erase:
            pixels = erased(pixels, rng)
        if rows is not None:
            pixels = at_height(pixels, settings.input_size[0] * rows // settings.map_size[0])
        return Sample(pixels, *self._labelled(box, occluder, rows))

    def _labelled(self, box: CropBox, occluder: Occluder | None, rows: int | None = None) -> tuple[Int64, Bool]:
        """Labels (h, w) and the visible set (p,) of a cut. rows: of T, that a low one has; None is all h."""
        settings = self.settings
        p = settings.grid[0] * settings.grid[1]
        h, w = settings.map_size
        labels = region_labels(box, settings.grid, (rows or h, w))
        visible = visible_regions(labels, p)
        if occluder is not None:
            hidden = occluder.covers(*labels.shape)
            visible = visible_behind(labels, hidden, p)
            labels = np.where(hidden, p, labels) if settings.occluder_class else labels
        return np.pad(labels, ((0, h - len(labels)), (0, 0)), constant_values=IGNORED), visible

    def _any(self, rng: np.random.Generator) -> Image.Image:
        """Any photograph of the set."""
        return self._decoded(int(rng.integers(len(self.images))))

    def _decoded(self, index: int) -> Image.Image:
        image = self._cache.get(index)
        if image is None:
            image = load_image(self.images[index].path, shrink_to=self._needed)
            size = 4 * image.width * image.height  # Pillow keeps RGB in four bytes a pixel
            with self._lock:  # another thread may have decoded it too
                if index not in self._cache and self._cached_bytes + size <= CACHE_BYTES:
                    self._cache[index] = image
                    self._cached_bytes += size
        return image


def _stacked(images: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(np.stack(images).transpose(0, 3, 1, 2))  # (B, H, W, 3) -> (B, 3, H, W)


def _pixels_of(image: Image.Image, box: CropBox, margin: float) -> Image.Image:
    """The part of an image inside a box, in whole pixels. Beyond the image the edge is repeated.

    Args:
        margin: how far the box may reach beyond the image, as a share of its width and height.
    """
    width, height = image.size
    left, top, right, bottom = box.pixels(width, height)
    if margin:
        image = padded(image, margin)
        x, y = (image.width - width) // 2, (image.height - height) // 2
        left, top, right, bottom = left + x, top + y, right + x, bottom + y
    left, top = math.floor(left), math.floor(top)
    return image.crop((left, top, max(math.ceil(right), left + 1), max(math.ceil(bottom), top + 1)))
