"""Looks at a list of images or of boxes: what would be read of it, before anything is indexed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, tzinfo
from itertools import islice
from pathlib import Path

from vpmsearch.data.boxes.found import FoundBox
from vpmsearch.data.boxes.read import form_of, found_boxes
from vpmsearch.data.boxes.table import first_names, has_boxes
from vpmsearch.data.guess import labels_of
from vpmsearch.data.labelled import SPLITS, LabelledImage
from vpmsearch.data.lists import list_gallery
from vpmsearch.data.manifest import MAX_ROWS, read_manifest
from vpmsearch.data.manifest_values import Header
from vpmsearch.data.not_taken import counting_not_taken
from vpmsearch.errors import DataError
from vpmsearch.types import as_utc
from vpmsearch.words import printable

TITLES = {
    "list": "a list of images",
    "coco": "COCO's boxes",
    "mot": "MOTChallenge's boxes",
    "yolo": "YOLO's labels",
    "table": "a list of boxes",
}
"""What a file is, in words, by `Look.kind`."""

_EXAMPLES = 3


@dataclass(frozen=True)
class Example:
    """One image or box of a list. name: as the list has it. labels: by name, as text."""

    name: str
    labels: dict[str, str]


@dataclass(frozen=True)
class Look:
    """What would be read of a list.

    kind: a key of `TITLES`. columns: by name, what each column is read as; empty if the format has no columns. rows:
    number of images or boxes. pictures: number of pictures that the boxes are in; of a list of images it equals rows.
    people, cameras, tracks: how many different ones. unlabelled: number of rows without a pid. captured: the first and
    the last time. splits, attributes: by name, how many rows have each. left_out: what is left aside, by kind.
    examples: the first rows. missing: the first of the examples whose file is missing; None if none is. Pictures of
    boxes are not looked for.
    """

    kind: str
    columns: dict[str, str]
    rows: int
    pictures: int
    people: int
    cameras: int
    tracks: int
    unlabelled: int
    captured: tuple[datetime, datetime] | None
    splits: dict[str, int]
    attributes: dict[str, int]
    left_out: dict[str, int]
    examples: list[Example]
    missing: Path | None


def look_at(path: Path, zone: tzinfo | None = None) -> Look:
    """What would be read of a list of images, a file of boxes, or a folder of YOLO's labels.

    Args:
        zone: of times that name none; None is UTC.

    Raises:
        DataError: it cannot be read. The message is that of indexing it.
    """
    kind, columns = form_of(path), dict[str, str]()

    def on_header(header: Header) -> None:
        columns.update(header.meanings)

    film = None
    if kind == "table":
        names = first_names(path)
        film = path if has_boxes(names) and "frame" in names and "path" not in names else None
        if film is None:
            next(iter(read_manifest(path, zone, on_header)), None)
            if not has_boxes(columns):
                images = list_gallery(path, zone, on_header)
                return _tally("list", columns, ((image, str(image.path)) for image in images), {})
    with counting_not_taken() as aside:
        found = found_boxes(path, lambda stem: (1, 1), film=film, zone=zone)
        if film is not None:
            found = (replace(box, name=None) for box in found)  # each frame is a picture, whatever the film is called
        return _tally(kind, columns, map(_boxed, _few(found, path)), aside.counts)


def _few(found: Iterable[FoundBox], path: Path) -> Iterator[FoundBox]:
    for number, box in enumerate(found, start=1):
        if number > MAX_ROWS:
            raise DataError(f"{printable(path)}: more than {MAX_ROWS} boxes; split the list")
        yield box


def _boxed(box: FoundBox) -> tuple[LabelledImage, str]:
    """A box as an image, and its picture."""
    more = {"score": box.score, "frame": box.frame}
    own = tuple((name, f"{value:.6g}") for name, value in more.items() if value is not None)
    attributes = (*box.attributes, *own)
    picture = box.name or f"frame {box.frame}"
    place = ",".join(f"{number:.6g}" for number in (box.x, box.y, box.width, box.height))
    path = Path(f"{picture} at {place}")
    return LabelledImage(path, box.pid, box.camid, box.captured_at, box.track, attributes=attributes), picture


@dataclass
class _Seen:
    pictures: set[str] = field(default_factory=set)
    people: set[object] = field(default_factory=set)
    cameras: set[object] = field(default_factory=set)
    tracks: set[object] = field(default_factory=set)
    splits: Counter[str] = field(default_factory=Counter)
    attributes: Counter[str] = field(default_factory=Counter)
    rows: int = 0
    unlabelled: int = 0
    first: datetime | None = None
    last: datetime | None = None

    def add(self, image: LabelledImage, picture: str) -> None:
        self.rows += 1
        self.pictures.add(picture)
        self.people.add(image.pid)
        self.unlabelled += image.pid is None
        self.cameras.add(image.camid)
        if image.track is not None:
            self.tracks.add((image.camid, image.track))
        if image.captured_at is not None:
            taken = as_utc(image.captured_at)
            self.first, self.last = min(self.first or taken, taken), max(self.last or taken, taken)
        for name, value in image.attributes:
            if name == "split" and value in SPLITS:
                self.splits[value] += 1
            else:
                self.attributes[name] += 1


def _tally(
    kind: str, columns: dict[str, str], images: Iterable[tuple[LabelledImage, str]], left_out: dict[str, int]
) -> Look:
    seen, rows = _Seen(), iter(images)
    first = list(islice(rows, _EXAMPLES))
    for image, picture in first:
        seen.add(image, picture)
    for image, picture in rows:
        seen.add(image, picture)
    missing = None
    if kind == "list":
        missing = next((image.path for image, _ in first if not image.path.exists()), None)
    captured = (seen.first, seen.last) if seen.first is not None and seen.last is not None else None
    return Look(
        kind,
        columns,
        seen.rows,
        len(seen.pictures),
        len(seen.people - {None}),
        len(seen.cameras - {None}),
        len(seen.tracks),
        seen.unlabelled,
        captured,
        dict(seen.splits),
        dict(seen.attributes),
        dict(left_out),
        [Example(str(image.path), labels_of(image)) for image, _ in first],
        missing,
    )
