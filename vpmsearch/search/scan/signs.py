"""Embeddings as few bits: they give estimates of Eq. 4, fast.

An embedding b of one region is kept as the signs of b′ = P(b − μ). μ is a mean of the region's embeddings, and P is a
fixed random projection to h numbers, 128 where there are three regions or more. Beside the signs stand ‖b − μ‖² and
‖b − μ‖² / Σ|b′_j|. A query's embedding a becomes a′ = P(a − μ). The code is that of RaBitQ (Gao and Long, SIGMOD 2024),
of a projection instead of the whole embedding.

**The estimate.** Of the direction of b′ only s = sign(b′) is known. ⟨a − μ, b − μ⟩ is estimated by
‖b − μ‖² / Σ|b′_j| · Σ a′_j s_j. That is right where a = b, and right on average where P is random. Then
‖a − b‖² = ‖a − μ‖² + ‖b − μ‖² − 2 ⟨a − μ, b − μ⟩. Eq. 4 is the weighted mean of its roots over the shared regions. The
errors of the regions are independent, so their mean is smaller. The error depends on h and hardly on d.

An estimate is no bound. `vpmsearch.search.scan.estimated` measures how wrong the estimates are and compares as many
images as that asks for.

**The projection.** The signs of numbers are flipped at random. Pieces of h numbers are added up, and the sum is
multiplied by a Hadamard matrix. So every number is in each b′_j, and signs tell as much of embeddings in which a few
numbers are far larger than the others. It is the same in every process.

**Looking up.** Σ a′_j s_j is summed four numbers at a time: a table holds the 16 sums that four signs can make, in
`LEVELS` steps of equal size. That error is far smaller than that of the signs.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from vpmsearch.eq4 import widened
from vpmsearch.search.products import Stored, scaled_weights
from vpmsearch.search.scan.blocks import LANES
from vpmsearch.types import Float32, RegionFeatures

LEAST_BITS, BITS_OF_IMAGE = 128, 384
"""A region has so many signs or more, and an image of one or two regions as many as three have."""
LEVELS = 31
"""Steps of a table. Eight of them can be summed in a byte."""
SAMPLE = 4096
"""Images that the mean of a region is taken over."""
_ROWS = 64  # images that are widened to float32 at once
_SCALES = 3


def bits_of(regions: int) -> int:
    """h, the signs of a region: a power of 2."""
    wanted = max(LEAST_BITS, -(-BITS_OF_IMAGE // regions))
    return 1 << (wanted - 1).bit_length()


def bytes_of(images: int, regions: int, dim: int) -> int:
    """Bytes that the signs of so many images take; `dim` does not matter."""
    return -(-images // LANES) * LANES * regions * (bits_of(regions) // 8 + 2 * _SCALES)


@functools.cache
def flips(dim: int) -> Float32:
    """(d,) ±1 at random."""
    return np.random.default_rng(dim).choice(np.array([-1, 1], np.float32), dim)


def centre(embeddings: Stored, visibility: Float32) -> Float32:
    """The mean (p, d) of the embeddings (n, p, d) that are visible, over a sample spread evenly."""
    images, regions, dim = embeddings.shape
    total, count = np.zeros((regions, dim)), np.zeros(regions)
    rows = np.unique(np.linspace(0, max(images - 1, 0), min(images, SAMPLE)).astype(np.int64))
    for start in range(0, len(rows), _ROWS):
        some = rows[start : start + _ROWS]
        shown = visibility[some] > 0
        # A region that is not visible may hold anything, infinity too.
        numbers = np.where(shown[:, :, None], embeddings[some], 0).astype(np.float64)
        total += numbers.sum(axis=0)
        count += shown.sum(axis=0)
    return (total / np.maximum(count, 1)[:, None]).astype(np.float32)


class Signs:
    """The signs of a segment's n images, in blocks of 16. They are made bit by bit, by `encode`.

    codes: (blocks, p, h/8 + 6, 16) uint8. A row of 16 bytes belongs to 16 images. The first h/8 rows are signs, 1 where
    the number is above 0, eight numbers a byte. In six rows follow three scales of each image, the upper 16 bits of
    float32: ‖b − μ‖², ‖b − μ‖² / Σ|b′_j|, and the visibility that counts divided by the image's largest. middle:
    (p, d), μ.

    Args:
        embeddings: (n, p, d). visibility: (n, p), 0 where it does not count. middle: (p, d).
    """

    def __init__(self, embeddings: Stored, visibility: Float32, middle: Float32) -> None:
        images, regions, _ = embeddings.shape
        blocks, self._bytes = -(-images // LANES), bits_of(regions) // 8
        self._embeddings, self.middle = embeddings, middle
        self.codes = np.zeros((blocks, regions, self._bytes + 2 * _SCALES, LANES), np.uint8)
        self._scales = self.codes[:, :, self._bytes :].view(np.uint16).reshape(blocks, regions, _SCALES, LANES)
        weights = np.zeros((blocks * LANES, regions), np.float32)
        weights[:images] = scaled_weights(visibility)
        self._scales[:, :, 2] = _upper_half(weights.reshape(blocks, LANES, regions).transpose(0, 2, 1))
        self.done = 0

    def __len__(self) -> int:
        """Number of blocks."""
        return len(self.codes)

    @property
    def left(self) -> int:
        """Images that are not encoded yet."""
        return len(self._embeddings) - self.done

    def encode(self, kernels: ModuleType, images: int) -> None:
        """Encode the next images, so many at most but whole blocks."""
        count, regions, dim = self._embeddings.shape
        stop = min(count, -(-(self.done + max(images, 0)) // _ROWS) * _ROWS)
        wide = np.empty((_ROWS, regions, dim), np.float32)
        for first in range(self.done, stop, _ROWS):
            part = self._embeddings[first : first + _ROWS]
            numbers = wide[: len(part)]
            if widened(part, numbers) is not numbers:
                numbers[:] = part  # copied, as the kernel was not compiled for a read-only map
            blocks = slice(first // LANES, -(-(first + len(part)) // LANES))
            squares, factors = np.zeros((2, blocks.stop - blocks.start, regions, LANES), np.float32)
            kernels.encode(
                numbers,
                numbers.view(np.int32),
                self.middle,
                flips(dim),
                self._bytes,
                self.codes[blocks],
                squares,
                factors,
            )
            self._scales[blocks, :, 0], self._scales[blocks, :, 1] = _upper_half(squares), _upper_half(factors)
        self.done = stop


def _upper_half(numbers: Float32) -> NDArray[np.uint16]:
    """The upper 16 bits of float32 ≥ 0, rounded to the nearest: 8 bits of the mantissa."""
    bits = np.ascontiguousarray(numbers, np.float32).view(np.uint32)
    return ((bits + np.uint32(0x8000)) >> np.uint32(16)).astype(np.uint16)


@dataclass(frozen=True)
class QuerySigns:
    """Q queries as the arguments `tables` and `query` of `sign_kernels.estimates`, for one μ.

    tables: (Q, p, 2, h/8, 16) uint8, levels. Of each eight numbers the first four have their table in half 0, the
    others in half 1. query: (Q, p, 4) float32: ‖a − μ‖², twice the size of a level, twice what levels are counted from,
    the visibility divided by the query's largest.
    """

    tables: NDArray[np.uint8]
    query: Float32

    @classmethod
    def of(cls, kernels: ModuleType, queries: RegionFeatures, middle: Float32) -> QuerySigns:
        """Encode queries, which are finite and within 1e17.

        Several queries are filled up to a multiple of `TILE` by queries that show nothing. Their visibility is 0 where
        it does not count.
        """
        count, regions, dim = queries.embeddings.shape
        rows = count if count == 1 else -(-count // kernels.TILE) * kernels.TILE
        moved = queries.embeddings - middle
        numbers = np.zeros((rows, regions, bits_of(regions)), np.float32)
        kernels.project(moved.reshape(count * regions, dim), flips(dim), numbers.reshape(rows * regions, -1))
        fours = numbers.reshape(rows, regions, -1, 4)
        largest = np.abs(fours).sum(axis=3)  # of the 16 sums; the least is its negative
        step = 2 * largest.max(axis=2) / LEVELS
        step[step < 1e-30] = 0
        sums = fours @ _SIGNS + largest[..., None]  # (Q, p, h/4, 16), from 0 on
        levels = np.divide(sums, step[:, :, None, None], out=np.zeros_like(sums), where=step[:, :, None, None] > 0)
        tables = np.clip(np.rint(levels), 0, LEVELS).astype(np.uint8).reshape(rows, regions, -1, 2, LANES)
        query = np.zeros((rows, regions, 4), np.float32)
        query[:count, :, 0] = np.vecdot(moved, moved)
        query[..., 1] = 2 * step
        query[..., 2] = 2 * largest.sum(axis=2)
        query[:count, :, 3] = scaled_weights(queries.visibility)
        return cls(np.ascontiguousarray(tables.swapaxes(2, 3)), query)


_SIGNS = np.where(np.arange(16) >> np.arange(4)[:, None] & 1, np.float32(1), np.float32(-1))
"""(4, 16), ±1: the signs of four numbers that each of 16 values of four bits stands for."""
