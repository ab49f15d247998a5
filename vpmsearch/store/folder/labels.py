"""The catalog's data of a segment's images as arrays. A search filters by it and takes its matches' records from it.

It comes from a file beside the segment (`label_file`) or from the catalog. It is read once and then needs no SQLite
transaction, so a search does not keep the log from being emptied.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from vpmsearch.store.folder.attributes import AttributeSets, packed
from vpmsearch.store.folder.columns import MOMENT, Times, check_types, moments, whole_numbers
from vpmsearch.store.folder.label_column import Labels
from vpmsearch.store.folder.texts import Hashes, Paths, Texts
from vpmsearch.types import Bool, ImageRecord, Int64, SearchFilter, as_utc

COLUMNS = ("id", "path", "content_hash", "pid", "camid", "captured_at", "width", "height", "attributes")
"""Columns of table `image`, in the order that `ImageLabels.of` expects."""
_ANY = -(2**63)
_Columns = tuple[Int64, Texts, Hashes, Labels, Labels, Times, Int64, Labels]
"""The fields of `ImageLabels` as they are joined."""


@dataclass(frozen=True)
class ImageLabels:
    """The labels of a segment's n images in the order of its rows, with the removed ones. Immutable.

    ids: (n,) image ids. paths, hashes: of each. pids, camids: n labels. captured_at: (n,) UTC. sizes: (n, 2) int64,
    width and height in pixels. attributes: of each.
    """

    ids: Int64
    paths: Paths
    hashes: Hashes
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
        found = cls._joined([_arrays(list(zip(*block, strict=True))) for block in blocks if block])
        found.pids.check_words("pid")
        found.camids.check_words("camid")
        found.attributes.check()
        return found

    @classmethod
    def of_records(cls, ids: Sequence[int], records: Sequence[ImageRecord]) -> ImageLabels:
        """The labels of images that are about to be written: what `of` will make of their rows.

        Args:
            ids, records: n each.
        """
        times = [record.captured_at and as_utc(record.captured_at).replace(tzinfo=None) for record in records]
        columns = (
            np.array(ids, np.int64),
            Texts.of([record.path for record in records]),
            Hashes.of([record.content_hash for record in records]),
            Labels.of([record.pid for record in records], "pid", int, str),
            Labels.of([record.camid for record in records], "camid", int, str),
            np.array(times, MOMENT),
            np.array([(record.width, record.height) for record in records], np.int64).reshape(-1, 2),
            Labels.of([packed(record.attributes) for record in records], "attributes", str),
        )
        return cls._joined([columns])

    @classmethod
    def _joined(cls, parts: Sequence[_Columns]) -> ImageLabels:
        ids, paths, hashes, pids, camids, times, sizes, attributes = zip(*parts, strict=True) if parts else [()] * 8
        return cls(
            np.concatenate([np.empty(0, np.int64), *ids]),
            Paths(Texts.joined(paths)),
            Hashes.joined(hashes),
            Labels.joined(pids),
            Labels.joined(camids),
            np.concatenate([np.empty(0, MOMENT), *times]),
            np.concatenate([np.empty((0, 2), np.int64), *sizes]),
            AttributeSets(Labels.joined(attributes)),
        )

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
            passed &= self.paths.among(paths)
        if search_filter.path_prefix:
            passed &= self.paths.starting_with(search_filter.path_prefix)
        for name, values in search_filter.attributes.items():
            passed &= self.attributes.among(name, values)
        return passed

    def record(self, row: int) -> ImageRecord:
        """The record of one image."""
        time: datetime | None = self.captured_at[row].item()
        pid, camid = self.pids.at(row), self.camids.at(row)
        width, height = self.sizes[row].tolist()
        utc = None if time is None else time.replace(tzinfo=UTC)
        attributes = self.attributes.at(row)
        return ImageRecord(self.paths.at(row), self.hashes.at(row), pid, camid, utc, width, height, attributes)


def _arrays(columns: Sequence[Sequence[Any]]) -> _Columns:
    ids, paths, content_hashes, pids, camids, times, widths, heights, attributes = columns
    check_types(paths, "path", str)
    sizes = np.stack([whole_numbers(widths, "width", _ANY), whole_numbers(heights, "height", _ANY)], axis=1)
    return (
        whole_numbers(ids, "id"),
        Texts.of(paths),
        Hashes.of(content_hashes),
        Labels.of(pids, "pid", int, str),
        Labels.of(camids, "camid", int, str),
        moments(times, "captured_at"),
        sizes,
        Labels.of(attributes, "attributes", str),
    )


def _moment(time: datetime) -> np.datetime64:
    return np.datetime64(as_utc(time).replace(tzinfo=None), "us")
