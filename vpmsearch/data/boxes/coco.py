"""Boxes of COCO's JSON: a data set ({"images", "annotations", "categories"}) or a list of results.

https://cocodataset.org/#format-data and #format-results: a box is [left, top, width, height] in pixels from 0.
CVAT writes a rotated rectangle as the box before its rotation, with the degrees in the attribute "rotation".
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from vpmsearch.data import not_taken
from vpmsearch.data.boxes.found import FoundBox
from vpmsearch.errors import DataError
from vpmsearch.labels import as_attributes, attribute_text
from vpmsearch.system.regular import open_regular
from vpmsearch.words import printable

PERSON = "person"
"""COCO's category of people; also its id 1, where a file names no categories."""
_PERSON_ID = 1
_LARGEST = 1 << 30  # bytes


class _Picture(NamedTuple):
    name: str | None
    frame: int | None
    size: tuple[int, int] | None


def coco_boxes(path: Path, images: Path | None = None) -> Iterator[FoundBox]:
    """The people of a COCO file.

    Args:
        path: a data set or a list of results. images: if `path` is a list of results, the data set that they belong to;
            it has their "images" and "categories". Without it, an `image_id` is the number at the end of a picture's
            name, or that name.

    Raises:
        DataError: a file cannot be read or is not COCO's JSON, there is no category "person", or an annotation is
            damaged.
    """
    told = _load(path)
    described = told if isinstance(told, dict) else _load(images) if images is not None else {}
    rows = told.get("annotations") if isinstance(told, dict) else told
    complete = not isinstance(told, dict) or "images" in told
    if not isinstance(described, dict) or not isinstance(rows, list) or not complete:
        raise DataError(
            f"{printable(path)} is no COCO file: neither a list of results nor an object with images and annotations"
        )
    people = _people(described.get("categories"), path)
    pictures = _pictures(described.get("images"), path)
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict) or "image_id" not in row:
            raise DataError(f"{printable(path)}: annotation {number} has no image_id")
        if _id(row.get("category_id", _PERSON_ID), f"annotation {number}", path) not in people:
            not_taken.note("boxes of other categories than person", str(path))
        elif row.get("iscrowd"):
            not_taken.note("boxes of crowds", str(path))
        elif row.get("bbox") is None:
            not_taken.note("annotations without a box", str(path))
        else:
            yield _found(row, _picture(pictures, row["image_id"], path, number), path, number)


def _found(row: dict[str, Any], picture: _Picture, path: Path, number: int) -> FoundBox:
    box = row["bbox"]
    if not isinstance(box, list) or len(box) != 4 or not all(_is_number(value) for value in box):
        raise DataError(f"{printable(path)}: annotation {number} has no bbox of four numbers")
    score, more = row.get("score"), row.get("attributes")
    more = more if isinstance(more, dict) else {}
    track = row.get("track_id", more.get("track_id", row.get("instance_id")))
    known = {name: value for name, value in more.items() if _is_known(value) and not _is_no_label(name, value)}
    try:
        attributes = tuple(as_attributes(known).items())
        track = attribute_text(track) if _is_known(track) else None
    except DataError as error:
        raise DataError(f"{printable(path)}: annotation {number}: {error}") from error
    x, y, width, height = map(float, box)
    if rotation := _rotation(more):
        not_taken.note("rotations of boxes (the upright box around each is read)", picture.name or str(path))
        x, y, width, height = _around(x, y, width, height, rotation)
    return FoundBox(
        x,
        y,
        width,
        height,
        picture.name,
        picture.frame,
        picture.size,
        float(score) if score is not None and _is_number(score) else None,
        track,
        attributes=attributes,
    )


def _is_no_label(name: str, value: Any) -> bool:
    """Whether an attribute says nothing of the person: the track, which has a place of its own, or CVAT's 0.0 degrees.

    CVAT gives a rotation to every rectangle. One that is not 0 stays, as it says how the person lies.
    """
    return name == "track_id" or (name == "rotation" and _is_number(value) and value == 0)


def _rotation(attributes: dict[str, Any]) -> float:
    """The rotation of a box in degrees, as CVAT writes it: clockwise about the centre. 0 where there is none."""
    value: Any = attributes.get("rotation")
    return float(value) if _is_number(value) and math.isfinite(value) else 0.0


def _around(x: float, y: float, width: float, height: float, degrees: float) -> tuple[float, float, float, float]:
    """The smallest upright box around a box that is rotated about its centre: left, top, width, height."""
    cos, sin = abs(math.cos(math.radians(degrees))), abs(math.sin(math.radians(degrees)))
    wide, high = width * cos + height * sin, width * sin + height * cos
    return x + (width - wide) / 2, y + (height - high) / 2, wide, high


def _people(categories: Any, path: Path) -> set[Any]:
    if not isinstance(categories, list) or not categories:
        return {_PERSON_ID}
    names = {
        _id(each["id"], "a category", path): str(each.get("name", ""))
        for each in categories
        if isinstance(each, dict) and "id" in each
    }
    people = {number for number, name in names.items() if name.strip().lower() == PERSON}
    if not people:
        some = ", ".join(map(printable, list(names.values())[:10]))
        raise DataError(f"{printable(path)} has no category {PERSON!r}, only: {some}; rename the one that means people")
    return people


def _pictures(images: Any, path: Path) -> dict[Any, _Picture] | None:
    if images is None:
        return None
    found = {}
    for each in images if isinstance(images, list) else [images]:
        if not isinstance(each, dict) or "id" not in each or not isinstance(each.get("file_name"), str):
            raise DataError(f"{printable(path)}: an image without id or file_name")
        size = (each.get("width"), each.get("height"))
        known = (int(size[0]), int(size[1])) if all(isinstance(n, int) and n > 0 for n in size) else None  # type: ignore[arg-type]
        frame = next((each[key] for key in ("frame_id", "frame") if isinstance(each.get(key), int)), None)
        found[_id(each["id"], "an image", path)] = _Picture(each["file_name"], frame, known)
    return found


def _picture(pictures: dict[Any, _Picture] | None, image_id: Any, path: Path, number: int) -> _Picture:
    _id(image_id, f"annotation {number}", path)
    if pictures is not None:
        if image_id not in pictures:
            raise DataError(f"{printable(path)}: annotation {number} is of image {image_id}, which images do not have")
        return pictures[image_id]
    if isinstance(image_id, int):
        return _Picture(None, image_id, None)
    return _Picture(str(image_id), None, None)


def _id(value: Any, what: str, path: Path) -> Any:
    """An id as it is: a number or a text.

    Raises:
        DataError: it is neither. `what` is the thing that has the id, for the message.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise DataError(f"{printable(path)}: {what} has an id that is neither a number nor text")
    return value


def _is_known(value: Any) -> bool:
    return isinstance(value, str | int | float) and value != "" and value == value  # not NaN


def frame_number(name: str) -> int | None:
    """The number at the end of a picture's name without extension: 12 for cam1_000012.jpg. None if there is none."""
    match = re.search(r"([0-9]{1,15})$", os.path.splitext(os.path.basename(name))[0])  # noqa: PTH119, PTH122 (text)
    return int(match[1]) if match else None


def _load(path: Path) -> Any:
    try:
        with open_regular(path, _LARGEST, follow=True) as file:
            return json.load(file)
    except OSError as error:
        raise DataError(f"{printable(path)} cannot be read ({error.strerror or error})") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{printable(path)} is no JSON ({' '.join(str(error).split())[:200]})") from error


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and not abs(value) > 1e300
