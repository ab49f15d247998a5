"""Data sets from lists: the rows of a CSV or JSON-lines file as images."""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import count
from pathlib import Path
from typing import overload

from vpmsearch.data.labelled import JUNK_PID, SPLITS, ImageRow, LabelledImage, ReidDataset
from vpmsearch.data.manifest import read_manifest
from vpmsearch.data.manifest_rows import ManifestRow
from vpmsearch.errors import DataError
from vpmsearch.labels import Label
from vpmsearch.words import printable

_EPOCH, _MICROSECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)


def read_list(manifest: Path, splits: Sequence[str] = SPLITS, zone: tzinfo | None = None) -> ReidDataset:
    """A CSV or JSON-lines file; a row without a split belongs to train."""
    found: dict[str, list[LabelledImage]] = defaultdict(list)
    for row in read_manifest(manifest, zone):
        split = row.split or "train"
        if split not in splits:
            continue
        if row.pid is None:
            raise DataError(f"{printable(manifest)}, line {row.line}: no pid; a data set needs one in each row")
        if row.pid != JUNK_PID:
            found[split].append(_labelled(row))
    return ReidDataset.of("csv", found)


def list_gallery(manifest: Path, zone: tzinfo | None = None) -> Sequence[LabelledImage]:
    """Every row, labelled or not, whatever its split."""
    return collected(read_manifest(manifest, zone), manifest.parent, printable(manifest))


def collected(rows: Iterator[ManifestRow], folder: Path, called: str) -> Sequence[LabelledImage]:
    """The rows as images; `called` is their source in messages.

    Raises:
        DataError: a path is there twice.
    """
    images, names = _Listed(folder), set[str]()
    for row in rows:
        names.add(row.name)
        if len(names) == len(images):
            first = images.line_of(row.name)
            raise DataError(f"{called}, line {row.line}: the path of line {first} again; list it once")
        if row.split is not None:  # to index it is as good as any other column
            row = row._replace(attributes=(*row.attributes, ("split", row.split)))
        images.append(row, row.line)
    return images


def rows_as_images(rows: Iterable[ImageRow]) -> Sequence[LabelledImage]:
    """Rows as images. Each image is made when it is accessed."""
    images = _Listed(Path())
    for row in rows:
        images.append(row, None, distractor=row.distractor)
    return images


def _labelled(row: ManifestRow) -> LabelledImage:
    return LabelledImage(row.path, row.pid, row.camid, row.captured_at, row.track, row.clothes, row.attributes)


class _Listed(Sequence[LabelledImage]):
    """The rows of a list as images. Each image is made when it is accessed; a million would take 0.6 GiB."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._names: list[str] = []
        self._distractors = bytearray()
        self._pids, self._camids, self._times, self._lines = _LabelColumn(), _LabelColumn(), _Column(), _Column()
        # (track, clothes, attributes) of the rows that have any; equal ones are kept once.
        self._more: dict[int, tuple[str | None, str | None, tuple[tuple[str, str], ...]]] = {}
        self._same: dict[object, tuple[str | None, str | None, tuple[tuple[str, str], ...]]] = {}

    def append(self, row: ManifestRow | ImageRow, line: int | None, *, distractor: bool = False) -> None:
        """Take in the next row, and where it stands in a list."""
        self._distractors.append(distractor)
        if row.track is not None or row.clothes is not None or row.attributes:
            more = (row.track, row.clothes, row.attributes)
            self._more[len(self._names)] = self._same.setdefault(more, more)
        self._names.append(row.name)
        self._pids.append(row.pid)
        self._camids.append(row.camid)
        self._times.append(None if row.captured_at is None else (row.captured_at - _EPOCH) // _MICROSECOND)
        self._lines.append(line)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(one == each for one, each in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def line_of(self, name: str) -> int | None:
        """Where a name stands in the list."""
        return self._lines[self._names.index(name)]

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
            None if taken is None else _EPOCH + taken * _MICROSECOND,
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

    def append(self, label: Label | None) -> None:
        """Take in the next one."""
        self._codes.append(self._code_of[label])

    def __getitem__(self, place: int) -> Label | None:
        if len(self._labels) < len(self._code_of):
            self._labels = list(self._code_of)
        return self._labels[self._codes[place]]


class _Column:
    """Numbers of 64 bits or None, in nine bytes each."""

    def __init__(self) -> None:
        self._values = array("q")
        self._known = bytearray()

    def append(self, value: int | None) -> None:
        """Take in the next number."""
        if value is None:
            self._known.append(0)
            self._values.append(0)
        else:
            self._known.append(1)
            self._values.append(value)

    def __getitem__(self, place: int) -> int | None:
        return self._values[place] if self._known[place] else None
