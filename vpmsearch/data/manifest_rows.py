"""The rows of a list of images: checks the fields of each and makes a `ManifestRow` of them."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Any, NamedTuple

from vpmsearch.data.labelled import SPLITS
from vpmsearch.data.manifest_values import Header, LineError, attribute_of, label_of, shown, text_of, word_of
from vpmsearch.data.moments import epoch, parse_moment, plain_moment
from vpmsearch.errors import DataError
from vpmsearch.labels import Label
from vpmsearch.types import as_utc
from vpmsearch.words import printable

_REMEMBERED = 10_000
"""How many texts are remembered with their values."""

_Attributes = tuple[tuple[str, str], ...]

_SPLITS = (None, *SPLITS)
_row = tuple.__new__  # of a named tuple: its own __new__ takes twice the time

_WINDOWS = re.compile(r"[A-Za-z]:[\\/]|\\\\")


class ManifestRow(NamedTuple):
    """One row of a list. Its name is text, since making a million `Path` objects takes most of the time.

    folder: of the list. name: relative to the folder, or absolute. One file always has one name, unless `..` or links
    lead to it. pid, camid, captured_at, split, track, clothes: None if the field is empty or the column absent.
    attributes: names and values of the other columns, without empty ones. line: number of its line, from 1.
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


class Rows:
    """Checks the fields of rows, one after another.

    Args:
        folder: the folder that relative paths begin at. zone: time zone of times that name none; None is UTC. unknown:
            texts that stand for no value.
    """

    def __init__(self, folder: Path, zone: tzinfo | None, unknown: frozenset[str]) -> None:
        self._folder, self._zone, self._unknown = folder, zone, unknown
        self._prefix = os.path.join(folder, "")  # noqa: PTH118 (as text, and with the separator)
        self._labels: dict[str, Label | None] = {}
        self._attributes: dict[tuple[str, str], tuple[str, str] | None] = {}
        """Both remember the values of texts seen before, as most texts occur many times. Both are emptied when they
        grow large."""

    def row(self, values: Sequence[Any], header: Header, line: int) -> ManifestRow:
        """One row.

        Args:
            values: its fields, and at the end None, which stands for the columns that are absent. line: its number.

        Raises:
            LineError: a value is bad; says which.
        """
        path, pid, camid, captured_at, split, track, clothes = header.pick(values)
        if not isinstance(path, str) or not path.strip():
            raise LineError("the path is empty or not text", line)
        if "\0" in path:
            raise LineError("the path holds a NUL", line)
        if split is not None and (split := text_of(split, "split", line, self._unknown)) not in _SPLITS:
            raise LineError(f"split {printable(split)!r} is none of {', '.join(SPLITS)}", line)
        known = self._labels
        return _row(
            ManifestRow,
            (
                self._folder,
                self._name(path, line),
                known[pid] if pid.__class__ is str and pid in known else self._label(pid, "pid", line),
                known[camid] if camid.__class__ is str and camid in known else self._label(camid, "camid", line),
                None if captured_at is None else self._time(captured_at, header.time_unit, line),
                split,
                None if track is None else word_of(track, self._unknown),
                None if clothes is None else word_of(clothes, self._unknown),
                self._others(values, header.others, line) if header.others else (),
                line,
            ),
        )

    def _label(self, value: Any, name: str, line: int) -> Label | None:
        """As `label_of`, but remembers texts."""
        if value.__class__ is not str:  # what is equal to 1 need not be the label 1
            return None if value is None else label_of(value, name, line, self._unknown)
        if len(self._labels) >= _REMEMBERED:
            self._labels.clear()
        label = self._labels[value] = label_of(value, name, line, self._unknown)
        return label

    def _others(self, values: Sequence[Any], others: Sequence[tuple[str, int]], line: int) -> _Attributes:
        """The attributes of a row that have a value."""
        found = []
        known = self._attributes
        for name, place in others:
            value = values[place]
            if value.__class__ is not str:
                pair = attribute_of(name, value, line, self._unknown)
            elif (name, value) in known:
                pair = known[name, value]
            else:
                if len(known) >= _REMEMBERED:
                    known.clear()
                pair = known[name, value] = attribute_of(name, value, line, self._unknown)
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
        if name[0] == "/" and name.startswith(self._prefix):
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
        text: str | None
        if value.__class__ is str:
            if not unit and (moment := plain_moment(value)) is not None:  # as nearly all are
                return moment if moment.tzinfo is UTC else as_utc(moment)
            text = value.strip()
        elif unit and isinstance(value, int | float) and not isinstance(value, bool):
            text = str(value)
        elif isinstance(value, int | float) and not isinstance(value, bool) and value == value:  # not NaN
            raise LineError(
                f"captured_at {shown(value)} may count seconds or milliseconds; call the column captured_at:unix or "
                "captured_at:unix_ms",
                line,
            )
        else:
            text = None if isinstance(value, float) else text_of(value, "captured_at", line, self._unknown)
        if text is None or text in self._unknown:
            return None
        try:
            return as_utc(epoch(float(text) * unit, text) if unit else parse_moment(text, self._zone))
        except (DataError, ValueError, OverflowError) as error:
            raise LineError(f"captured_at {printable(str(error))}", line) from error
