"""Data sets by name or by pattern: `read_dataset` to train and evaluate, `read_gallery` to index, `hold_out` to tune.

`vpmsearch.data.layout_table` has the data sets that are known by name. Two more names are "folder", which has one
folder for each identity, and "csv", which is a list.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import tzinfo
from pathlib import Path

import numpy as np

from vpmsearch.data import folders, lists
from vpmsearch.data.guess import guesses
from vpmsearch.data.image_files import is_image_name
from vpmsearch.data.labelled import JUNK_PID, SPLITS, LabelledImage, ReidDataset
from vpmsearch.data.layout import Layout
from vpmsearch.data.layout_finder import find, find_any
from vpmsearch.data.layout_reader import read_heap, read_split
from vpmsearch.data.layout_table import BY_NAME
from vpmsearch.data.patterns import NamePattern, name_pattern
from vpmsearch.data.trials import Trials
from vpmsearch.errors import DataError
from vpmsearch.labels import Label, in_order
from vpmsearch.words import printable

__all__ = [
    "DATASET_NAMES",
    "JUNK_PID",
    "LabelledImage",
    "ReidDataset",
    "hold_out",
    "read_dataset",
    "read_gallery",
    "read_trials",
]

DATASET_NAMES = (*BY_NAME, "folder", "csv")
"""The layouts that `read_dataset` and `read_gallery` know."""

LIST_SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson")
"""Files with these suffixes are lists, even if the layout is the default one."""


def read_dataset(
    name: str,
    root: str | os.PathLike[str],
    splits: Sequence[str] | None = None,
    *,
    pattern: str = "",
    zone: tzinfo | None = None,
    trial: int | None = None,
) -> ReidDataset:
    """Read splits of a data set. Every image gets a pid. It gets a camid if the layout tells cameras.

    Args:
        name: the layout: one of `DATASET_NAMES`.
        root: its folder, or a folder around it; for "csv" the file.
        splits: those of "train", "query" and "gallery" that are needed; the others stay empty. None: all of the layout.
        pattern: how files are named, see `vpmsearch.data.patterns`. With a pattern the layout's name is ignored.
        zone: time zone of times that name none; None is UTC.
        trial: number of the random halves, from 1, see `vpmsearch.data.trials`; None is all people.

    Raises:
        DataError: the layout is unknown, something of it is missing, it holds no images, or it has no such trial.
    """
    if trial is not None:
        return _halves(name, root, pattern).dataset(trial, splits or SPLITS)
    _check(name, root)
    by_pattern = name_pattern(pattern, zone) if pattern else None
    try:
        dataset = _dataset(name, Path(root), splits, by_pattern, zone)
    except OSError as error:
        raise _unreadable(root, error) from error
    if not (dataset.train or dataset.query or dataset.gallery):
        if _is_list(name, Path(root)):
            raise DataError(
                f"{printable(root)} names no images of {' or '.join(splits or SPLITS)}; the column split says of which "
                "split a row is, and a row without one is of train"
            )
        raise _no_images(name, root)
    return dataset


def read_trials(
    name: str, root: str | os.PathLike[str], splits: Sequence[str] | None = None, *, pattern: str = ""
) -> list[ReidDataset]:
    """All trials of a data set, see `read_dataset`.

    Raises:
        DataError: as `read_dataset`.
    """
    halves = _halves(name, root, pattern)
    return [halves.dataset(number, splits or SPLITS) for number in range(1, halves.count + 1)]


def _halves(name: str, root: str | os.PathLike[str], pattern: str) -> Trials:
    _check(name, root)
    if pattern or name not in BY_NAME:
        raise DataError("only data sets known by name have trials; leave --trial away, or name the splits in a list")
    try:
        return Trials(BY_NAME[name], Path(root))
    except OSError as error:
        raise _unreadable(root, error) from error


def _dataset(
    name: str, root: Path, splits: Sequence[str] | None, pattern: NamePattern | None, zone: tzinfo | None
) -> ReidDataset:
    if pattern is not None:
        return folders.read_pattern(root, pattern, splits or SPLITS)
    if name == "folder":
        return folders.read_folder(root, splits or SPLITS)
    if name == "csv":
        return lists.read_list(root, splits or SPLITS, zone)
    layout = BY_NAME[name]
    wanted = splits or layout.splits
    with _told_likelier(layout, root):
        place = find(layout, root, wanted)
    splits_read = {split: [row.image() for row in read_split(layout, place, split)] for split in wanted}
    return ReidDataset.of(name, splits_read, layout.protocol)


def read_gallery(
    name: str, root: str | os.PathLike[str], *, pattern: str = "", zone: tzinfo | None = None
) -> Sequence[LabelledImage]:
    """Read the images to index.

    "folder" gives every image below the root, without labels. Identities are never guessed from sub-folders. Its root
    may also be a file: a .csv, .tsv, .jsonl or .ndjson file is read as a list, and an image file is a gallery of that
    image. "csv" gives every row, labelled or not. A data set of the table gives its gallery. If the root is one folder
    of its images, it gives all of that folder. Junk is dropped. With a pattern, every image below the root gets the
    labels of its name.

    Raises:
        DataError: the layout is unknown, something of it is missing, or it holds no images.
    """
    _check(name, root)
    by_pattern = name_pattern(pattern, zone) if pattern else None
    try:
        found = _gallery(name, Path(root), by_pattern, zone)
        images = found if isinstance(found, Sequence) else list(found)
    except OSError as error:
        raise _unreadable(root, error) from error
    if not images:
        raise _no_images(name, root)
    return images


def _gallery(name: str, root: Path, pattern: NamePattern | None, zone: tzinfo | None) -> Iterable[LabelledImage]:
    if pattern is not None:
        return lists.rows_as_images(folders.pattern_heap(root, pattern))
    if _is_list(name, root):
        return lists.list_gallery(root, zone)
    if name == "folder" and not root.is_dir() and is_image_name(root.name):
        return [LabelledImage(root)]
    if name == "folder":
        return folders.heap(root)
    return _layout_gallery(BY_NAME[name], root)


def _is_list(name: str, root: Path) -> bool:
    """Whether a data set is a list of images: "csv", or a file that is called like a list."""
    return name == "csv" or (name == "folder" and root.suffix.lower() in LIST_SUFFIXES and not root.is_dir())


def _layout_gallery(layout: Layout, root: Path) -> Iterable[LabelledImage]:
    """The gallery; if the root is the folder of one split, all of that folder."""
    with _told_likelier(layout, root):
        place = find_any(layout, root, ("gallery",))
        # The rows of a place come later: what is wrong with them is no matter of the layout.
        rows = list(read_heap(layout, root)) if place is None else read_split(layout, place, "gallery")
    return lists.rows_as_images(rows)


@contextmanager
def _told_likelier(layout: Layout, root: Path) -> Iterator[None]:
    """Within the block, an error that a data set is not found also says which other one the folder looks like."""
    try:
        yield
    except DataError as error:
        other = next((guess.layout for guess in guesses(root, below=False)), layout)
        if other is layout:
            raise
        raise DataError(f"{error}. It looks like {other.title}: --dataset {other.name}") from error


def hold_out(dataset: ReidDataset, share: float | int, seed: int = 0) -> tuple[ReidDataset, ReidDataset]:
    """Set training identities aside to tune on, so that the test split serves for the final figure only.

    Only identities that can be searched for are drawn: those seen by two cameras or more or, if the cameras are not
    known, those with two images or more. One image of each camera becomes a query, the others become gallery, as in
    Market-1501. A camera's only image goes to the gallery, unless the identity would then have no query. Without
    cameras, one image becomes the query (camid 0), and the others become gallery (camid 1).

    Args:
        dataset: a data set with a training split.
        share: how many identities are held out. A float in (0, 1) is a share of the training identities, an int is a
            count.
        seed: the same seed draws the same identities and queries.

    Returns:
        (training, validation): the training split without the held-out identities, and their query and
        gallery. Both leave the other splits empty.

    Raises:
        DataError: the share leaves nothing to train on, or there are too few identities to draw from.
    """
    by_pid: dict[Label, list[LabelledImage]] = defaultdict(list)
    for image in dataset.train:
        if image.pid is not None:
            by_pid[image.pid].append(image)
    cameras_known = all(image.camid is not None for image in dataset.train)
    count = _hold_out_count(share, len(by_pid), dataset.name)
    able = [pid for pid in in_order(by_pid) if _can_be_searched(by_pid[pid], cameras_known)]
    if count > len(able):
        what = "seen by two cameras" if cameras_known else "on two images"
        raise DataError(f"cannot hold out {count} identities of {dataset.name}: {len(able)} are {what} or more")
    rng = np.random.default_rng(seed)
    held_out = in_order(able[row] for row in rng.choice(len(able), size=count, replace=False))
    query: list[LabelledImage] = []
    gallery: list[LabelledImage] = []
    for pid in held_out:
        chosen, rest = _split_identity(by_pid[pid], cameras_known, rng)
        query += chosen
        gallery += rest
    aside = set(held_out)
    kept = tuple(image for image in dataset.train if image.pid not in aside)
    validation = ReidDataset(f"{dataset.name}-held-out", query=tuple(query), gallery=tuple(gallery))
    return ReidDataset(dataset.name, train=kept), validation


def _hold_out_count(share: float | int, num_pids: int, name: str) -> int:
    if isinstance(share, float) and 0 < share < 1:
        count = max(1, round(share * num_pids))
    elif isinstance(share, int) and share >= 1:
        count = share
    else:
        raise DataError(f"hold out a fraction between 0 and 1 or a count of at least 1, not {share!r}")
    if count >= num_pids:
        raise DataError(f"holding out {count} of {num_pids} identities of {name} leaves none to train on")
    return count


def _can_be_searched(images: Sequence[LabelledImage], cameras_known: bool) -> bool:
    return len({image.camid for image in images}) > 1 if cameras_known else len(images) > 1


def _split_identity(
    images: Sequence[LabelledImage], cameras_known: bool, rng: np.random.Generator
) -> tuple[list[LabelledImage], list[LabelledImage]]:
    """One identity's images as (query, gallery)."""
    by_camera: dict[Label, list[int]] = defaultdict(list)
    for row, image in enumerate(images):
        by_camera[image.camid if cameras_known and image.camid is not None else 0].append(row)
    cameras = [by_camera[camid] for camid in in_order(by_camera)]
    spare = [rows for rows in cameras if len(rows) > 1] or cameras[:1]
    chosen = {rows[int(rng.integers(len(rows)))] for rows in spare}
    query = [image for row, image in enumerate(images) if row in chosen]
    gallery = [image for row, image in enumerate(images) if row not in chosen]
    if cameras_known:
        return query, gallery
    return [replace(image, camid=0) for image in query], [replace(image, camid=1) for image in gallery]


def check_layout(name: str) -> None:
    """Refuse a layout that is not known.

    Raises:
        DataError: it is none of `DATASET_NAMES`.
    """
    if name not in DATASET_NAMES:
        raise DataError(f"unknown data set {name!r}; known are {', '.join(DATASET_NAMES)}")


def _check(name: str, root: str | os.PathLike[str]) -> None:
    check_layout(name)
    if not os.path.exists(root):  # noqa: PTH110 (Path.exists raises if a folder above is not accessible)
        raise DataError(f"{printable(root)} does not exist; give the folder or file of the data set")


def _unreadable(root: str | os.PathLike[str], error: OSError) -> DataError:
    where = printable(error.filename or root)
    return DataError(f"{where} cannot be read ({error.strerror}); check its permissions")


def _no_images(name: str, root: str | os.PathLike[str]) -> DataError:
    where = printable(root)
    if _is_list(name, Path(root)):
        return DataError(f"{where} names no images; below its first line there must be a row for each image")
    return DataError(f"no images in {where} as data set {name}; is it the right folder and layout?")
