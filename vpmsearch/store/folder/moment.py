"""The parts of a snapshot: the catalog at one moment, and its open segments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vpmsearch.errors import StoreDamagedError
from vpmsearch.store.folder.checksums import FileSum
from vpmsearch.store.folder.files import REMEDY, segment_folder
from vpmsearch.store.folder.labels import ImageLabels
from vpmsearch.store.folder.reader import Reader
from vpmsearch.store.folder.segments import OpenSegment, open_segment
from vpmsearch.store.values import StoredModel
from vpmsearch.types import Bool, Int64
from vpmsearch.words import number_of


@dataclass(frozen=True)
class Listed:
    """A segment in the catalog. images: how many. files: checksums by name, as written."""

    images: int
    files: Mapping[str, FileSum]
    labels: ImageLabels


@dataclass(frozen=True)
class Moment:
    """All that a snapshot needs from the catalog, read in one transaction, which has ended.

    relabelled: see `Reader.relabelled`. removed: ids, ascending.
    """

    state: tuple[object, ...]
    model: StoredModel
    relabelled: int
    removed: Int64
    rejected: int
    segments: Mapping[int, Listed]

    @classmethod
    def of(cls, reader: Reader, before: Moment | None, parts: Mapping[int, Part]) -> Moment:
        """Read it. Labels of a segment that was open before are read again only if labels have changed since.

        Args:
            before: the moment of an earlier snapshot. parts: its segments.
        """
        relabelled, state = reader.relabelled(), reader.state()
        # Another index may have replaced the one at this path, with the same files and other labels.
        same = before is not None and before.state[0] == state[0] and before.relabelled == relabelled
        segments = {}
        for segment_id, images in reader.segments().items():
            files, part = reader.files(segment_id), parts.get(segment_id) if same else None
            labels = part.labels if part and part.files.files == files else reader.labels(segment_id)
            segments[segment_id] = Listed(images, files, labels)
        return cls(state, reader.model(), relabelled, reader.removed(), reader.counts()[2], segments)

    def open(self, folder: Path, device: str, parts: Mapping[int, Part]) -> dict[int, OpenSegment]:
        """Open the segments of an index. Segments that are open in `parts` are reused.

        Raises:
            StoreDamagedError: a file is missing or not what it should be.
        """
        opened: dict[int, OpenSegment] = {}
        for segment_id, segment in self.segments.items():
            part = parts.get(segment_id)
            if part is not None and part.files.files == segment.files:
                opened[segment_id] = part.files
                continue
            place = segment_folder(folder, segment_id)
            if len(segment.labels) != segment.images:
                raise StoreDamagedError(
                    f"{folder} names {number_of(len(segment.labels), 'image')} of segment {segment_id}, which has "
                    f"{segment.images}; {REMEDY}"
                )
            opened[segment_id] = open_segment(place, segment.images, segment.files, self.model, device)
            if not np.array_equal(opened[segment_id].image_ids, segment.labels.ids):
                raise StoreDamagedError(f"{place} holds other images than the catalog says; {REMEDY}")
        return opened


@dataclass(frozen=True)
class Part:
    """A segment within a snapshot.

    labels: of all its images, by row. rows: (n,) the snapshot rows of its images that are not removed. whole: (p,)
    whether a region's index holds no removed image, so that it can be searched without a filter.
    """

    files: OpenSegment
    labels: ImageLabels
    rows: Int64
    whole: Bool
