"""Eq. 4 in NumPy, for the ranking on a CPU without torch. `vpmsearch.equations` has it for torch tensors.

Both subtract before they square, and both weigh in float64, so they agree to a few units of float32's last digit.
The value of a pair depends on that pair alone, to the last bit, however images are split into calls. NumPy sums the
squares of each embedding separately and pairwise, with an error of log d roundings.

Axes: m images, p regions, d numbers an embedding.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vpmsearch.types import Float32

Float64 = NDArray[np.float64]

TILE = 1 << 16
"""Differences that are held at once: 256 KiB. They stay in a core's cache until they are summed."""
LIFT = np.float32(2.0**112)
"""What undoes `lowered`."""
_SMALLEST_NORMAL = np.array([np.finfo(np.float32).tiny], np.float32)


def region_distances(a: NDArray[np.floating[Any]], b: NDArray[np.floating[Any]]) -> Float32:
    """D_i = ‖f_i − f_i'‖ of pairs of images.

    Args:
        a: (m, p, d), or (1, p, d) to compare one image with all; float32. b: (m, p, d), float16 or float32.

    Returns:
        (m, p) float32, Euclidean, ≥ 0.
    """
    images, regions, dim = b.shape
    distances = np.empty((images, regions), np.float32)
    rows = min(max(1, TILE // max(regions * dim, 1)), max(images, 1))
    work = np.empty((rows, regions, dim), np.float32)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):  # a region that is not shared may hold anything
        for start in range(0, images, rows):
            part = b[start : start + rows]
            difference = work[: len(part)]
            own = a if len(a) == 1 else a[start : start + rows]
            np.subtract(widened(part, difference), own, out=difference)
            np.square(difference, out=difference)
            np.add.reduce(difference, axis=2, out=distances[start : start + rows])
        return np.sqrt(distances, out=distances)


def distances_to(
    query: Float32, query_visibility: Float32, gallery: NDArray[np.floating[Any]], gallery_visibility: Float32
) -> Float32:
    """Eq. 4 of one query: D = Σ_i C_i^q C_i^g D_i / Σ_i C_i^q C_i^g.

    Args:
        query: (p, d). query_visibility: (p,), ≥ 0. gallery: (m, p, d), float16 or float32. gallery_visibility: (m, p),
            ≥ 0. Visibility may have any unit: a factor cancels.

    Returns:
        (m,) float32, ≥ 0; `inf` where no region is shared (all weights are 0), never NaN.
    """
    weights = scaled(gallery_visibility) * scaled(query_visibility[None])  # (m, p), float64
    shown = np.flatnonzero(query_visibility > 0)
    span = slice(int(shown[0]), int(shown[-1]) + 1) if len(shown) else slice(0, 0)
    distances = np.zeros(weights.shape, np.float32)  # regions that the query does not show weigh 0
    distances[:, span] = region_distances(query[None, span], gallery[:, span])
    # A region that is not shared may hold infinity: 0 × inf must not become NaN.
    weighted = np.where(weights > 0, distances, 0) * weights
    total = np.add.reduce(weights, axis=1)
    found = np.full(len(total), np.inf)
    np.divide(np.add.reduce(weighted, axis=1), total, out=found, where=total > 0)
    with np.errstate(over="ignore"):
        return found.astype(np.float32)


def scaled(visibility: Float32) -> Float64:
    """(m, p) visibility divided by the image's largest value, in float64. The factor cancels in Eq. 4.

    The only region that two images share may be nearly invisible in both. The product of two small float32 numbers can
    be 0 in float32, but never in float64.
    """
    wide = visibility.astype(np.float64)
    largest = wide.max(axis=1, keepdims=True, initial=0)
    shares: Float64 = np.divide(wide, largest, out=wide, where=largest > 0)
    return shares


def widened(numbers: NDArray[np.floating[Any]], out: Float32) -> Float32:
    """The same numbers in float32. float32 comes back as it is; float16 is converted into `out`, of the same shape.

    NumPy converts float16 one by one, 1.5 ns each. `lowered` and a product with 2¹¹² are faster. The result is exact,
    also for denormal numbers. Numbers must be finite.
    """
    if numbers.dtype == np.float32:
        return numbers
    if not can_be_lowered(numbers):
        out[...] = numbers
        return out
    return np.multiply(lowered(numbers, out), LIFT, out=out)


def can_be_lowered(numbers: NDArray[np.floating[Any]]) -> bool:
    """Whether `lowered` takes these numbers: float16, on a processor that does not flush denormal numbers to 0."""
    return numbers.dtype == np.float16 and not (_SMALLEST_NORMAL / 2 == 0).any()


def lowered(numbers: NDArray[np.floating[Any]], out: Float32) -> Float32:
    """Finite float16 numbers times 2⁻¹¹² in float32, exactly, in `out`, of the same shape.

    The bits are shifted to where float32 has them. The exponent is then 112 too small.
    """
    bits = out.view(np.int32)
    bits[...] = numbers.view(np.int16)  # keeps the sign in the upper bits
    np.left_shift(bits, 13, out=bits)
    np.bitwise_and(bits, np.int32(-0x70002000), out=bits)  # 0x8fffe000: sign, 5 bits of exponent, 10 of the mantissa
    return out


def expansion_error(dim: int) -> float:
    """γ, the relative rounding error of the expanded square ‖a‖² + ‖b‖² − 2ab in float32.

    Summed in any order, it is within γ (‖a‖ + ‖b‖)² of ‖a − b‖². γ = n·u / (1 − n·u), with n = d + a few operations and
    u = 2⁻²⁴ (Higham, "Accuracy and Stability", lemma 3.1).

    Args:
        dim: d.
    """
    steps = (dim + 8) * 2.0**-24
    return steps / (1 - steps)


def underflow_error(dim: int) -> float:
    """The absolute error of the expanded square through underflow: up to d squares below 2⁻¹²⁶ may become 0.

    It is added to `expansion_error`, which is relative. Without it, images 1e-23 apart would look equal.

    Args:
        dim: d.
    """
    return 4 * (dim + 8) * 2.0**-126  # once each for ‖a‖², ‖b‖² and twice for ab; processors may flush denormal numbers
