"""Embeddings as codes of one byte per number, with the error of each: they give certain lower bounds of Eq. 4, fast.

An embedding b of one region is kept as b̂ = s·c. The codes c are integers from −127 to 127, and the step s is the
largest absolute value in b divided by 127. ‖b̂‖ and the measured error e_b ≥ ‖b − b̂‖ are kept too. A query's embedding a
is kept the same way, but with up to 16 bits per number, so that its error e_a is small.

**The bound.** By the triangle inequality D = ‖a − b‖ ≥ ‖â − b̂‖ − e_a − e_b, and D ≥ 0. Eq. 4 is a mean of the D of the
shared regions with weights ≥ 0, so the mean of their lower bounds is a lower bound of it.

**Its rounding**, u = 2⁻²⁴, for what `kernels.lower_bounds` computes in float32:

1. P = Σ c_a c_b is exact. Codes are stored as c + 128. The query's levels are chosen so that sums stay within
   Σ 255 |c_a| < 2³¹. 128 Σ c_a is subtracted as an integer.
2. X = ‖â‖² + ‖b̂‖² − 2 s_a s_b P = ‖â − b̂‖². Each of ‖â‖ and ‖b̂‖ is rounded once and squared (3u), P is rounded once
   and multiplied twice (3u), and three terms are summed. No term has more than 7 roundings, and the absolute values of
   the terms sum to at most (‖â‖ + ‖b̂‖)². So X is wrong by at most 8u (‖â‖ + ‖b̂‖)². Twice that, 16u (‖â‖ + ‖b̂‖)², is
   subtracted; it is itself computed to 5u. Underflow costs less than 2⁻¹²⁰ in all, and `eq4` itself may lose
   (d + 8) 2⁻¹²⁴ of a squared distance where squares underflow. 2⁻¹⁰⁰ is subtracted for both, as d ≤ `MOST_NUMBERS`.
3. The root is rounded once and multiplied by 1 − 16u, which covers that rounding and the root's share of 4.
4. e_a + e_b and the difference have 2 roundings. The errors are stored larger by 16u than computed in float64, and step
   3 has made the root smaller by 16u, which covers both.
5. The weighted mean is wrong by a factor within 1 ± (p + 4)u, as its terms are positive. `eq4.distances_to` is within
   1e-5 of the true value. Callers that compare subtract `SLACK` = 5e-5, which covers both up to p = 500.

The bound is 0, which always holds, where squares are beyond 1e38, embeddings beyond 1e18 or not finite (a region that
is not visible may hold anything), or weights vanish in float32.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vpmsearch.eq4 import widened
from vpmsearch.search.products import Stored, scaled_weights
from vpmsearch.search.scan.blocks import LANES
from vpmsearch.types import Float32, RegionFeatures

SLACK = 5e-5
"""Relative allowance for float32 rounding, see 5 above."""
MOST_NUMBERS = 1 << 15
"""The largest d. Sums of more products might not fit 32 bits."""
_GROUP = 4
_ROWS = 256  # images that are widened to float32 at once


@dataclass(frozen=True)
class Codes:
    """The codes of n images, in blocks of 16. Places after the last image have weight 0.

    words: (blocks, p, ⌈d/4⌉, 16) uint32, four codes c + 128 each. step, length, error: (blocks, p, 16) float32, s, ‖b̂‖
    and e_b. weight: (blocks, p, 16), the visibility that counts divided by the image's largest.
    """

    words: NDArray[np.uint32]
    step: Float32
    length: Float32
    error: Float32
    weight: Float32

    @classmethod
    def of(cls, kernels: ModuleType, embeddings: Stored, visibility: Float32) -> Codes:
        """Encode images.

        Args:
            embeddings: (n, p, d), read once, block by block. visibility: (n, p), 0 where it does not count.
        """
        images, regions, dim = embeddings.shape
        blocks = -(-images // LANES)
        words = np.full((blocks, regions, -(-dim // _GROUP), LANES), 0x80808080, np.uint32)
        step, length, error, weight = (np.zeros((blocks, regions, LANES), np.float32) for _ in range(4))
        wide = np.empty((min(_ROWS, images), regions, dim), np.float32)
        for first in range(0, images, _ROWS):
            part = embeddings[first : first + _ROWS]
            numbers = wide[: len(part)]
            if widened(part, numbers) is not numbers:
                numbers[:] = part  # copied, as the kernel was not compiled for a read-only map
            kernels.encode(numbers, numbers.view(np.int32), first, words, step, length, error)
        padded = np.zeros((blocks * LANES, regions), np.float32)
        padded[:images] = scaled_weights(visibility)
        weight[:] = padded.reshape(blocks, LANES, regions).transpose(0, 2, 1)
        return cls(words, step, length, error, weight)

    def __len__(self) -> int:
        """Number of blocks."""
        return len(self.words)


def bytes_of(images: int, regions: int, dim: int) -> int:
    """Bytes that the codes of so many images take."""
    return -(-images // LANES) * LANES * regions * (_GROUP * -(-dim // _GROUP) + 4 * 4)


@dataclass(frozen=True)
class QueryCodes:
    """Q queries as the arguments `words` to `q_weight` of `kernels.lower_bounds`.

    words: (Q, p, ⌈d/4⌉, 2) int32; of each four numbers 0 and 2 as two int16, then 1 and 3. bias: (Q, p), 128 Σ c_a.
    step, length, error, weight: (Q, p) float32.
    """

    words: NDArray[np.int32]
    bias: NDArray[np.int32]
    step: Float32
    length: Float32
    error: Float32
    weight: Float32

    @classmethod
    def of(cls, queries: RegionFeatures, multiple: int) -> QueryCodes:
        """Encode queries, which are finite and within 1e17.

        Several queries are filled up to a multiple of `multiple` by queries that show nothing. Their visibility is 0
        where it does not count.
        """
        count, regions, dim = queries.embeddings.shape
        rows = count if count == 1 else -(-count // multiple) * multiple
        numbers = np.zeros((rows, regions, _GROUP * -(-dim // _GROUP)), np.float64)
        numbers[:count, :, :dim] = queries.embeddings
        weight = np.zeros((rows, regions), np.float32)
        weight[:count] = scaled_weights(queries.visibility)
        levels = min(2**15 - 1, (2**31 - 1) // (255 * numbers.shape[2]))
        step = (np.abs(numbers).max(axis=2, initial=0) / levels).astype(np.float32)
        step[step < 1e-30] = 0
        unit = step.astype(np.float64)[:, :, None]
        codes = np.clip(np.rint(np.divide(numbers, unit, out=np.zeros_like(numbers), where=unit > 0)), -levels, levels)
        kept = codes * unit
        length = np.sqrt(np.square(kept).sum(axis=2))
        missing = np.sqrt(np.square(numbers - kept).sum(axis=2))
        error = missing * (1 + 2.0**-20) + length * 2.0**-40 + 1e-30
        fours = codes.reshape(rows, regions, -1, _GROUP)[..., [0, 2, 1, 3]]
        words = np.ascontiguousarray(fours.astype(np.int16)).view(np.int32)
        bias = (128 * codes.sum(axis=2)).astype(np.int32)
        return cls(words, bias, step, length.astype(np.float32), error.astype(np.float32), weight)

    def arguments(self) -> tuple[NDArray[Any], ...]:
        """The arguments in the order of the kernel."""
        return self.words, self.bias, self.step, self.length, self.error, self.weight
