"""Eq. 4 but for its last digits, of hundreds of images: so `eq4` compares only those that may be among the nearest.

Both compute the same sums in different orders. Each is within `expansion_error` / 2 of the true distance, as the root
halves the relative error of a sum of squares. So if an image is among the k nearest by `eq4`, its rough distance is at
most the k-th rough one times 1 + 2 `expansion_error`. That answers do not depend on this module is tested.
"""

from __future__ import annotations

from types import ModuleType

import numpy as np

from vpmsearch.eq4 import Float64, can_be_lowered, expansion_error, scaled, underflow_error
from vpmsearch.search.distances import Distances, Found
from vpmsearch.search.scan.blocks import compiled
from vpmsearch.store import Snapshot
from vpmsearch.types import Bool, Int64, RegionFeatures


def kernels() -> ModuleType | None:
    """The compiled arithmetic, see `compiled`."""
    return compiled("rough_kernels", "compare in NumPy")


class Rough:
    """Rough distances of one query, and the images that they belong to.

    rows: (m,) of the snapshot, in any order. values: (m,) float64, ∞ where no region is shared.

    Args:
        distances: computes Eq. 4 for the snapshot. query: one image, visibility 0 where it does not count.
    """

    def __init__(self, snapshot: Snapshot, distances: Distances, query: RegionFeatures) -> None:
        self._snapshot, self._distances, self._query = snapshot, distances, query
        self.rows, self.values = np.zeros(0, np.int64), np.zeros(0, np.float64)

    def add(self, rows: Int64) -> None:
        """Compare further images."""
        self.rows = np.concatenate([self.rows, rows])
        self.values = np.concatenate([self.values, self._of(rows)])

    def _of(self, rows: Int64) -> Float64:
        loaded = kernels()
        assert loaded is not None
        stored = self._snapshot.stored(rows)
        weights = scaled(self._distances.visibility[rows]) * scaled(self._query.visibility)
        found = np.empty(len(rows), np.float64)
        if can_be_lowered(stored):
            loaded.of_halves(self._query.embeddings[0], weights, stored.view(np.int16), found)
        else:
            loaded.of_floats(self._query.embeddings[0], weights, stored.astype(np.float32, copy=False), found)
        return found

    def kth(self, k: int) -> float:
        """The k-th least distance; ∞ if there are fewer."""
        return float(np.partition(self.values, k - 1)[k - 1]) if len(self.values) >= k else np.inf

    def nearest(self, k: int) -> Found:
        """The k nearest of all these images by `eq4`. Ties go by image id."""
        return self._distances.nearest(self._query, np.sort(self.rows[self._may_be_nearest(k)]), k)

    def _may_be_nearest(self, k: int) -> Bool:
        """(m,)."""
        dim = self._query.embedding_dim
        limit = self.kth(k) * (1 + 2 * expansion_error(dim)) + 4 * np.sqrt(underflow_error(dim))
        near: Bool = ~(self.values > limit)  # NaN too: embeddings so large that their squares are beyond float32
        return near
