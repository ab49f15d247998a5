"""Checks of images, features and queries that are the same in every store."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from vpmsearch.errors import DataError, FeatureError, ModelMismatchError, StoreError
from vpmsearch.labels import as_attributes, as_label
from vpmsearch.store.values import EMBEDDING_DTYPES, StoredModel
from vpmsearch.types import Float32, ImageRecord, ModelInfo, RegionFeatures
from vpmsearch.words import number_of

LARGEST = 1e17
"""The largest number in an embedding. Below it, sums of squares stay finite in float32; otherwise FAISS ends the
process.
"""


MANY_EQUAL = 32
"""A region with more equal vectors than this is not searched by a graph. Equal vectors would link only to each other,
and a search that reaches them finds nothing else. A node of FAISS's graph has as many links. Measured recall@10, on a
server with 6,000 of 12,000 equal 0.40, 400 0.987; in FAISS with 1,000 of 10,000 equal 0.49, with 100 0.978; none 1.
"""


def are_many(alike: int, sampled: int, vectors: int) -> bool:
    """Whether more than `MANY_EQUAL` of some vectors are equal.

    Args:
        alike: size of the largest group of equal vectors in a sample. sampled: size of the sample. vectors: how many
            there are in all.
    """
    return alike >= 3 and alike * vectors > MANY_EQUAL * sampled


def check_features(model: StoredModel, images: int, features: RegionFeatures) -> None:
    """Refuse features that do not fit the number of images or the model, or that cannot be stored.

    Raises:
        FeatureError: says which.
    """
    info = model.info
    if len(features) != images:
        raise FeatureError(f"{number_of(images, 'record')} came with features of {number_of(len(features), 'image')}")
    if (features.num_regions, features.embedding_dim) != (info.p, info.embedding_dim):
        raise FeatureError(
            f"the index holds {info.p} regions of {info.embedding_dim} numbers, "
            f"not {features.num_regions} of {features.embedding_dim}; use the weights it was built with"
        )
    check_numbers(features)
    # A visibility is a share of the feature map. Rounding in float32 may lift it a little above 1.
    if (features.visibility > 1 + 1e-3).any():
        raise FeatureError("a visibility is above 1; it must be C_i / (h·w), a share of the feature map")
    if float(np.abs(features.embeddings).max(initial=0)) > float(np.finfo(model.embedding_dtype).max):
        raise FeatureError(f"an embedding does not fit {model.embedding_dtype}; create the index with float32")


def check_numbers(features: RegionFeatures) -> None:
    """Refuse features from which no distance can be computed. Holds for a gallery and a query.

    Raises:
        FeatureError: a value is not finite, a visibility is negative, or a number in an embedding is beyond `LARGEST`.
    """
    features.check_finite()
    if float(np.abs(features.embeddings).max(initial=0)) > LARGEST:
        raise FeatureError(f"an embedding is beyond {LARGEST:.0e}, where distances are infinite; use other weights")


def check_model(place: object, own: ModelInfo, info: ModelInfo) -> None:
    """Refuse another model than the index at a place was built with.

    Raises:
        ModelMismatchError: names what differs, in both.
    """
    names = ["fingerprint", "num_regions", "embedding_dim"]
    if (0, 0) not in (own.input_size, info.input_size):  # not given
        names.append("input_size")
    for name in names:
        ours, theirs = getattr(own, name), getattr(info, name)
        if ours != theirs:
            raise ModelMismatchError(
                f"{place} was built with weights {own.weights or own.name or 'unnamed'} ({name} {ours}), not "
                f"with {info.weights or info.name or 'unnamed'} ({name} {theirs}); use those, or make a new index"
            )


def check_dtype(embedding_dtype: str) -> None:
    """Refuse a number format that no store keeps.

    Raises:
        StoreError: names those there are.
    """
    if embedding_dtype not in EMBEDDING_DTYPES:
        raise StoreError(f"unknown embedding_dtype {embedding_dtype!r}; choose one of {', '.join(EMBEDDING_DTYPES)}")


def storable_text(value: str) -> str:
    """Text that a database can hold. Python gives a file name that is not UTF-8 lone surrogates; a NUL would end the
    text.
    """
    return str(value).encode("utf-8", "backslashreplace").decode("utf-8").replace("\0", "\\x00")


def clean_record(record: ImageRecord) -> ImageRecord:
    """A record of plain Python values, as a database needs them.

    Raises:
        StoreError: the path is empty or no text, a pid or camid is no valid label, or an attribute is not valid.
    """
    path = str(record.path)
    if not path or storable_text(path) != path:
        raise StoreError(
            f"{storable_text(path)!r} cannot be the path of an image; give the file a name that is text (UTF-8)"
        )
    try:
        pid, camid = (None if label is None else as_label(label) for label in (record.pid, record.camid))
        attributes = as_attributes(record.attributes)
    except DataError as error:
        raise StoreError(f"{path}: {error}") from error
    width, height = int(record.width), int(record.height)
    return replace(record, path=path, pid=pid, camid=camid, width=width, height=height, attributes=attributes)


def checked_queries(info: ModelInfo, region: int, queries: Float32, k: int) -> Float32:
    """Check the arguments of a search of one region. Returns the queries (Q, d), contiguous.

    Raises:
        FeatureError: the queries have another shape or are not finite. StoreError: no such region, or k below 1.
    """
    if not 0 <= region < info.p:
        raise StoreError(f"there is no region {region}; the index has regions 0 to {info.p - 1}")
    if k < 1:
        raise StoreError(f"k must be at least 1, got {k}")
    queries = np.ascontiguousarray(queries, dtype=np.float32)
    if queries.ndim != 2 or queries.shape[1] != info.embedding_dim:
        raise FeatureError(f"queries must be (Q, {info.embedding_dim}), got {queries.shape}")
    if not np.isfinite(queries).all():
        raise FeatureError("a query embedding is not finite; the weights or the image are damaged")
    return queries
