"""The interface of a gallery store, in a folder or on a server. No I/O.

Code that uses only this interface works on every store. `tests/store/postgres/test_store_contract.py` runs the same
tests on all stores. Images are identified by their ids.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, Protocol, Self, TypedDict, Unpack

import numpy as np

from vpmsearch.errors import StoreError
from vpmsearch.labels import Label, as_labels
from vpmsearch.store.intake import check_model
from vpmsearch.store.place import Place
from vpmsearch.store.selection import Selection, StoredImage
from vpmsearch.store.values import OfModel, OnBuild, StoredModel, StoreStats, VerifyReport, tell_nobody
from vpmsearch.types import ImageRecord, Int64, ModelInfo, RegionFeatures, SearchFilter
from vpmsearch.views import result_view


class GalleryView(OfModel, Protocol):
    """The images of a store. A snapshot is of one moment; a server's view may show what was committed since."""

    @property
    def state(self) -> tuple[object, ...]:
        """Differs between two views when something was committed between them."""

    @property
    def image_ids(self) -> Int64:
        """(N,) ascending."""

    def __len__(self) -> int: ...

    def records_of(self, image_ids: Sequence[int] | Int64) -> list[ImageRecord]:
        """What is known about images, in the order asked. StoreError if one is not in the index."""

    def features_of(self, image_ids: Sequence[int] | Int64) -> RegionFeatures:
        """Features of images, in the order asked. Embeddings of regions that are not visible may be 0."""

    def is_sound(self, image_id: int) -> bool:
        """Whether its features are what was written."""

    def counts(self) -> dict[str, int]:
        """How many images, removed and rejected ones, segments, identities and cameras there are."""

    def camids(self) -> list[Label]:
        """The cameras, in their order: numbers, then words."""

    def has_words(self, name: Literal["pid", "camid"]) -> bool:
        """Whether any image's pid, or camid, is a word."""

    def attribute_names(self) -> list[str]:
        """The attributes that any image has, in their order."""

    def captured(self) -> tuple[datetime, datetime] | None:
        """When the first and the last of the images that have a time were captured."""

    def folder(self) -> str:
        """The folder that all images are in, with its last "/"; "" where there is none, or no image."""


class Conditions(TypedDict, total=False):
    """What `Gallery.filter` selects by, see `Gallery.find`."""

    pids: Sequence[Label]
    camids: Sequence[Label]
    before: datetime | None
    after: datetime | None
    prefix: str
    where: Mapping[str, str | Sequence[str]] | None


class ImageWriter(Protocol):
    """Adds, removes and rejects images. Readers see nothing of it before `commit`, and all of it afterwards."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    @property
    def pending(self) -> int:
        """Images added or updated since the last commit."""

    @property
    def commit_seconds(self) -> float:
        """How long the last commit took until it would last; 0 before the first."""

    def add(self, records: Sequence[ImageRecord], features: RegionFeatures) -> list[int]:
        """Add images. Returns their ids."""

    def remove(self, image_ids: Iterable[int]) -> int:
        """Remove images. Returns how many."""

    def update(self, image_id: int, record: ImageRecord) -> None:
        """Change path, pid, camid, captured_at and attributes of an image."""

    def reject(self, path: str, reason: str) -> None:
        """Note that a file cannot be indexed."""

    def accept(self, path: str) -> None:
        """Remove the note that `reject` made."""

    def commit(self) -> None:
        """Make everything pending visible and durable."""


class Gallery(ABC):
    """A store: the common part of the folder's `GalleryStore` and the server's `ServerStore`. A context manager.

    path: for messages, a Path or a server's address without its password. device: where the client computes. Several
    threads may use one store.
    """

    path: Path | Place
    device: str
    _model: StoredModel
    _closed: bool = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @abstractmethod
    def close(self) -> None:
        """Close the store. Snapshots of a folder that are still in use stay valid."""

    def _check_open(self) -> None:
        if self._closed:
            raise StoreError(f"the store at {self.path} is closed; open it again")

    @property
    def model_info(self) -> ModelInfo:
        """The model whose embeddings it holds."""
        return self._model.info

    @property
    def embedding_dtype(self) -> str:
        """How embeddings are stored: "float16" or "float32"."""
        return self._model.embedding_dtype

    @property
    def index_type(self) -> str:
        """The type that was asked for when the index was created; `stats` has the types that it really has."""
        return self._model.index_type

    @property
    @abstractmethod
    def snapshot(self) -> GalleryView:
        """What searches see."""

    @abstractmethod
    def refresh(self) -> bool:
        """See what was committed since; True if there was anything."""

    def check_model(self, info: ModelInfo) -> None:
        """Refuse another model than the index was built with.

        Raises:
            ModelMismatchError: names what differs, in both.
        """
        check_model(self.path, self.model_info, info)

    @abstractmethod
    def writer(self, *, on_build: OnBuild = tell_nobody) -> ImageWriter:
        """A writer, to be entered: `with store.writer() as writer:`.

        Args:
            on_build: called while region indexes are built, from any thread, with the number of vectors so far and in
                all.
        """

    @abstractmethod
    def live_files(self) -> dict[str, tuple[int, str]]:
        """Path -> (image id, content hash) of all images committed by now."""

    @abstractmethod
    def rejected(self) -> list[tuple[str, str]]:
        """(path, reason) of the files that could not be indexed, by path."""

    def find(
        self,
        paths: Sequence[str] = (),
        pids: Sequence[Label] = (),
        camids: Sequence[Label] = (),
        before: datetime | None = None,
        after: datetime | None = None,
        prefix: str = "",
        where: Mapping[str, str | Sequence[str]] | None = None,
    ) -> list[int]:
        """Ids, ascending, of the images that meet every condition given; all images when none is.

        Args:
            paths: exactly these. prefix: how the path starts. pids, camids: any of these. after, before: captured
                from `after` on, and earlier than `before`. where: attributes, see `SearchFilter`.
        """
        self._check_open()
        return self._found(SearchFilter(as_labels(pids), as_labels(camids), after, before, prefix, where or {}), paths)

    def filter(self, **conditions: Unpack[Conditions]) -> Selection:
        """The images that meet every condition given, to look through or to analyse.

        Args:
            conditions: pids, camids, before, after, prefix and where, see `find`.
        """
        return Selection(self.snapshot, np.array(self.find(**conditions), np.int64))

    def __len__(self) -> int:
        return len(self.snapshot)

    def __bool__(self) -> bool:
        return True  # also without images

    def __iter__(self) -> Iterator[StoredImage]:
        return iter(Selection(self.snapshot, self.snapshot.image_ids))

    def _repr_html_(self) -> str:
        return result_view().store_html(self)

    @abstractmethod
    def _found(self, wanted: SearchFilter, paths: Sequence[str]) -> list[int]:
        """See `find`."""

    @abstractmethod
    def calibration(self) -> dict[str, Any] | None:
        """The calibration that `keep_calibration` stored last; None if there is none. See `vpmsearch.search.verdict`.

        Raises:
            StoreDamagedError: it is damaged.
        """

    @abstractmethod
    def keep_calibration(self, values: dict[str, Any]) -> object:
        """Replace the calibration, whole or not at all. Returns its place."""

    @abstractmethod
    def stats(self) -> StoreStats:
        """What the store contains, and how many bytes it takes. Embeddings are not read: `verify` checks them."""

    @abstractmethod
    def verify(self) -> VerifyReport:
        """Check everything against its checksum. Damage is in the report and never raised."""
