"""A server's images for `vpmsearch.search.distances`. Their embeddings are fetched over the network in blocks."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from vpmsearch.errors import StoreDamagedError
from vpmsearch.store.postgres.reading import Reading
from vpmsearch.store.postgres.statements import conditions
from vpmsearch.types import Float32, Int64, SearchFilter

_BLOCK_BYTES = 32 << 20  # of embeddings at once
_LISTED = 65_536  # images whose visibilities are held as Python objects at once


class FeaturesMissingError(StoreDamagedError):
    """An image lacks features. With shards this can happen for a moment: a removal reaches a shard before the
    coordinator.
    """


class StreamedImages:
    """The images that one transaction sees and that pass a filter. Rows ascend with the image id.

    Attributes:
        image_ids: (N,). visibility: (N, p), as stored. visible: (N, p).
    """

    def __init__(self, reading: Reading, wanted: SearchFilter) -> None:
        self._reading = reading
        self.stored_model, self.model_info = reading.model, reading.model.info
        ids, visibility = [np.zeros(0, np.int64)], [np.zeros((0, self.model_info.p), np.float32)]
        only = conditions(wanted)
        where, last = only.where("i.id > %(beyond)s"), -1  # a parameter that no filter has
        while True:
            rows = reading.rows(
                f"SELECT i.id, i.visibility FROM image i{where} ORDER BY i.id LIMIT {_LISTED}",
                dict(only.values) | {"beyond": last},
            )
            if not rows:
                break
            ids.append(np.fromiter((row[0] for row in rows), np.int64, len(rows)))
            visibility.append(np.array([row[1] for row in rows], np.float32))
            last = rows[-1][0]
        self.image_ids: Int64 = np.concatenate(ids)
        self.visibility: Float32 = np.concatenate(visibility)
        self.visible: NDArray[np.bool_] = self.model_info.visible(self.visibility)

    def __len__(self) -> int:
        return len(self.image_ids)

    def stored(self, rows: NDArray[np.integer]) -> Float32:
        """Embeddings (m, p, d), in the order asked; 0 where a region is not visible.

        Raises:
            FeaturesMissingError: the server has not all of them.
        """
        asked, places = np.unique(rows, return_inverse=True)
        found = self._reading.embeddings(self.image_ids[asked].tolist())
        if found.count != self.visible[asked].sum():
            first, last = self.image_ids[asked[[0, -1]]]
            where = self._reading.server.place
            raise FeaturesMissingError(
                f"{where} lacks features of an image from {first} to {last}; `vpmsearch verify` names it"
            )
        return found.embeddings[places]

    def blocks(self, size: int) -> Iterator[tuple[Int64, Float32]]:
        """All of them: rows (m,) and embeddings (m, p, d), m up to `size` and to what fits 32 MiB."""
        size = min(size, max(1, _BLOCK_BYTES // (4 * self.model_info.p * self.model_info.embedding_dim)))
        for start in range(0, len(self), size):
            rows = np.arange(start, min(start + size, len(self)))
            yield rows, self.stored(rows)
