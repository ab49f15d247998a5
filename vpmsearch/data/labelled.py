"""A labelled image and a data set of them, which every reader of `vpmsearch.data` returns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Literal, NamedTuple, cast

from vpmsearch.labels import Label, in_order

JUNK_PID = -1
"""The label of boxes that show a person too badly to count either way (Market-1501)."""

SPLITS = ("train", "query", "gallery")
"""The splits of a data set."""

LABEL_ALIASES = {
    "pid": ("person_id", "person", "identity"),
    "camid": ("cam_id", "camera_id", "camera", "cam"),
    "captured_at": ("timestamp", "datetime", "time"),
    "track": ("track_id", "tracklet"),
    "clothes": ("clothes_id",),
}
"""What people call the labels instead, in lists and patterns. Case does not count."""

LeftOut = Literal["camera", "place", "nothing", "clothes", "track"]
"""Which gallery images of the query's own person a protocol leaves out of its ranking. "camera": those of the query's
camera. "place": those of cameras at the same place. "nothing": none. "clothes": those of the query's camera, and those
in the same clothes. "track": those of the same tracklet.
"""

LEFT_OUT: dict[LeftOut, str] = {
    "camera": "the same person's images of the same camera left out",
    "place": "the same person's images of cameras at the same place left out",
    "nothing": "nothing left out",
    "clothes": "the same person's images of the same camera or in the same clothes left out",
    "track": "the same person's images of the same tracklet left out",
}
"""What each of `LeftOut` means, in the words of `evaluate`."""


@dataclass(frozen=True)
class Protocol:
    """The customary protocol of a data set.

    left_out: see `LeftOut`. by_track: rank tracklets, not images. draws: number of random galleries with one image per
    person; 0 means the whole gallery.
    """

    left_out: LeftOut = "camera"
    by_track: bool = False
    draws: int = 0

    def __str__(self) -> str:
        parts = [LEFT_OUT[self.left_out]]
        if self.by_track:
            parts.append("by tracklet")
        if self.draws:
            parts.append(f"one gallery image of each person, drawn {self.draws} times")
        return ", ".join(parts)


SAME_CAMERA = Protocol()
"""Market-1501's."""


@dataclass(frozen=True, slots=True)
class LabelledImage:
    """One image file and what is known about it. What is not known is None.

    path: below the root of the data set. It may be given as text; then it becomes a `Path` when it is first asked for,
    since making a million of them takes seconds. captured_at: a time without a zone is UTC. track: name of the
    tracklet; two people or cameras may use the same name. clothes: name of the clothes; two people may use the same
    name. distractor: whether nobody knows which other images show this person; all distractors share one pid.
    attributes: names and values of the other columns.
    """

    path: Path
    pid: Label | None = None
    camid: Label | None = None
    captured_at: datetime | None = None
    track: str | None = None
    clothes: str | None = None
    attributes: tuple[tuple[str, str], ...] = ()
    distractor: bool = field(default=False, compare=False)


_path = LabelledImage.__dict__["path"]  # the slot


def _path_of(image: LabelledImage) -> Path:
    path = _path.__get__(image)
    if path.__class__ is str:
        path = Path(path)
        _path.__set__(image, path)
    found: Path = path
    return found


LabelledImage.path = property(_path_of, _path.__set__)  # type: ignore[assignment, misc]


class ImageRow(NamedTuple):
    """As `LabelledImage`, with its path as text. With a million images, making each `Path` takes most of the time."""

    name: str
    pid: Label | None
    camid: Label | None = None
    captured_at: datetime | None = None
    track: str | None = None
    clothes: str | None = None
    attributes: tuple[tuple[str, str], ...] = ()
    distractor: bool = False

    def image(self) -> LabelledImage:
        """The image."""
        return LabelledImage(cast(Path, self.name), *self[1:])


@dataclass(frozen=True)
class Trial:
    """Which of a data set's random halves this is.

    number: from 1 to `count`. source: who drew the halves, in words.
    """

    number: int
    count: int
    source: str

    def __str__(self) -> str:
        return f"trial {self.number} of {self.count}, {self.source}"


@dataclass(frozen=True)
class ReidDataset:
    """A data set's splits. Every pid is known; a camid may be None; a split may be empty.

    protocol: how it is customarily measured. trial: which half of the people this is; None is no half.
    """

    name: str
    train: tuple[LabelledImage, ...] = ()
    query: tuple[LabelledImage, ...] = ()
    gallery: tuple[LabelledImage, ...] = ()
    protocol: Protocol = SAME_CAMERA
    trial: Trial | None = None

    @classmethod
    def of(
        cls,
        name: str,
        splits: Mapping[str, Iterable[LabelledImage]],
        protocol: Protocol = SAME_CAMERA,
        trial: Trial | None = None,
    ) -> ReidDataset:
        """A data set of some of the splits, by their names."""
        train, query, gallery = (tuple(splits.get(split, ())) for split in SPLITS)
        return cls(name, train, query, gallery, protocol, trial)

    @property
    def train_pids(self) -> tuple[Label, ...]:
        """The identities of the training split, in their order."""
        return _pids(self.train)

    @property
    def num_train_pids(self) -> int:
        """Identities in the training split."""
        return len(self.train_pids)

    @property
    def num_query_pids(self) -> int:
        """Identities among the queries."""
        return len(_pids(self.query))


def _pids(images: Iterable[LabelledImage]) -> tuple[Label, ...]:
    return tuple(in_order(image.pid for image in images if image.pid is not None))


def without_cameras(images: Sequence[LabelledImage]) -> bool:
    """Whether no image of several has a camera."""
    return bool(images) and all(image.camid is None for image in images)
