"""The catalog's data of a segment's images, in memory. A search filters by it and takes its matches' records from it.

It is read once and then needs no SQLite transaction, so a search does not keep the log from being emptied.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from vpmsearch.errors import DataError
from vpmsearch.labels import Label, as_label
from vpmsearch.store.folder.attributes import AttributeSets, column_of
from vpmsearch.store.folder.columns import (
    MOMENT,
    STRINGS,
    Labels,
    Texts,
    Times,
    hashes,
    moments,
    texts,
    whole_numbers,
)
from vpmsearch.types import Bool, ImageRecord, Int64, SearchFilter, as_utc

COLUMNS = ("id", "path", "content_hash", "pid", "camid", "captured_at", "width", "height", "attributes")
"""Columns of table `image`, in the order that `ImageLabels.of` expects."""
_ANY = -(2**63)


@dataclass(frozen=True)
class ImageLabels:
    """The labels of a segment's n images in the order of its rows, with the removed ones. Immutable.

    ids: (n,) image ids. paths, hashes: (n,) text. pids, camids: n labels. captured_at: (n,) UTC. sizes: (n, 2) int64,
    width and height in pixels. attributes: of each.
    """

    ids: Int64
    paths: Texts
    hashes: Texts
    pids: Labels
    camids: Labels
    captured_at: Times
    sizes: Int64
    attributes: AttributeSets

    @classmethod
    def of(cls, blocks: Iterable[Sequence[Sequence[Any]]]) -> ImageLabels:
        """Turn blocks of rows of `COLUMNS` into arrays, block by block: a million rows of Python's take a GiB.

        Raises:
            TypeError, ValueError: vpmsearch does not write such a value.
        """
        parts = [_arrays(list(zip(*block, strict=True))) for block in blocks if block]
        if not parts:
            nothing = Labels((), np.empty(0, np.int32))
            none, sizes = np.empty(0, STRINGS), np.empty((0, 2), np.int64)
            times, notes = np.empty(0, MOMENT), AttributeSets(nothing)
            return cls(np.empty(0, np.int64), none, none, nothing, nothing, times, sizes, notes)
        columns: list[Any] = list(zip(*parts, strict=True))
        joined: list[Any] = [_joined(c) if isinstance(c[0], Labels) else np.concatenate(c) for c in columns]
        joined[-1] = AttributeSets(joined[-1])
        return cls(*joined)

    def __len__(self) -> int:
        return len(self.ids)

    def select(self, search_filter: SearchFilter, paths: Sequence[str] = ()) -> Bool:
        """(n,) which images meet every condition; an empty condition is met by all."""
        passed = np.ones(len(self), np.bool_)
        if search_filter.pids:
            passed &= self.pids.among(search_filter.pids)
        if search_filter.camids:
            passed &= self.camids.among(search_filter.camids)
        if search_filter.captured_after is not None:  # NaT is neither before nor after
            passed &= self.captured_at >= _moment(search_filter.captured_after)
        if search_filter.captured_before is not None:
            passed &= self.captured_at < _moment(search_filter.captured_before)
        if paths:
            passed &= np.isin(self.paths, np.array(list(paths), dtype=STRINGS))
        if search_filter.path_prefix:
            passed &= np.strings.startswith(self.paths, search_filter.path_prefix)
        for name, values in search_filter.attributes.items():
            passed &= self.attributes.among(name, values)
        return passed

    def record(self, row: int) -> ImageRecord:
        """The record of one image."""
        time: datetime | None = self.captured_at[row].item()
        pid: Any = self.pids.at(row)
        camid: Any = self.camids.at(row)
        width, height = self.sizes[row].tolist()
        utc = None if time is None else time.replace(tzinfo=UTC)
        attributes = self.attributes.at(row)
        return ImageRecord(self.paths[row], self.hashes[row], pid, camid, utc, width, height, attributes)


def _arrays(columns: Sequence[Sequence[Any]]) -> tuple[Any, ...]:
    ids, paths, content_hashes, pids, camids, times, widths, heights, attributes = columns
    sizes = np.stack([whole_numbers(widths, "width", _ANY), whole_numbers(heights, "height", _ANY)], axis=1)
    return (
        whole_numbers(ids, "id"),
        texts(paths, "path"),
        hashes(content_hashes, "content_hash"),
        _labels(pids, "pid"),
        _labels(camids, "camid"),
        moments(times, "captured_at"),
        sizes,
        column_of(attributes),
    )


def _labels(values: Sequence[Any], name: str) -> Labels:
    labels = Labels.of(values, name, int, str)
    try:
        odd = [value for value in labels.values if as_label(value) != value]
    except DataError as error:
        raise ValueError(f"{name}: {error}") from error
    if odd:
        raise ValueError(f"{name} holds the text {odd[0]!r}")
    return labels


def _joined(parts: Sequence[Labels]) -> Labels:
    """Concatenate labels; the result has one table of values."""
    number: dict[Label, int] = {}
    codes = []
    for part in parts:
        table = np.array([*(number.setdefault(value, len(number)) for value in part.values), -1], dtype=np.int32)
        codes.append(table[part.codes])
    return Labels(tuple(number), np.concatenate(codes))


def _moment(time: datetime) -> np.datetime64:
    return np.datetime64(as_utc(time).replace(tzinfo=None), "us")
