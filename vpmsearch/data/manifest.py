"""Lists of labelled images as users keep them: CSV or JSON lines of path, pid, camid, captured_at, split.

CSV (RFC 4180, comma, a header line) unless the file is called `.jsonl` or `.ndjson`; UTF-8 with or without
BOM. Only `path` is needed. An empty field is an unknown value; an unknown column is refused, so that a
misspelt `cam_id` does not silently cost every label. Rows are read one by one: a million lines need no more
memory than one.
"""

from __future__ import annotations

import csv
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TextIO

from vpmsearch.data.images import printable
from vpmsearch.errors import DataError
from vpmsearch.types import as_utc

COLUMNS = ("path", "pid", "camid", "captured_at", "split")
"""The known columns; all but the first may be absent."""

MAX_ROW = 1 << 20
"""Characters of a row, over all its lines; a longer one is refused instead of filling the memory."""

MAX_ROWS = 1_000_000
"""Rows of a list: as images they take 0.6 GiB."""

SPLITS = ("train", "query", "gallery")
"""The known splits."""


@dataclass(frozen=True)
class ManifestRow:
    """One line.

    path: below the manifest's folder, or as it stands where it is absolute. pid, camid, captured_at, split:
    None where the field is empty or the column absent. line: its number, from 1.
    """

    path: Path
    pid: int | None
    camid: int | None
    captured_at: datetime | None
    split: str | None
    line: int


def read_manifest(path: str | os.PathLike[str]) -> Iterator[ManifestRow]:
    """Yield the rows of a CSV or JSON-lines file in its order.

    Relative paths are relative to the manifest's folder. Times are ISO 8601; without a time zone they are UTC.
    That the images exist is not checked here.

    Raises:
        DataError: the file cannot be read, lacks the path column or has a bad line; names file and line.
    """
    manifest = Path(path)
    read = _json_fields if manifest.suffix.lower() in (".jsonl", ".ndjson") else _csv_fields
    line = 0
    try:
        if not manifest.is_file():
            what = "is not a regular file" if manifest.exists() else "does not exist"
            raise DataError(f"manifest {printable(manifest)} {what}; name a CSV or JSON-lines file")
        with manifest.open(encoding="utf-8-sig", newline="") as file:
            for number, (line, fields) in enumerate(read(_Lines(file)), start=1):
                if number > MAX_ROWS:
                    raise _LineError(f"more than {MAX_ROWS} rows; split the file", line)
                yield _row(fields, manifest.parent, line)
    except UnicodeDecodeError as error:
        raise _failure(manifest, line + 1, "this line or one soon after is not UTF-8; save it as UTF-8") from error
    except (csv.Error, ValueError) as error:
        # The reader fails before it can say where: on the line after the last good one.
        at = error.args[1] if isinstance(error, _LineError) else line + 1
        raise _failure(manifest, at, printable(str(error.args[0]))[:500]) from error
    except OSError as error:
        raise DataError(f"manifest {printable(manifest)} cannot be read ({error.strerror})") from error


class _LineError(ValueError):
    """args: what is wrong, and the line's number."""


class _Lines:
    """The lines of a file, one row of them at most MAX_ROW characters: a quoted field may span many.

    number: of the last line, from 1. `row_ended` is called between rows.
    """

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._length = 0
        self.number = 0

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        # A bounded read: a file of one endless line must not be held whole to find that out.
        text = self._file.readline(MAX_ROW + 1 - self._length)
        if not text:
            raise StopIteration
        self.number += 1
        self._length += len(text)
        if self._length > MAX_ROW:
            raise _LineError(f"a row of more than {MAX_ROW} characters", self.number)
        return text

    def row_ended(self) -> None:
        """Begin to count anew."""
        self._length = 0


def _failure(manifest: Path, line: int, what: str) -> DataError:
    return DataError(f"{printable(manifest)}, line {line}: {what}")


def _csv_fields(file: _Lines) -> Iterator[tuple[int, Mapping[str, Any]]]:
    reader = csv.reader(file, strict=True)
    header: list[str] | None = None
    while True:
        try:
            values = next(reader, None)
        except csv.Error as error:
            raise _LineError(f"not valid CSV ({error})", reader.line_num) from error
        if values is None:
            break
        file.row_ended()
        if not any(value.strip() for value in values):
            continue  # an empty line, such as the last one of many editors
        if header is None:
            header = _checked_header(values, reader.line_num)
        elif len(values) != len(header):
            raise _LineError(f"{len(values)} fields where the header has {len(header)}", reader.line_num)
        else:
            yield reader.line_num, dict(zip(header, values, strict=True))
    if header is None:
        raise _LineError(f"the file is empty; the first line must name the columns {', '.join(COLUMNS)}", 1)


def _checked_header(values: list[str], line: int) -> list[str]:
    header = [value.strip().lower() for value in values]
    if len(set(header)) < len(header):
        raise _LineError("a column is named twice", line)
    _check_names(header, line)
    return header


def _check_names(names: list[str], line: int) -> None:
    if "path" not in names:
        raise _LineError(f"there is no column path, only: {', '.join(names)[:200]}", line)
    unknown = sorted(set(names) - set(COLUMNS))
    if unknown:
        raise _LineError(
            f"unknown column {', '.join(unknown)[:200]}; known are {', '.join(COLUMNS)}: rename or remove it",
            line,
        )


def _json_fields(file: _Lines) -> Iterator[tuple[int, Mapping[str, Any]]]:
    line = 0
    for line, text in enumerate(file, start=1):
        file.row_ended()
        if not text.strip():
            continue
        try:
            fields = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise _LineError(f"not valid JSON ({error})", line) from error
        if not isinstance(fields, dict):
            raise _LineError('not a JSON object; each line must be one such as {"path": "a.jpg"}', line)
        _check_names(list(fields), line)
        yield line, fields
    if line == 0:
        raise _LineError("the file is empty", 1)


def _row(fields: Mapping[str, Any], folder: Path, line: int) -> ManifestRow:
    path = fields["path"]
    if not isinstance(path, str) or not path.strip():
        raise _LineError("the path is empty or not text", line)
    if "\0" in path:
        raise _LineError("the path holds a NUL", line)
    split = _text(fields, "split", line)
    if split is not None and split not in SPLITS:
        raise _LineError(f"split {printable(split)!r} is none of {', '.join(SPLITS)}", line)
    return ManifestRow(
        path=folder / path,
        pid=_integer(fields, "pid", line),
        camid=_integer(fields, "camid", line),
        captured_at=_time(fields, line),
        split=split,
        line=line,
    )


def _text(fields: Mapping[str, Any], name: str, line: int) -> str | None:
    value = fields.get(name)
    if value is None:
        return None
    if not isinstance(value, str):
        raise _LineError(f"{name} must be text, not {_shown(value)}", line)
    return value.strip() or None


def _shown(value: Any) -> str:
    """A value as JSON has it, cut: without `repr`, which follows lists as deep as they go."""
    return type(value).__name__ if isinstance(value, list | dict) else repr(value)[:80]


def _integer(fields: Mapping[str, Any], name: str, line: int) -> int | None:
    value = fields.get(name)
    if isinstance(value, int) and not isinstance(value, bool):
        number = value
    else:
        text = _text(fields, name, line)
        if text is None:
            return None
        if not re.fullmatch(r"[+-]?[0-9]{1,19}", text):
            raise _LineError(f"{name} must be a whole number, not {printable(text)[:80]!r}", line)
        number = int(text)
    if not -(2**63) <= number < 2**63:
        raise _LineError(f"{name} {str(number)[:80]} does not fit 64 bits", line)
    return number


def _time(fields: Mapping[str, Any], line: int) -> datetime | None:
    text = _text(fields, "captured_at", line)
    if text is None:
        return None
    try:
        return as_utc(datetime.fromisoformat(text))
    except (ValueError, OverflowError) as error:
        raise _LineError(
            f"captured_at {printable(text)[:80]!r} is no ISO 8601 time such as 2024-05-01T13:45:00Z", line
        ) from error
