"""The parts of a snapshot: the catalog at one moment, and its open segments."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from vpmsearch.errors import StoreDamagedError
from vpmsearch.labels import Label, in_order, is_junk
from vpmsearch.store.folder import label_file
from vpmsearch.store.folder.checksums import FileSum
from vpmsearch.store.folder.files import REMEDY, segment_folder
from vpmsearch.store.folder.labels import ImageLabels
from vpmsearch.store.folder.reader import Reader
from vpmsearch.store.folder.segments import OpenSegment, open_segment
from vpmsearch.store.values import StoredModel
from vpmsearch.types import Bool, Int64, SearchFilter
from vpmsearch.words import number_of

Done = TypeVar("Done")
_ATTEMPTS = 5


@dataclass(frozen=True)
class Listed:
    """A segment in the catalog.

    images: how many. files: checksums by name, as written. labels: of its images. label_file: the file that has them,
    None if there is none.
    """

    images: int
    files: Mapping[str, FileSum]
    labels: ImageLabels
    label_file: FileSum | None


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
    def of(cls, reader: Reader, folder: Path, before: Moment | None) -> Moment:
        """Read it. Labels of a segment that was there before are read again only if labels have changed since.

        Args:
            folder: of the index. before: an earlier moment.
        """
        relabelled, state = reader.relabelled(), reader.state()
        # Another index may have replaced the one at this path, with the same files and other labels.
        known = before.segments if before is not None and before.state[0] == state[0] else {}
        same = before is not None and before.relabelled == relabelled
        segments, label_files = {}, reader.label_files()
        for segment_id, images in reader.segments().items():
            files, written, old = reader.files(segment_id), label_files.get(segment_id), known.get(segment_id)
            labels = None
            if old is not None and old.files == files and old.label_file == written and (same or written is not None):
                labels = old.labels
            elif written is not None:
                labels = label_file.read(segment_folder(folder, segment_id), written)
            if labels is None:
                labels = reader.labels(segment_id)
            segments[segment_id] = Listed(images, files, labels, written)
        return cls(state, reader.model(), relabelled, reader.removed(), reader.rejections(), segments)

    def live(self, ids: Int64) -> Bool:
        """(n,) which of these images are not removed. No id may stand there twice."""
        return np.isin(ids, self.removed, assume_unique=True, invert=True)

    def live_labels(self) -> Iterator[tuple[ImageLabels, Bool]]:
        """The labels of each segment and which of its rows (n,) are not removed."""
        return ((segment.labels, self.live(segment.labels.ids)) for segment in self.segments.values())

    def find(self, wanted: SearchFilter, paths: Sequence[str]) -> Int64:
        """Ids, ascending, of the images that pass the filter and, if paths are given, have one of them."""
        found = [labels.ids[kept & labels.select(wanted, paths)] for labels, kept in self.live_labels()]
        return np.sort(np.concatenate([np.empty(0, np.int64), *found]))

    def counts(self) -> dict[str, int]:
        """How many images, removed and rejected ones, segments, identities and cameras there are."""
        pids = set[Label]().union(*(labels.pids.present(kept) for labels, kept in self.live_labels()))
        return {
            "images": sum(int(kept.sum()) for _, kept in self.live_labels()),
            "removed": len(self.removed),
            "rejected": self.rejected,
            "identities": sum(not is_junk(pid) for pid in pids),
            "cameras": len(self.camids()),
            "segments": len(self.segments),
        }

    def camids(self) -> list[Label]:
        """The cameras, in their order: numbers, then words."""
        return in_order(set[Label]().union(*(labels.camids.present(kept) for labels, kept in self.live_labels())))

    def files(self) -> dict[str, tuple[int, str]]:
        """Path -> (image id, content hash)."""
        found = {}
        for labels, kept in self.live_labels():
            columns = (labels.paths.texts.chosen(kept), labels.ids[kept].tolist(), labels.hashes.chosen(kept))
            found.update({path: (image_id, known) for path, image_id, known in zip(*columns, strict=True)})
        return found

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


def undisturbed(read: Callable[[], Moment], work: Callable[[Moment], Done]) -> Done:
    """The result of work on the files of a moment. It starts again if a compaction replaced them meanwhile.

    Args:
        read: the moment as it is now.

    Raises:
        StoreDamagedError: a file is missing or not what it should be.
    """
    for attempt in range(1, _ATTEMPTS + 1):
        moment = read()
        try:
            return work(moment)
        except StoreDamagedError:
            if attempt == _ATTEMPTS or read().state == moment.state:
                raise
    raise AssertionError("unreachable")
