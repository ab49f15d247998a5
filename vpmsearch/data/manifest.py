"""Lists of labelled images as users keep them: CSV or JSON lines of path, pid, camid, captured_at and more.

A file whose suffix is `.jsonl` or `.ndjson` is JSON lines; any other is a CSV. The text is UTF-8, with or without BOM,
with any line ends. A CSV has a header line. Its columns are separated by commas, semicolons, tabs or bars; the header
shows which.

Only the column `path` is required. `vpmsearch.data.manifest_values` has the names of the known columns. pid and camid
are whole numbers or words, see `vpmsearch.labels`. `vpmsearch.data.moments` reads times. A column `captured_at:unix` or
`captured_at:unix_ms` counts seconds or milliseconds since 1970. Any other column is an attribute. A column without a
name, as pandas writes its index, is ignored.

In a CSV an empty field is an unknown value. So are NaN, NaT, None, NA and the other texts that pandas reads as missing,
spelled exactly so. JSON has null for unknown values, so every text of it counts: "NA" is a name, as in the shell and in
names of files.

Rows are read one by one, so a million of them need no more memory than one.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import tzinfo
from itertools import chain
from pathlib import Path
from typing import Any, TextIO

from vpmsearch.data.manifest_rows import ManifestRow, Rows
from vpmsearch.data.manifest_values import ALIASES, COLUMNS, EMPTY, UNKNOWN, Header, LineError
from vpmsearch.errors import DataError
from vpmsearch.words import number_of, printable

MAX_ROW = 1 << 20
"""Most characters of a row, all its lines together. A longer row is refused before it fills the memory."""

MAX_ROWS = 1_000_000
"""Most rows of a list."""

_BLANK = ",;\t| \r\n"
_DELIMITERS = ",;\t|"
_DECODER = json.JSONDecoder()


OnHeader = Callable[[Header], None]


def nobody(header: Header) -> None:
    """The `OnHeader` of callers who need no header."""


def read_manifest(
    path: str | os.PathLike[str], zone: tzinfo | None = None, on_header: OnHeader = nobody
) -> Iterator[ManifestRow]:
    """Yield the rows of a CSV or JSON-lines file in its order.

    Relative paths are relative to the manifest's folder. That the images exist is not checked here.

    Args:
        zone: time zone of times that name none; None is UTC. on_header: called with the columns' meanings: once for a
            CSV, once for each set of keys of JSON lines.

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
            is_json = manifest.suffix.lower() in (".jsonl", ".ndjson")
            rows = Rows(manifest.parent, zone, EMPTY if is_json else UNKNOWN)
            read = _json_rows if is_json else _csv_rows
            for number, row in enumerate(read(_Lines(file), rows, on_header), start=1):
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
    """The rows of a table in memory.

    Args:
        names: of the columns. values: of each row, of the kinds that JSON has. folder: the folder that relative paths
            begin at. called: name of the table in messages. zone: time zone of times that name none; None is UTC.

    Raises:
        DataError: there is no column path, or a row has a bad value. The message counts rows from 1.
    """
    rows, line = Rows(folder, zone, EMPTY), 0
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


def _csv_rows(file: _Lines, rows: Rows, on_header: OnHeader) -> Iterator[ManifestRow]:
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
            on_header(header)
        elif len(values) != header.width:
            raise LineError(f"{number_of(len(values), 'field')} where the header has {header.width}", line)
        else:
            yield rows.row([*values, None], header, line)


def _delimiter(header: str) -> str:
    """The sign that separates the columns: the one that gives the most known names."""
    known = {*COLUMNS, *(alias for names in ALIASES.values() for alias in names)}

    def names(sign: str) -> int:
        return sum(name.strip().strip('"').lower() in known for name in header.split(sign))

    return max(_DELIMITERS, key=names)


def _json_rows(file: _Lines, rows: Rows, on_header: OnHeader) -> Iterator[ManifestRow]:
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
            on_header(headers[names])
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
