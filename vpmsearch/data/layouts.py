"""How data sets lie on disk: for each layout a reader of the splits and one of the images to index.

`vpmsearch.data.datasets` is the way in. pids are the data set's own numbers: −1 is junk and dropped, 0 in a
Market-1501 gallery is a distractor and kept.
"""

from __future__ import annotations

import os
import re
from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import overload

from vpmsearch.data.images import image_files, printable
from vpmsearch.data.manifest import SPLITS, ManifestRow, read_manifest
from vpmsearch.errors import DataError

JUNK_PID = -1
"""Market-1501's label of boxes that show a person too badly to count either way."""

_MARKET_FOLDERS = ("bounding_box_train", "query", "bounding_box_test")
_MARKET_ROOTS = ("Market-1501-v15.09.15", "Market-1501", "DukeMTMC-reID", "Occluded_Duke", "Occluded-DukeMTMC")
_MARKET_NAME = re.compile(r"(-?[0-9]{1,18})_c([0-9]{1,18})")  # 0002_c1s1_000451_03.jpg, 0001_c2_f0046182.jpg
_MSMT_ROOTS = ("MSMT17_V2", "MSMT17_V1", "MSMT17")
_MSMT_FOLDERS = (("mask_train_v2", "mask_test_v2"), ("train", "test"))  # versions 2 and 1
_MSMT_LISTS = ("list_train.txt", "list_val.txt", "list_query.txt", "list_gallery.txt")
_MSMT_NAME = re.compile(r"[0-9]+_[0-9]+_([0-9]{1,18})_")
_FOLDER_CAMERA = re.compile(r"(?:^|_)c([0-9]{1,18})")
_INTEGER = re.compile(r"-?[0-9]{1,18}")
_EPOCH, _MICROSECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)


@dataclass(frozen=True)
class LabelledImage:
    """One image file and what is known about it; None where unknown.

    path: below the root of the data set. captured_at: without a time zone it is UTC.
    """

    path: Path
    pid: int | None = None
    camid: int | None = None
    captured_at: datetime | None = None


@dataclass(frozen=True)
class ReidDataset:
    """A data set's splits. Every pid is known; a camid may be None; a split may be empty."""

    name: str
    train: tuple[LabelledImage, ...] = ()
    query: tuple[LabelledImage, ...] = ()
    gallery: tuple[LabelledImage, ...] = ()

    @property
    def train_pids(self) -> tuple[int, ...]:
        """The identities of the training split, ascending."""
        return _pids(self.train)

    @property
    def num_train_pids(self) -> int:
        """Identities in the training split."""
        return len(self.train_pids)

    @property
    def num_query_pids(self) -> int:
        """Identities among the queries."""
        return len(_pids(self.query))


# market1501 ---------------------------------------------------------------------------------------


def read_market(root: Path) -> ReidDataset:
    """Market-1501 or DukeMTMC-reID: bounding_box_train, query and bounding_box_test."""
    root = _find(root, _MARKET_ROOTS, _MARKET_FOLDERS)
    train, query, gallery = (tuple(_market_images(root / name)) for name in _MARKET_FOLDERS)
    return ReidDataset("market1501", train, query, gallery)


def market_gallery(root: Path) -> Iterator[LabelledImage]:
    """bounding_box_test where there is one, else the folder's own images."""
    for place in (root, *(root / name for name in _MARKET_ROOTS)):
        if (place / "bounding_box_test").is_dir():
            return _market_images(place / "bounding_box_test")
    return _market_images(root)


def _market_images(folder: Path) -> Iterator[LabelledImage]:
    """Images named <pid>_c<camid>…, junk left out."""
    for path in image_files(folder):
        match = _MARKET_NAME.match(path.name)
        if match is None:
            raise DataError(
                f"{printable(path)} is not named as in Market-1501 (0002_c1s1_000451_03.jpg); "
                "move it away, or read the data set as folder or csv"
            )
        pid, camid = int(match[1]), int(match[2])
        if pid != JUNK_PID:
            yield LabelledImage(path, pid, camid)


# msmt17 -------------------------------------------------------------------------------------------


def read_msmt(root: Path) -> ReidDataset:
    """MSMT17, version 1 or 2. camid is the third field of a file name.

    The training split is list_train and list_val together, 32,621 images of the same 1,041 identities, as in
    the paper of Wei et al. (CVPR 2018). Test identities are numbered from 0 again: they are other people.
    """
    root = _find(root, _MSMT_ROOTS, _MSMT_LISTS)
    train_folder, test_folder = _msmt_folders(root)
    folders = (train_folder, train_folder, test_folder, test_folder)
    train, val, query, gallery = (
        tuple(_msmt_images(root / name, folder)) for name, folder in zip(_MSMT_LISTS, folders, strict=True)
    )
    return ReidDataset("msmt17", train + val, query, gallery)


def msmt_gallery(root: Path) -> Iterator[LabelledImage]:
    """The images of list_gallery."""
    root = _find(root, _MSMT_ROOTS, _MSMT_LISTS[3:])
    return _msmt_images(root / _MSMT_LISTS[3], _msmt_folders(root)[1])


def _msmt_folders(root: Path) -> tuple[Path, Path]:
    for train, test in _MSMT_FOLDERS:
        if (root / test).is_dir():
            return root / train, root / test
    looked_for = " or ".join(test for _, test in _MSMT_FOLDERS)
    raise DataError(f"{printable(root)} holds no folder {looked_for}; unpack MSMT17's images there")


def _msmt_images(list_file: Path, folder: Path) -> Iterator[LabelledImage]:
    """Lines `0000/0000_000_01_0303morning_0015_0.jpg 0`: a path below the folder, and the pid."""
    try:
        lines = list_file.read_text(encoding="utf-8").splitlines()
    except ValueError as error:
        raise DataError(f"{printable(list_file)} is not UTF-8 text; unpack the data set again") from error
    first = True
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"{printable(list_file)}, line {number}"
        name, _, pid = line.strip().rpartition(" ")
        relative = PurePosixPath(name.strip())
        match = _MSMT_NAME.match(relative.name)
        if match is None or not _INTEGER.fullmatch(pid):
            raise DataError(f"{where}: not a line such as 0000/0000_000_01_0303morning_0015_0.jpg 0")
        if relative.is_absolute() or ".." in relative.parts:
            raise DataError(f"{where}: {printable(relative)} leads out of the data set; correct or remove it")
        path = folder / relative
        # One look tells a wrong folder; to look for each of 126,441 files would cost more than it tells.
        if first and not path.is_file():
            raise DataError(f"{where}: {printable(path)} is missing; unpack MSMT17's images there")
        first = False
        yield LabelledImage(path, int(pid), int(match[1]))


# folder -------------------------------------------------------------------------------------------


def read_folder(root: Path) -> ReidDataset:
    """One folder an identity, below train, query and gallery where these exist; else all is the train split.

    pids are the folders' names where all are whole numbers (−1 is junk), else numbers from 1 in the order of
    the names over all splits. A camera is taken from `c<digits>` at the start of a file name or after a `_`.
    """
    splits = [split for split in SPLITS if (root / split).is_dir()]
    places = {split: root / split for split in splits} or {"train": root}
    by_split = {split: _identity_folders(place) for split, place in places.items()}
    names = sorted({name for found in by_split.values() for name in found}, key=os.fsencode)
    pids = _folder_pids(names, root)
    images = {
        split: tuple(
            LabelledImage(path, pids[name], _folder_camera(path))
            for name, paths in found.items()
            if pids[name] != JUNK_PID
            for path in paths
        )
        for split, found in by_split.items()
    }
    return ReidDataset("folder", **images)


def folder_gallery(root: Path) -> Iterator[LabelledImage]:
    """Every image below, no labels."""
    return (LabelledImage(path) for path in image_files(root))


def _identity_folders(root: Path) -> dict[str, list[Path]]:
    """Images by the name of the folder directly below the root that they are in, however deep."""
    found: dict[str, list[Path]] = defaultdict(list)
    for path in image_files(root):
        inner = path.relative_to(root).parts
        if len(inner) == 1:
            raise DataError(f"{printable(path)} is in no identity's folder; move it into one or away")
        found[inner[0]].append(path)
    return found


def _folder_pids(names: Sequence[str], root: Path) -> dict[str, int]:
    if not all(_INTEGER.fullmatch(name) for name in names):
        return {name: place for place, name in enumerate(names, start=1)}  # 0 would read as a distractor
    pids = {name: int(name) for name in names}
    if len(set(pids.values())) < len(pids):
        raise DataError(f"{printable(root)}: two folders have one number, such as 7 and 07; rename one")
    return pids


def _folder_camera(path: Path) -> int | None:
    match = _FOLDER_CAMERA.search(path.stem)
    return None if match is None else int(match[1])


# csv ----------------------------------------------------------------------------------------------


def read_csv(manifest: Path) -> ReidDataset:
    """A CSV or JSON-lines file; a row without a split belongs to train."""
    splits: dict[str, list[LabelledImage]] = defaultdict(list)
    for row in read_manifest(manifest):
        if row.pid is None:
            raise DataError(f"{printable(manifest)}, line {row.line}: no pid; a data set needs one in each row")
        if row.pid != JUNK_PID:
            splits[row.split or "train"].append(_labelled(row))
    return ReidDataset("csv", **{split: tuple(images) for split, images in splits.items()})


def csv_gallery(manifest: Path) -> Sequence[LabelledImage]:
    """Every row, labelled or not, whatever its split."""
    images, names = _Listed(manifest.parent), set[str]()
    for row in read_manifest(manifest):
        if row.name in names:
            first = images.line_of(row.name)
            raise DataError(f"{printable(manifest)}, line {row.line}: the path of line {first} again; list it once")
        names.add(row.name)
        images.append(row)
    return images


class _Listed(Sequence[LabelledImage]):
    """The rows of a list as images, each made when it is asked for: a million of them would take 0.6 GiB."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._names: list[str] = []
        self._pids, self._camids, self._times, self._lines = _Column(), _Column(), _Column(), _Column()

    def append(self, row: ManifestRow) -> None:
        """Take in the next row."""
        self._names.append(row.name)
        self._pids.append(row.pid)
        self._camids.append(row.camid)
        self._times.append(None if row.captured_at is None else (row.captured_at - _EPOCH) // _MICROSECOND)
        self._lines.append(row.line)

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
        taken = self._times[place]
        return LabelledImage(
            self._folder / self._names[place],
            self._pids[place],
            self._camids[place],
            None if taken is None else _EPOCH + taken * _MICROSECOND,
        )


class _Column:
    """Numbers of 64 bits or None, in nine bytes each."""

    def __init__(self) -> None:
        self._values = array("q")
        self._known = bytearray()

    def append(self, value: int | None) -> None:
        """Take in the next number."""
        self._known.append(value is not None)
        self._values.append(value or 0)

    def __getitem__(self, place: int) -> int | None:
        return self._values[place] if self._known[place] else None


def _labelled(row: ManifestRow) -> LabelledImage:
    return LabelledImage(row.path, row.pid, row.camid, row.captured_at)


# all ----------------------------------------------------------------------------------------------


def _find(root: Path, inner: Sequence[str], needed: Sequence[str]) -> Path:
    """The root itself or the data set's usual folder in it, whichever holds what is needed."""
    places = [root, *(root / name for name in inner)]
    missing = {place: [name for name in needed if not (place / name).exists()] for place in places}
    nearest = min(places, key=lambda place: len(missing[place]))
    if missing[nearest]:
        raise DataError(
            f"{printable(nearest)} holds no {' and no '.join(missing[nearest])}; give the folder that holds "
            f"{', '.join(needed)}, or the one around it if that is called {' or '.join(inner)}"
        )
    return nearest


def _pids(images: Iterable[LabelledImage]) -> tuple[int, ...]:
    return tuple(sorted({image.pid for image in images if image.pid is not None}))
