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

from types import ModuleType

import numpy as np

from vpmsearch.search.distances import Distances, Found, counting
from vpmsearch.search.scan.blocks import Coded, Effort, compiled, fits, in_passes
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


def kernels() -> ModuleType | None:
    """The compiled arithmetic of this scan, see `compiled`."""
    return compiled("kernels", "scan without codes")


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
        loaded = kernels() if fits(self._snapshot, bytes_of) else None
        if loaded is None:
            return False
        made = dict[int, Codes]()
        for key, part in parts.items():
            if self._has(key):
                made[key] = self._known[key][1]
                continue
            seen = counting(info, part.files.visibility)
            try:
                made[key] = Codes.of(loaded, part.files.embeddings, seen)
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
        found: dict[int, Found] = {}
        for some, asked in in_passes(queries, QUERIES, wanted.size):
            lower, least = _lower_bounds(coded, asked, wanted)

            def answer(i: int, asked: RegionFeatures = asked, lower: Float32 = lower, least: Float32 = least) -> Found:
                return self._nearest(coded, asked[i : i + 1], lower[i], least[i], k)

            found |= zip(some.tolist(), spread(answer, range(len(some))), strict=True)
        return [found[row] for row in range(len(queries))]

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

    coded.for_pieces(bound)
    return lower, least
