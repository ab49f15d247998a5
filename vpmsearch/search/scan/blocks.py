"""What scans over codes share: codes by segment, in blocks of 16 images, and the memory and work that they may cost."""

from __future__ import annotations

import functools
import importlib
import logging
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Generic, Protocol, TypeVar

import numpy as np

from vpmsearch.errors import StoreError
from vpmsearch.search.distances import in_order_of_regions
from vpmsearch.store import Snapshot
from vpmsearch.system.memory import memory_bytes
from vpmsearch.system.parallel import spread
from vpmsearch.types import Bool, Float32, Int64, RegionFeatures

LANES = 16
"""Images in a block, `vectors.LANES`."""
SETTING = "VPMSEARCH_SCAN_MEMORY"
"""The environment variable that says how many MB the codes of one scan may take; 0 for no codes."""
MOST_BYTES = 2 << 30
"""Without it: bytes that they may take, if that is less than an eighth of the memory that the process may use."""
VALUES = 1 << 24
"""Bounds or estimates that are held at once: 64 MiB."""
MOST_PIECES = 64
"""Rows in more pieces, as removals leave them, are gathered one by one."""
PIECE = 256
"""Blocks that a core takes at once, at least: 6 MiB of bytes of 6 × 256, 1 MiB of signs. Scanning them takes far longer
than handing them to a thread."""


class Effort:
    """Counts how much was compared without codes, over all views of one engine. Safe for several threads.

    numbers: that were compared one by one. searches: queries that were answered by lists.
    """

    def __init__(self) -> None:
        self.numbers, self.searches = 0, 0
        self.lock = threading.Lock()


class InBlocks(Protocol):
    """Codes of a segment."""

    def __len__(self) -> int:
        """Number of blocks."""


Kind = TypeVar("Kind", bound=InBlocks)


@dataclass(frozen=True)
class Coded(Generic[Kind]):
    """Codes of all segments in one order of blocks.

    parts: by segment id, the part of the index that the codes were made of, the codes, and their first block. rows:
    (blocks, 16), the row in the snapshot, −1 where there is none. present: (blocks, 16), where there is one.
    """

    parts: dict[int, tuple[object, Kind, int]]
    rows: Int64
    present: Bool

    @classmethod
    def of(cls, snapshot: Snapshot, codes: Mapping[int, Kind]) -> Coded[Kind]:
        """Put the codes of all segments of a snapshot in order, by segment id."""
        parts, rows, offset = dict[int, tuple[object, Kind, int]](), [np.empty(0, np.int64)], 0
        for key, part in snapshot.parts.items():
            parts[key] = (part.files, codes[key], offset)
            offset += len(codes[key])
            rows.append(snapshot.rows_of_segment(key, len(codes[key]) * LANES))
        stacked = np.concatenate(rows).reshape(-1, LANES)
        return cls(parts, stacked, stacked >= 0)

    def wanted(self, allowed: Bool | None) -> Bool:
        """(blocks, 16), which images may be found: all, or those allowed (N,)."""
        if allowed is None:
            return self.present
        if self._runs is None:
            return self.present & allowed[self.rows]
        wanted = np.zeros(self.rows.size, np.bool_)
        for places, rows in self._runs:
            wanted[places] = allowed[rows]
        return wanted.reshape(-1, LANES)

    @functools.cached_property
    def _runs(self) -> list[tuple[slice, slice]] | None:
        """Places among all, and the rows there, wherever both go up by one. None if the rows are in many pieces.

        Copying a piece takes a tenth of the time of gathering its rows.
        """
        places = np.flatnonzero(self.present)
        rows = self.rows.ravel()[places]
        starts = np.flatnonzero((np.diff(places, prepend=-2) != 1) | (np.diff(rows, prepend=-2) != 1))
        if len(starts) > MOST_PIECES:
            return None
        stops = np.append(starts[1:], len(places))
        return [
            (slice(place, place + size), slice(row, row + size))
            for place, row, size in zip(
                places[starts].tolist(), rows[starts].tolist(), (stops - starts).tolist(), strict=True
            )
        ]

    def for_pieces(self, work: Callable[[tuple[Kind, int, int, int]], None]) -> None:
        """Spread the blocks over the cores. work: takes codes, first and last block and offset of a part of them."""
        blocks = max(PIECE, -(-len(self.rows) // (2 * (os.cpu_count() or 1))))
        pieces = [
            (codes, first, min(first + blocks, len(codes)), offset)
            for _, codes, offset in self.parts.values()
            for first in range(0, len(codes), blocks)
        ]
        spread(work, pieces)

    def nearest(self, values: Float32, least: Float32, count: int) -> tuple[Int64, Float32]:
        """Rows and values of the `count` least values (blocks, 16) that are finite, in any order.

        Args:
            least: (blocks,), the minimum of each block. The `count` least values are in the `count` blocks with the
                least minima.
        """
        blocks = np.argpartition(least, count - 1)[:count] if len(least) > count else np.arange(len(least))
        some, rows = values[blocks].ravel(), self.rows[blocks].ravel()
        if len(some) > count:
            places = np.argpartition(some, count - 1)[:count]
            some, rows = some[places], rows[places]
        finite = np.isfinite(some)
        return rows[finite], some[finite]

    def up_to(self, values: Float32, least: Float32, limit: float) -> tuple[Int64, Float32]:
        """Rows and values of all finite values (blocks, 16) that are not above the limit."""
        blocks = np.flatnonzero(least <= limit)
        some, rows = values[blocks], self.rows[blocks]
        near = (some <= limit) & np.isfinite(some)
        return rows[near], some[near]


@functools.cache
def compiled(name: str, otherwise: str) -> ModuleType | None:
    """A module of compiled arithmetic beside this one, loaded once per process; None if numba does not run.

    Args:
        otherwise: what happens without it, for the log.
    """
    try:
        return importlib.import_module(f"vpmsearch.search.scan.{name}")
    except Exception as error:  # not installed, too new a NumPy, no compiler for this processor …
        logging.getLogger(__name__).info("searches %s, as numba does not load: %s", otherwise, error)
        return None


def in_passes(queries: RegionFeatures, most: int, images: int) -> Iterator[tuple[Int64, RegionFeatures]]:
    """The queries that share a pass over so many images, and their rows: `most`, or what `queries_at_once` allows.

    Queries that show the same regions are asked together.
    """
    order, together = in_order_of_regions(queries), queries_at_once(most, images)
    for start in range(0, len(order), together):
        some = order[start : start + together]
        yield some, queries[some]


def queries_at_once(most: int, images: int) -> int:
    """How many queries share a pass: `most`, or fewer where their values would take more than `VALUES`."""
    return min(most, max(VALUES // max(images, 1), 4))


def fits(snapshot: Snapshot, bytes_of: Callable[[int, int, int], int]) -> bool:
    """Whether the codes of all images may be held. bytes_of: of n images with p regions and d numbers each."""
    info = snapshot.model_info
    needed = sum(bytes_of(len(part.labels), info.p, info.embedding_dim) for part in snapshot.parts.values())
    return needed <= most_bytes()


def most_bytes() -> int:
    """Bytes that the codes of one scan may take.

    Raises:
        StoreError: `SETTING` is no number.
    """
    if given := os.environ.get(SETTING, "").strip():
        if not (given.isascii() and given.isdigit()):
            raise StoreError(f"{SETTING} is {given!r}; give the MB that codes may take, such as 500, or 0 for no codes")
        return int(given) * 10**6
    memory = memory_bytes()
    return MOST_BYTES if memory is None else min(MOST_BYTES, memory // 8)
