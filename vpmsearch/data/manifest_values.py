"""The values of a list's fields: labels, words, attributes, and the header that says which column holds which."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from operator import itemgetter
from typing import Any

from vpmsearch.data.image_files import EXTENSIONS
from vpmsearch.data.labelled import LABEL_ALIASES
from vpmsearch.errors import DataError
from vpmsearch.labels import MAX_ATTRIBUTES, Label, as_label, as_name, attribute_text

COLUMNS = ("path", "pid", "camid", "captured_at", "split", "track", "clothes")
"""The known columns; all but the first may be absent."""

ALIASES = {
    "path": ("file", "file_name", "filename", "filepath", "file_path", "image", "image_path", "img_path")
} | LABEL_ALIASES
"""Other names of the known columns. They count only if the column's own name is not there."""

UNKNOWN = frozenset(
    {"", "NaN", "nan", "-NaN", "-nan", "NaT", "None", "NULL", "null", "<NA>", "NA", "N/A", "n/a"}
    | {"#N/A", "#N/A N/A", "#NA", "1.#IND", "-1.#IND", "1.#QNAN", "-1.#QNAN"}
)
"""The texts of a CSV that stand for no value, since it has no other way to say so: what pandas takes for one, and its
NaT. Case counts: a person may be called Na."""
EMPTY = frozenset({""})
"""The only such text of JSON lines, frames and Arrow tables. These have null, None, NaN, NaT, so any text is meant."""
_MISSING = frozenset({"nan", "NaN", "NaT", "None", "<NA>"})  # what Python's str() makes of a missing value
_DECIMAL = re.compile(r"[+-]?(?:0|[1-9][0-9]{0,18})(?:\.0*)?")
_UNNAMED = re.compile(r"(unnamed: [0-9]+)?")  # pandas's name of a column without one


class LineError(ValueError):
    """A bad line. args: what is wrong, and the line's number."""


class Header:
    """The columns of a list: which one holds what.

    Raises:
        LineError: there is no column path, a name occurs twice, or a name is no attribute.
    """

    def __init__(self, names: Sequence[str], line: int) -> None:
        called = [name.strip().lower() for name in names]
        named = [name for name in called if not _UNNAMED.fullmatch(name)]
        if self._place(called, "path") < 0:
            raise LineError(_no_path(names), line)
        if len(set(named)) < len(named):
            raise LineError("a column is named twice", line)
        self.time_unit = 0.0
        """The unit of numbers in captured_at, in seconds; 0 if the column holds times."""
        for suffix, unit in ((":unix", 1.0), (":unix_ms", 0.001)):
            if f"captured_at{suffix}" in called:
                called[called.index(f"captured_at{suffix}")] = "captured_at"
                self.time_unit = unit
        self.places = [self._place(called, name) for name in COLUMNS]
        """The place of each of `COLUMNS` in a row; −1 if it is absent."""
        self.pick = itemgetter(*self.places)
        """The values of `COLUMNS` in a row whose last value is None."""
        taken = set(self.places)
        others = [
            (name, place)
            for place, name in enumerate(names)
            if place not in taken and not _UNNAMED.fullmatch(name.strip().lower())
        ]
        try:
            self.others = [(as_name(name), place) for name, place in others]
            """The attributes, by name and place."""
        except DataError as error:
            raise LineError(str(error), line) from error
        if len(others) > MAX_ATTRIBUTES:
            raise LineError(f"{len(others)} columns beside the known ones; an image has up to {MAX_ATTRIBUTES}", line)
        self.width = len(names)
        self._names = names

    @property
    def meanings(self) -> dict[str, str]:
        """What each column is read as: a known column's name, "attribute", or "left out" where it has no name."""
        label_of = {place: label for label, place in zip(COLUMNS, self.places, strict=True) if place >= 0}
        others = {place for _, place in self.others}
        return {
            name: label_of.get(place, "attribute" if place in others else "left out")
            for place, name in enumerate(self._names)
        }

    @staticmethod
    def _place(called: list[str], name: str) -> int:
        for one in (name, *ALIASES.get(name, ())):
            if one in called:
                return called.index(one)
        return -1


def _no_path(names: Sequence[str]) -> str:
    """What to do about a first line that names no path."""
    shown = ", ".join(names)[:200]
    if all(re.fullmatch(r"-?[0-9.]+", name.strip()) for name in names) and len(names) > 5:
        return (
            f"the first line is {shown}: numbers and no names of columns, as trackers write them (MOTChallenge: frame, "
            "id, left, top, width, height …); such boxes lie in frames. A list of images begins with a line such as "
            "path,pid,camid"
        )
    if any(os.path.splitext(name)[1].lower() in EXTENSIONS for name in names):  # noqa: PTH122 (text)
        return f"the first line is {shown}: an image, no names of columns; write a line such as path,pid,camid above"
    return f"there is no column path, only: {shown}"


def attribute_of(name: str, value: Any, line: int, unknown: frozenset[str]) -> tuple[str, str] | None:
    """Name and text of an attribute; None if its value is unknown.

    Args:
        unknown: texts that stand for no value, `UNKNOWN` or `EMPTY`.

    Raises:
        LineError: the value is no attribute.
    """
    text = word_of(value, unknown)
    try:
        return None if text is None else (name, attribute_text(text))
    except DataError as error:
        raise LineError(f"column {name[:80]}: {error}", line) from error


def word_of(value: Any, unknown: frozenset[str]) -> str | None:
    """A value of any type as text; None if it is unknown, see `attribute_of`."""
    if value is None:
        return None
    if isinstance(value, str):
        text = value.strip()
        return None if text in unknown else text
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, float):
        return None if value != value else str(int(value)) if value.is_integer() else repr(value)
    return str(value)


def text_of(value: Any, name: str, line: int, unknown: frozenset[str]) -> str | None:
    """A value that must be text; None if it is unknown, see `attribute_of`.

    Raises:
        LineError: it is no text.
    """
    if value is None:
        return None
    if not isinstance(value, str):
        raise LineError(f"{name} must be text, not {shown(value)}", line)
    text = value.strip()
    return None if text in unknown else text


def shown(value: Any) -> str:
    """A value for a message, cut. Of a list only its type: `repr` would follow nested lists to any depth."""
    return type(value).__name__ if isinstance(value, list | dict) else repr(value)[:80]


def label_of(value: Any, name: str, line: int, unknown: frozenset[str]) -> Label | None:
    """A pid or camid: a whole number, or a word as given; None if it is unknown, see `attribute_of`.

    Raises:
        LineError: it is no label.
    """
    if value is None:
        return None
    if isinstance(value, str) and len(value) < 19 and value.isascii() and value.isdigit() and value[0] != "0":
        return int(value)  # as nearly all are: nothing to strip, nothing to check
    if isinstance(value, float):
        if value != value:
            return None  # pandas writes a column of whole numbers with gaps so
        value = int(value) if value.is_integer() else value
    if isinstance(value, bool | float | list | dict):
        raise LineError(f"{name} must be a whole number or text, not {shown(value)}", line)
    if isinstance(value, str):
        value = value.strip()
        if value in unknown:
            return None
        if value in _MISSING:  # as one person, all who are not known would match each other
            raise LineError(f"{name} {value!r} is a missing value turned to text; leave it null (None)", line)
        if _DECIMAL.fullmatch(value):  # pandas again: 17.0
            value = value.partition(".")[0].removeprefix("+")
    try:
        return as_label(value)
    except DataError as error:
        raise LineError(f"{name}: {error}", line) from error
