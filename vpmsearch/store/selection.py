"""Some images of a store for a user's own analysis: as Python objects, arrays, tables or a FAISS index."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from vpmsearch.errors import FeatureError
from vpmsearch.types import Float32, ImageRecord, Int64, ModelInfo, RegionFeatures
from vpmsearch.views import result_view
from vpmsearch.words import number_of

BLOCK = 1024
"""Images fetched at a time."""


class Images(Protocol):
    """What a selection needs from its view; every `GalleryView` has it."""

    @property
    def model_info(self) -> ModelInfo:
        """The model whose embeddings they are."""

    def records_of(self, image_ids: Int64) -> list[ImageRecord]:
        """What is known about images, in the order asked."""

    def features_of(self, image_ids: Int64) -> RegionFeatures:
        """Their features, in the order asked."""


@dataclass(frozen=True)
class StoredImage:
    """One image of an index: its id and its record."""

    image_id: int
    record: ImageRecord


@dataclass(frozen=True, eq=False)
class Selection:
    """The images that `store.filter(...)` found, in the order of their ids. Iterating gives a `StoredImage` each.

    view: the view that holds the images; a folder's never changes. image_ids: (n,) int64, ascending.
    """

    view: Images
    image_ids: Int64

    def __len__(self) -> int:
        return len(self.image_ids)

    def __iter__(self) -> Iterator[StoredImage]:
        for block in self._blocks():
            for image_id, record in zip(block.tolist(), self.view.records_of(block), strict=True):
                yield StoredImage(image_id, record)

    def __repr__(self) -> str:
        return f"<Selection: {number_of(len(self), 'image')}>"

    def _repr_html_(self) -> str:
        return result_view().selection_html(self)

    def _blocks(self) -> Iterator[Int64]:
        for start in range(0, len(self), BLOCK):
            yield self.image_ids[start : start + BLOCK]

    @property
    def info(self) -> ModelInfo:
        """The model whose embeddings these are."""
        return self.view.model_info

    def features(self) -> RegionFeatures:
        """Their visibility (n, p) and embeddings (n, p, d), float32: all in memory at once."""
        return self.view.features_of(self.image_ids)

    def embeddings(self, region: int) -> tuple[Int64, Float32]:
        """Ids (m,) and embeddings (m, d) of the images in which a region is visible, float32.

        Raises:
            FeatureError: there is no such region.
        """
        if not 0 <= region < self.info.p:
            raise FeatureError(f"there is no region {region}; the index has 0 to {self.info.p - 1}")
        ids, found = [np.zeros(0, np.int64)], [np.zeros((0, self.info.embedding_dim), np.float32)]
        for block in self._blocks():
            features = self.view.features_of(block)
            seen = self.info.visible(features.visibility[:, region])
            ids.append(block[seen])
            found.append(features.embeddings[seen, region])
        return np.concatenate(ids), np.concatenate(found)

    def to_faiss(self, region: int) -> Any:
        """A flat FAISS index (L2) over `embeddings(region)`; its ids are the image ids.

        Raises:
            FeatureError: there is no such region.
        """
        return result_view().selection_faiss(*self.embeddings(region))

    def to_arrow(self) -> Any:
        """A `pyarrow.Table` with one row per image and the columns of `vpmsearch export`.

        Raises:
            DataError: pyarrow is not installed.
        """
        return result_view().selection_arrow(self)

    def to_pandas(self) -> Any:
        """A data frame with one row per image, without the embeddings.

        Raises:
            DataError: pandas is not installed.
        """
        return result_view().selection_frame(self)
