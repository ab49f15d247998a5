"""The table of types that a region's index may have, the choice of one, and the type of an index that was read.

A new type is a row in `TYPES`. `faiss_file` must also know its file layout, so that a hostile file is refused. Only
this module, `region_index` and `gpu_index` use faiss.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from vpmsearch.errors import DeviceError, StoreError
from vpmsearch.system import lazy
from vpmsearch.types import Float32, Int64

faiss: Any = lazy.module("faiss")

_AUTO_FLAT_BELOW = 20_000
_POINTS_PER_CENTROID = 39  # FAISS warns of fewer
_IVF_FROM = 1000  # fewer vectors are scanned faster than lists are looked up
_LISTS_PER_ROOT = 2  # lists of n vectors: so many times √n
_PQ_BITS = 8
_FAST_PIECES = 256  # most pieces of a vector, half a byte each
_FAST_LEAST = 8  # most numbers in a piece; longer pieces lose too much of the vector
_PQ_CODES = (48, 32, 28, 24, 20, 16, 12, 8, 4, 3, 2, 1)  # bytes per vector that a GPU supports with float32 tables
_HNSW_LINKS = 32


@dataclass(frozen=True)
class IndexType:
    """How FAISS keeps and searches the vectors of one region.

    make: (n, d) -> an untrained index for n vectors of d numbers. form: the name of the FAISS class (inside the id map
    if there is one). walk: what a search goes through. least: fewer vectors become a flat index. exact_distances:
    distances are of the vectors themselves, not of codes. on_gpu: FAISS has a GPU form. share: a search for 400
    neighbours scans 1 of this many lists.
    """

    make: Callable[[int, int], Any]
    form: str
    walk: Literal["all", "graph", "lists"]
    least: Callable[[], int] = lambda: _IVF_FROM
    exact_distances: bool = False
    on_gpu: bool = True
    share: int = 16


def _lists(n: int) -> int:
    return min(int(_LISTS_PER_ROOT * math.sqrt(n)), n // _POINTS_PER_CENTROID)


def _flat(n: int, d: int) -> Any:
    return faiss.IndexIDMap2(faiss.IndexFlatL2(d))


def _hnsw(n: int, d: int) -> Any:
    return faiss.IndexIDMap2(faiss.IndexHNSWFlat(d, _HNSW_LINKS))


def _ivf_flat(n: int, d: int) -> Any:
    return faiss.IndexIVFFlat(faiss.IndexFlatL2(d), d, _lists(n))


def _ivf_sq8(n: int, d: int) -> Any:
    return faiss.IndexIVFScalarQuantizer(faiss.IndexFlatL2(d), d, _lists(n), faiss.ScalarQuantizer.QT_8bit)


def _ivf_pq(n: int, d: int) -> Any:
    codes = next(m for m in _PQ_CODES if d % m == 0 and (d // m >= 4 or m == 1))
    return faiss.IndexIVFPQ(faiss.IndexFlatL2(d), d, _lists(n), codes, _PQ_BITS)


def _ivf_pqfs(n: int, d: int) -> Any:
    return faiss.IndexIVFPQFastScan(faiss.IndexFlatL2(d), d, _lists(n), _fast_pieces(d), 4)


TYPES: dict[str, IndexType] = {
    "flat": IndexType(_flat, "IndexFlatL2", "all", least=lambda: 0, exact_distances=True),
    "hnsw": IndexType(_hnsw, "IndexHNSWFlat", "graph", least=lambda: 0, exact_distances=True, on_gpu=False),
    "ivf-flat": IndexType(_ivf_flat, "IndexIVFFlat", "lists", exact_distances=True),
    "ivf-sq8": IndexType(_ivf_sq8, "IndexIVFScalarQuantizer", "lists"),
    "ivf-pq": IndexType(_ivf_pq, "IndexIVFPQ", "lists", least=lambda: _POINTS_PER_CENTROID * 2**_PQ_BITS),
    # The CPU compares 32 codes at a time in its registers; a GPU has no such form.
    "ivf-pqfs": IndexType(_ivf_pqfs, "IndexIVFPQFastScan", "lists", on_gpu=False, share=8),
}
"""Every type by name."""

INDEX_TYPES = ("auto", *TYPES)
"""The types that a user may ask for."""


def choose_type(asked: str, n: int, d: int) -> str:
    """The type that an index of n vectors of d numbers gets. No other rule decides it.

    Up to `_AUTO_FLAT_BELOW` vectors a scan is fast and exact, even with seven segments of that size, which an index may
    have between two merges. Above, an index has lists of codes. Codes of a quarter of a byte per number cost a fifth of
    the time of one byte per number; a machine with a GPU gets one byte. The candidates are re-ranked from the
    embeddings, so errors in the distance cost little (docs/decisions/0005). Lists and codes need enough vectors to
    learn from. A fast scan also needs vectors that divide into pieces of at most `_FAST_LEAST` numbers.
    """
    if asked == "auto":
        asked = "flat" if n < _AUTO_FLAT_BELOW else "ivf-sq8" if faiss.get_num_gpus() else "ivf-pqfs"
    if asked == "ivf-pqfs" and d > _FAST_LEAST * _fast_pieces(d):
        asked = "ivf-sq8"
    return "flat" if n < TYPES[asked].least() else asked


def _fast_pieces(d: int) -> int:
    """The number of pieces into which a fast scan divides a vector: of two numbers each if possible."""
    return next(pieces for pieces in range(min(_FAST_PIECES, max(d // 2, 1)), 0, -1) if d % pieces == 0)


def flat_index(image_ids: Int64, vectors: Float32) -> Any:
    """A flat index (L2) of vectors (m, d) under their images' ids (m,), for users who call FAISS themselves."""
    index = faiss.IndexIDMap2(faiss.IndexFlatL2(vectors.shape[1]))
    index.add_with_ids(np.ascontiguousarray(vectors), image_ids)
    return index


def gpu_of(device: str) -> int | None:
    """The GPU that a device names, None for the CPU; "auto" is the first GPU where there is one.

    With faiss-cpu it is None for a GPU too: the lists stay on the CPU, and only the model and Eq. 4 use the GPU
    (docs/decisions/0019).

    Raises:
        DeviceError: the name is no device, or the device is not there.
    """
    name, _, number = device.partition(":")
    if device == "cpu" or (device == "auto" and faiss.get_num_gpus() == 0):
        return None
    if name not in ("cuda", "auto") or (number and not number.isdecimal()):
        raise DeviceError(f"unknown device {device!r}; use cpu, cuda, cuda:N or auto")
    if not hasattr(faiss, "StandardGpuResources"):
        return None
    gpu = int(number or 0)
    if gpu >= faiss.get_num_gpus():
        raise DeviceError(f"FAISS finds no device {device}; use --device cpu")
    return gpu


def type_of(index: Any) -> str:
    """The type of an index, "" if vpmsearch makes no such index."""
    mapped = isinstance(index, faiss.IndexIDMap)
    form = type(faiss.downcast_index(index.index) if mapped else index).__name__
    fitting = (name for name, kind in TYPES.items() if kind.form == form and mapped == (kind.walk != "lists"))
    return next(fitting, "")


def check_index_type(name: str) -> None:
    """Refuse an unknown type.

    Raises:
        StoreError: it is not in `INDEX_TYPES`.
    """
    if name not in INDEX_TYPES:
        raise StoreError(f"unknown index type {name!r}; choose one of {', '.join(INDEX_TYPES)}")
