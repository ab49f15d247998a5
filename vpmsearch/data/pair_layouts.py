"""Data sets of two cameras: camera 1 asks and camera 2 answers, as everybody evaluates them.

    cuhk03            {labeled,detected}/{train,val}/0000_00.jpg: identity and image. Images 00-04 are of camera 1,
                      05-09 of camera 2 (the ten cells of an identity in cuhk-03.mat). Trains on the boxes drawn by hand
                      and on those of a detector, tests on the former.
    cuhk03-detected   the same, boxes of the detector alone.
    cuhk01            CUHK01/campus/0001001.png: identity and image; 001-002 are of camera 1, 003-004 of camera 2.
                      Identities from 486 on test (486 of 971), the others train.
    pku-reid          {train,val/…}/001/01_1.png: identity, camera, angle. All of it tests.

CUHK03 (Li et al., CVPR 2014) is read as github.com/manideep2510/CUHK03_dataset unpacks the first camera pair: `train`
and `val` number their people from 0, so `val`'s begin at 10,000 here. CUHK01 is of Li et al. (ACCV 2012). The layout
pku-reid is that of github.com/aditi184/Person_Re-Identification; there everybody asks and everybody answers, as its
angles are as far apart as its two cameras.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from vpmsearch.data.images import image_files, printable
from vpmsearch.data.layouts import LabelledImage, ReidDataset
from vpmsearch.errors import DataError

FIRST_TEST_PID = 10_000
"""What is added to the numbers of CUHK03's `val`, whose people are others than `train`'s of the same numbers."""
CUHK01_TRAIN = 485
"""Identities 1 to 485 train, as half of them do in the literature, which draws them."""
_CUHK03 = re.compile(r"([0-9]{4,9})_([0-9]{2})\.")
_CUHK01 = re.compile(r"([0-9]{4})([0-9]{3})\.")
_PKU = re.compile(r"([0-9]{1,9})_([0-9]{1,9})\.")
_IMAGES_A_CAMERA = {"cuhk03": 5, "cuhk01": 2}


@dataclass(frozen=True)
class _Cuhk03:
    """name: of the layout. train: folders of boxes to train on. test: the one to test on."""

    name: str
    train: tuple[str, ...]
    test: str

    def read(self, root: Path) -> ReidDataset:
        """All splits."""
        root = _holding(root, [f"{boxes}/{split}" for boxes in self.train for split in ("train", "val")], "")
        train = tuple(image for boxes in self.train for image in _cuhk03_images(root / boxes / "train"))
        return ReidDataset(self.name, train, *_asked(_cuhk03_images(root / self.test / "val", FIRST_TEST_PID)))

    def gallery(self, root: Path) -> Iterator[LabelledImage]:
        """Camera 2 of `val`."""
        yield from self.read(root).gallery


def _cuhk03_images(folder: Path, first: int = 0) -> Iterator[LabelledImage]:
    for path, pid, image in _named(folder, _CUHK03, "0000_00.jpg, identity and image"):
        if image >= 2 * _IMAGES_A_CAMERA["cuhk03"]:
            raise DataError(f"{printable(path)}: an identity of CUHK03 has images 00 to 09; move it away")
        yield LabelledImage(path, first + pid, 1 + image // _IMAGES_A_CAMERA["cuhk03"])


def read_cuhk01(root: Path) -> ReidDataset:
    """All splits."""
    images = list(_cuhk01_images(_holding(root, ["campus"], "CUHK01")))
    train = tuple(image for image in images if (image.pid or 0) <= CUHK01_TRAIN)
    return ReidDataset("cuhk01", train, *_asked(image for image in images if (image.pid or 0) > CUHK01_TRAIN))


def cuhk01_gallery(root: Path) -> Iterator[LabelledImage]:
    """Camera 2 of the identities that test."""
    yield from read_cuhk01(root).gallery


def _cuhk01_images(root: Path) -> Iterator[LabelledImage]:
    for path, pid, image in _named(root / "campus", _CUHK01, "0001001.png, identity and image"):
        if not 1 <= image <= 2 * _IMAGES_A_CAMERA["cuhk01"]:
            raise DataError(f"{printable(path)}: an identity of CUHK01 has images 001 to 004; move it away")
        yield LabelledImage(path, pid, 1 + (image - 1) // _IMAGES_A_CAMERA["cuhk01"])


def read_pku(root: Path) -> ReidDataset:
    """Everybody tests. An image that lies in several folders of `val` is one image."""
    root = _holding(root, ["train", "val"], "data")
    found: dict[tuple[int, int, int], LabelledImage] = {}
    for folder in (root / "train", root / "val"):
        for path, camid, angle in _named(folder, _PKU, "01_1.png, camera and angle"):
            person = path.parent.name
            if not (person.isascii() and person.isdecimal() and len(person) < 10):
                raise DataError(f"{printable(path)} is in no identity's folder (such as 001); move it into one or away")
            found.setdefault((int(person), camid, angle), LabelledImage(path, int(person), camid))
    every = tuple(found[key] for key in sorted(found))
    return ReidDataset("pku-reid", query=every, gallery=every)


def pku_gallery(root: Path) -> Iterator[LabelledImage]:
    """All images."""
    yield from read_pku(root).gallery


def _asked(images: Iterator[LabelledImage]) -> tuple[tuple[LabelledImage, ...], tuple[LabelledImage, ...]]:
    """(query, gallery): camera 1 asks, every other answers."""
    every = list(images)
    query = tuple(image for image in every if image.camid == 1)
    return query, tuple(image for image in every if image.camid != 1)


def _named(folder: Path, name: re.Pattern[str], example: str) -> Iterator[tuple[Path, int, int]]:
    """The images below a folder, with the two numbers in the name of each."""
    for path in image_files(folder):
        match = name.match(path.name)
        if match is None:
            raise DataError(f"{printable(path)} is not named such as {example}; move it away, or read the set as csv")
        yield path, int(match[1]), int(match[2])


def _holding(root: Path, needed: list[str], inner: str) -> Path:
    """The root, or the folder of that name in it, whichever holds what is needed."""
    for place in (root, root / inner):
        if all((place / name).is_dir() for name in needed):
            return place
    raise DataError(f"{printable(root)} does not hold {', '.join(needed)}; give the folder that does")


_CUHK03_LAYOUTS = (
    _Cuhk03("cuhk03", ("labeled", "detected"), "labeled"),
    _Cuhk03("cuhk03-detected", ("detected",), "detected"),
)

PAIR_READERS: dict[str, tuple[Callable[[Path], ReidDataset], Callable[[Path], Iterator[LabelledImage]]]] = {
    **{layout.name: (partial(_Cuhk03.read, layout), partial(_Cuhk03.gallery, layout)) for layout in _CUHK03_LAYOUTS},
    "cuhk01": (read_cuhk01, cuhk01_gallery),
    "pku-reid": (read_pku, pku_gallery),
}
"""A reader of the splits and one of the gallery, by name."""
