"""The embeddings of a segment: one HDF5 file, written by plain writes and read through a memory map.

Only this module uses h5py. `embedding` (n, p, d), float16 or float32, is contiguous: its numbers start at one offset of
the file. `image_id` (n,) int64 holds the ids of the rows.
"""

from __future__ import annotations

import io
import math
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vpmsearch.errors import StoreDamagedError
from vpmsearch.store.folder.files import MAX_FILE_BYTES, REMEDY, check_file, printable_line
from vpmsearch.system import lazy
from vpmsearch.types import Int64
from vpmsearch.words import number_of

if TYPE_CHECKING:
    import h5py
else:
    h5py = lazy.module("h5py")

FILE_NAME = "embeddings.h5"
DTYPES: dict[str, np.dtype[Any]] = {"float16": np.dtype("<f2"), "float32": np.dtype("<f4")}
LARGEST_NUMBER = 4
"""Bytes of a number in an embedding, at most."""
OVERHEAD = 1 << 16
"""Bytes of a file that are neither embeddings nor ids, at most."""
_PAGE = 4096  # bytes; what is larger starts at a multiple


class _Layout(io.RawIOBase):
    """A file in memory that remembers what was written where.

    HDF5 does not survive a full disk: after a failed write h5py cannot close the file, and the process crashes when it
    ends. So HDF5 lays out the file in memory, without the embeddings, and Python writes it to the disk.
    """

    def __init__(self) -> None:
        self.pieces: dict[int, bytes] = {}
        self.size = 0
        self._at = 0

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        self._at = (0, self._at, self.size)[whence] + offset
        return self._at

    def tell(self) -> int:
        return self._at

    def write(self, data: Any, /) -> int:
        piece = bytes(data)
        self.pieces[self._at] = piece
        self._at += len(piece)
        self.size = max(self.size, self._at)
        return len(piece)

    def readinto(self, buffer: Any, /) -> int:
        whole = bytearray(len(buffer))
        for start, piece in self.pieces.items():
            first, last = max(start, self._at), min(start + len(piece), self._at + len(whole))
            if first < last:
                whole[first - self._at : last - self._at] = piece[first - start : last - start]
        buffer[:] = whole
        self._at += len(whole)
        return len(whole)

    def truncate(self, size: int | None = None, /) -> int:
        self.size = self._at if size is None else size
        return self.size


def _lay_out(ids: Int64, shape: tuple[int, int, int], dtype: np.dtype[Any]) -> tuple[_Layout, int]:
    """The file without its embeddings, and the offset at which these belong."""
    layout = _Layout()
    with h5py.File(layout, "w", alignment_threshold=_PAGE, alignment_interval=_PAGE) as file:
        file.create_dataset("image_id", data=ids.astype("<i8"))
        settings = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        settings.set_layout(h5py.h5d.CONTIGUOUS)
        settings.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)  # gives an offset before any number is written
        settings.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
        space, kind = h5py.h5s.create_simple(shape), h5py.h5t.py_create(dtype)
        offset = h5py.h5d.create(file.id, b"embedding", kind, space, settings).get_offset()
    return layout, int(offset)


def write(path: Path, ids: Int64, shape: tuple[int, int], blocks: Iterable[NDArray[Any]], dtype: str) -> None:
    """Write the file block by block, and sync it so that it survives a power loss.

    Args:
        path: the new file. ids: (n,). shape: (p, d). blocks: (b, p, d) each, n rows in all. dtype: a key of `DTYPES`.

    Raises:
        OSError: the disk is full or fails.
    """
    kind = DTYPES[dtype]
    layout, offset = _lay_out(ids, (len(ids), *shape), kind)
    with path.open("xb") as file:
        for start, piece in layout.pieces.items():
            file.seek(start)
            file.write(piece)
        file.seek(offset)
        for block in blocks:
            file.write(np.ascontiguousarray(block, dtype=kind).data)
        if file.tell() != offset + len(ids) * shape[0] * shape[1] * kind.itemsize:
            raise ValueError(f"the blocks for {path} do not have {number_of(len(ids), 'row')} of {shape}")
        file.truncate(layout.size)
        file.flush()
        os.fsync(file.fileno())


def read(path: Path, largest: int = MAX_FILE_BYTES) -> tuple[NDArray[np.floating[Any]], Int64]:
    """Map the embeddings (n, p, d) of a file, read-only, and read its image ids (n,).

    The map stays valid when the file is unlinked. A file of more bytes than `largest` is refused unread.

    Raises:
        StoreDamagedError: the file is missing or is not what `write` wrote. StoreError: it cannot be opened.
    """
    check_file(path, largest)
    try:
        with h5py.File(path, "r", locking=False) as file:  # the file never changes, and some file systems have no locks
            embedding, ids = _place(file, "embedding"), _place(file, "image_id")
        sound = embedding.kind in DTYPES.values() and ids.kind == np.int64 and len(embedding.shape) == 3
        if not sound or ids.shape != embedding.shape[:1]:
            raise StoreDamagedError(
                f"{path} holds {embedding.kind} of shape {embedding.shape} for {ids.kind} of {ids.shape}; {REMEDY}"
            )
        return embedding.map(path), np.array(ids.map(path))
    except (OSError, KeyError, RuntimeError, ValueError, AttributeError, TypeError, OverflowError) as error:
        reason = printable_line(error)
        raise StoreDamagedError(f"{path} cannot be read ({reason}); {REMEDY}") from error


@dataclass(frozen=True)
class _Place:
    """Where the numbers of a data set are in the file."""

    offset: int
    shape: tuple[int, ...]
    kind: np.dtype[Any]

    def map(self, path: Path) -> NDArray[Any]:
        """The numbers, read-only."""
        if 0 in self.shape:
            return np.empty(self.shape, self.kind)
        # NumPy refuses a shape that passes the file's end. Python's integers do not overflow in the product before.
        if self.offset + math.prod(self.shape) * self.kind.itemsize > path.stat().st_size:
            raise ValueError(f"shape {self.shape} is more than the file holds")
        return np.memmap(path, dtype=self.kind, mode="r", offset=self.offset, shape=self.shape)


def _place(file: h5py.File, name: str) -> _Place:
    """Find a data set for `_Place.map` to read. HDF5 itself would trust its size and run its filters."""
    # Checked before opening: a link may lead to any file of this machine.
    if not isinstance(file.get(name, getlink=True), h5py.HardLink):
        raise ValueError(f"{name} is a link, not a data set")  # noqa: TRY004 (of the file, not of a caller)
    data = file[name]
    if not isinstance(data, h5py.Dataset):
        raise ValueError(f"{name} is no data set")  # noqa: TRY004 (as above)
    offset = data.id.get_offset()  # None unless contiguous and within the file
    if offset is None or data.external:
        raise ValueError(f"{name} is not contiguous")
    return _Place(int(offset), tuple(map(int, data.shape or ())), data.dtype)
