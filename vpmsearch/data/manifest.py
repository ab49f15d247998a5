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
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from vpmsearch.data.images import printable
from vpmsearch.errors import DataError
from vpmsearch.types import as_utc

COLUMNS = ("path", "pid", "camid", "captured_at", "split")
"""The known columns; all but the first may be absent."""

MAX_ROW = 1 << 20
"""Characters of a row, over all its lines; a longer one is refused instead of filling the memory."""

MAX_ROWS = 1_000_000
"""Rows of a list."""

_NAMES = frozenset(COLUMNS)
_DECODER = json.JSONDecoder()
_Fields = Sequence[Any]
"""The values of `COLUMNS`, None where there is none."""

SPLITS = ("train", "query", "gallery")
"""The known splits."""

_INTEGER = re.compile(r"[+-]?[0-9]{1,19}")
_LOWEST, _HIGHEST = -(2**63), 2**63 - 1


class ManifestRow(NamedTuple):
    """One line. A plain tuple, and the name as text: of a million rows, a `Path` each would take most of the time.

    folder: the manifest's. name: below it, or absolute; the same for the same file of one folder (`..` and links
    aside). pid, camid, captured_at, split: None where the field is empty or the column absent. line: its number,
    from 1.
    """

    folder: Path
    name: str
    pid: int | None
    camid: int | None
    captured_at: datetime | None
    split: str | None
    line: int

    @property
    def path(self) -> Path:
        """Below the manifest's folder, or as it stands where it is absolute."""
        return self.folder / self.name


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
            row = _Rows(manifest.parent).row
            for number, (line, fields) in enumerate(read(_Lines(file)), start=1):
                if number > MAX_ROWS:
                    raise _LineError(f"more than {MAX_ROWS} rows; split the file", line)
                yield row(fields, line)
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
        self._read = file.readline
        self._length = 0
        self.number = 0

    def __iter__(self) -> Iterator[str]:
        # A bounded read: a file of one endless line must not be held whole to find that out.
        while text := self._read(MAX_ROW + 1 - self._length):
            self.number += 1
            self._length += len(text)
            if self._length > MAX_ROW:
                raise _LineError(f"a row of more than {MAX_ROW} characters", self.number)
            yield text

    def row_ended(self) -> None:
        """Begin to count anew."""
        self._length = 0


def _failure(manifest: Path, line: int, what: str) -> DataError:
    return DataError(f"{printable(manifest)}, line {line}: {what}")


def _csv_fields(file: _Lines) -> Iterator[tuple[int, _Fields]]:
    reader = csv.reader(file, strict=True)
    header: list[str] | None = None
    places: list[int] = []  # of COLUMNS in a row, which gets a None at its end for those that are absent
    while True:
        try:
            values = next(reader, None)
        except csv.Error as error:
            raise _LineError(f"not valid CSV ({error})", reader.line_num) from error
        if values is None:
            break
        file.row_ended()
        if not "".join(values).strip():
            continue  # an empty line, such as the last one of many editors
        if header is None:
            header = _checked_header(values, reader.line_num)
            places = [header.index(name) if name in header else -1 for name in COLUMNS]
        elif len(values) != len(header):
            raise _LineError(f"{len(values)} fields where the header has {len(header)}", reader.line_num)
        else:
            fields: list[str | None] = [*values, None]
            yield reader.line_num, [fields[place] for place in places]
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


def _json_fields(file: _Lines) -> Iterator[tuple[int, _Fields]]:
    line = 0
    for line, text in enumerate(file, start=1):
        file.row_ended()
        if not text.strip():
            continue
        try:
            fields = _parsed(text)
        except (ValueError, RecursionError) as error:
            raise _LineError(f"not valid JSON ({error})", line) from error
        if not isinstance(fields, dict):
            raise _LineError('not a JSON object; each line must be one such as {"path": "a.jpg"}', line)
        if "path" not in fields or not _NAMES.issuperset(fields):
            _check_names(list(fields), line)
        yield line, [fields.get(name) for name in COLUMNS]
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

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._prefix = os.path.join(folder, "")  # noqa: PTH118 (as text, and with the separator)

    def row(self, fields: _Fields, line: int) -> ManifestRow:
        """One row of what `COLUMNS` name.

        Raises:
            _LineError: a value is not what it should be.
        """
        path, pid, camid, captured_at, split = fields
        if not isinstance(path, str) or not path.strip():
            raise _LineError("the path is empty or not text", line)
        if "\0" in path:
            raise _LineError("the path holds a NUL", line)
        if split is not None and (split := _text(split, "split", line)) is not None and split not in SPLITS:
            raise _LineError(f"split {printable(split)!r} is none of {', '.join(SPLITS)}", line)
        return ManifestRow(
            self._folder,
            self._name(path),
            _integer(pid, "pid", line),
            _integer(camid, "camid", line),
            _time(captured_at, line),
            split,
            line,
        )

    def _name(self, path: str) -> str:
        """The path as `Path` would write it, and relative if it can be."""
        # Path writes "./a", "a//b", "a/./b" and "a/" another way; of most names these signs show that it need not look.
        untidy = "//" in path or "/." in path or path[0] == "." or path[-1] == "/"
        name = str(Path(path)) if untidy else path
        if name.startswith("/") and name.startswith(self._prefix):
            name = name[len(self._prefix) :] or "."
        return name


def _text(value: Any, name: str, line: int) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise _LineError(f"{name} must be text, not {_shown(value)}", line)
    return value.strip() or None


def _shown(value: Any) -> str:
    """A value as JSON has it, cut: without `repr`, which follows lists as deep as they go."""
    return type(value).__name__ if isinstance(value, list | dict) else repr(value)[:80]


def _integer(value: Any, name: str, line: int) -> int | None:
    if value is None:
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        number = value
    elif isinstance(value, str) and len(value) < 19 and value.isascii() and value.isdigit():
        return int(value)  # as nearly all are: nothing to strip, nothing to check
    else:
        text = _text(value, name, line)
        if text is None:
            return None
        if not _INTEGER.fullmatch(text):
            raise _LineError(f"{name} must be a whole number, not {printable(text)[:80]!r}", line)
        number = int(text)
    if not _LOWEST <= number <= _HIGHEST:
        raise _LineError(f"{name} {str(number)[:80]} does not fit 64 bits", line)
    return number


def _time(value: Any, line: int) -> datetime | None:
    text = _text(value, "captured_at", line)
    if text is None:
        return None
    try:
        return as_utc(datetime.fromisoformat(text))
    except (ValueError, OverflowError) as error:
        raise _LineError(
            f"captured_at {printable(text)[:80]!r} is no ISO 8601 time such as 2024-05-01T13:45:00Z", line
        ) from error
