"""What a gallery store is, wherever it keeps its images: here a folder, elsewhere a server. No I/O.

`GalleryStore`, `Snapshot` and `GalleryWriter` are the embedded ones. Whoever needs no more than this works on every
store; tests/store/postgres/test_store_contract.py runs on all of them. Images are named by their ids.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Protocol, Self

from vpmsearch.store.values import OnBuild, StoredModel, StoreStats, VerifyReport, tell_nobody
from vpmsearch.types import ImageRecord, Int64, ModelInfo, RegionFeatures


class GalleryView(Protocol):
    """The images of a store. A snapshot is of one moment; a server's view may show what was committed since."""

    @property
    def model_info(self) -> ModelInfo:
        """The model whose embeddings they are."""

    @property
    def stored_model(self) -> StoredModel:
        """And how they are stored."""

    @property
    def state(self) -> tuple[object, ...]:
        """Differs between two views when something was committed between them."""

    @property
    def image_ids(self) -> Int64:
        """(N,) ascending."""

    def __len__(self) -> int: ...

    def records_of(self, image_ids: Sequence[int] | Int64) -> list[ImageRecord]:
        """What is known about images, in the order asked; StoreError where one is not in the index."""

    def features_of(self, image_ids: Sequence[int] | Int64) -> RegionFeatures:
        """Their features, in the order asked; what is not visible may be 0, as it is never compared."""

    def is_sound(self, image_id: int) -> bool:
        """Whether its features are what was written."""

    def counts(self) -> dict[str, int]:
        """How many images, removed and rejected ones, segments, identities and cameras there are."""

    def camids(self) -> list[int]:
        """The cameras, ascending."""

    def captured(self) -> tuple[datetime, datetime] | None:
        """When the first and the last of the images that have a time were captured."""


class ImageWriter(Protocol):
    """Adds, removes and rejects images; nothing is seen before `commit`, then all of it."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    @property
    def pending(self) -> int:
        """Images added or updated since the last commit."""

    def add(self, records: Sequence[ImageRecord], features: RegionFeatures) -> list[int]:
        """Take in images; their ids."""

    def remove(self, image_ids: Iterable[int]) -> int:
        """Remove images; how many go."""

    def update(self, image_id: int, record: ImageRecord) -> None:
        """Change path, pid, camid and captured_at of an image."""

    def reject(self, path: str, reason: str) -> None:
        """Note that a file cannot be indexed."""

    def accept(self, path: str) -> None:
        """Take that note back."""

    def commit(self) -> None:
        """Make everything pending visible, and make it last."""


class Gallery(Protocol):
    """A store: see `vpmsearch.store.GalleryStore`, whose methods these are."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    def close(self) -> None:
        """Let go of it."""

    @property
    def path(self) -> object:
        """Where it is, for messages: a Path, or a server's address without its password."""

    @property
    def device(self) -> str:
        """Where the client computes."""

    @property
    def model_info(self) -> ModelInfo:
        """The model whose embeddings it holds."""

    @property
    def embedding_dtype(self) -> str:
        """How embeddings are stored: "float16" or "float32"."""

    @property
    def index_type(self) -> str:
        """The type asked for when it was created."""

    @property
    def snapshot(self) -> GalleryView:
        """What searches see."""

    def refresh(self) -> bool:
        """See what was committed since; True if there was anything."""

    def check_model(self, info: ModelInfo) -> None:
        """Refuse another model; ModelMismatchError names both."""

    def writer(self, *, on_build: OnBuild = tell_nobody) -> ImageWriter:
        """A writer, to be entered; it tells `on_build` of the region indexes that it builds itself."""

    def live_files(self) -> dict[str, tuple[int, str]]:
        """Path -> (image id, content hash)."""

    def rejected(self) -> list[tuple[str, str]]:
        """(path, reason) of the files that could not be indexed, by path."""

    def find(
        self,
        paths: Sequence[str] = (),
        pids: Sequence[int] = (),
        camids: Sequence[int] = (),
        before: datetime | None = None,
        after: datetime | None = None,
        prefix: str = "",
    ) -> list[int]:
        """Ids, ascending, of the images that meet every condition given."""

    def calibration(self) -> dict[str, Any] | None:
        """What `keep_calibration` was given last; None where nothing was. StoreDamagedError where it is damaged."""

    def keep_calibration(self, values: dict[str, Any]) -> object:
        """Replace the calibration; says where it is."""

    def stats(self) -> StoreStats:
        """What it holds."""

    def verify(self) -> VerifyReport:
        """Check that everything is what was written."""
