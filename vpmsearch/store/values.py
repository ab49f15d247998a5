"""What the modules of the store hand to one another and to their callers: frozen dataclasses, no I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from vpmsearch.store.folder.checksums import FileSum
from vpmsearch.types import Float32, ImageRecord, Int64, ModelInfo


@dataclass(frozen=True)
class StoredModel:
    """The one model of an index, and how the index stores what it says."""

    info: ModelInfo
    embedding_dtype: str
    index_type: str


@dataclass(frozen=True)
class ImageRows:
    """Where n images are, ascending by id.

    ids, segments, rows: (n,) int64: image id, segment id, row within the segment. visibility: (n, p) float32.
    """

    ids: Int64
    segments: Int64
    rows: Int64
    visibility: Float32


@dataclass(frozen=True)
class Changes:
    """What one commit does, all of it or nothing.

    segment_id: the new segment, None when no image is added; files: its files. ids, records and visibility (n, p)
    belong together. removed: image ids. updated: image id -> what is known about it from now on. rejected: path ->
    reason. accepted: paths that are rejected no more.
    """

    segment_id: int | None = None
    files: Sequence[FileSum] = ()
    ids: Sequence[int] = ()
    records: Sequence[ImageRecord] = ()
    visibility: Float32 = field(default_factory=lambda: np.empty((0, 0), np.float32))
    removed: Sequence[int] = ()
    updated: Mapping[int, ImageRecord] = field(default_factory=dict)
    rejected: Mapping[str, str] = field(default_factory=dict)
    accepted: Sequence[str] = ()


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
    hold an earlier view, so that removed images are in the write-ahead log still: compact again when they are done.
    readers: other processes (numbers) that do, as far as can be known; it may also be this one. copies:
    backups and snapshots that hold images which the index holds no more. purged: those that were deleted.
    """

    images: int
    removed: int
    bytes_before: int
    bytes_after: int
    erased: bool = True
    readers: tuple[int, ...] = ()
    copies: tuple[str, ...] = ()
    purged: tuple[str, ...] = ()
