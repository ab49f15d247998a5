"""Lists of labelled images as users keep them: CSV or JSON lines of path, pid, camid, captured_at and more.

A CSV has a header line; its columns are separated by commas, semicolons, tabs or bars, whichever the header shows. It
is JSON lines if the file's suffix is `.jsonl` or `.ndjson`. The text is UTF-8 with or without BOM, with any line ends.
Only `path` is required. `vpmsearch.data.manifest_values` has the names of the known columns. pid and camid are whole
numbers or words, see `vpmsearch.labels`. Any other column is an attribute. Columns without a name (pandas writes its
index so) are ignored. An empty field, NaN, NaT, None and what else pandas takes for one are unknown; case counts.
`vpmsearch.data.moments` reads times; a column `captured_at:unix` or `captured_at:unix_ms` counts seconds or
milliseconds since 1970. Rows are read one by one, so a million lines need no more memory than one.
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

from vpmsearch.data.images import printable
from vpmsearch.data.labelled import SPLITS
from vpmsearch.data.manifest_values import (
    ALIASES,
    COLUMNS,
    UNKNOWN,
    Header,
    LineError,
    attribute_of,
    label_of,
    shown,
    text_of,
    word_of,
)
from vpmsearch.data.moments import epoch, parse_moment
from vpmsearch.errors import DataError
from vpmsearch.labels import Label
from vpmsearch.types import as_utc

MAX_ROW = 1 << 20
"""Most characters of a row, over all its lines. A longer one is refused before it fills the memory."""

MAX_ROWS = 1_000_000
"""Rows of a list."""

_REMEMBERED = 10_000
"""How many texts are remembered with their values."""

_Attributes = tuple[tuple[str, str], ...]

_BLANK = ",;\t| \r\n"
_DELIMITERS = ",;\t|"
_DECODER = json.JSONDecoder()
_WINDOWS = re.compile(r"[A-Za-z]:[\\/]|\\\\")


class ManifestRow(NamedTuple):
    """One line. It is a plain tuple with the name as text: a million `Path` objects would take most of the time.

    folder: the manifest's. name: relative to the folder, or absolute; the same file always has the same name (except
    through `..` and links). pid, camid, captured_at, split, track, clothes: None if the field is empty or the column
    absent. attributes: the other columns that have a value. line: its number, from 1.
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
                    raise LineError(f"more than {MAX_ROWS} rows; split the file", line)
                yield row
    except UnicodeDecodeError as error:
        raise _failure(manifest, line + 1, "this line or one soon after is not UTF-8; save it as UTF-8") from error
    except (csv.Error, ValueError) as error:
        # The reader fails before it can say where: on the line after the last good one.
        at = error.args[1] if isinstance(error, LineError) else line + 1
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
        header = Header(names, 1)
        for line, row in enumerate(values, start=1):
            yield rows.row([*row, None], header, line)
    except LineError as error:
        raise DataError(f"{called}, row {error.args[1]}: {printable(str(error.args[0]))[:500]}") from error


class _Lines:
    """The lines of a file. A row, which may span several lines, has at most MAX_ROW characters.

    number: of the last line, from 1. length: of the row so far; the caller sets it to 0 between rows.
    """

    def __init__(self, file: TextIO) -> None:
        self._read = file.readline
        self.length = 0
        self.number = 0

    def __iter__(self) -> Iterator[str]:
        # Reads are limited, so that a file with one endless line is never held whole.
        while text := self._read(MAX_ROW + 1 - self.length):
            self.number += 1
            self.length += len(text)
            if self.length > MAX_ROW:
                raise LineError(f"a row of more than {MAX_ROW} characters", self.number)
            yield text


def _failure(manifest: Path, line: int, what: str) -> DataError:
    return DataError(f"{printable(manifest)}, line {line}: {what}")


def _csv_rows(file: _Lines, rows: _Rows) -> Iterator[ManifestRow]:
    lines = iter(file)
    first = next((line for line in lines if line.strip(_BLANK)), None)
    if first is None:
        raise LineError(f"the file is empty; the first line must name the columns {', '.join(COLUMNS)}", 1)
    before = file.number - 1
    reader = csv.reader(chain((first,), lines), strict=True, delimiter=_delimiter(first))
    header: Header | None = None
    width = 0
    while True:
        try:
            values = next(reader, None)
        except csv.Error as error:
            raise LineError(f"not valid CSV ({error})", before + reader.line_num) from error
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
            header = Header(values, line)
            width = header.width
        elif len(values) != header.width:
            raise LineError(f"{len(values)} fields where the header has {header.width}", line)
        else:
            yield rows.row([*values, None], header, line)


def _delimiter(header: str) -> str:
    """The sign that separates the columns: the one that gives the most known names."""
    known = {*COLUMNS, *(alias for names in ALIASES.values() for alias in names)}

    def names(sign: str) -> int:
        return sum(name.strip().strip('"').lower() in known for name in header.split(sign))

    return max(_DELIMITERS, key=names)


def _json_rows(file: _Lines, rows: _Rows) -> Iterator[ManifestRow]:
    line, headers = 0, dict[tuple[str, ...], Header]()
    for line, text in enumerate(file, start=1):
        file.length = 0
        if not text.strip():
            continue
        try:
            fields = _parsed(text)
        except (ValueError, RecursionError) as error:
            raise LineError(f"not valid JSON ({error})", line) from error
        if not isinstance(fields, dict):
            raise LineError('not a JSON object; each line must be one such as {"path": "a.jpg"}', line)
        names = tuple(fields)
        if names not in headers:
            headers[names] = Header(names, line)
        yield rows.row([*fields.values(), None], headers[names], line)
    if line == 0:
        raise LineError("the file is empty", 1)


def _parsed(text: str) -> Any:
    """Like `json.loads` in half the time: that looks for white space around the value by regular expressions."""
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
        """The values of texts seen before, as most occur many times. Both are emptied when they grow large."""

    def row(self, values: Sequence[Any], header: Header, line: int) -> ManifestRow:
        """One row; the last value is None, for the columns that are absent.

        Raises:
            LineError: a value is not what it should be.
        """
        path, pid, camid, captured_at, split, track, clothes = [values[place] for place in header.places]
        if not isinstance(path, str) or not path.strip():
            raise LineError("the path is empty or not text", line)
        if "\0" in path:
            raise LineError("the path holds a NUL", line)
        if split is not None and (split := text_of(split, "split", line)) is not None and split not in SPLITS:
            raise LineError(f"split {printable(split)!r} is none of {', '.join(SPLITS)}", line)
        return ManifestRow(
            self._folder,
            self._name(path, line),
            self._label(pid, "pid", line),
            self._label(camid, "camid", line),
            None if captured_at is None else self._time(captured_at, header.time_unit, line),
            split,
            None if track is None else word_of(track),
            None if clothes is None else word_of(clothes),
            self._others(values, header.others, line) if header.others else (),
            line,
        )

    def _label(self, value: Any, name: str, line: int) -> Label | None:
        """`label_of` with a memory."""
        if value.__class__ is not str:  # what is equal to 1 need not be the label 1
            return None if value is None else label_of(value, name, line)
        known = self._labels
        if value in known:
            return known[value]
        if len(known) >= _REMEMBERED:
            known.clear()
        label = known[value] = label_of(value, name, line)
        return label

    def _others(self, values: Sequence[Any], others: Sequence[tuple[str, int]], line: int) -> _Attributes:
        """The attributes of a row that have a value."""
        found = []
        known = self._attributes
        for name, place in others:
            value = values[place]
            if value.__class__ is not str:
                pair = attribute_of(name, value, line)
            elif (name, value) in known:
                pair = known[name, value]
            else:
                if len(known) >= _REMEMBERED:
                    known.clear()
                pair = known[name, value] = attribute_of(name, value, line)
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
        """Refuse a Windows path. A name with a backslash may also be a file of that name; then it is accepted."""
        if os.sep == "\\" or (not _WINDOWS.match(path) and os.path.lexists(os.path.join(self._folder, path))):  # noqa: PTH118
            return
        raise LineError(
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
            raise LineError(
                f"captured_at {shown(value)} may count seconds or milliseconds; call the column captured_at:unix or "
                "captured_at:unix_ms",
                line,
            )
        else:
            text = None if isinstance(value, float) else text_of(value, "captured_at", line)
        if text is None or text in UNKNOWN:
            return None
        try:
            return as_utc(epoch(float(text) * unit, text) if unit else parse_moment(text, self._zone))
        except (DataError, ValueError, OverflowError) as error:
            raise LineError(f"captured_at {printable(str(error))}", line) from error
