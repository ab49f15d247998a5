"""`labels.bin`: the labels of a segment's images as the catalog has them, as arrays that are mapped.

SQLite takes some 7 µs of CPU for each image, this file a fraction of one. It follows from the catalog, which lists its
checksum only as long as it says the same; a file that is absent or damaged is not needed. indexes/README.md has its
form.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vpmsearch.errors import StoreError
from vpmsearch.store.folder.attributes import AttributeSets
from vpmsearch.store.folder.checksums import FileSum
from vpmsearch.store.folder.columns import MOMENT
from vpmsearch.store.folder.files import open_file
from vpmsearch.store.folder.label_column import Labels
from vpmsearch.store.folder.labels import ImageLabels
from vpmsearch.store.folder.texts import Hashes, Paths, Texts
from vpmsearch.system.atomic import replacing

LABELS_NAME = "labels.bin"
LEFT = f".{Path(LABELS_NAME).stem}."
"""How the names of its temporary files begin."""

_MAGIC = b"vpmlab01"
_LABEL_COLUMN = ("<i8", "<i8", "u1", "<i4")  # numbers, words, codes
_KINDS = tuple(
    np.dtype(kind)
    for kind in (
        *("<i8", "<i8", "u1", "<i4"),  # ids, paths and their order
        *("<i8", "u1", "u1"),  # hashes and whether they are text
        *_LABEL_COLUMN,  # pids
        *_LABEL_COLUMN,  # camids
        *("<i8", "<i8"),  # times, sizes
        *_LABEL_COLUMN,  # attributes
    )
)
_HEAD = len(_MAGIC) + 8 * len(_KINDS)  # bytes: after the magic how many numbers each array has
_STEP = 8  # bytes; each array begins at a multiple
_IN_MEMORY = 64 << 10  # bytes; a smaller file is read, as a map takes a page and a file handle
_FIRST, _LAST = np.array(["0001-01-01", "9999-12-31T23:59:59.999999"], MOMENT).view(np.int64)
"""The times that Python has."""
_NAT = np.array("NaT", MOMENT).view(np.int64)


def _chunks(labels: ImageLabels) -> Iterator[bytes]:
    """The bytes of the file. They depend on nothing but the labels."""
    paths, hashes = labels.paths, labels.hashes
    arrays: list[NDArray[Any]] = [
        *(labels.ids, *_of_texts(paths.texts), paths.order),
        *(*_of_texts(hashes.raw), hashes.plain),
        *_of_labels(labels.pids),
        *_of_labels(labels.camids),
        *(labels.captured_at.astype(np.int64), labels.sizes.reshape(-1)),
        *_of_labels(labels.attributes.texts),
    ]
    yield _MAGIC + np.array([array.size for array in arrays], "<i8").tobytes()
    for array, kind in zip(arrays, _KINDS, strict=True):
        yield array.astype(kind, copy=False).tobytes()
        yield bytes(-array.size * kind.itemsize % _STEP)


def _of_texts(texts: Texts) -> tuple[NDArray[Any], ...]:
    return texts.starts, texts.data


def _of_labels(labels: Labels) -> tuple[NDArray[Any], ...]:
    return labels.numbers, *_of_texts(labels.words), labels.codes


def file_sum_of(labels: ImageLabels) -> FileSum:
    """The checksum of the file that `write` would write."""
    return _summed(labels, len)


def write(folder: Path, labels: ImageLabels) -> FileSum:
    """Write the file of a segment, or replace it. It lasts when this returns.

    Args:
        folder: of the segment.

    Raises:
        OSError: the disk is full or fails.
    """
    with replacing(folder / LABELS_NAME) as temporary, temporary.open("wb") as file:
        return _summed(labels, file.write)


def _summed(labels: ImageLabels, take: Callable[[bytes], int]) -> FileSum:
    """Hand the bytes of the file to `take`, which gives their number, and sum them up."""
    size, digest = 0, hashlib.blake2b(digest_size=16)
    for chunk in _chunks(labels):
        size += take(chunk)
        digest.update(chunk)
    return FileSum(LABELS_NAME, size, digest.digest())


def read(folder: Path, written: FileSum | None) -> ImageLabels | None:
    """The labels of a segment by its file; None if there is none that can be used.

    Every byte is read and compared with the checksum. Whoever wrote the file may also have written the checksum, so
    nothing in it is trusted to be in its place.

    Args:
        folder: of the segment. written: the file as the catalog lists it.
    """
    if written is None:
        return None
    try:
        data = _bytes(folder / LABELS_NAME, written)
        return None if data is None else _labels(_arrays(data))
    except (StoreError, OSError, ValueError):
        return None


def _bytes(path: Path, written: FileSum) -> NDArray[np.uint8] | None:
    """All of a file, mapped unless it is small; None if it is not what was written."""
    with open_file(path, written.size) as file:
        digest = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).digest()
        if (file.tell(), digest) != (written.size, written.digest):
            return None
        file.seek(0)
        if written.size < _IN_MEMORY:
            return np.frombuffer(file.read(), np.uint8)
        return np.memmap(file, np.uint8, mode="r")


def _arrays(data: NDArray[np.uint8]) -> Iterator[NDArray[Any]]:
    """The arrays of a file.

    Raises:
        ValueError: it is none of this form.
    """
    head = data[:_HEAD].tobytes()
    if len(head) < _HEAD or not head.startswith(_MAGIC):
        raise ValueError("it has another form")
    sizes = np.frombuffer(head, "<i8", offset=len(_MAGIC)).tolist()
    lengths = [size * kind.itemsize for size, kind in zip(sizes, _KINDS, strict=True)]
    starts = list(itertools.accumulate((length + -length % _STEP for length in lengths), initial=_HEAD))
    if min(sizes) < 0 or starts[-1] != len(data):
        raise ValueError("its arrays have impossible sizes")
    places = zip(starts[:-1], lengths, _KINDS, strict=True)
    return (np.asarray(data[start : start + length]).view(kind) for start, length, kind in places)


def _labels(arrays: Iterator[NDArray[Any]]) -> ImageLabels:
    """The labels of a file's arrays.

    Raises:
        ValueError: they cannot be those of images.
    """
    ids, paths, order = next(arrays), _texts(arrays), next(arrays)
    hashes = Hashes(_texts(arrays), next(arrays).astype(np.bool_))
    pids, camids, times, sizes = _column(arrays), _column(arrays), next(arrays), next(arrays)
    attributes = _column(arrays)
    n = len(ids)
    columns = (paths, order, hashes.raw, hashes.plain, pids, camids, times, attributes)
    if any(len(column) != n for column in columns) or len(sizes) != 2 * n:
        raise ValueError("its arrays are not of the same images")
    if ids.min(initial=0) < 0 or not _is_order(order) or len(attributes.numbers):
        raise ValueError("its arrays hold what is impossible")
    if not ((times == _NAT) | ((times >= _FIRST) & (times <= _LAST))).all():
        raise ValueError("captured_at holds what is no time")
    paths.check("path")
    hashes.check()
    for name, labels in {"pid": pids, "camid": camids, "attributes": attributes}.items():
        labels.check(name)
    pids.check_words("pid")
    camids.check_words("camid")
    captured_at = times.view(MOMENT)
    return ImageLabels(
        ids, Paths(paths, order), hashes, pids, camids, captured_at, sizes.reshape(n, 2), AttributeSets(attributes)
    )


def _texts(arrays: Iterator[NDArray[Any]]) -> Texts:
    starts, data = next(arrays), next(arrays)
    if not len(starts):
        raise ValueError("a column of texts has no end")
    return Texts(data, starts)


def _column(arrays: Iterator[NDArray[Any]]) -> Labels:
    return Labels(next(arrays), _texts(arrays), next(arrays))


def _is_order(order: NDArray[np.int32]) -> bool:
    """Whether each number from 0 on is there once."""
    if order.min(initial=0) < 0 or order.max(initial=-1) >= len(order):
        return False
    seen = np.zeros(len(order), np.bool_)
    seen[order] = True
    return bool(seen.all())
