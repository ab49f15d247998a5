"""Boxes of a CSV or JSON-lines file with the columns path, x, y, w and h, in pixels that count from 0.

The columns track, score, frame, captured_at, pid and camid are read too; any other column is an attribute. If the
gallery is a film, the column frame is needed and the column path is not.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Iterator
from datetime import tzinfo
from itertools import islice
from pathlib import Path

from vpmsearch.data.boxes.found import FoundBox
from vpmsearch.data.manifest import MAX_ROW, MAX_ROWS, read_manifest, rows_of
from vpmsearch.data.manifest_rows import ManifestRow
from vpmsearch.errors import DataError
from vpmsearch.words import printable

_BOX = ("x", "y", "w", "h")
_ALIASES = {
    "left": "x", "top": "y", "width": "w", "height": "h", "bb_left": "x", "bb_top": "y", "bb_width": "w",
    "bb_height": "h", "confidence": "score", "conf": "score", "frame_number": "frame",
}  # fmt: skip
_OWN = (*_BOX, "score", "frame")


def has_boxes(columns: Iterable[str]) -> bool:
    """Whether a list has the columns of boxes, x, y, w and h, also by their other names."""
    return {_ALIASES.get(name.strip().lower(), name.strip().lower()) for name in columns} >= set(_BOX)


def first_names(path: Path) -> list[str]:
    """The first line's fields in lower case, as `_rows` reads the names of columns; none where it is no text."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return [name.strip().lower() for name in next(csv.reader([file.readline(MAX_ROW)]), [])]
    except (OSError, ValueError, csv.Error):
        return []


def table_boxes(path: Path, zone: tzinfo | None = None, film: Path | None = None) -> Iterator[FoundBox]:
    """The boxes of a list.

    Args:
        zone: the time zone of times that name none; None is UTC. film: the film that a list without a column path
            belongs to.

    Raises:
        DataError: the file cannot be read, lacks a column or has a bad line.
    """
    whole = rows = 0
    for row in _rows(path, zone, film):
        where = f"{printable(path)}, line {row.line}"
        named = {_ALIASES.get(name.strip().lower(), name.strip().lower()): value for name, value in row.attributes}
        rows, whole = rows + 1, whole + all(name in named for name in _BOX)
        # An empty field is an unknown number, so the box counts as unusable.
        x, y, width, height = (_number(named.get(name, "nan"), name, where) for name in _BOX)
        frame = _number(named["frame"], "frame", where) if "frame" in named else None
        if frame is not None and not (math.isfinite(frame) and frame >= 1 and frame == int(frame)):
            raise DataError(f"{where}: the frame is no whole number from 1 on")
        yield FoundBox(
            x,
            y,
            width,
            height,
            row.name,
            None if frame is None else int(frame),
            None,
            _number(named["score"], "score", where) if "score" in named else None,
            row.track,
            row.pid,
            row.camid,
            row.captured_at,
            tuple((n, v) for n, v in row.attributes if _ALIASES.get(n.strip().lower(), n.strip().lower()) not in _OWN),
        )
    if rows and not whole:
        raise DataError(
            f"{printable(path)}: no row has x, y, w and h; a list of boxes has the columns path, x, y, w, h"
        )


def _rows(path: Path, zone: tzinfo | None, film: Path | None) -> Iterator[ManifestRow]:
    if film is None or path.suffix.lower() in (".jsonl", ".ndjson"):
        return read_manifest(path, zone)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            names = [name.strip().lower() for name in next(reader, [])]
            rows = [row for row in islice(reader, MAX_ROWS + 1) if row]
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(f"{printable(path)} cannot be read as CSV ({error})") from error
    if "path" in names or len(rows) > MAX_ROWS or any(len(row) != len(names) for row in rows):
        return read_manifest(path, zone)  # which says what is wrong
    return rows_of([*names, "path"], [[*row, film.name] for row in rows], film.parent, printable(path), zone)


def _number(text: str, name: str, where: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise DataError(f"{where}: {name} must be a number, not {printable(text)[:80]!r}") from error
