"""Checks the numbers in a FAISS file before FAISS reads it. FAISS trusts them, so a few bad bytes could use all memory.

It accepts only the six layouts that `region_index` writes. FAISS accepts any length up to a terabyte, and follows the
links of a graph without checking them.
"""

from __future__ import annotations

import itertools
import math
import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vpmsearch.errors import StoreDamagedError
from vpmsearch.store.folder.files import open_file

MAX_IMAGE_ID = 1 << 29
"""A search keeps a bit, and for a moment a byte, for every id up to the largest: 512 MiB."""

_KINDS = {
    b"IxF2": "flat",
    b"IHNf": "hnsw",
    b"IwFl": "ivf-flat",
    b"IwSq": "ivf-sq8",
    b"IwPQ": "ivf-pq",
    b"IwPf": "ivf-pqfs",
}
"""The type of `index_types` by FAISS's four letters for it; those of an id map are followed by the letters it maps."""
_HEAD = 41  # bytes: the letters of an id map, its header, and the letters of what it maps
_FOREIGN = {
    b"IxF2": "IndexFlatL2",
    b"IxFI": "IndexFlatIP",
    b"IxHe": "IndexLSH",
    b"IxPq": "IndexPQ",
    b"IxMp": "IndexIDMap",
}
_COUNT = struct.Struct("<Q")
_L2 = 1  # faiss.METRIC_L2
_8_BITS = 0  # faiss.ScalarQuantizer.QT_8bit
_MAX_LINKS = 1024  # of a graph's node in one level
_MAX_LEVELS = 64
_MAX_PIECES = 256  # of a vector, each coded by itself
_PER_BLOCK = 32  # vectors of a fast scan
_LISTS_PER_ROOT = 16  # lists of an index of n vectors: at most this times √n; ours have 4


def most_bytes(n: int, d: int) -> int:
    """The largest size in bytes of a file of n vectors of d numbers, of any type: vectors, ids, links, centres and
    tables.
    """
    lists = _LISTS_PER_ROOT * math.isqrt(n) + 1
    return (n + lists) * (4 * d + 1024) + lists * _PER_BLOCK * _MAX_PIECES + 1024 * d + (1 << 20)


class _DamageError(ValueError):
    """args: what is wrong."""


class _File:
    """Reads a file from front to back. It is damaged if it ends before a requested number."""

    def __init__(self, data: NDArray[np.uint8]) -> None:
        self._data = data
        self._at = 0

    def take(self, count: int, kind: str) -> NDArray[Any]:
        """The next `count` numbers."""
        dtype = np.dtype(kind)
        if not 0 <= count <= (len(self._data) - self._at) // dtype.itemsize:
            raise _DamageError(f"{count} numbers at byte {self._at} are more than the file holds")
        start, self._at = self._at, self._at + count * dtype.itemsize
        return self._data[start : self._at].view(dtype)

    def one(self, kind: str) -> int:
        """The next number."""
        return int(self.take(1, kind)[0])

    def vector(self, kind: str, count: int | None = None) -> NDArray[Any]:
        """The next numbers; the file has their count before them. It must equal `count` if that is given."""
        found = self.one("<u8")
        if count is not None and found != count:
            raise _DamageError(f"{found} numbers where {count} belong")
        return self.take(found, kind)

    def lists(self, count: int, block: int) -> list[NDArray[Any]]:
        """The ids of the next `count` lists; the codes between them are skipped. Faster than two `vector` calls for
        each of thousands of lists.
        """
        found, data = [], self._data.data
        for _ in range(count):
            try:
                (ids,) = _COUNT.unpack_from(data, self._at)
                middle = self._at + 8 + 8 * ids
                (codes,) = _COUNT.unpack_from(data, middle)
            except (struct.error, OverflowError) as error:
                raise _DamageError(f"lists at byte {self._at} that the file does not hold") from error
            if codes != -(-ids // _PER_BLOCK) * block:
                raise _DamageError(f"{codes} bytes of codes of {ids} vectors")
            found.append(self._data[self._at + 8 : middle].view("<i8"))
            self._at = middle + 8 + codes
        if self._at > len(self._data):
            raise _DamageError("lists that go on beyond the end of the file")
        return found

    def name(self) -> bytes:
        """The next four letters."""
        return self.take(4, "u1").tobytes()

    def end(self) -> None:
        """Refuse a file that has more bytes."""
        if self._at != len(self._data):
            raise _DamageError("bytes after its end")


def problem(path: Path) -> str:
    """What is wrong with a file, or "" if FAISS can read it safely.

    Raises:
        OSError: it cannot be read.
    """
    if path.stat().st_size == 0:
        return "it is empty"
    file = _File(np.memmap(path, np.uint8, mode="r").view(np.ndarray))  # slicing a memmap takes twice as long
    try:
        name = file.name()
        if name == b"IxM2":
            _check_mapped(file)
        elif name in (b"IwFl", b"IwSq", b"IwPQ", b"IwPf"):
            _check_lists(file, name)
        else:
            return f"an index of type {_FOREIGN.get(name, name)} is none that vpmsearch writes"
        file.end()
    except _DamageError as error:
        return str(error)
    return ""


def kind_of(path: Path) -> str:
    """The type of the index in a file, by its first bytes: FAISS is not needed to tell.

    Raises:
        StoreDamagedError: the file is missing, or no index that vpmsearch writes. StoreError: it cannot be opened.
    """
    with open_file(path) as opened:
        file = _File(np.frombuffer(opened.read(_HEAD), np.uint8))
    try:
        name = file.name()
        if name == b"IxM2":
            _header(file)
            name = file.name()
        return _KINDS[name]
    except (_DamageError, KeyError) as error:
        raise StoreDamagedError(
            f"{path} holds no index that vpmsearch writes; `vpmsearch compact` builds it again from the embeddings"
        ) from error


def _header(file: _File) -> tuple[int, int]:
    """D and the number of vectors."""
    d, n = file.one("<i4"), file.one("<i8")
    file.take(2, "<i8")  # not used any more
    trained, metric = file.one("u1"), file.one("<i4")
    if not 1 <= d <= 1 << 20 or n < 0 or trained != 1 or metric != _L2:
        raise _DamageError(f"a header of {n} vectors of {d} numbers, trained {trained}, metric {metric}")
    return d, n


def _check_flat(file: _File, expected: tuple[int, int]) -> None:
    if file.name() != b"IxF2" or _header(file) != expected:
        raise _DamageError("its plain vectors are others than its header says")
    file.vector("<f4", expected[0] * expected[1])


def _check_ids(ids: NDArray[Any]) -> None:
    if len(ids) and not 0 <= int(ids.min()) <= int(ids.max()) < MAX_IMAGE_ID:
        raise _DamageError(f"an image id is not in 0 to {MAX_IMAGE_ID - 1}")


def _check_mapped(file: _File) -> None:
    """An id map over plain vectors, or over a graph of them."""
    d, n = _header(file)
    name = file.name()
    if name not in (b"IxF2", b"IHNf") or _header(file) != (d, n):
        raise _DamageError("what it maps is not what its header says")
    if name == b"IxF2":
        file.vector("<f4", d * n)
    else:
        _check_graph(file, n)
        _check_flat(file, (d, n))
    _check_ids(file.vector("<i8", n))


def _check_graph(file: _File, n: int) -> None:
    """HNSW: node i has cum[levels[i]] links from offsets[i] on, those of level l from cum[l] to cum[l + 1]."""
    file.vector("<f8")  # the chance of each level
    cum = file.vector("<i4").astype(np.int64)
    steps = np.diff(cum)
    if not 1 <= len(cum) <= _MAX_LEVELS or cum[0] != 0 or (steps < 1).any() or (steps > _MAX_LINKS).any():
        raise _DamageError("a graph of impossible levels")
    levels = file.vector("<i4", n)
    if (levels < 1).any() or (levels >= len(cum)).any():
        raise _DamageError("a graph with a node of no level")
    offsets = file.vector("<u8", n + 1)
    expected = np.concatenate([[0], np.cumsum(cum[levels])])
    if not np.array_equal(offsets, expected):
        raise _DamageError("a graph whose links are not one after another")
    links = file.vector("<i4", int(expected[-1]))
    entry, top = file.one("<i4"), file.one("<i4")
    file.take(3, "<i4")  # search efforts, which every search sets again
    if n and not (0 <= entry < n and top == levels[entry] - 1):
        raise _DamageError("a graph without a way in")
    if not n and (entry, top) != (-1, -1):
        raise _DamageError("a way into an empty graph")
    if len(links) and not -1 <= int(links.min()) <= int(links.max()) < n:
        raise _DamageError("a graph whose links lead out of it")
    for level in range(1, len(steps)):
        # A search follows a link and continues with the other node's links on the same level, so that node must have
        # the level.
        nodes = np.flatnonzero(levels > level)
        ends = links[expected[nodes][:, None] + np.arange(cum[level], cum[level + 1])]
        if (levels[ends[ends >= 0]] <= level).any():
            raise _DamageError("a graph whose links lead to nodes of a lower level")


def _check_lists(file: _File, name: bytes) -> None:
    """Vectors in lists. The file has the centres of the lists first, as plain vectors."""
    d, n = _header(file)
    lists, _ = file.take(2, "<u8").tolist()
    if not 1 <= lists <= _LISTS_PER_ROOT * math.isqrt(n):
        raise _DamageError(f"{lists} lists of {n} vectors")
    _check_flat(file, (d, lists))
    if file.one("u1") != 0 or file.one("<u8") != 0:
        raise _DamageError("a map from ids to lists, which no index has")
    if name == b"IwPf":
        _check_blocks(file, lists, n, _fast_scan_codes(file, d))
        return
    size = {b"IwFl": lambda: 4 * d, b"IwSq": lambda: _scalar_codes(file, d), b"IwPQ": lambda: _product_codes(file, d)}
    code = size[name]()
    if file.name() != b"ilar" or file.take(2, "<u8").tolist() != [lists, code]:
        raise _DamageError("its lists are others than its header says")
    sizes = _sizes(file, lists)
    if int(sum(sizes)) != n:
        raise _DamageError("its lists do not hold as many vectors as its header says")
    body = file.take(n * (code + 8), "u1")  # of each list the codes, then the ids
    ends = [(code + 8) * end for end in itertools.accumulate(sizes)]
    ids = [body[end - 8 * count : end].view("<i8") for end, count in zip(ends, sizes, strict=True)]
    _check_ids(np.concatenate(ids))


def _check_blocks(file: _File, lists: int, n: int, block: int) -> None:
    """For each list the ids, then the codes in blocks of 32 vectors; the last block is padded."""
    if file.name() != b"ilbl" or file.take(4, "<u8").tolist() != [lists, 2**64 - 1, _PER_BLOCK, block]:
        raise _DamageError("its lists are others than its header says")
    ids = file.lists(lists, block)
    if sum(map(len, ids)) != n:
        raise _DamageError("its lists do not hold as many vectors as its header says")
    _check_ids(np.concatenate(ids))


def _sizes(file: _File, lists: int) -> list[int]:
    form = file.name()
    if form == b"full":
        return list(map(int, file.vector("<u8", lists)))
    pairs = file.vector("<u8").tolist()
    if form != b"sprs" or len(pairs) % 2 or any(place >= lists for place in pairs[::2]):
        raise _DamageError("lists of no known form")
    return list(dict(zip(pairs[::2], pairs[1::2], strict=True)).values())


def _scalar_codes(file: _File, d: int) -> int:
    """Bytes per vector: one for each number."""
    kind = file.one("<i4")
    file.take(2, "<i4")  # how the ranges were found
    inner = file.take(2, "<u8").tolist()
    file.vector("<f4", 2 * d)
    outer, residual = file.one("<u8"), file.one("u1")
    if kind != _8_BITS or inner != [d, d] or outer != d or residual > 1:
        raise _DamageError("a quantizer that vpmsearch does not use")
    return d


def _product_codes(file: _File, d: int) -> int:
    """Bytes per vector: `bits` bits for each piece."""
    residual, code = file.one("u1"), file.one("<u8")
    inner, pieces, bits = file.take(3, "<u8").tolist()
    known = inner == d and 1 <= bits <= 8 and 1 <= pieces <= _MAX_PIECES and d % pieces == 0
    if not known or code != (pieces * bits + 7) // 8 or residual > 1:
        raise _DamageError("a quantizer that vpmsearch does not use")
    file.vector("<f4", d << bits)
    return code


def _fast_scan_codes(file: _File, d: int) -> int:
    """Bytes of 32 vectors: half a byte for each piece; the number of pieces is rounded up to an even one."""
    residual, code = file.one("u1"), file.one("<u8")
    per_block, even, way, queries = file.one("<i4"), file.one("<u8"), file.one("<i4"), file.one("<u8")
    inner, pieces, bits = file.take(3, "<u8").tolist()
    known = inner == d and 1 <= pieces <= _MAX_PIECES and d % pieces == 0 and bits == 4
    usual = (residual, per_block, way, queries) == (0, _PER_BLOCK, 0, 0)
    if not known or not usual or even != pieces + pieces % 2 or code != (pieces + 1) // 2:
        raise _DamageError("a quantizer that vpmsearch does not use")
    file.vector("<f4", d << bits)
    return int(even) * _PER_BLOCK // 2
