"""Converts features to and from PostgreSQL's binary COPY and pgvector, whole arrays at once."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vpmsearch.types import Bool, Float32, Int64, RegionFeatures

COPY_HEAD = b"PGCOPY\n\xff\r\n\0" + bytes(8)
"""Signature, flags, and the length of an extension that there is none of."""
COPY_END = b"\xff\xff"

VECTOR_TYPES = {"float32": "vector", "float16": "halfvec"}
"""pgvector's type by the dtype of an index."""
_NUMBERS = {"float32": ">f4", "float16": ">f2"}
_NO_REGION = b"\xff" * 8
"""Two NULL, as COPY has them: a length of −1 each."""

# Shares of a map, 26 % apart from 2^-8 up; images of one cell show the same regions about as well.
_EDGES = np.append(2.0 ** (np.arange(-24, 1) / 3), np.inf)
_LOW = np.concatenate([[0.0, 0.0], _EDGES[:-1]])
_HIGH = np.concatenate([[0.0], _EDGES[:-1], [1.01]])  # sums of float32 may pass 1 by rounding


def cells(visibility: Float32) -> list[bytes]:
    """Which cell each image falls into: p bytes.

    Args:
        visibility: (n, p), 0 where it does not count.
    """
    numbers = np.where(visibility > 0, np.searchsorted(_EDGES, visibility) + 1, 0).astype(np.uint8)
    return [row.tobytes() for row in numbers]


def cell_ranges(found: Sequence[bytes], p: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The least and the largest visibility of each region in cells: two (p, G)."""
    numbers = np.frombuffer(b"".join(found), np.uint8).reshape(len(found), p).T  # (G · p,) -> (p, G)
    return np.ascontiguousarray(_LOW[numbers]), np.ascontiguousarray(_HIGH[numbers])


def feature_rows(image_ids: Int64, features: RegionFeatures, visible: Bool, dtype: str) -> bytes:
    """Rows of image_feature for COPY … (FORMAT binary), without its head: `features.columns` in their order.

    Args:
        image_ids: (n,). visible: (n, p), the regions that are not NULL. dtype: of the index.
    """
    n, p, d = features.embeddings.shape
    numbers = np.dtype(_NUMBERS[dtype])
    head = np.zeros(n, np.dtype([("fields", ">i2"), ("n1", ">i4"), ("image_id", ">i8")]))
    head["fields"], head["n1"], head["image_id"] = 1 + 2 * p, 8, image_ids
    shown = np.zeros(
        (n, p),
        np.dtype(
            [
                ("n1", ">i4"), ("visibility", ">f4"),
                ("n2", ">i4"), ("dim", ">i2"), ("unused", ">i2"), ("embedding", numbers, (d,)),
            ]
        ),
    )  # fmt: skip
    for name, value in (("n1", 4), ("n2", 4 + d * numbers.itemsize), ("dim", d)):
        shown[name] = value
    shown["visibility"] = features.visibility
    with np.errstate(over="ignore"):  # what is not visible may be beyond float16, and is left out below
        shown["embedding"] = features.embeddings
    parts: list[bytes] = []
    for row in range(n):
        parts.append(head[row].tobytes())
        parts += [shown[row, r].tobytes() if visible[row, r] else _NO_REGION for r in range(p)]
    return b"".join(parts)


def decoded(values: Sequence[bytes], d: int, dtype: str) -> Float32:
    """From pgvector's binary form: m values -> (m, d) float32."""
    numbers = np.dtype(_NUMBERS[dtype])
    raw = np.frombuffer(b"".join(values), np.uint8).reshape(len(values), 4 + d * numbers.itemsize)
    return np.ascontiguousarray(raw[:, 4:]).view(numbers).astype(np.float32)


class Vector(bytes):
    """A vector in pgvector's binary form, as a parameter of a statement."""

    @classmethod
    def of(cls, vector: Float32) -> Vector:
        """One of (d,) numbers, with every bit of them."""
        return cls(len(vector).to_bytes(2) + bytes(2) + vector.astype(">f4").tobytes())


def digests(features: RegionFeatures, visible: Bool, dtype: str) -> list[bytes]:
    """The digests by which `verify` checks each image's features: BLAKE2b, 16 bytes, of visibility and stored
    embeddings.
    """
    stored = features.embeddings.astype(np.dtype(dtype).newbyteorder("<"))
    visibility = features.visibility.astype("<f4")
    return [_digest(visibility[i], stored[i][visible[i]]) for i in range(len(features))]


def _digest(*arrays: NDArray[Any]) -> bytes:
    found = hashlib.blake2b(digest_size=16)
    for array in arrays:
        found.update(array.tobytes())
    return found.digest()
