"""Sees a partial image twice: resized to the whole input, and at the height that it has on a whole person.

A half body that is resized to H × W is stretched to twice its height, and T's pixels show other shapes than those of a
whole person. The first look finds the regions. Their sizes tell which share of a person's height the image shows, and
the second look sees it with that share of H. The features are the mean of both. It is not in the paper; weights that
were trained for it say so (docs/decisions/0026-second-look.md).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from vpmsearch.data.images import at_height
from vpmsearch.model.runtime import Pixels, Runtime, Sight
from vpmsearch.model.weights_file import WeightsConfig
from vpmsearch.types import Float32, Int64, RegionFeatures

LEAST, MOST = 0.3, 0.6
"""Shares of a person's height between which an image is seen again. A lower image is seen as if it showed `LEAST`.

Above `MOST` an image is hardly stretched, and a second look would cost nearly as much as the first.
"""
FULL = 0.75
"""A row of regions is taken to be shown whole if it is at least this share of the largest one."""


def heights_to_see(visibility: Float32, grid: tuple[int, int], pixels: int) -> Int64:
    """The rows of T that each image would have if it were not stretched.

    A row of regions that an image shows whole takes 1 / (m · share) of the image, where `share` is that of the person's
    height that the image shows. So the share is 1 / (m · C), with C the mean visibility of the rows shown whole.

    Args:
        visibility: (B, m·n), of the first look. grid: (m, n). pixels: h, the rows of T.

    Returns:
        (B,): 0 for an image that is not seen again, else in [LEAST · h, MOST · h].
    """
    rows = visibility.astype(np.float64).reshape(len(visibility), grid[0], grid[1]).sum(axis=2)  # (B, m)
    largest = rows.max(axis=1, keepdims=True, initial=0)
    whole = (rows >= FULL * largest) & (largest > 0)
    mean = (rows * whole).sum(axis=1) / np.maximum(whole.sum(axis=1), 1)
    share = 1 / np.maximum(grid[0] * mean, 1e-9)
    heights = np.maximum(np.rint(share * pixels), np.ceil(LEAST * pixels))
    return np.where(heights <= MOST * pixels, heights, 0).astype(np.int64)


class SecondLook:
    """A runtime that sees partial images twice, with any other runtime.

    The features of an image still depend on that image alone.

    Args:
        runtime: computes both looks. config: of its weights.
        half: `runtime.features` is faster than `runtime.see`, as in half precision on a GPU, so `features` uses it.
    """

    def __init__(self, runtime: Runtime, config: WeightsConfig, *, half: bool = False) -> None:
        self._runtime, self._config, self._half = runtime, config, half
        self._rows: int | None = None  # h, once it is needed without a `Sight`

    @property
    def name(self) -> str:
        """That of the other runtime."""
        return self._runtime.name

    def features(self, pixels: Pixels) -> RegionFeatures:
        """Visibility (B, p) and embeddings (B, p, d)."""
        if not self._half:
            return self.see(pixels).features
        if self._rows is None:
            self._rows = self._runtime.see(pixels[:1]).probabilities.shape[2]
        first = self._runtime.features(pixels)
        found = RegionFeatures(first.visibility.copy(), first.embeddings.copy())
        for rows, low in self._low(pixels, first, self._rows):
            again = self._runtime.features(low)
            found.visibility[rows] = _mean(first.visibility[rows], again.visibility)
            found.embeddings[rows] = self._mean_embeddings(first.embeddings[rows], again.embeddings)
        return found

    def see(self, pixels: Pixels) -> Sight:
        """And where the regions are; B ≥ 1."""
        first = self._runtime.see(pixels)
        found = replace(first, **{name: value.copy() for name, value in vars(first).items()})
        for rows, low in self._low(pixels, first.features, first.probabilities.shape[2]):
            both = self._mean(first, rows, self._runtime.see(low))
            found.visibility[rows], found.embeddings[rows], found.probabilities[rows] = vars(both).values()
        return found

    def _low(self, pixels: Pixels, first: RegionFeatures, h: int) -> Iterator[tuple[Int64, Pixels]]:
        """The images to see again: for each height their rows in the batch, and them at that height."""
        heights = heights_to_see(first.visibility, self._config.num_regions, h)
        for height in np.unique(heights[heights > 0]).tolist():
            rows = np.flatnonzero(heights == height)
            yield rows, np.stack([at_height(image, height * pixels.shape[1] // h) for image in pixels[rows]])

    def _mean(self, first: Sight, rows: Int64, again: Sight) -> Sight:
        """The mean of two looks at the same images. `rows`: theirs in the first look."""
        embeddings = self._mean_embeddings(first.embeddings[rows], again.embeddings)
        h, low = first.probabilities.shape[2], again.probabilities.shape[2]
        stretched = again.probabilities[:, :, (2 * np.arange(h) + 1) * low // (2 * h)]  # (B, p, low, w) -> (B, p, h, w)
        visibility = _mean(first.visibility[rows], again.visibility)
        return Sight(visibility, embeddings, _mean(first.probabilities[rows], stretched))

    def _mean_embeddings(self, first: Float32, again: Float32) -> Float32:
        """(B, p, d), of length 1 if the weights have them so."""
        embeddings = _mean(first, again)
        if self._config.normalize_embeddings:
            length = np.linalg.norm(embeddings, axis=2, keepdims=True)
            embeddings = (embeddings / np.where(length > 0, length, 1)).astype(np.float32)
        return embeddings


def _mean(one: Float32, other: Float32) -> Float32:
    return (one + other) / np.float32(2)
