"""Scans all regions of all images: lower bounds of Eq. 4 come from codes in memory, then few images are compared.

One pass over the codes (`codes.py`) gives a lower bound of every image's distance. `eq4` compares the images with the
least bounds, then every image whose bound is not above the k-th distance found. So the answer is exact, to the last
bit. The precision of the codes only decides how many images are compared.

Codes are made from the embeddings, segment by segment, and stay in memory as long as the view of the index.
docs/decisions/0005-search.md says why they are not stored in a file. Making codes and loading the compiled kernels
costs about as much as some searches. So both wait until that much has been searched (`Effort`), and a command that
searches once does not pay for them.
"""

from __future__ import annotations

import functools
import logging
import os
from types import ModuleType

import numpy as np

from vpmsearch.search.distances import Distances, Found, in_order_of_regions
from vpmsearch.search.scan.blocks import PIECE, Coded, Effort, most_bytes, queries_at_once
from vpmsearch.search.scan.codes import MOST_NUMBERS, SLACK, Codes, QueryCodes, bytes_of
from vpmsearch.store import Snapshot
from vpmsearch.system.parallel import spread
from vpmsearch.types import Bool, Float32, RegionFeatures

LOAD_AFTER = 500_000_000
"""The kernels are loaded after so many numbers were compared without codes: 0.2 to 0.3 s, about what loading costs."""
ENCODE_AFTER = 8
"""And after so many times the numbers to be encoded: encoding a number costs as much as comparing it eight times."""
QUERIES = 64
"""Queries that share one pass over the codes, at most."""
EXTRA = 16
"""Images compared at first beyond k. On real galleries the bounds leave 2 to 6 images that may belong to the k."""


@functools.cache
def kernels() -> ModuleType | None:
    """The compiled arithmetic, loaded once per process; None if numba does not run."""
    try:
        from vpmsearch.search.scan import kernels as loaded
    except Exception as error:  # not installed, too new a NumPy, no compiler for this processor …
        logging.getLogger(__name__).info("searches scan without codes, as numba does not load: %s", error)
        return None
    return loaded


class JointScan:
    """Scans one snapshot. Safe for several threads.

    Args:
        distances: computes Eq. 4 for the snapshot, on the CPU. effort: the engine's count. before: the scan of an
            earlier snapshot.
    """

    def __init__(
        self, snapshot: Snapshot, distances: Distances, effort: Effort, before: JointScan | None = None
    ) -> None:
        self._snapshot, self._distances, self._effort = snapshot, distances, effort
        self._coded: Coded[Codes] | None = None
        self._known: dict[int, tuple[object, Codes, int]] = {}
        if before is not None:
            self._known = before._known if before._coded is None else before._coded.parts

    @property
    def made(self) -> bool:
        """Whether there are codes."""
        return self._coded is not None

    def ready(self, queries: int) -> bool:
        """Whether there are codes for the next `queries` queries. Makes them if enough has been searched by now.

        While one thread makes them, other threads get False and search without codes.
        """
        if self._coded is not None:
            return True
        info, effort = self._snapshot.model_info, self._effort
        each = info.p * info.embedding_dim
        images = len(self._snapshot)
        if not images or info.embedding_dim > MOST_NUMBERS or not effort.lock.acquire(blocking=False):
            return False
        try:
            effort.numbers += images * each * queries
            missing = sum(len(part.rows) for key, part in self._snapshot.parts.items() if not self._has(key))
            if effort.numbers >= max(LOAD_AFTER, ENCODE_AFTER * missing * each):
                self.prepare()
        finally:
            effort.lock.release()
        return self._coded is not None

    def prepare(self) -> bool:
        """Make the codes now; False if they would take too much memory or numba does not run."""
        info = self._snapshot.model_info
        parts = self._snapshot.parts
        needed = sum(bytes_of(len(part.labels), info.p, info.embedding_dim) for part in parts.values())
        loaded = kernels() if needed <= most_bytes() else None
        if loaded is None:
            return False
        made = dict[int, Codes]()
        for key, part in parts.items():
            if self._has(key):
                made[key] = self._known[key][1]
                continue
            counting = np.where(info.visible(part.files.visibility), part.files.visibility, np.float32(0))
            try:
                made[key] = Codes.of(loaded, part.files.embeddings, counting)
            except MemoryError:
                return False
        self._coded, self._known = Coded.of(self._snapshot, made), {}
        return True

    def _has(self, key: int) -> bool:
        known = self._known.get(key)
        return known is not None and known[0] is self._snapshot.parts[key].files

    def search(self, queries: RegionFeatures, k: int, allowed: Bool | None = None) -> list[Found]:
        """As `Distances.scan`: the k nearest to each query among all images, or among those allowed (N,).

        To be called only after `ready` or `prepare` has returned True.
        """
        coded = self._coded
        assert coded is not None
        wanted = coded.wanted(allowed)
        order = in_order_of_regions(queries)
        found: dict[int, Found] = {}
        together = queries_at_once(QUERIES, wanted.size)
        for start in range(0, len(order), together):
            some = order[start : start + together]
            asked = queries[some]
            lower, least = _lower_bounds(coded, asked, wanted)

            def answer(i: int, asked: RegionFeatures = asked, lower: Float32 = lower, least: Float32 = least) -> Found:
                return self._nearest(coded, asked[i : i + 1], lower[i], least[i], k)

            found |= zip(some.tolist(), spread(answer, range(len(some))), strict=True)
        return [found[row] for row in range(len(order))]

    def _nearest(self, coded: Coded[Codes], query: RegionFeatures, lower: Float32, least: Float32, k: int) -> Found:
        """The k nearest to one query, from its bounds (blocks, 16) and the least of each block (blocks,)."""
        first = np.sort(coded.nearest(lower, least, k + EXTRA)[0])
        best = self._distances.nearest(query, first, k)
        limit = best[1][-1] if len(best[1]) == k else np.float32(np.inf)
        # A bound above the limit by more than rounding excludes an image.
        left, _ = coded.up_to(lower, least, float(limit) / (1 - SLACK))
        return self._distances.nearest(query, np.setdiff1d(left, first, assume_unique=True), k, best)


def _lower_bounds(coded: Coded[Codes], queries: RegionFeatures, wanted: Bool) -> tuple[Float32, Float32]:
    """Lower bounds of Eq. 4 (Q or more, blocks, 16) and the least of each block; ∞ where not `wanted` (blocks, 16)."""
    loaded = kernels()
    assert loaded is not None
    asked = QueryCodes.of(queries, loaded.TILE)
    lower = np.empty((len(asked.weight), *wanted.shape), np.float32)
    least = np.empty(lower.shape[:2], np.float32)

    def bound(piece: tuple[Codes, int, int, int]) -> None:
        codes, first, last, offset = piece
        loaded.lower_bounds(
            codes.words, codes.step, codes.length, codes.error, codes.weight, wanted, first, last, offset,
            *asked.arguments(), lower, least,
        )  # fmt: skip

    spread(bound, coded.pieces(max(PIECE, -(-len(wanted) // (2 * (os.cpu_count() or 1))))))
    return lower, least
