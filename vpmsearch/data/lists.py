"""Data sets from lists: the rows of a CSV or JSON-lines file as images."""

from __future__ import annotations

import os
from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import count, islice
from pathlib import Path
from typing import cast, overload

from vpmsearch.data.labelled import JUNK_PID, SPLITS, ImageRow, LabelledImage, ReidDataset
from vpmsearch.data.manifest import OnHeader, nobody, read_manifest
from vpmsearch.data.manifest_rows import ManifestRow
from vpmsearch.errors import DataError
from vpmsearch.labels import Label
from vpmsearch.words import printable

_BLOCK = 4096
"""Rows that are taken in together."""
_NEVER = -(2**63)
"""Stands for no time."""
_EPOCH, _MICROSECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)


def read_list(manifest: Path, splits: Sequence[str] = SPLITS, zone: tzinfo | None = None) -> ReidDataset:
    """Read a CSV or JSON-lines file as a data set. A row without a split belongs to train.

    Args:
        splits: the ones that are read. zone: time zone of times that name none; None is UTC.

    Raises:
        DataError: as `read_manifest`, or a row has no pid.
    """
    found: dict[str, list[LabelledImage]] = defaultdict(list)
    prefix = os.path.join(manifest.parent, "")  # noqa: PTH118 (text, with the separator)
    for row in read_manifest(manifest, zone):
        split = row.split or "train"
        if split not in splits:
            continue
        if row.pid is None:
            raise DataError(f"{printable(manifest)}, line {row.line}: no pid; a data set needs one in each row")
        if row.pid != JUNK_PID:
            path = cast(Path, row.name if row.name[0] == "/" else prefix + row.name)  # which is a `Path` when asked for
            found[split].append(
                LabelledImage(path, row.pid, row.camid, row.captured_at, row.track, row.clothes, row.attributes)
            )
    return ReidDataset.of("csv", found)


def list_gallery(manifest: Path, zone: tzinfo | None = None, on_header: OnHeader = nobody) -> Sequence[LabelledImage]:
    """Every row of a list as an image, labelled or not. A row's split becomes an attribute.

    Args:
        zone, on_header: see `read_manifest`.

    Raises:
        DataError: as `read_manifest`, or a path is there twice.
    """
    return collected(read_manifest(manifest, zone, on_header), manifest.parent, printable(manifest))


def collected(rows: Iterator[ManifestRow], folder: Path, called: str) -> Sequence[LabelledImage]:
    """The rows as images.

    Args:
        folder: the folder that relative names begin at. called: name of the source in messages.

    Raises:
        DataError: a path is there twice.
    """
    images, names = _Listed(folder), set[str]()
    while block := list(islice(rows, _BLOCK)):
        images.extend(block, [row.line for row in block])
        names.update(row.name for row in block)
        if len(names) < len(images):
            raise DataError(_listed_twice(images, called))
    return images


def _listed_twice(images: _Listed, called: str) -> str:
    """The first path that is there again."""
    first: dict[str, int | None] = {}
    for name, line in images.lines():
        if name in first:
            return f"{called}, line {line}: the path of line {first[name]} again; list it once"
        first[name] = line
    raise AssertionError("no path is there twice")


def rows_as_images(rows: Iterable[ImageRow]) -> Sequence[LabelledImage]:
    """Rows as images. Each image is made when it is accessed."""
    images, waiting = _Listed(Path()), iter(rows)
    while block := list(islice(waiting, _BLOCK)):
        images.extend(block, None, [row.distractor for row in block])
    return images


def _microseconds(moment: datetime | None) -> int:
    """Microseconds since 1970; `_NEVER` if there is no time."""
    if moment is None:
        return _NEVER
    passed = moment - _EPOCH
    return (passed.days * 86_400 + passed.seconds) * 1_000_000 + passed.microseconds


class _Listed(Sequence[LabelledImage]):
    """The rows of a list as images. An image is made when it is accessed, since a million of them would take 0.6
    GiB.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._names: list[str] = []
        self._distractors = bytearray()
        self._pids, self._camids = _LabelColumn(), _LabelColumn()
        self._times, self._lines = array("q"), array("q")
        # (track, clothes, attributes) of the rows that have any; equal ones are kept once.
        self._more: dict[int, tuple[str | None, str | None, tuple[tuple[str, str], ...]]] = {}
        self._same: dict[object, tuple[str | None, str | None, tuple[tuple[str, str], ...]]] = {}

    def extend(
        self, rows: Sequence[ManifestRow | ImageRow], lines: Sequence[int] | None, distractors: Sequence[bool] = ()
    ) -> None:
        """Take in rows. Going column by column takes half the time of going row by row.

        Args:
            lines: of each row, its line in the list; None if they come from no list. distractors: of each row, whether
                it is a distractor; empty if none is.
        """
        start = len(self._names)
        self._names += [row.name for row in rows]
        self._pids.extend([row.pid for row in rows])
        self._camids.extend([row.camid for row in rows])
        self._times.extend([_microseconds(row.captured_at) for row in rows])
        self._distractors += bytes(distractors) if distractors else bytes(len(rows))
        if lines is not None:
            self._lines.extend(lines)
        for place, row in enumerate(rows, start=start):
            split = row.split if isinstance(row, ManifestRow) else None
            if row.track is not None or row.clothes is not None or row.attributes or split is not None:
                # To index it, the split is as good as any other column.
                attributes = row.attributes if split is None else (*row.attributes, ("split", split))
                more = (row.track, row.clothes, attributes)
                self._more[place] = self._same.setdefault(more, more)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(one == each for one, each in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def lines(self) -> Iterator[tuple[str, int]]:
        """Each name and where it stands in the list."""
        return zip(self._names, self._lines, strict=True)

    def __len__(self) -> int:
        return len(self._names)

    @overload
    def __getitem__(self, place: int) -> LabelledImage: ...
    @overload
    def __getitem__(self, place: slice) -> list[LabelledImage]: ...
    def __getitem__(self, place: int | slice) -> LabelledImage | list[LabelledImage]:
        if isinstance(place, slice):
            return [self[i] for i in range(*place.indices(len(self)))]
        name, taken = self._names[place], self._times[place]
        track, clothes, attributes = self._more.get(range(len(self._names))[place], (None, None, ()))
        return LabelledImage(
            self._folder / name,
            self._pids[place],
            self._camids[place],
            None if taken == _NEVER else _EPOCH + taken * _MICROSECOND,
            track,
            clothes,
            attributes,
            bool(self._distractors[place]),
        )


class _LabelColumn:
    """A column of labels or None: a code for each row, and each distinct label once."""

    def __init__(self) -> None:
        self._codes = array("i")
        self._labels: list[Label | None] = []
        self._code_of: dict[Label | None, int] = defaultdict(count().__next__)  # in the order of the codes

    def extend(self, labels: Iterable[Label | None]) -> None:
        """Take in the next ones."""
        self._codes.extend(map(self._code_of.__getitem__, labels))

    def __getitem__(self, place: int) -> Label | None:
        if len(self._labels) < len(self._code_of):
            self._labels = list(self._code_of)
        return self._labels[self._codes[place]]
