"""The values that the modules of the folder store exchange: frozen dataclasses, no I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from vpmsearch.store.folder.checksums import FileSum
from vpmsearch.types import Float32, ImageRecord, Int64


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
