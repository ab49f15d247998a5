"""The types that a region's index may have: which one suits, an empty one of it, and the type of one that was read.

Beside `region_index` the only module that knows faiss.
"""

from __future__ import annotations

import math
from typing import Any

import faiss as _faiss

from vpmsearch.errors import DeviceError, StoreError

faiss: Any = _faiss  # its type stubs lack half of what is used here

INDEX_TYPES = ("auto", "flat", "hnsw", "ivf-flat", "ivf-sq8", "ivf-pq", "ivf-pqfs")

_AUTO_FLAT_BELOW = 20_000
_POINTS_PER_CENTROID = 39  # FAISS warns of fewer
_IVF_FROM = 1000  # fewer vectors are scanned faster than lists are looked up
_LISTS_PER_ROOT = 2  # lists of n vectors: so many times √n
_PQ_BITS = 8
_FAST_PIECES = 256  # of a vector at most, half a byte each
_FAST_LEAST = 8  # numbers a piece at most, or too little is left of a vector
_PQ_CODES = (48, 32, 28, 24, 20, 16, 12, 8, 4, 3, 2, 1)  # bytes a vector that a GPU takes with float32 tables
_HNSW_LINKS = 32


def choose_type(asked: str, n: int, d: int) -> str:
    """The type an index of n vectors of d numbers gets: the one rule.

    Up to `_AUTO_FLAT_BELOW` a scan is fast and exact, also where an index has seven segments of that size, as it may
    between two merges. Above, lists of a quarter of a byte a number are scanned at a fifth of the cost of one byte a
    number, which is what a machine with a GPU gets; the candidates are re-ranked from the embeddings, so errors in the
    distance cost little (docs/decisions/0005). Lists and codes also need vectors to be learned from, and a fast scan
    vectors that can be taken apart into pieces of at most `_FAST_LEAST` numbers.
    """
    if asked == "auto":
        asked = "flat" if n < _AUTO_FLAT_BELOW else "ivf-sq8" if faiss.get_num_gpus() else "ivf-pqfs"
    if asked == "ivf-pqfs" and d > _FAST_LEAST * _fast_pieces(d):
        asked = "ivf-sq8"
    needed = {"hnsw": 0, "ivf-pq": _POINTS_PER_CENTROID * 2**_PQ_BITS}.get(asked, _IVF_FROM)
    return "flat" if n < needed else asked


def _fast_pieces(d: int) -> int:
    """Into how many pieces a fast scan takes a vector apart: of two numbers each where that is possible."""
    return next(pieces for pieces in range(min(_FAST_PIECES, max(d // 2, 1)), 0, -1) if d % pieces == 0)


def gpu_of(device: str) -> int | None:
    """The GPU that a device names, None for the CPU; "auto" is the first GPU where there is one.

    Raises:
        DeviceError: it is no device, or not there.
    """
    name, _, number = device.partition(":")
    if device == "cpu" or (device == "auto" and faiss.get_num_gpus() == 0):
        return None
    if name not in ("cuda", "auto") or (number and not number.isdecimal()):
        raise DeviceError(f"unknown device {device!r}; use cpu, cuda, cuda:N or auto")
    gpu = int(number or 0)
    if gpu >= faiss.get_num_gpus():
        raise DeviceError(f"FAISS finds no device {device}; use --device cpu")
    return gpu


def new_index(kind: str, n: int, d: int) -> Any:
    """An index of a type for n vectors of d numbers, not trained yet."""
    if kind == "flat":
        return faiss.IndexIDMap2(faiss.IndexFlatL2(d))
    if kind == "hnsw":
        return faiss.IndexIDMap2(faiss.IndexHNSWFlat(d, _HNSW_LINKS))
    lists = min(int(_LISTS_PER_ROOT * math.sqrt(n)), n // _POINTS_PER_CENTROID)
    coarse = faiss.IndexFlatL2(d)
    if kind == "ivf-flat":
        index = faiss.IndexIVFFlat(coarse, d, lists)
    elif kind == "ivf-sq8":
        index = faiss.IndexIVFScalarQuantizer(coarse, d, lists, faiss.ScalarQuantizer.QT_8bit)
    elif kind == "ivf-pqfs":
        index = faiss.IndexIVFPQFastScan(coarse, d, lists, _fast_pieces(d), 4)
    else:
        codes = next(m for m in _PQ_CODES if d % m == 0 and (d // m >= 4 or m == 1))
        index = faiss.IndexIVFPQ(coarse, d, lists, codes, _PQ_BITS)
    return index


def type_of(index: Any) -> str:
    """The type of an index, "" if it is none that vpmsearch makes."""
    if isinstance(index, faiss.IndexIDMap):
        inner = faiss.downcast_index(index.index)
        return {faiss.IndexFlatL2: "flat", faiss.IndexHNSWFlat: "hnsw"}.get(type(inner), "")
    kinds = {
        faiss.IndexIVFFlat: "ivf-flat",
        faiss.IndexIVFScalarQuantizer: "ivf-sq8",
        faiss.IndexIVFPQ: "ivf-pq",
        faiss.IndexIVFPQFastScan: "ivf-pqfs",
    }
    return kinds.get(type(index), "")


def check_index_type(name: str) -> None:
    """Refuse a type that is none.

    Raises:
        StoreError: it is not in `INDEX_TYPES`.
    """
    if name not in INDEX_TYPES:
        raise StoreError(f"unknown index type {name!r}; choose one of {', '.join(INDEX_TYPES)}")
