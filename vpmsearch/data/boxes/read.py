"""Reads boxes of people as images. An image refers to a part of its picture; no crop is written to the disk."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator
from datetime import tzinfo
from pathlib import Path
from typing import Literal

from vpmsearch.data import not_taken
from vpmsearch.data.boxes.coco import coco_boxes
from vpmsearch.data.boxes.found import FoundBox
from vpmsearch.data.boxes.mot import looks_like_mot, mot_boxes
from vpmsearch.data.boxes.pictures import Every, FilmPictures, Pictures, pictures_of
from vpmsearch.data.boxes.table import table_boxes
from vpmsearch.data.boxes.yolo import yolo_boxes
from vpmsearch.data.film import is_film
from vpmsearch.data.fragment import MAX_SIDE, Part, box_from, with_box
from vpmsearch.data.labelled import LabelledImage
from vpmsearch.data.manifest import MAX_ROWS
from vpmsearch.errors import DataError
from vpmsearch.words import printable

BoxForm = Literal["coco", "mot", "yolo", "table"]
"""COCO's JSON, MOTChallenge's text, a folder of YOLO's labels, or a list with the columns of boxes."""
_TABLES = (".csv", ".tsv", ".jsonl", ".ndjson")


def read_boxes(
    gallery: Path,
    boxes: Path,
    *,
    images: Path | None = None,
    min_score: float | None = None,
    every: str = "",
    zone: tzinfo | None = None,
) -> list[LabelledImage]:
    """The people of a list of boxes as images. Boxes of one picture come one after the other, a film's in time order.

    A box is left out if it is empty, not finite, wholly outside of its picture, not of a person, or if its score is too
    low; `vpmsearch.data.not_taken` counts these boxes. Other boxes are clipped to the picture.

    Args:
        gallery: the folder of the pictures, one photograph or a film. boxes: COCO's JSON, MOTChallenge's text, a folder
            of YOLO's labels, or a CSV or JSON-lines file. images: see `coco_boxes`. min_score: boxes with a smaller
            score are left out; boxes without a score stay. every: which frames, see `Every.of`. zone: the time zone of
            times that name none; None is UTC.

    Raises:
        DataError: the list cannot be read, or there is nobody in it.
    """
    pictures = pictures_of(gallery, Every.of(every))
    film = gallery if is_film(gallery) else None
    found = found_boxes(boxes, pictures.stem_size, images=images, film=film, zone=zone)
    people = as_images(_placed(found, pictures, min_score), pictures)
    if not people:
        raise DataError(f"no person of {printable(boxes)} is in a picture of {printable(gallery)}")
    return people


def _placed(found: Iterable[FoundBox], pictures: Pictures, min_score: float | None) -> Iterator[tuple[Part, FoundBox]]:
    """Each box with its picture. Boxes with too low a score and boxes without a picture are left out and counted."""
    for number, box in enumerate(found, start=1):
        if number > MAX_ROWS:
            raise DataError(f"more than {MAX_ROWS} boxes; split the list")
        if min_score is not None and box.score is not None and not box.score >= min_score:
            not_taken.note(f"boxes with a score below {min_score:g}", _called(box))
        elif (scene := pictures.part(box)) is not None:
            yield scene, box


def as_images(found: Iterable[tuple[Part, FoundBox]], pictures: Pictures) -> list[LabelledImage]:
    """Boxes as images, see `read_boxes`. Each box comes with the whole picture that it is in."""
    by_scene: dict[Part, dict[str, LabelledImage]] = {}
    for scene, box in found:
        path = _path(scene, box, pictures)
        if path is None:
            continue
        people = by_scene.setdefault(scene, {})
        if path in people:
            not_taken.note("boxes that are there twice", path)
            continue
        people[path] = _labelled(path, box, pictures, scene)
    order = sorted(by_scene, key=lambda scene: (scene.file, scene.seconds or 0.0))
    return [image for scene in order for image in by_scene[scene].values()]


def _path(scene: Part, box: FoundBox, pictures: Pictures) -> str | None:
    """The path of a box in its picture. None if the box cannot be used; it is counted then."""
    pixels = box_from(box.x, box.y, box.width, box.height)
    if pixels is None:
        not_taken.note(_why_none(box), _called(box))
        return None
    size = pictures.size(scene)  # None: whoever indexes it says what is wrong with the picture
    if size is not None and box.size is not None and box.size != size:
        not_taken.note("boxes of a picture of another size than their list says", _called(box))
        return None
    inside = pixels.clipped(*(size or (MAX_SIDE, MAX_SIDE)))
    if inside is None:
        not_taken.note("boxes outside of their picture", _called(box))
        return None
    path = with_box(scene.path, inside)
    if os.path.lexists(path):
        not_taken.note("boxes whose name is that of a file", path)
        return None
    return path


def _why_none(box: FoundBox) -> str:
    if not all(map(math.isfinite, (box.x, box.y, box.width, box.height))):
        return "boxes that are not finite"
    return "boxes that are empty" if box.width <= 0 or box.height <= 0 else "boxes outside of their picture"


def _labelled(path: str, box: FoundBox, pictures: Pictures, scene: Part) -> LabelledImage:
    frame = pictures.frame_of(scene) if isinstance(pictures, FilmPictures) else box.frame
    own = {"score": None if box.score is None else f"{box.score:.6g}", "frame": None if frame is None else str(frame)}
    more = tuple((name, value) for name, value in own.items() if value is not None)
    return LabelledImage(
        Path(path), box.pid, box.camid, box.captured_at, box.track, attributes=(*box.attributes, *more)
    )


def _called(box: FoundBox) -> str:
    return box.name or f"frame {box.frame}"


def form_of(boxes: Path) -> BoxForm:
    """What a list of boxes is, by its name and its first line.

    Raises:
        DataError: it is not there, or none that is known.
    """
    if boxes.is_dir():
        return "yolo"
    if not boxes.exists():
        raise DataError(
            f"{printable(boxes)} does not exist; give the file of the boxes, or the folder of YOLO's labels"
        )
    suffix = boxes.suffix.lower()
    if suffix == ".json":
        return "coco"
    if suffix in _TABLES or suffix == ".txt":
        if suffix not in (".jsonl", ".ndjson") and looks_like_mot(_first_line(boxes)):
            return "mot"
        if suffix in _TABLES:
            return "table"
    raise DataError(
        f"{printable(boxes)} is no list of boxes that is known: COCO (.json), MOTChallenge (.txt), a folder of YOLO's "
        "labels, or .csv, .tsv or .jsonl with path, x, y, w, h"
    )


def found_boxes(
    boxes: Path,
    size_of: Callable[[str], tuple[int, int] | None],
    *,
    images: Path | None = None,
    film: Path | None = None,
    zone: tzinfo | None = None,
) -> Iterator[FoundBox]:
    """The boxes of a list, by what it is; see `read_boxes`.

    Args:
        size_of: of the picture of a name without extension, which YOLO's labels need. film: that the boxes are of.
    """
    form = form_of(boxes)
    if form == "yolo":
        return yolo_boxes(boxes, size_of)
    if form == "coco":
        return coco_boxes(boxes, images)
    return mot_boxes(boxes) if form == "mot" else table_boxes(boxes, zone, film)


def _first_line(path: Path) -> str:
    try:
        if not path.is_file():
            raise DataError(f"{printable(path)} is no file")
        with path.open("rb") as file:
            return file.readline(4096).decode("utf-8-sig", "replace")
    except OSError as error:
        raise DataError(f"{printable(path)} cannot be read ({error.strerror})") from error
