"""Values that the service hands to requests: a state of the index, a photograph, a page of an answer."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from vpmsearch.labels import Label
from vpmsearch.search.searcher import Searcher
from vpmsearch.search.verdict import Calibration
from vpmsearch.store import GalleryView
from vpmsearch.types import ImageRecord, Int64, RegionFeatures, SearchResult
from vpmsearch.words import printable

EXAMPLES, MOST_LISTED = 8, 1_000_000


@dataclass(frozen=True)
class Photograph:
    """The model's output for a photograph or a part of it.

    features: one query, (1, p) and (1, p, d). labels: (h, w) int, the likeliest region of each pixel of T. size: of the
    part, (width, height) in pixels. content: hash of its file. spread: of its colours.
    """

    features: RegionFeatures
    labels: Int64
    size: tuple[int, int]
    content: str
    spread: float = 255.0


@dataclass(frozen=True)
class View:
    """One state of the index. A request uses the same state from beginning to end."""

    engine: Searcher
    images: int
    camids: tuple[Label, ...]
    attributes: tuple[str, ...]
    captured: tuple[datetime, datetime] | None
    folder: str
    calibration: Calibration | None
    calibration_notice: str

    def shown_path(self, path: str) -> str:
        """A path for answers: without the folder that all images are in, which clients need not know.

        If the images share only the root, or an image came later, it is the file's name.
        """
        inside = len(self.folder) > 1 and path.startswith(self.folder)
        if inside:
            return printable(path[len(self.folder) :])
        return printable(path.rpartition("/")[2] if path.startswith("/") else path)

    def whole_prefix(self, prefix: str) -> str:
        """A prefix of shown paths -> the same prefix of stored paths. One that begins with "/" stays as it is."""
        return prefix if not prefix or prefix.startswith("/") else self.folder + prefix

    def examples(self) -> list[int]:
        """Ids of a few images from all over the index; none where to list the ids of all would take long."""
        if self.images > MOST_LISTED:
            return []
        image_ids = self.snapshot.image_ids
        return list(map(int, image_ids[:: max(1, -(-len(image_ids) // EXAMPLES))]))

    @property
    def snapshot(self) -> GalleryView:
        """The images of that state."""
        return self.engine.snapshot

    def record(self, image_id: int) -> ImageRecord:
        """What the catalog knows of an image.

        Raises:
            StoreError: it is not in the index.
        """
        return self.snapshot.records_of([image_id])[0]


@dataclass(frozen=True)
class Found:
    """One page of an answer.

    result: judged, with the matches of this page only. offset: ranks before it. more: whether there is another page.
    """

    result: SearchResult
    offset: int
    more: bool
