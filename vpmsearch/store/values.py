"""The values that every store returns: frozen dataclasses, no I/O."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from vpmsearch.types import ModelInfo

EMBEDDING_DTYPES = ("float16", "float32")
"""The number formats in which a store can keep embeddings."""

OnBuild = Callable[[int, int], None]
"""Called while region indexes are built, from any thread, with the number of vectors so far and in all."""


def tell_nobody(done: int, total: int) -> None:
    """An `OnBuild` that does nothing."""


@dataclass(frozen=True)
class StoredModel:
    """The one model of an index, and how the index stores its embeddings."""

    info: ModelInfo
    embedding_dtype: str
    index_type: str


class OfModel(Protocol):
    """Images whose embeddings one model made."""

    @property
    def model_info(self) -> ModelInfo:
        """The model that made their embeddings."""

    @property
    def stored_model(self) -> StoredModel:
        """The model, and how its embeddings are stored."""


def common_folder(first: str | None, last: str | None) -> str:
    """The folder that holds all paths, with its last "/"; "" if there is none. The first and last path suffice to find
    it.

    Args:
        first, last: in the order of code points, so all paths between share the beginning of these two. None: no path.
    """
    same = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(first or "", last or "", strict=False))
    head, slash, _ = "".join(pair[0] for pair in same).rpartition("/")
    return head + slash


@dataclass(frozen=True)
class StoreStats:
    """What an index holds; `dataclasses.asdict` gives JSON.

    images, removed, rejected, segments: counts. Removed images stay in the files until `compact`. identities, cameras:
    distinct pids (without −1, junk) and camids of the images. bytes_on_disk: by kind ("catalog", "embeddings",
    "region_indexes", "other") and "total". region_images: per region the number of images in which it is visible.
    region_visibility: per region the mean over all images, 0 if there are none. region_index_types: per region the real
    types of its segments; a small or empty segment is always "flat". calibrated_on: images in the index when `vpmsearch
    calibrate` last ran with these weights; None if it never did.
    """

    images: int
    removed: int
    rejected: int
    segments: int
    identities: int
    cameras: int
    bytes_on_disk: dict[str, int]
    region_images: list[int]
    region_visibility: list[float]
    region_index_types: list[list[str]]
    model: dict[str, object]
    index_type: str
    embedding_dtype: str
    calibrated_on: int | None = None


@dataclass(frozen=True)
class VerifyReport:
    """ok: nothing is wrong. images: number of images that are not removed. problems: one line each, with what to do."""

    ok: bool
    images: int
    problems: tuple[str, ...]


@dataclass(frozen=True)
class CompactReport:
    """What a compaction did, and where removed images may still be.

    images: images kept. removed: rows erased. bytes_before, bytes_after: size of the index on disk. erased: whether the
    removed images are gone from the disk. It is False if a search still has old files open: their bytes stay until it
    refreshes or ends. It is also False if a reader kept the catalog's log from being emptied: compact again. readers:
    ids of processes that have files open, as far as known; this process may be one. copies: backups and snapshots with
    images that the index no longer has. purged: the copies that were deleted. dry_run: nothing was done; bytes_after is
    an estimate, and erased says whether nobody has the index open now.
    """

    images: int
    removed: int
    bytes_before: int
    bytes_after: int
    erased: bool = True
    readers: tuple[int, ...] = ()
    copies: tuple[str, ...] = ()
    purged: tuple[str, ...] = ()
    dry_run: bool = False
