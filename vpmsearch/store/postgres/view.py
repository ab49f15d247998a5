"""The images of a server's index. Each read is one transaction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from vpmsearch.labels import Label
from vpmsearch.store.postgres.connection import Server
from vpmsearch.store.postgres.encoding import cell_ranges, digests
from vpmsearch.store.postgres.reading import MOST_CELLS, Reading, State, present
from vpmsearch.store.values import StoredModel
from vpmsearch.types import ImageRecord, Int64, ModelInfo, RegionFeatures, SearchFilter

Answer = TypeVar("Answer")

_BLOCK = 4096


@dataclass(frozen=True)
class Cells:
    """The cells that occur at a version, and the ranges of their visibilities, (p, G) each."""

    version: int
    found: tuple[bytes, ...]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


class ServerView:
    """The images of an index on a server. Each call sees what is committed when it is made."""

    def __init__(self, server: Server, stored_model: StoredModel, index_id: str) -> None:
        self._server, self._index_id = server, index_id
        self.stored_model = stored_model
        self.model_info: ModelInfo = stored_model.info
        self._state: State = self.read(lambda reading: reading.state)
        self._count: int | None = None
        self._counted = (-1, 0, 0)
        self._ids: Int64 | None = None
        self._cells: Cells | None = None

    def read(self, work: Callable[[Reading], Answer]) -> Answer:
        """The result of `work` in one transaction. All of it runs again if the connection is lost.

        Raises:
            StoreError: another index has come to be at this place. Else as `Server.read`.
        """
        return self._server.read(lambda cursor: work(Reading(self._server, cursor, self.stored_model, self._index_id)))

    @property
    def state(self) -> tuple[object, ...]:
        """Differs between two views when something was committed between them."""
        return (self._state.version, self._state.built)

    @property
    def image_ids(self) -> Int64:
        """(N,) ascending, as they were when first asked for."""
        if self._ids is None:
            self._ids = self.read(lambda reading: reading.ids(SearchFilter()))
        return self._ids

    def __len__(self) -> int:
        if self._count is None:
            return self.read(self.about)
        return self._count

    def records_of(self, image_ids: Sequence[int] | Int64) -> list[ImageRecord]:
        """What is known about images, in the order asked.

        Raises:
            StoreError: one is not in the index.
        """
        found = self.read(lambda reading: reading.records(image_ids))
        return [found[image_id] for image_id in present(image_ids, found)]

    def features_of(self, image_ids: Sequence[int] | Int64) -> RegionFeatures:
        """Their features, in the order asked; embeddings of regions that are not visible are 0.

        Raises:
            StoreError: one is not in the index.
        """
        starts = range(0, len(image_ids) or 1, _BLOCK)
        return RegionFeatures.concatenate(
            self.read(lambda reading: [reading.features(image_ids[start : start + _BLOCK]) for start in starts])
        )

    def is_sound(self, image_id: int) -> bool:
        """Whether its features are what was written.

        Raises:
            StoreError: it is not in the index.
        """

        def is_sound(reading: Reading) -> bool:
            features = reading.features([image_id])
            visible = self.model_info.visible(features.visibility)
            return digests(features, visible, self.stored_model.embedding_dtype) == reading.digests([image_id])

        return self.read(is_sound)

    def counts(self) -> dict[str, int]:
        """How many images, rejected ones, identities and cameras there are; nothing removed stays, nor are segments."""
        return self.read(Reading.counts)

    def camids(self) -> list[Label]:
        """The cameras, in their order: numbers, then words."""
        return self.read(Reading.camids)

    def has_words(self, name: Literal["pid", "camid"]) -> bool:
        """Whether any image's pid, or camid, is a word."""
        return self.read(lambda reading: reading.has_words(name))

    def attribute_names(self) -> list[str]:
        """The attributes that any image has, in their order."""
        return self.read(Reading.attribute_names)

    def captured(self) -> tuple[datetime, datetime] | None:
        """When the first and the last of the images that have a time were captured."""
        return self.read(Reading.captured)

    def folder(self) -> str:
        """The folder that all images are in, with its last "/"; "" where there is none, or no image."""
        return self.read(Reading.folder)

    def about(self, reading: Reading) -> int:
        """How many images there are. Counted once, within the given transaction."""
        if self._count is None:
            self._count = reading.count(SearchFilter())
        return self._count

    def exceeds(self, reading: Reading, wanted: SearchFilter, most: int) -> bool:
        """Whether more than `most` images pass a filter. Without a filter it is counted once for each version."""
        if wanted != SearchFilter():
            return reading.count(wanted, most + 1) > most
        version, counted, images = self._counted
        if version != reading.state.version or counted <= most:
            counted, images = most + 1, reading.count(wanted, most + 1)
            self._counted = (reading.state.version, counted, images)
        return images > most

    def cells(self, reading: Reading) -> Cells | None:
        """The cells of the images that a transaction sees; None if there are too many."""
        known, version = self._cells, reading.state.version
        if known is None or known.version != version:
            found = reading.cells()
            known = self._cells = Cells(version, found, *cell_ranges(found, self.model_info.p))
        return known if len(known.found) <= MOST_CELLS else None
