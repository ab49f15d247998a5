"""Lists of labelled images as users keep them: CSV or JSON lines of path, pid, camid, captured_at and more.

A CSV has a header line; its columns are separated by commas, semicolons, tabs or bars, whichever the header shows. It
is JSON lines where the file is called `.jsonl` or `.ndjson`. UTF-8 with or without BOM, any line ends. Only `path` is
needed; `ALIASES` are other names of the known columns. pid and camid are whole numbers or words, see
`vpmsearch.labels`. Any other column is an attribute; columns without a name, as pandas writes its index, are left out.
An empty field is an unknown value, and so are NaN, NaT and None. Times are what `vpmsearch.data.moments` reads; a
column called `captured_at:unix` or `captured_at:unix_ms` counts seconds or milliseconds since 1970. Rows are read one
by one: a million lines need no more memory than one.
"""

from __future__ import annotations

import csv
import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, tzinfo
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from vpmsearch.data.images import EXTENSIONS, printable
from vpmsearch.data.labelled import SPLITS
from vpmsearch.data.moments import epoch, parse_moment
from vpmsearch.errors import DataError
from vpmsearch.labels import MAX_ATTRIBUTES, Label, as_label, as_name, attribute_text
from vpmsearch.types import as_utc

COLUMNS = ("path", "pid", "camid", "captured_at", "split", "track", "clothes")
"""The known columns; all but the first may be absent."""

ALIASES = {
    "path": ("file", "file_name", "filename", "filepath", "file_path", "image", "image_path", "img_path"),
    "pid": ("person_id", "person", "identity"),
    "camid": ("cam_id", "camera_id", "camera", "cam"),
    "captured_at": ("timestamp", "datetime", "time"),
    "track": ("track_id", "tracklet"),
    "clothes": ("clothes_id",),
}
"""Other names of the known columns, taken where the name itself is not there."""

MAX_ROW = 1 << 20
"""Characters of a row, over all its lines; a longer one is refused instead of filling the memory."""

MAX_ROWS = 1_000_000
"""Rows of a list."""

_REMEMBERED = 10_000
"""Texts of which it is remembered what they stand for."""

_Attributes = tuple[tuple[str, str], ...]

_BLANK = ",;\t| \r\n"
_DELIMITERS = ",;\t|"
_DECODER = json.JSONDecoder()
_DECIMAL = re.compile(r"[+-]?(?:0|[1-9][0-9]{0,18})(?:\.0*)?")
_UNKNOWN = frozenset({"", "nan", "nat", "none", "null", "<na>", "na", "n/a"})
"""What stands for no value, in lower case."""
_WINDOWS = re.compile(r"[A-Za-z]:[\\/]|\\\\")
_UNNAMED = re.compile(r"(unnamed: [0-9]+)?")  # pandas's name of a column without one


class ManifestRow(NamedTuple):
    """One line. A plain tuple, and the name as text: of a million rows, a `Path` each would take most of the time.

    folder: the manifest's. name: below it, or absolute; the same for the same file of one folder (`..` and links
    aside). pid, camid, captured_at, split, track, clothes: None where the field is empty or the column absent.
    attributes: the other columns that have a value. line: its number, from 1.
    """

    folder: Path
    name: str
    pid: Label | None
    camid: Label | None
    captured_at: datetime | None
    split: str | None
    track: str | None
    clothes: str | None
    attributes: _Attributes
    line: int

    @property
    def path(self) -> Path:
        """Below the manifest's folder, or as it stands where it is absolute."""
        return self.folder / self.name


def read_manifest(path: str | os.PathLike[str], zone: tzinfo | None = None) -> Iterator[ManifestRow]:
    """Yield the rows of a CSV or JSON-lines file in its order.

    Relative paths are relative to the manifest's folder. That the images exist is not checked here.

    Args:
        zone: of times that name none; None is UTC.

    Raises:
        DataError: the file cannot be read, lacks the path column or has a bad line; names file and line.
    """
    manifest = Path(path)
    line = 0
    try:
        if not manifest.is_file():
            what = "is not a regular file" if manifest.exists() else "does not exist"
            raise DataError(f"manifest {printable(manifest)} {what}; name a CSV or JSON-lines file")
        with manifest.open(encoding="utf-8-sig", newline="") as file:
            rows = _Rows(manifest.parent, zone)
            read = _json_rows if manifest.suffix.lower() in (".jsonl", ".ndjson") else _csv_rows
            for number, row in enumerate(read(_Lines(file), rows), start=1):
                line = row.line
                if number > MAX_ROWS:
                    raise _LineError(f"more than {MAX_ROWS} rows; split the file", line)
                yield row
    except UnicodeDecodeError as error:
        raise _failure(manifest, line + 1, "this line or one soon after is not UTF-8; save it as UTF-8") from error
    except (csv.Error, ValueError) as error:
        # The reader fails before it can say where: on the line after the last good one.
        at = error.args[1] if isinstance(error, _LineError) else line + 1
        raise _failure(manifest, at, printable(str(error.args[0]))[:500]) from error
    except OSError as error:
        raise DataError(f"manifest {printable(manifest)} cannot be read ({error.strerror})") from error


def rows_of(
    names: Sequence[str], values: Iterable[Sequence[Any]], folder: Path, called: str, zone: tzinfo | None = None
) -> Iterator[ManifestRow]:
    """The rows of a table in memory, as JSON would have its values; rows count from 1.

    Args:
        names: of the columns. called: the table, in messages. Others: as `read_manifest`.

    Raises:
        DataError: there is no column path, or a row is not what it should be.
    """
    rows, line = _Rows(folder, zone), 0
    try:
        header = _Header(names, 1)
        for line, row in enumerate(values, start=1):
            yield rows.row([*row, None], header, line)
    except _LineError as error:
        raise DataError(f"{called}, row {error.args[1]}: {printable(str(error.args[0]))[:500]}") from error


class _LineError(ValueError):
    """args: what is wrong, and the line's number."""


class _Lines:
    """The lines of a file, one row of them at most MAX_ROW characters: a quoted field may span many.

    number: of the last line, from 1. length: of the row so far; who reads sets it to 0 between rows.
    """

    def __init__(self, file: TextIO) -> None:
        self._read = file.readline
        self.length = 0
        self.number = 0

    def __iter__(self) -> Iterator[str]:
        # A bounded read: a file of one endless line must not be held whole to find that out.
        while text := self._read(MAX_ROW + 1 - self.length):
            self.number += 1
            self.length += len(text)
            if self.length > MAX_ROW:
                raise _LineError(f"a row of more than {MAX_ROW} characters", self.number)
            yield text


def _failure(manifest: Path, line: int, what: str) -> DataError:
    return DataError(f"{printable(manifest)}, line {line}: {what}")


class _Header:
    """Which column means what."""

    def __init__(self, names: Sequence[str], line: int) -> None:
        called = [name.strip().lower() for name in names]
        named = [name for name in called if not _UNNAMED.fullmatch(name)]
        if self._place(called, "path") < 0:
            raise _LineError(_no_path(names), line)
        if len(set(named)) < len(named):
            raise _LineError("a column is named twice", line)
        self.time_unit = 0.0
        """Of numbers in captured_at, in seconds; 0 where it holds times."""
        for suffix, unit in ((":unix", 1.0), (":unix_ms", 0.001)):
            if f"captured_at{suffix}" in called:
                called[called.index(f"captured_at{suffix}")] = "captured_at"
                self.time_unit = unit
        self.places = [self._place(called, name) for name in COLUMNS]
        """Of `COLUMNS` in a row; −1 for those that are absent."""
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
            raise _LineError(str(error), line) from error
        if len(others) > MAX_ATTRIBUTES:
            raise _LineError(f"{len(others)} columns beside the known ones; an image has up to {MAX_ATTRIBUTES}", line)
        self.width = len(names)

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


def _csv_rows(file: _Lines, rows: _Rows) -> Iterator[ManifestRow]:
    lines = iter(file)
    first = next((line for line in lines if line.strip(_BLANK)), None)
    if first is None:
        raise _LineError(f"the file is empty; the first line must name the columns {', '.join(COLUMNS)}", 1)
    before = file.number - 1
    reader = csv.reader(chain((first,), lines), strict=True, delimiter=_delimiter(first))
    header: _Header | None = None
    width = 0
    while True:
        try:
            values = next(reader, None)
        except csv.Error as error:
            raise _LineError(f"not valid CSV ({error})", before + reader.line_num) from error
        if values is None:
            return
        file.length = 0
        line = before + reader.line_num
        if len(values) == width and values[0] and header is not None:
            values.append(None)  # type: ignore[arg-type] # of the columns that are absent
            yield rows.row(values, header, line)
        elif not "".join(values).strip():
            continue  # an empty line, such as the last one of many editors
        elif header is None:
            header = _Header(values, line)
            width = header.width
        elif len(values) != header.width:
            raise _LineError(f"{len(values)} fields where the header has {header.width}", line)
        else:
            yield rows.row([*values, None], header, line)


def _delimiter(header: str) -> str:
    """The sign that separates the columns: of those that are tried, the one by which most names are known."""
    known = {*COLUMNS, *(alias for names in ALIASES.values() for alias in names)}

    def names(sign: str) -> int:
        return sum(name.strip().strip('"').lower() in known for name in header.split(sign))

    return max(_DELIMITERS, key=names)


def _json_rows(file: _Lines, rows: _Rows) -> Iterator[ManifestRow]:
    line, headers = 0, dict[tuple[str, ...], _Header]()
    for line, text in enumerate(file, start=1):
        file.length = 0
        if not text.strip():
            continue
        try:
            fields = _parsed(text)
        except (ValueError, RecursionError) as error:
            raise _LineError(f"not valid JSON ({error})", line) from error
        if not isinstance(fields, dict):
            raise _LineError('not a JSON object; each line must be one such as {"path": "a.jpg"}', line)
        names = tuple(fields)
        if names not in headers:
            headers[names] = _Header(names, line)
        yield rows.row([*fields.values(), None], headers[names], line)
    if line == 0:
        raise _LineError("the file is empty", 1)


def _parsed(text: str) -> Any:
    """As `json.loads`, which takes twice as long: it looks for white space before and after by regular expressions."""
    try:
        value, end = _DECODER.raw_decode(text)
    except ValueError:
        return json.loads(text)  # with white space before it, or it says what is wrong
    return value if text[end:] in ("\n", "", "\r\n") else json.loads(text)


class _Rows:
    """Checks the fields of rows, one after another."""

    def __init__(self, folder: Path, zone: tzinfo | None) -> None:
        self._folder, self._zone = folder, zone
        self._prefix = os.path.join(folder, "")  # noqa: PTH118 (as text, and with the separator)
        self._labels: dict[str, Label | None] = {}
        self._attributes: dict[tuple[str, str], tuple[str, str] | None] = {}
        """What texts stand for, since most come again and again; forgotten where there are many."""

    def row(self, values: Sequence[Any], header: _Header, line: int) -> ManifestRow:
        """One row; the last value is None, for the columns that are absent.

        Raises:
            _LineError: a value is not what it should be.
        """
        path, pid, camid, captured_at, split, track, clothes = [values[place] for place in header.places]
        if not isinstance(path, str) or not path.strip():
            raise _LineError("the path is empty or not text", line)
        if "\0" in path:
            raise _LineError("the path holds a NUL", line)
        if split is not None and (split := _text(split, "split", line)) is not None and split not in SPLITS:
            raise _LineError(f"split {printable(split)!r} is none of {', '.join(SPLITS)}", line)
        return ManifestRow(
            self._folder,
            self._name(path, line),
            self._label(pid, "pid", line),
            self._label(camid, "camid", line),
            None if captured_at is None else self._time(captured_at, header.time_unit, line),
            split,
            None if track is None else _word(track),
            None if clothes is None else _word(clothes),
            self._others(values, header.others, line) if header.others else (),
            line,
        )

    def _label(self, value: Any, name: str, line: int) -> Label | None:
        """See `_label`."""
        if value.__class__ is not str:  # what is equal to 1 need not be the label 1
            return None if value is None else _label(value, name, line)
        known = self._labels
        if value in known:
            return known[value]
        if len(known) >= _REMEMBERED:
            known.clear()
        label = known[value] = _label(value, name, line)
        return label

    def _others(self, values: Sequence[Any], others: Sequence[tuple[str, int]], line: int) -> _Attributes:
        """The attributes of a row that have a value."""
        found = []
        known = self._attributes
        for name, place in others:
            value = values[place]
            if value.__class__ is not str:
                pair = _attribute(name, value, line)
            elif (name, value) in known:
                pair = known[name, value]
            else:
                if len(known) >= _REMEMBERED:
                    known.clear()
                pair = known[name, value] = _attribute(name, value, line)
            if pair is not None:
                found.append(pair)
        return tuple(found)

    def _name(self, path: str, line: int) -> str:
        """The path as `Path` would write it, and relative if it can be."""
        if "\\" in path:
            self._refuse_windows(path, line)
        # Path writes "./a", "a//b", "a/./b" and "a/" another way; of most names these signs show that it need not look.
        untidy = "//" in path or "/." in path or path[0] == "." or path[-1] == "/"
        name = str(Path(path)) if untidy else path
        if name.startswith("/") and name.startswith(self._prefix):
            name = name[len(self._prefix) :] or "."
        return name

    def _refuse_windows(self, path: str, line: int) -> None:
        """A name may hold a backslash; where there is no such file it is a path as Windows writes it."""
        if os.sep == "\\" or (not _WINDOWS.match(path) and os.path.lexists(os.path.join(self._folder, path))):  # noqa: PTH118
            return
        raise _LineError(
            f"{printable(path)[:200]} is a path as Windows writes it; write it with / and below the list's folder: "
            f"{printable((path[2:] if path[1:2] == ':' else path).replace(chr(92), '/').strip('/'))[:200]}",
            line,
        )

    def _time(self, value: Any, unit: float, line: int) -> datetime | None:
        if value.__class__ is str and value[:2] == "20":
            text: str | None = value  # as nearly all are
        elif unit and isinstance(value, int | float) and not isinstance(value, bool):
            text = str(value)
        elif isinstance(value, int | float) and not isinstance(value, bool) and value == value:  # not NaN
            raise _LineError(
                f"captured_at {_shown(value)} may count seconds or milliseconds; call the column captured_at:unix or "
                "captured_at:unix_ms",
                line,
            )
        else:
            text = None if isinstance(value, float) else _text(value, "captured_at", line)
        if text is None or (text[:2] != "20" and text.lower() in _UNKNOWN):
            return None
        try:
            return as_utc(epoch(float(text) * unit, text) if unit else parse_moment(text, self._zone))
        except (DataError, ValueError, OverflowError) as error:
            raise _LineError(f"captured_at {printable(str(error))}", line) from error


def _attribute(name: str, value: Any, line: int) -> tuple[str, str] | None:
    text = _word(value)
    try:
        return None if text is None else (name, attribute_text(text))
    except DataError as error:
        raise _LineError(f"column {name[:80]}: {error}", line) from error


def _word(value: Any) -> str | None:
    """A value as text; None where it is unknown."""
    if value is None:
        return None
    if isinstance(value, str):
        text = value.strip()
        return None if text.lower() in _UNKNOWN else text
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, float):
        return None if value != value else str(int(value)) if value.is_integer() else repr(value)
    return str(value)


def _text(value: Any, name: str, line: int) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise _LineError(f"{name} must be text, not {_shown(value)}", line)
    text = value.strip()
    return None if text.lower() in _UNKNOWN else text


def _shown(value: Any) -> str:
    """A value as JSON has it, cut: without `repr`, which follows lists as deep as they go."""
    return type(value).__name__ if isinstance(value, list | dict) else repr(value)[:80]


def _label(value: Any, name: str, line: int) -> Label | None:
    """A pid or camid: a whole number, or a word as it is given; None where it is unknown."""
    if value is None:
        return None
    if isinstance(value, str) and len(value) < 19 and value.isascii() and value.isdigit() and value[0] != "0":
        return int(value)  # as nearly all are: nothing to strip, nothing to check
    if isinstance(value, float):
        if value != value:
            return None  # pandas writes a column of whole numbers with gaps so
        value = int(value) if value.is_integer() else value
    if isinstance(value, bool | float | list | dict):
        raise _LineError(f"{name} must be a whole number or text, not {_shown(value)}", line)
    if isinstance(value, str):
        value = value.strip()
        if value.lower() in _UNKNOWN:
            return None
        if _DECIMAL.fullmatch(value):  # pandas again: 17.0
            value = value.partition(".")[0].removeprefix("+")
    try:
        return as_label(value)
    except DataError as error:
        raise _LineError(f"{name}: {error}", line) from error
