"""The arithmetic of a scan over signs, compiled by numba. `signs.py` explains the numbers.

Signs are laid out for vectors of 16 images: (blocks, p, groups, 16) uint32, where a group is 32 numbers of an
embedding. So one vector register holds 32 signs of each of 16 images. Every lane of a sum belongs to one image.
"""

# ruff: noqa: ANN001, ANN201, ANN202 (a kernel's types are those of the signature that it is compiled for)
from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from vpmsearch.search.scan.vectors import (
    FLOATS,
    I32,
    I64,
    LANES,
    WORDS,
    compiled,
    count_bits,
    floats,
    load,
    number,
    prefetch,
    splat,
    store,
)

TILE = 4
"""Queries that share one read of a block."""
PLANES = 4
"""Bits of a query's numbers, in two's complement: −8 to 7."""
GROUP = 32
_LARGEST = np.float32(1e17)  # what a store takes; beyond it nothing is compared
_LARGEST_SQUARE = np.float32(1e38)
_LEAST_TOTAL = 1e-30  # a smaller sum of weights is lost in float32


def _sums_of(tile: int) -> Any:
    """`sums(signs, planes, stride, groups, out)` of addresses: Σ of a query's numbers where an image's sign is +.

    signs: of (groups, 16) uint32. planes: of (groups, 4) uint32 per query, `stride` bytes from one query to the next:
    bit b of 32 numbers in word b. out: of (tile, 16) int32, written.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        signs, planes, stride, groups, out = arguments
        zero = ir.Constant(WORDS, [0] * LANES)
        counts = [[cgutils.alloca_once_value(builder, zero) for _ in range(PLANES)] for _ in range(tile)]
        with cgutils.for_range(builder, groups, intp=I64) as loop:
            here = builder.add(signs, builder.mul(loop.index, number(4 * LANES)))
            words = load(builder, here, WORDS)
            prefetch(builder, here)
            for query, slots in enumerate(counts):
                place = builder.add(planes, builder.mul(stride, number(query)))
                place = builder.add(place, builder.mul(loop.index, number(4 * PLANES)))
                for plane, slot in enumerate(slots):
                    bits = splat(builder, load(builder, builder.add(place, number(4 * plane)), I32))
                    counted = count_bits(builder, builder.and_(words, bits))
                    builder.store(builder.add(builder.load(slot), counted), slot)
        for query, slots in enumerate(counts):
            total = zero
            for plane, slot in enumerate(slots):
                weighed = builder.shl(builder.load(slot), ir.Constant(WORDS, [plane] * LANES))
                total = builder.sub(total, weighed) if plane == PLANES - 1 else builder.add(total, weighed)
            store(builder, total, builder.add(out, number(4 * LANES * query)))
        return context.get_dummy_value()

    def sums(typing: Any, signs: Any, planes: Any, stride: Any, groups: Any, out: Any) -> Any:
        return types.void(types.intp, types.intp, types.intp, types.intp, types.intp), generate

    return intrinsic(sums)


_sums_1, _sums_tile = _sums_of(1), _sums_of(TILE)


@intrinsic  # type: ignore[untyped-decorator]
def _means(typing: Any, weighted: Any, total: Any, shared: Any, wanted: Any, out: Any) -> Any:
    """`_means(weighted, total, shared, wanted, out)` of addresses: writes 16 weighted means, returns the least.

    weighted, total, shared: of 16 float32. wanted: of 16 bool. out: of 16 float32; ∞ where not shared or wanted, 0
    where the total is lost in float32. numba leaves such loops scalar; they took as long as a region.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        weighted, total, shared = (load(builder, address, FLOATS) for address in arguments[:3])
        wanted = load(builder, arguments[3], ir.VectorType(ir.IntType(8), LANES))
        zeros, infinite = floats(0.0), floats(float("inf"))
        known = builder.fcmp_ordered(">", total, floats(_LEAST_TOTAL))
        mean = builder.select(known, builder.fdiv(weighted, total), zeros)
        there = builder.and_(
            builder.fcmp_ordered(">", shared, zeros), builder.icmp_unsigned("!=", wanted, wanted.type(None))
        )
        mean = builder.select(there, mean, infinite)
        store(builder, mean, arguments[4])
        kind = ir.FunctionType(ir.FloatType(), [FLOATS])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.vector.reduce.fmin.v16f32")
        return builder.call(function, [mean])

    return types.float32(*[types.intp] * 5), generate


@compiled("void(f4[::1], i8[::1])")
def rotate(row, pieces):  # type: ignore[no-untyped-def]
    """Multiply each piece of a row by an orthogonal Hadamard matrix, in place. pieces: their lengths, powers of 2."""
    start = 0
    for piece in pieces:
        half = 1
        while half < piece:
            for first in range(start, start + piece, 2 * half):
                for place in range(first, first + half):
                    left, right = row[place], row[place + half]
                    row[place], row[place + half] = left + right, left - right
            half *= 2
        scale = np.float32(1 / np.sqrt(piece))
        for place in range(start, start + piece):
            row[place] *= scale
        start += piece


@compiled(
    "void(f4[:,:,::1], f4[:,::1], i8[::1], f4[::1], i8[::1], u4[:,:,:,::1], f4[:,:,::1], f4[:,:,::1])", {"reassoc"}
)
def encode(numbers, centre, order, flips, pieces, words, squares, factors):  # type: ignore[no-untyped-def]
    """Write the signs of m images, which begin with a block; see `signs.Signs`.

    numbers: (m, p, d) float32. centre: (p, d). order, flips, pieces: see `signs.Rotation`. squares, factors:
    (blocks, p, 16), ‖b′‖² and ‖b′‖² / Σ|b′_j|.
    """
    images, regions, dim = numbers.shape
    groups = words.shape[2]
    row = np.empty(GROUP * groups, np.float32)
    for image in range(images):
        block, lane = image // LANES, image % LANES
        for region in range(regions):
            own, middle = numbers[image, region], centre[region]
            largest = np.float32(0)
            for j in range(dim):
                size = abs(own[j])
                largest = size if not size <= largest else largest  # NaN is taken, too
            row[dim:] = 0
            if not largest <= _LARGEST:
                row[:] = 0
            else:
                for j in range(dim):
                    row[j] = (own[order[j]] - middle[order[j]]) * flips[j]
                rotate(row, pieces)
            square, total = np.float32(0), np.float32(0)
            for j in range(GROUP * groups):
                square += row[j] * row[j]
                total += abs(row[j])
            for group in range(groups):
                word = np.uint32(0)
                for j in range(GROUP):
                    word |= np.uint32(row[GROUP * group + j] > 0) << np.uint32(j)
                words[block, region, group, lane] = word
            squares[block, region, lane] = square
            factors[block, region, lane] = square / total if total > 0 else np.float32(0)


@njit(inline="always")
def _number(half):  # type: ignore[no-untyped-def]
    """The float32 whose upper 16 bits are given."""
    return np.uint32(np.uint32(half) << np.uint32(16)).view(np.float32)


@njit(inline="always", error_model="numpy")
def _add_region(sums, query, scales, weighted, total, shared):  # type: ignore[no-untyped-def]
    square, two_steps, numbers, own = query[0], query[1], query[2], query[3]
    for lane in range(LANES):
        theirs, factor, weight = _number(scales[0, lane]), _number(scales[1, lane]), _number(scales[2, lane])
        product = factor * (two_steps * np.float32(sums[lane]) - numbers)
        squared = max(square + theirs - np.float32(2) * product, np.float32(0))
        squared = squared if squared < _LARGEST_SQUARE else _LARGEST_SQUARE  # NaN too, where numbers are huge
        weighted[lane] += own * weight * np.sqrt(squared)
        total[lane] += own * weight
        shared[lane] = max(shared[lane], min(own, weight))


@compiled(
    "void(u4[:,:,:,::1], u2[:,:,:,::1], b1[:,::1], i8, i8, i8, u4[:,:,:,::1], f4[:,:,::1], f4[:,:,::1], f4[:,::1])"
)
def estimates(words, scales, wanted, first, last, offset, planes, query, found, least):  # type: ignore[no-untyped-def]
    """Write estimates of Eq. 4 for a segment's blocks `first` to `last` − 1.

    offset: the place of the segment's block 0 among the blocks of all segments. found: (Q, blocks of all, 16), ∞ where
    no region is shared and where not `wanted` (blocks of all, 16); 0 where weights vanish in float32. least: (Q,
    blocks of all), the minimum of each block. planes, query: see `signs.QuerySigns`. Q is 1 or a multiple of `TILE`.
    """
    queries, regions, groups = planes.shape[:3]
    tile = 1 if queries == 1 else TILE
    sums = np.empty((tile, LANES), np.int32)
    weighted, total = np.empty((tile, LANES), np.float32), np.empty((tile, LANES), np.float32)
    shared = np.empty((tile, LANES), np.float32)
    stride = regions * groups * 4 * PLANES
    for block in range(first, last):
        place = offset + block
        anybody = False
        for lane in range(LANES):
            anybody |= wanted[place, lane]
        if not anybody:
            found[:, place] = np.inf
            least[:, place] = np.inf
            continue
        for start in range(0, queries, tile):
            weighted[:] = 0
            total[:] = 0
            shared[:] = 0
            for region in range(regions):
                showing = False
                for one in range(tile):
                    showing |= query[start + one, region, 3] > 0
                if not showing:
                    continue
                here = words.ctypes.data + (block * regions + region) * groups * (4 * LANES)
                there = planes.ctypes.data + (start * regions + region) * groups * 4 * PLANES
                if tile == 1:
                    _sums_1(here, there, stride, groups, sums.ctypes.data)
                else:
                    _sums_tile(here, there, stride, groups, sums.ctypes.data)
                for one in range(tile):
                    _add_region(
                        sums[one], query[start + one, region], scales[block, region],
                        weighted[one], total[one], shared[one],
                    )  # fmt: skip
            for one in range(tile):
                least[start + one, place] = _means(
                    weighted[one].ctypes.data, total[one].ctypes.data, shared[one].ctypes.data,
                    wanted[place].ctypes.data, found[start + one, place].ctypes.data,
                )  # fmt: skip
