"""What every store hands to its callers: frozen dataclasses, no I/O."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from vpmsearch.types import ModelInfo

EMBEDDING_DTYPES = ("float16", "float32")
"""How a store may keep the numbers of an embedding."""

OnBuild = Callable[[int, int], None]
"""Told while region indexes are built, by any thread: how many vectors are in, and how many there will be."""


def tell_nobody(done: int, total: int) -> None:
    """An `OnBuild` for those who do not ask."""


@dataclass(frozen=True)
class StoredModel:
    """The one model of an index, and how the index stores its embeddings."""

    info: ModelInfo
    embedding_dtype: str
    index_type: str


class OfModel(Protocol):
    """Images that were seen by one model."""

    @property
    def model_info(self) -> ModelInfo:
        """The model that made their embeddings."""

    @property
    def stored_model(self) -> StoredModel:
        """The model, and how its embeddings are stored."""


def common_folder(first: str | None, last: str | None) -> str:
    """The folder that all paths are in, with its last "/", by the first and the last of them; "" where there is none.

    Args:
        first, last: in the order of their code points, so that all between begin as both do. None: no path.
    """
    same = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(first or "", last or "", strict=False))
    head, slash, _ = "".join(pair[0] for pair in same).rpartition("/")
    return head + slash


@dataclass(frozen=True)
class StoreStats:
    """What an index holds; `dataclasses.asdict` gives JSON.

    images, removed, rejected, segments: counts; removed images wait for `compact`. identities, cameras: distinct
    pids (−1, junk, aside) and camids of the images. bytes_on_disk: by kind ("catalog", "embeddings",
    "region_indexes", "other") and "total". region_images: per region the images in which it is visible.
    region_visibility: per region the mean over all images, 0 where there are none. region_index_types: per region
    the types its segments really have: a small or empty one is "flat" whatever was asked for. calibrated_on: images the
    index held when `vpmsearch calibrate` last ran with these weights, None where it never did.
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
    """ok: nothing is wrong. images: those not removed. problems: one line each, saying what to do."""

    ok: bool
    images: int
    problems: tuple[str, ...]


@dataclass(frozen=True)
class CompactReport:
    """What a compaction did, and where removed images may still be.

    images: kept. removed: rows that went. bytes_before, bytes_after: the index on disk. erased: False where searches
    have files of an earlier view open, whose bytes stay on the disk until they refresh or end, or where somebody read
    the catalog for so long that removed images are in its log still: compact again. readers: other processes (numbers)
    that have files open, as far as can be known; it may also be this one. copies: backups and snapshots that hold
    images which the index holds no more. purged: those that were deleted. dry_run: nothing was done, bytes_after is an
    estimate, and erased says whether nobody has the index open now.
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
