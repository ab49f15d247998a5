"""The arithmetic of a scan over codes, compiled by numba. Importing this module costs 0.4 s; `joint.py` says when.

Codes are laid out for vectors of 16 images: (blocks, p, groups, 16, 4) uint8, where a group is four numbers of an
embedding. So one vector register holds four numbers of each of 16 images. Every lane of a sum belongs to one image, and
nothing is summed across lanes.

`_dots` is built from LLVM's vectors (`vectors.py`). On a processor with AVX-512 VNNI a step becomes two `vpdpwssd`, on
others the instructions that they have. Integer sums are exact, so their order does not matter.
"""

# ruff: noqa: ANN001, ANN201, ANN202 (a kernel's types are those of the signature that it is compiled for)
from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from vpmsearch.search.scan.vectors import HALVES, I32, I64, LANES, WORDS, compiled, load, prefetch, splat, store

TILE = 4
"""Queries that share one read of a block."""
_SURE = np.float32(1 - 2.0**-20)  # 16 roundings of float32
_LARGEST = np.float32(1e38)  # larger squares give the bound 0
_BITS_TOO_LARGE = np.int32(np.float32(1e18).view(np.int32))
_BITS_TOO_SMALL = np.int32(np.float32(1e-30).view(np.int32))
_LEAST_TOTAL = np.float32(1e-30)  # a smaller sum of weights is lost in float32


def _pairs(builder: Any, left: Any, right: Any) -> Any:
    """Products of 32 and 32 numbers of 16 bits, summed in neighbouring pairs: 16 sums."""
    wide = ir.VectorType(I32, 2 * LANES)
    product = builder.mul(builder.sext(left, wide), builder.sext(right, wide))
    picks = [ir.Constant(WORDS, [2 * lane + odd for lane in range(LANES)]) for odd in (0, 1)]
    even, odd = (builder.shuffle_vector(product, ir.Constant(wide, ir.Undefined), pick) for pick in picks)
    return builder.add(even, odd)


def _dots_of(tile: int) -> Any:
    """`dots(codes, query, stride, groups, out)` of addresses: integer products of a block with `tile` queries.

    codes: of (groups, 16, 4) uint8. query: of (groups, 2) int32 per query, `stride` bytes from one to the next: numbers
    0 and 2 of a group as two int16, then 1 and 3. out: of (tile, 16) int32, written.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        codes, query, stride, groups, out = arguments
        zero = ir.Constant(WORDS, [0] * LANES)
        sums = [cgutils.alloca_once_value(builder, zero) for _ in range(2 * tile)]  # LLVM keeps them in registers
        with cgutils.for_range(builder, groups, intp=I64) as loop:
            words = load(builder, builder.add(codes, builder.mul(loop.index, ir.Constant(I64, 4 * LANES))), WORDS)
            prefetch(builder, builder.add(codes, builder.mul(loop.index, ir.Constant(I64, 4 * LANES))))
            low = ir.Constant(WORDS, [0x00FF00FF] * LANES)
            even = builder.bitcast(builder.and_(words, low), HALVES)
            shifted = builder.lshr(words, ir.Constant(WORDS, [8] * LANES))
            odd = builder.bitcast(builder.and_(shifted, low), HALVES)
            for number in range(tile):
                place = builder.add(query, builder.mul(stride, ir.Constant(I64, number)))
                place = builder.add(place, builder.mul(loop.index, ir.Constant(I64, 8)))
                for half, (mine, offset) in enumerate(((even, 0), (odd, 4))):
                    word = load(builder, builder.add(place, ir.Constant(I64, offset)), I32)
                    theirs = builder.bitcast(splat(builder, word), HALVES)
                    slot = sums[2 * number + half]
                    builder.store(builder.add(builder.load(slot), _pairs(builder, mine, theirs)), slot)
        for number in range(tile):
            total = builder.add(builder.load(sums[2 * number]), builder.load(sums[2 * number + 1]))
            place = builder.add(out, ir.Constant(I64, 4 * LANES * number))
            store(builder, total, place)
        return context.get_dummy_value()

    def dots(typing: Any, codes: Any, query: Any, stride: Any, groups: Any, out: Any) -> Any:
        return types.void(types.intp, types.intp, types.intp, types.intp, types.intp), generate

    return intrinsic(dots)


_dots_1, _dots_tile = _dots_of(1), _dots_of(TILE)


@compiled("void(f4[:,:,::1], i4[:,:,::1], i8, u4[:,:,:,::1], f4[:,:,::1], f4[:,:,::1], f4[:,:,::1])", {"reassoc"})
def encode(numbers, bits, first, words, step, length, error):  # type: ignore[no-untyped-def]
    """Write the codes of images from row `first` on; see `codes.Codes`.

    numbers: (m, p, d) float32. bits: the same memory as int32. words: the codes, four in each number.
    """
    images, regions, dim = numbers.shape
    groups = words.shape[2]
    buffer = np.full(4 * groups, 128, np.uint8)
    packed = buffer.view(np.uint32)
    for image in range(images):
        block, lane = (first + image) // LANES, (first + image) % LANES
        for region in range(regions):
            row, bits_of_row = numbers[image, region], bits[image, region]
            largest_bits = np.int32(0)
            for j in range(dim):
                largest_bits = max(largest_bits, bits_of_row[j] & np.int32(0x7FFFFFFF))  # order of |x|, NaN above all
            if largest_bits > _BITS_TOO_LARGE:
                error[block, region, lane] = np.inf
                continue
            unit, inverse = np.float32(0), np.float32(0)
            if largest_bits > _BITS_TOO_SMALL:
                largest = np.float32(0)
                for j in range(dim):
                    largest = max(largest, abs(row[j]))
                unit = np.float32(largest / np.float32(127))
                inverse = np.float32(1) / unit
            scale = np.float64(unit)
            squares, left = np.float64(0), np.float64(0)
            for j in range(dim):
                code = np.rint(row[j] * inverse)  # at most 127: 127 (1 + 2⁻²²) is rounded to it
                buffer[j] = np.uint8(np.int32(code) + np.int32(128))
                wide = np.float64(code)
                missing = np.float64(row[j]) - scale * wide
                squares += wide * wide
                left += missing * missing
            for group in range(groups):
                words[block, region, group, lane] = packed[group]
            exact = scale * np.sqrt(squares)
            step[block, region, lane] = unit
            length[block, region, lane] = np.float32(exact)
            error[block, region, lane] = np.float32(np.sqrt(left) * (1 + 2.0**-20) + exact * 2.0**-40 + 1e-30)


@njit(inline="always", error_model="numpy")
def _add_region(  # type: ignore[no-untyped-def]
    dots, bias, q_step, q_length, q_error, q_weight, step, length, error, weight, weighted, total, shared
):
    for lane in range(LANES):
        product = (q_step * np.float32(dots[lane] - bias)) * step[lane]
        reach = q_length + length[lane]
        squared = (q_length * q_length + length[lane] * length[lane]) - np.float32(2) * product
        squared = squared - (reach * reach * np.float32(2.0**-20) + np.float32(2.0**-100))
        root = np.sqrt(squared) * _SURE if squared > 0 and squared < _LARGEST else np.float32(0)
        distance = max(root - (q_error + error[lane]), np.float32(0))
        own = q_weight * weight[lane]
        weighted[lane] += own * distance
        total[lane] += own
        shared[lane] = max(shared[lane], min(q_weight, weight[lane]))


@compiled(
    "void(u4[:,:,:,::1], f4[:,:,::1], f4[:,:,::1], f4[:,:,::1], f4[:,:,::1], b1[:,::1], i8, i8, i8, i4[:,:,:,::1], "
    "i4[:,::1], f4[:,::1], f4[:,::1], f4[:,::1], f4[:,::1], f4[:,:,::1], f4[:,::1])"
)
def lower_bounds(  # type: ignore[no-untyped-def]
    codes, step, length, error, weight, wanted, first, last, offset,
    words, bias, q_step, q_length, q_error, q_weight, lower, least,
):  # fmt: skip
    """Write lower bounds of Eq. 4 for a segment's blocks `first` to `last` − 1; `codes.py` proves them.

    offset: the place of the segment's block 0 among the blocks of all segments. lower: (Q, blocks of all, 16), ∞ where
    no region is shared and where not `wanted` (blocks of all, 16). least: (Q, blocks of all), the minimum of each
    block. words, bias, q_…: the queries, see `codes.QueryCodes`. Q is 1 or a multiple of `TILE`.
    """
    queries, regions, groups = words.shape[:3]
    tile = 1 if queries == 1 else TILE
    dots = np.empty((tile, LANES), np.int32)
    weighted, total = np.empty((tile, LANES), np.float32), np.empty((tile, LANES), np.float32)
    shared = np.empty((tile, LANES), np.float32)
    stride = regions * groups * 8
    for block in range(first, last):
        place = offset + block
        anybody = False
        for lane in range(LANES):
            anybody |= wanted[place, lane]
        if not anybody:
            lower[:, place] = np.inf
            least[:, place] = np.inf
            continue
        for start in range(0, queries, tile):
            weighted[:] = 0
            total[:] = 0
            shared[:] = 0
            for region in range(regions):
                showing = False
                for query in range(tile):
                    showing |= q_weight[start + query, region] > 0
                if not showing:
                    continue
                here = codes.ctypes.data + (block * regions + region) * groups * (4 * LANES)
                there = words.ctypes.data + (start * regions + region) * groups * 8
                if tile == 1:
                    _dots_1(here, there, stride, groups, dots.ctypes.data)
                else:
                    _dots_tile(here, there, stride, groups, dots.ctypes.data)
                for query in range(tile):
                    _add_region(
                        dots[query], bias[start + query, region], q_step[start + query, region],
                        q_length[start + query, region], q_error[start + query, region],
                        q_weight[start + query, region], step[block, region], length[block, region],
                        error[block, region], weight[block, region], weighted[query], total[query], shared[query],
                    )  # fmt: skip
            for query in range(tile):
                nearest = np.float32(np.inf)
                for lane in range(LANES):
                    known = total[query, lane] > _LEAST_TOTAL
                    bound = weighted[query, lane] / total[query, lane] if known else np.float32(0)
                    bound = bound if shared[query, lane] > 0 and wanted[place, lane] else np.float32(np.inf)
                    lower[start + query, place, lane] = bound
                    nearest = min(nearest, bound)
                least[start + query, place] = nearest
