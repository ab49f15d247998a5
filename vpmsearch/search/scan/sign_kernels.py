"""The arithmetic of a scan over signs, compiled by numba. `signs.py` explains the numbers.

Signs are laid out in rows of 16 bytes, one byte of each of 16 images. A vector register holds one or more rows. Half of
each byte picks one of 16 values from the query's table of that row. Every lane of a sum belongs to one image.
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
    I8,
    I16,
    I32,
    I64,
    LANES,
    WORDS,
    compiled,
    floats,
    largest_of,
    least_lane,
    load,
    looked_up,
    lookup_bytes,
    number,
    prefetch,
    smallest_of,
    splat_float,
    square_root,
    store,
)

TILE = 4
"""Queries that share one read of a block."""
SCALES = 3
"""Scales of an image and region."""
_AT_ONCE = 8 * LANES  # bytes that are looked up in one turn of the loop: h is a multiple of 64
_LOOKUPS = 8  # levels that are summed in bytes, `signs.LEVELS` each
_BITS_TOO_LARGE = np.int32(np.float32(1e17).view(np.int32))  # what a store takes; beyond it nothing is compared
_LARGEST_SQUARE = 1e38
_LEAST_TOTAL = 1e-30  # a smaller sum of weights is lost in float32
_SHORT = ir.VectorType(I16, LANES)
_CACHE_LINE = 64
_QUERY_BYTES = 4 * 4  # of a query and region, `signs.QuerySigns.query`


def _block_of(tile: int) -> Any:
    """`block(codes, tables, query, regions, rows, wanted, found, found_stride, least, least_stride)` of addresses:
    estimates of 16 images.

    codes: of (regions, rows + 6, 16) uint8, `rows` a multiple of 8. tables: of `tile` times (regions, 2, rows, 16)
    uint8. query: of `tile` times (regions, 4) float32. See `signs.Signs` and `signs.QuerySigns`. wanted: of 16 bool.
    found: of 16 float32, and of the next query `found_stride` bytes later; written. least: of a float32, the least of
    them, and of the next query `least_stride` bytes later.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        codes, tables, query, regions, rows, wanted, found, found_stride, least, least_stride = arguments
        zeros = floats(0.0)
        parts = [[cgutils.alloca_once_value(builder, zeros) for _ in range(3)] for _ in range(tile)]
        size = builder.mul(rows, number(LANES))  # of the signs of a region, and of half of its tables
        table_size, region_size = builder.mul(size, number(2)), builder.add(size, number(2 * LANES * SCALES))
        table_stride, query_stride = builder.mul(table_size, regions), builder.mul(regions, number(_QUERY_BYTES))
        with cgutils.for_range(builder, regions, intp=I64) as loop:
            signs = builder.add(codes, builder.mul(loop.index, region_size))
            own = builder.add(query, builder.mul(loop.index, number(_QUERY_BYTES)))
            owns = [builder.add(own, builder.mul(query_stride, number(each))) for each in range(tile)]
            with builder.if_then(_any_shows(builder, owns)):
                table = builder.add(tables, builder.mul(loop.index, table_size))
                starts = [builder.add(table, builder.mul(table_stride, number(each))) for each in range(tile)]
                sums = _sums(context, builder, signs, starts, size)
                scales = _scales(builder, builder.add(signs, size))
                for levels, each, slots in zip(sums, owns, parts, strict=True):
                    _add_region(builder, levels, each, scales, slots)
        for each, slots in enumerate(parts):
            means = _means(builder, [builder.load(slot) for slot in slots], wanted)
            store(builder, means, builder.add(found, builder.mul(found_stride, number(each))))
            # numba leaves the minimum of 16 numbers a scalar loop, which takes as long as a region
            store(builder, least_lane(builder, means), builder.add(least, builder.mul(least_stride, number(each))))
        return context.get_dummy_value()

    def block(  # numba wants the arguments by name
        typing: Any, codes: Any, tables: Any, query: Any, regions: Any, rows: Any, wanted: Any,
        found: Any, found_stride: Any, least: Any, least_stride: Any,
    ) -> Any:  # fmt: skip
        return types.void(*[types.intp] * 10), generate

    return intrinsic(block)


def _any_shows(builder: Any, owns: Any) -> Any:
    """Whether any of the queries, at these addresses, shows the region: its weight is above 0."""
    weights = [load(builder, builder.add(own, number(_QUERY_BYTES - 4)), I32) for own in owns]
    together = weights[0]
    for weight in weights[1:]:
        together = builder.or_(together, weight)
    return builder.icmp_unsigned("!=", together, I32(0))  # float32 ≥ 0 is 0 where its bits are


def _sums(context: Any, builder: Any, codes: Any, tables: Any, size: Any) -> Any:
    """For each query, whose tables begin at an address, Σ of the levels that the signs of 16 images pick: 16 int32."""
    bytes_at_once = lookup_bytes(context)
    register = ir.VectorType(I8, bytes_at_once)
    half, four = (ir.Constant(register, [value] * bytes_at_once) for value in (15, 4))
    totals = [cgutils.alloca_once_value(builder, _SHORT(None)) for _ in tables]
    turns = builder.udiv(size, number(_AT_ONCE))
    with cgutils.for_range(builder, turns, intp=I64) as loop:
        start = builder.mul(loop.index, number(_AT_ONCE))
        sums = [register(None)] * len(tables)
        for place in range(0, _AT_ONCE, bytes_at_once):
            here = builder.add(start, number(place))
            if place % _CACHE_LINE == 0:
                prefetch(builder, builder.add(codes, here))
            signs = load(builder, builder.add(codes, here), register)
            picks = builder.and_(signs, half), builder.lshr(signs, four)
            for each, table in enumerate(tables):
                first = builder.add(table, here)
                for pick, at in zip(picks, (first, builder.add(first, size)), strict=True):
                    levels = looked_up(context, builder, load(builder, at, register), pick)
                    sums[each] = builder.add(sums[each], levels)
            if (place // bytes_at_once + 1) * 2 % _LOOKUPS == 0 or place + bytes_at_once == _AT_ONCE:
                for slot, some in zip(totals, sums, strict=True):
                    builder.store(_with_rows(builder, builder.load(slot), some), slot)
                sums = [register(None)] * len(tables)
    return [builder.zext(builder.load(slot), WORDS) for slot in totals]


def _with_rows(builder: Any, total: Any, register: Any) -> Any:
    """A sum of 16 bits for each of 16 images, and each row of 16 bytes in a register added to it."""
    for first in range(0, register.type.count, LANES):
        lanes = ir.Constant(WORDS, list(range(first, first + LANES)))
        row = builder.shuffle_vector(register, register.type(ir.Undefined), lanes)
        total = builder.add(total, builder.zext(row, _SHORT))
    return total


def _scales(builder: Any, address: Any) -> Any:
    """Three times 16 float32, of which the upper 16 bits lie at an address."""
    found = []
    for row in range(SCALES):
        place = builder.add(address, number(2 * LANES * row))
        if 2 * LANES * row % _CACHE_LINE == 0:
            prefetch(builder, place)
        upper = builder.zext(load(builder, place, _SHORT), WORDS)
        found.append(builder.bitcast(builder.shl(upper, ir.Constant(WORDS, [16] * LANES)), FLOATS))
    return found


def _add_region(builder: Any, levels: Any, query: Any, scales: Any, slots: Any) -> None:
    """Add a region's part of Eq. 4 to Σ w_i D_i and Σ w_i of 16 images, and note who shares it."""
    square, twice, start, own = (splat_float(builder, builder.add(query, number(4 * i))) for i in range(4))
    theirs, factor, weight = scales
    product = builder.fmul(factor, builder.fsub(builder.fmul(twice, builder.sitofp(levels, FLOATS)), start))
    squared = builder.fsub(builder.fadd(square, theirs), product)
    # NaN, where numbers are huge, becomes the largest square, as a comparison with it is false.
    squared = smallest_of(builder, largest_of(builder, floats(0.0), squared), floats(_LARGEST_SQUARE))
    both = builder.fmul(own, weight)
    part = builder.fmul(both, square_root(builder, squared))
    weighted, total, shared = (builder.load(slot) for slot in slots)
    builder.store(builder.fadd(weighted, part), slots[0])
    builder.store(builder.fadd(total, both), slots[1])
    builder.store(largest_of(builder, shared, smallest_of(builder, own, weight)), slots[2])


def _means(builder: Any, sums: Any, wanted: Any) -> Any:
    """16 weighted means: ∞ where not shared or not wanted, 0 where the total is lost in float32."""
    weighted, total, shared = sums
    wanted = load(builder, wanted, ir.VectorType(I8, LANES))
    known = builder.fcmp_ordered(">", total, floats(_LEAST_TOTAL))
    mean = builder.select(known, builder.fdiv(weighted, total), floats(0.0))
    there = builder.and_(
        builder.fcmp_ordered(">", shared, floats(0.0)), builder.icmp_unsigned("!=", wanted, wanted.type(None))
    )
    return builder.select(there, mean, floats(float("inf")))


_block_1, _block_tile = _block_of(1), _block_of(TILE)


@njit(inline="always")
def _hadamard(row, work):  # type: ignore[no-untyped-def]
    """Multiply a row, whose length is a power of 2, by an orthogonal Hadamard matrix, in place. work: as long.

    Each step transforms one bit of the numbers' places: the upper one, which it makes the lowest. So after as many
    steps as there are bits all are back, and each step has the same loop over neighbours in memory.
    """
    half, steps = len(row) // 2, 0
    while 1 << steps < len(row):
        for place in range(half):
            left, right = row[place], row[half + place]
            work[2 * place], work[2 * place + 1] = left + right, left - right
        row[:] = work
        steps += 1
    scale = np.float32(1 / np.sqrt(len(row)))
    for place in range(len(row)):
        row[place] *= scale


@njit(inline="always")
def _folded(numbers, flips, out):  # type: ignore[no-untyped-def]
    """Add up the pieces of d numbers, as long as `out`, with flipped signs."""
    out[:] = 0
    for first in range(0, len(numbers), len(out)):
        for j in range(min(len(out), len(numbers) - first)):
            out[j] += numbers[first + j] * flips[first + j]


@compiled("void(f4[:,::1], f4[::1], f4[:,::1])")
def project(numbers, flips, out):  # type: ignore[no-untyped-def]
    """P of m embeddings less μ: (m, d) -> the first m rows of `out` (…, h)."""
    work = np.empty(out.shape[1], np.float32)
    for row in range(len(numbers)):
        _folded(numbers[row], flips, out[row])
        _hadamard(out[row], work)


@compiled(
    "void(f4[:,:,::1], i4[:,:,::1], f4[:,::1], f4[::1], i8, u1[:,:,:,::1], f4[:,:,::1], f4[:,:,::1])", {"reassoc"}
)
def encode(numbers, bits, middle, flips, rows, codes, squares, factors):  # type: ignore[no-untyped-def]
    """Write the signs of m images, which begin with a block; see `signs.Signs`.

    numbers: (m, p, d) float32. bits: the same memory as int32. middle: (p, d). rows: h/8. squares, factors:
    (blocks, p, 16), ‖b − μ‖² and ‖b − μ‖² / Σ|b′_j|.
    """
    images, regions, dim = numbers.shape
    moved = np.empty(dim, np.float32)
    projected, work = np.empty(8 * rows, np.float32), np.empty(8 * rows, np.float32)
    for image in range(images):
        block, lane = image // LANES, image % LANES
        for region in range(regions):
            own, bits_of_own, centre = numbers[image, region], bits[image, region], middle[region]
            largest, square, total = np.int32(0), np.float32(0), np.float32(0)
            for j in range(dim):
                largest = max(largest, bits_of_own[j] & np.int32(0x7FFFFFFF))  # order of |x|, NaN above all
                moved[j] = own[j] - centre[j]
                square += moved[j] * moved[j]
            if largest > _BITS_TOO_LARGE:
                moved[:] = 0
                square = np.float32(0)
            _folded(moved, flips, projected)
            _hadamard(projected, work)
            for j in range(8 * rows):
                total += abs(projected[j])
            for row in range(rows):
                byte = np.uint8(0)
                for j in range(8):
                    byte |= np.uint8(projected[8 * row + j] > 0) << np.uint8(j)
                codes[block, region, row, lane] = byte
            squares[block, region, lane] = square
            factors[block, region, lane] = square / total if total > 0 else np.float32(0)


@compiled("void(u1[:,:,:,::1], b1[:,::1], i8, i8, i8, u1[:,:,:,:,::1], f4[:,:,::1], f4[:,:,::1], f4[:,::1])")
def estimates(codes, wanted, first, last, offset, tables, query, found, least):  # type: ignore[no-untyped-def]
    """Write estimates of Eq. 4 for a segment's blocks `first` to `last` − 1.

    offset: the place of the segment's block 0 among the blocks of all segments. found: (Q, blocks of all, 16), ∞ where
    no region is shared and where not `wanted` (blocks of all, 16); 0 where weights vanish in float32. least: (Q,
    blocks of all), the minimum of each block. tables, query: see `signs.QuerySigns`. Q is 1 or a multiple of `TILE`.
    """
    queries, regions, _, rows = tables.shape[:4]
    tile = 1 if queries == 1 else TILE
    strides = found.strides[0], least.strides[0]
    for block in range(first, last):
        place = offset + block
        anybody = False
        for lane in range(LANES):
            anybody |= wanted[place, lane]
        if not anybody:
            found[:, place] = np.inf
            least[:, place] = np.inf
            continue
        here, there = codes[block].ctypes.data, wanted[place].ctypes.data
        for start in range(0, queries, tile):
            table, own = tables[start].ctypes.data, query[start].ctypes.data
            out, lowest = found[start, place].ctypes.data, least[start:, place:].ctypes.data
            if tile == 1:
                _block_1(here, table, own, regions, rows, there, out, strides[0], lowest, strides[1])
            else:
                _block_tile(here, table, own, regions, rows, there, out, strides[0], lowest, strides[1])
