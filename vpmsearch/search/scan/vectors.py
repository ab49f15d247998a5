"""LLVM's vectors of 16 numbers for numba, and how kernels are compiled.

numba's own loops leave integer products of 16 bits and counts of bits to LLVM's vectorizer, which does not find the
processor's instructions for them. So the innermost loops of kernels are built from LLVM's portable vectors. LLVM turns
them into the instructions of each processor.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import njit
from numba.core import cgutils

LANES = 16
"""Numbers in a vector. Each belongs to one image, and nothing is summed across lanes."""
AHEAD = 4096
"""Memory is prefetched so many bytes ahead. 20,000 images took 3.7 ms without, 1.4 ms with 4,096."""

I8, I16, I32, I64 = ir.IntType(8), ir.IntType(16), ir.IntType(32), ir.IntType(64)
WORDS = ir.VectorType(I32, LANES)
HALVES = ir.VectorType(I16, 2 * LANES)
FLOATS = ir.VectorType(ir.FloatType(), LANES)


def number(value: int) -> Any:
    """An address or a count."""
    return ir.Constant(I64, value)


def floats(value: float) -> Any:
    """A vector of 16 times the same number."""
    return ir.Constant(FLOATS, [float(value)] * LANES)


def splat(builder: Any, word: Any) -> Any:
    """A vector of 16 times the same word."""
    one = builder.insert_element(ir.Constant(WORDS, ir.Undefined), word, ir.Constant(I32, 0))
    return builder.shuffle_vector(one, ir.Constant(WORDS, ir.Undefined), ir.Constant(WORDS, [0] * LANES))


def load(builder: Any, address: Any, kind: Any) -> Any:
    """What lies at an address."""
    loaded = builder.load(builder.inttoptr(address, kind.as_pointer()))
    loaded.align = 4 if kind is I32 else 1
    return loaded


def store(builder: Any, vector: Any, address: Any) -> None:
    """Write a vector to an address."""
    stored = builder.store(vector, builder.inttoptr(address, vector.type.as_pointer()))
    stored.align = 4


def prefetch(builder: Any, address: Any) -> None:
    """Prefetch what a loop reads `AHEAD` bytes later. Without it the processor reads half as fast."""
    pointer = builder.inttoptr(builder.add(address, number(AHEAD)), ir.IntType(8).as_pointer())
    kind = ir.FunctionType(ir.VoidType(), [pointer.type, I32, I32, I32])
    function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
    builder.call(function, [pointer, *(ir.Constant(I32, flag) for flag in (0, 3, 1))])


def lookup_bytes(context: Any) -> int:
    """Bytes of the vectors that `looked_up` takes: as many as the processor looks up in one instruction."""
    return 32 if _has(context, "avx2") else LANES


def looked_up(context: Any, builder: Any, tables: Any, picks: Any) -> Any:
    """The bytes of tables that picks, 0 to 15, name. Each 16 picks look into the 16 bytes at the same place.

    LLVM has no instruction for it that every processor understands. Without AVX2 the bytes are picked one by one, which
    LLVM joins again where it knows how.
    """
    if _has(context, "avx2"):
        kind = ir.FunctionType(tables.type, [tables.type, tables.type])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.avx2.pshuf.b")
        return builder.call(function, [tables, picks])
    found = tables.type(ir.Undefined)
    for lane in range(LANES):
        place = ir.Constant(I32, lane)
        found = builder.insert_element(
            found, builder.extract_element(tables, builder.extract_element(picks, place)), place
        )
    return found


def _has(context: Any, feature: str) -> bool:
    """Whether numba compiles for a processor with a feature, by LLVM's name of it. Its environment may say otherwise
    than the machine.
    """
    return f"+{feature}" in context.codegen().magic_tuple()[2].split(",")


def splat_float(builder: Any, address: Any) -> Any:
    """A vector of 16 times the float32 at an address."""
    word = load(builder, address, I32)
    return builder.bitcast(splat(builder, word), FLOATS)


def largest_of(builder: Any, left: Any, right: Any) -> Any:
    """The larger of two numbers each; the right one if either is NaN."""
    return builder.select(builder.fcmp_ordered(">", left, right), left, right)


def smallest_of(builder: Any, left: Any, right: Any) -> Any:
    """The smaller of two numbers each; the right one if either is NaN."""
    return builder.select(builder.fcmp_ordered("<", left, right), left, right)


def least_lane(builder: Any, numbers: Any) -> Any:
    """The least of 16 numbers."""
    kind = ir.FunctionType(ir.FloatType(), [FLOATS])
    function = cgutils.get_or_insert_function(builder.module, kind, "llvm.vector.reduce.fmin.v16f32")
    return builder.call(function, [numbers])


def square_root(builder: Any, numbers: Any) -> Any:
    """The square root of each number."""
    function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(FLOATS, [FLOATS]), "llvm.sqrt.v16f32")
    return builder.call(function, [numbers])


def compiled(signature: Any, fastmath: set[str] | bool = False) -> Callable[[Any], Any]:
    """Compile for one signature. The machine code is kept in numba's cache if its folder can be written."""

    def compile_it(function: Any) -> Any:
        try:
            return njit(signature, nogil=True, cache=True, error_model="numpy", fastmath=fastmath)(function)
        except (RuntimeError, OSError) as error:  # numba's cache folder cannot be written, or its disk is full
            logging.getLogger(__name__).debug("the scan's machine code is not kept: %s", error)
            return njit(signature, nogil=True, error_model="numpy", fastmath=fastmath)(function)

    return compile_it
