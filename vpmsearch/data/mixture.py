"""Several data sets as one training split. They share no identity and no camera."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

from vpmsearch.data.labelled import LabelledImage
from vpmsearch.errors import DataError
from vpmsearch.labels import Label, in_order
from vpmsearch.words import printable


@dataclass(frozen=True)
class Mixture:
    """The training images of several data sets.

    images: of all of them. pids and camids are renumbered, so that two data sets share none. domains: of each image the
    number of its data set, from 0.
    """

    images: tuple[LabelledImage, ...]
    domains: tuple[int, ...]


def mixed(splits: Sequence[Sequence[LabelledImage]]) -> Mixture:
    """Put training splits together.

    A single split is not changed. With several, pids and camids are numbered from 0, set after set. Unknown cameras
    stay unknown.

    Args:
        splits: at least one, none of them empty.

    Raises:
        DataError: a split is empty, an image has no pid, or two splits have an image in common. Its person would be two
            people.
    """
    for place, split in enumerate(splits, start=1):
        if not split:
            raise DataError(f"data set {place} of {len(splits)} has no training images")
        if unlabelled := next((image for image in split if image.pid is None), None):
            raise DataError(f"training needs a pid for every image; {unlabelled.path} has none")
    if len(splits) == 1:
        return Mixture(tuple(splits[0]), (0,) * len(splits[0]))
    _check_apart(splits)
    images: list[LabelledImage] = []
    pids: dict[tuple[int, Label | None], int] = {}
    camids: dict[tuple[int, Label | None], int] = {}
    for number, split in enumerate(splits):
        for pid in in_order(image.pid for image in split if image.pid is not None):
            pids[number, pid] = len(pids)
        for camid in in_order(image.camid for image in split if image.camid is not None):
            camids[number, camid] = len(camids)
        images += [
            replace(image, pid=pids[number, image.pid], camid=camids.get((number, image.camid))) for image in split
        ]
    domains = tuple(number for number, split in enumerate(splits) for _ in split)
    return Mixture(tuple(images), domains)


def _check_apart(splits: Sequence[Sequence[LabelledImage]]) -> None:
    """Refuse an image that is in two splits, by the same path or by one that leads to the same folder."""
    folder_of = cache(os.path.realpath)  # there are few folders and many images
    places: dict[tuple[str, str], int] = {}
    for place, split in enumerate(splits, start=1):
        for image in split:
            folder, name = os.path.split(image.path)
            before = places.setdefault((folder_of(folder), name), place)
            if before != place:
                raise DataError(
                    f"{printable(image.path)} is in data sets {before} and {place}, whose people are taken for "
                    "different ones; give every image once"
                )
