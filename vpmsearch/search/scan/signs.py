"""Embeddings as one bit per number: they give estimates of Eq. 4, fast.

An embedding b of one region is kept as the signs of b′ = R(b − μ). μ is the mean of the region's embeddings over the
segment, and R is a fixed rotation. Beside the signs stand ‖b′‖² and ‖b′‖² / Σ|b′_j|. A query's embedding a becomes
a′ = R(a − μ) with 4 bits per number. This is the code of RaBitQ (Gao and Long, SIGMOD 2024).

**The estimate.** Of the direction of b′ only s = sign(b′) is known. The multiple of s that has the product ‖b′‖² with
b′ is s ‖b′‖² / Σ|b′_j|. So ⟨a′, b′⟩ is estimated by ‖b′‖² / Σ|b′_j| · Σ a′_j s_j. That is right where a′ = b′, and
right on average where R is random. Then ‖a − b‖² = ‖a′‖² + ‖b′‖² − 2 ⟨a′, b′⟩, as R keeps lengths. Eq. 4 is the
weighted mean of its roots over the shared regions. The errors of the regions are independent, so their mean is smaller.

An estimate is no bound. `vpmsearch.search.scan.estimated` measures how wrong the estimates are and compares as many
images as that asks for.

**The rotation** makes signs tell as much of embeddings in which a few numbers are far larger than the others. Numbers
are shuffled, their signs flipped at random, and pieces of them multiplied by Hadamard matrices. For this d is filled up
with zeros to a multiple of 32 and cut into powers of 2. All of it is the same in every process.
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
from vpmsearch.types import Float32, Int64, RegionFeatures

GROUP = 32
"""Numbers in a word, `sign_kernels.GROUP`."""
SAMPLE = 4096
"""Images that the mean of a segment is taken over."""
_ROWS = 256  # images that are widened to float32 at once
_PLANES = 4
_HIGHEST = 2 ** (_PLANES - 1) - 0.51  # the largest number of a query comes to 7.49 steps, which is rounded to 7


@dataclass(frozen=True)
class Rotation:
    """R for embeddings of d numbers.

    order: (d,), the number that comes to each place. flips: (d,), ±1. pieces: powers of 2, descending, whose sum is d
    filled up to a multiple of 32.
    """

    order: Int64
    flips: Float32
    pieces: Int64

    def of(self, kernels: ModuleType, numbers: NDArray[np.floating]) -> Float32:
        """Rotate embeddings (…, d): (…, d filled up)."""
        rotated = np.zeros((*numbers.shape[:-1], int(self.pieces.sum())), np.float32)
        rotated[..., : len(self.order)] = numbers[..., self.order] * self.flips
        for row in rotated.reshape(-1, rotated.shape[-1]):
            kernels.rotate(row, self.pieces)
        return rotated


@functools.cache
def rotation(dim: int) -> Rotation:
    """The rotation of embeddings of d numbers."""
    rng = np.random.default_rng(dim)
    order = rng.permutation(dim).astype(np.int64)
    flips = rng.choice(np.array([-1, 1], np.float32), dim)
    left = groups_of(dim) * GROUP
    pieces = [1 << bit for bit in reversed(range(left.bit_length())) if left >> bit & 1]
    return Rotation(order, flips, np.array(pieces, np.int64))


def groups_of(dim: int) -> int:
    """Words that the signs of d numbers take."""
    return -(-dim // GROUP)


def bytes_of(images: int, regions: int, dim: int) -> int:
    """Bytes that the signs of so many images take."""
    return -(-images // LANES) * LANES * regions * (4 * groups_of(dim) + 3 * 2)


class Signs:
    """The signs of a segment's n images, in blocks of 16. They are made bit by bit, by `encode`.

    words: (blocks, p, ⌈d/32⌉, 16) uint32, a bit a number, 1 where it is above 0. scales: (blocks, p, 3, 16), the upper
    16 bits of three float32: ‖b′‖², ‖b′‖² / Σ|b′_j|, and the visibility that counts divided by the image's largest.
    centre: (p, d), μ.

    Args:
        embeddings: (n, p, d). visibility: (n, p), 0 where it does not count.
    """

    def __init__(self, embeddings: Stored, visibility: Float32) -> None:
        images, regions, dim = embeddings.shape
        blocks = -(-images // LANES)
        self._embeddings = embeddings
        self.words = np.zeros((blocks, regions, groups_of(dim), LANES), np.uint32)
        self.scales = np.zeros((blocks, regions, 3, LANES), np.uint16)
        weights = np.zeros((blocks * LANES, regions), np.float32)
        weights[:images] = scaled_weights(visibility)
        self.scales[:, :, 2] = _upper_half(weights.reshape(blocks, LANES, regions).transpose(0, 2, 1))
        self.centre = _centre(embeddings, visibility)
        self.done = 0

    def __len__(self) -> int:
        """Number of blocks."""
        return len(self.words)

    @property
    def left(self) -> int:
        """Images that are not encoded yet."""
        return len(self._embeddings) - self.done

    def encode(self, kernels: ModuleType, images: int) -> None:
        """Encode the next images, so many at most but whole blocks."""
        count, regions, dim = self._embeddings.shape
        turn = rotation(dim)
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
                numbers, self.centre, turn.order, turn.flips, turn.pieces, self.words[blocks], squares, factors
            )
            self.scales[blocks, :, 0], self.scales[blocks, :, 1] = _upper_half(squares), _upper_half(factors)
        self.done = stop


def _centre(embeddings: Stored, visibility: Float32) -> Float32:
    """The mean (p, d) of the embeddings that are visible, over a sample spread evenly."""
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


def _upper_half(numbers: Float32) -> NDArray[np.uint16]:
    """The upper 16 bits of float32 ≥ 0, rounded to the nearest: 8 bits of the mantissa."""
    bits = np.ascontiguousarray(numbers, np.float32).view(np.uint32)
    return ((bits + np.uint32(0x8000)) >> np.uint32(16)).astype(np.uint16)


@dataclass(frozen=True)
class QuerySigns:
    """Q queries as the arguments `planes` and `query` of `sign_kernels.estimates`, for one segment.

    planes: (Q, p, ⌈d/32⌉, 4) uint32, bit b of 32 numbers of a′ in word b. They are steps, −8 to 7. query: (Q, p, 4):
    ‖a′‖², two steps, the sum of all numbers, the visibility divided by the query's largest.
    """

    planes: NDArray[np.uint32]
    query: Float32

    @classmethod
    def of(cls, kernels: ModuleType, queries: RegionFeatures, centre: Float32) -> QuerySigns:
        """Encode queries, which are finite and within 1e17.

        Several queries are filled up to a multiple of `TILE` by queries that show nothing. Their visibility is 0 where
        it does not count.
        """
        count, regions, dim = queries.embeddings.shape
        rows = count if count == 1 else -(-count // kernels.TILE) * kernels.TILE
        moved = queries.embeddings - centre
        numbers = np.zeros((rows, regions, groups_of(dim) * GROUP), np.float32)
        numbers[:count] = rotation(dim).of(kernels, moved)
        step = np.abs(numbers).max(axis=2) / np.float32(_HIGHEST)
        step[step < 1e-30] = 0
        steps = np.divide(numbers, step[:, :, None], out=np.zeros_like(numbers), where=step[:, :, None] > 0)
        steps = np.clip(np.rint(steps), -(2 ** (_PLANES - 1)), 2 ** (_PLANES - 1) - 1).astype(np.int32)
        bits = (steps[..., None, :] >> np.arange(_PLANES)[:, None]) & 1  # (Q, p, 4, d)
        words = np.packbits(bits.astype(np.uint8), axis=-1, bitorder="little").view("<u4")
        query = np.zeros((rows, regions, 4), np.float32)
        query[..., 0] = np.square(numbers, dtype=np.float64).sum(axis=2)
        query[..., 1] = 2 * step
        query[..., 2] = step * steps.sum(axis=2)
        query[:count, :, 3] = scaled_weights(queries.visibility)
        return cls(np.ascontiguousarray(words.swapaxes(2, 3)).astype(np.uint32, copy=False), query)
