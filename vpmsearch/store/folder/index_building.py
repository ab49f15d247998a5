"""Builds the FAISS index of a region: chooses the type, learns centroids and codes, adds the vectors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vpmsearch.store.folder.index_types import TYPES, choose_type
from vpmsearch.store.intake import are_many
from vpmsearch.types import Float32, Int64

Rows = Callable[[Int64], Float32]  # positions (m,) -> vectors (m, d)

_TRAINING_POINTS = 50  # per centroid: more cost much time and change the recall by less than it varies
_LONGEST = 8  # times the median length: longer vectors are not learned from
_LEAST_CENTROIDS = 256  # of codes of a byte
_EQUAL_SAMPLE = 4000  # size of the sample in which equal vectors are counted
_BLOCK = 16_384  # vectors added at once


def build_index(rows: Rows, d: int, ids: Int64, kind: str, on_added: Callable[[int], None]) -> Any:
    """Index vectors that are fetched in blocks; see `RegionIndex.build_from`.

    Returns:
        FAISS's index.
    """
    n = len(ids)
    kind = choose_type(kind, n, d)
    if TYPES[kind].walk == "graph" and _many_are_equal(rows, n):
        kind = choose_type("ivf-flat", n, d)  # see `MANY_EQUAL`
    chosen = TYPES[kind]
    index = chosen.make(n, d)
    if not index.is_trained:
        most = max(index.nlist if chosen.walk == "lists" else 0, _LEAST_CENTROIDS) * _TRAINING_POINTS
        index.train(_typical(as_floats(rows(np.unique(np.linspace(0, n - 1, min(n, most)).astype(np.int64))))))
    for start in range(0, n, _BLOCK):
        positions = np.arange(start, min(start + _BLOCK, n))
        index.add_with_ids(as_floats(rows(positions)), np.ascontiguousarray(ids[positions], dtype=np.int64))
        on_added(len(positions))
    return index


def as_floats(vectors: NDArray[Any]) -> Float32:
    """Vectors as contiguous float32, which FAISS needs."""
    return np.ascontiguousarray(vectors, dtype=np.float32)


def _many_are_equal(rows: Rows, n: int) -> bool:
    """Whether more than `MANY_EQUAL` of n vectors are equal, estimated from a sample."""
    positions = np.unique(np.linspace(0, n - 1, min(n, _EQUAL_SAMPLE)).astype(np.int64)) if n else np.zeros(0, np.int64)
    sample = as_floats(rows(positions)) + np.float32(0)  # 0 and -0 are equal
    counts = Counter(vector.tobytes() for vector in sample)
    return are_many(max(counts.values(), default=0), len(sample), n)


def _typical(sample: Float32) -> Float32:
    """The sample without unusually long vectors. The tables of a fast scan have one scale for all codes, so one
    outlying code would leave no difference between the others. The median is taken over the distinct lengths, because
    half of all vectors may come from equal blank frames, and these are short.
    """
    lengths = np.linalg.norm(sample.astype(np.float64), axis=1)
    typical: Float32 = sample[lengths <= _LONGEST * np.median(np.unique(lengths))]
    return typical
