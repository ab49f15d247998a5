"""Eq. 4 of a query and many images in one pass over their embeddings, compiled by numba.

The sums are those of `eq4` in another order, so a distance may differ in its last digits: see `ERROR_STEPS`. It tells
which images `eq4` need not compare.
"""

# ruff: noqa: ANN001, ANN201, ANN202 (a kernel's types are those of the signature that it is compiled for)
from __future__ import annotations

import numpy as np
from numba import njit

from vpmsearch.search.scan.vectors import compiled

_LIFT = np.float32(2.0**112)
_HALF = np.int32(-0x70002000)  # 0x8fffe000: sign, 5 bits of exponent, 10 of the mantissa; see `eq4.lowered`


@njit(inline="always")
def _square_of_halves(query, bits):  # type: ignore[no-untyped-def]
    square = np.float32(0)
    for j in range(len(query)):
        number = np.int32((np.int32(bits[j]) << np.int32(13)) & _HALF).view(np.float32)
        missing = number * _LIFT - query[j]
        square += missing * missing
    return square


@njit(inline="always")
def _square(query, numbers):  # type: ignore[no-untyped-def]
    square = np.float32(0)
    for j in range(len(query)):
        missing = numbers[j] - query[j]
        square += missing * missing
    return square


@compiled("void(f4[:,::1], f8[:,::1], i2[:,:,::1], f8[::1])", {"reassoc", "contract"})
def of_halves(query, weights, bits, out):  # type: ignore[no-untyped-def]
    """Write Eq. 4 of a query (p, d) and m images of finite float16, as int16 (m, p, d); ∞ where no region is shared.

    weights: (m, p), C_i^q C_i^g. out: (m,).
    """
    for image in range(len(bits)):
        weighted, total = 0.0, 0.0
        for region in range(len(query)):
            weight = weights[image, region]
            if weight > 0:  # else the region may hold anything
                weighted += weight * np.sqrt(np.float64(_square_of_halves(query[region], bits[image, region])))
                total += weight
        out[image] = weighted / total if total > 0 else np.inf


@compiled("void(f4[:,::1], f8[:,::1], f4[:,:,::1], f8[::1])", {"reassoc", "contract"})
def of_floats(query, weights, numbers, out):  # type: ignore[no-untyped-def]
    """As `of_halves`, of float32 (m, p, d)."""
    for image in range(len(numbers)):
        weighted, total = 0.0, 0.0
        for region in range(len(query)):
            weight = weights[image, region]
            if weight > 0:
                weighted += weight * np.sqrt(np.float64(_square(query[region], numbers[image, region])))
                total += weight
        out[image] = weighted / total if total > 0 else np.inf
