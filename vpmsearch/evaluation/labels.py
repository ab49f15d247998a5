"""The labels under a protocol: which gallery images are left out, which images form a tracklet, who is a distractor.

A gallery image of the query's own person is left out of the ranking if the two share a key: the camera, or, under some
protocols, the clothes. Keys are numbers, (n,) or (n, m); two images share a key if any of their m columns is equal. The
place of a camera is the attribute `place` of its images, or else the camera itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

import numpy as np

from vpmsearch.data.labelled import JUNK_PID, LabelledImage, LeftOut, Protocol, ReidDataset, without_cameras
from vpmsearch.errors import DataError
from vpmsearch.evaluation.labelled import LabelledFeatures
from vpmsearch.evaluation.metrics import shares_key
from vpmsearch.labels import Label, label_codes
from vpmsearch.types import Bool, Float32, Int64, RegionFeatures
from vpmsearch.words import printable

Known = TypeVar("Known")
TrackFeatures = Literal["mean", "best"]
"""The features of a tracklet: "mean" of its images, region by region and weighted by visibility, or those of the "best"
image, which shows most regions."""


@dataclass(frozen=True)
class Labels:
    """The labels of n images under a protocol.

    pids: (n,). keys: (n,) or (n, m), see the module's docstring. distractors: (n,). tracks: (n,) numbers of tracklets,
    from 0 in the order of their first image; None if single images are ranked.
    """

    pids: Int64
    keys: Int64
    distractors: Bool
    tracks: Int64 | None = None

    @property
    def first_of_tracks(self) -> Int64:
        """(tracklets,), the row of each tracklet's first image; all rows if single images are ranked."""
        if self.tracks is None:
            return np.arange(len(self.pids))
        first: Int64 = np.unique(self.tracks, return_index=True)[1]
        return first

    def rows(self, rows: Int64) -> Labels:
        """The labels of some images, as single images without tracklets."""
        return Labels(self.pids[rows], self.keys[rows], self.distractors[rows])

    def ranked(self) -> Labels:
        """The labels of what is ranked: one row for each tracklet, or image."""
        return self if self.tracks is None else self.rows(self.first_of_tracks)


def protocol_of(dataset: ReidDataset, left_out: LeftOut | None = None) -> Protocol:
    """The protocol for a data set: its own, or with other images left out.

    By default nothing is left out if no image has a camera.

    Raises:
        DataError: `left_out` asks for cameras or clothes, but no image has a camera.
    """
    images = (*dataset.query, *dataset.gallery)
    wanted = dataset.protocol.left_out if left_out is None else left_out
    if wanted in ("camera", "place", "clothes") and without_cameras(images):
        if left_out is not None:
            raise DataError(f"no image of {dataset.name} has a camera; leave nothing out: --leave-out nothing")
        wanted = "nothing"
    return replace(dataset.protocol, left_out=wanted)


def labels_of(dataset: ReidDataset, protocol: Protocol) -> tuple[Labels, Labels]:
    """The labels of the queries and of the gallery.

    Raises:
        DataError: there are no images, or one lacks a label that the protocol needs.
    """
    sides = dataset.query, dataset.gallery
    for split, images in zip(("queries", "gallery images"), sides, strict=True):
        if not images:
            raise DataError(f"there is nothing to evaluate: {dataset.name} has no {split} here")
    keys = _keys(sides, protocol.left_out)
    pids_of = label_codes(*(_all_known(images, "pid") for images in sides))
    found = []
    for images, pids, key in zip(sides, pids_of, keys, strict=True):
        tracks = None
        if protocol.by_track:
            tracks = _numbered((image.pid, image.camid, image.track) for image in images)
        found.append(Labels(pids, key, np.array([image.distractor for image in images], dtype=bool), tracks))
    return found[0], found[1]


def _keys(sides: tuple[Sequence[LabelledImage], Sequence[LabelledImage]], left_out: LeftOut) -> list[Int64]:
    """The keys of both sides."""
    if left_out == "nothing":
        return [np.full(len(images), -1 - side, dtype=np.int64) for side, images in enumerate(sides)]
    every = [image for images in sides for image in images]
    if left_out == "track":
        keys = _numbered((image.pid, image.camid, _known(image, image.track, "track")) for image in every)
    elif left_out == "place":
        keys = _numbered(dict(image.attributes).get("place", _known(image, image.camid, "camid")) for image in every)
    else:
        (keys,) = label_codes(_all_known(every, "camid"))
    if left_out == "clothes":
        clothes = _numbered((image.pid, _known(image, image.clothes, "clothes")) for image in every)
        keys = np.stack([keys, clothes], axis=1)
    return [keys[: len(sides[0])], keys[len(sides[0]) :]]


def _all_known(images: Sequence[LabelledImage], name: Literal["pid", "camid"]) -> list[Label]:
    labels = (getattr(image, name) for image in images)
    return [_known(image, label, name) for image, label in zip(images, labels, strict=True)]


def _known(image: LabelledImage, value: Known | None, name: str) -> Known:
    if value is None:
        raise DataError(f"{printable(image.path)} has no {name}; this protocol needs one of every image")
    return value


def _numbered(values: Iterable[object]) -> Int64:
    """(n,), equal values get equal numbers, from 0 in the order of their first occurrence."""
    numbers: dict[object, int] = {}
    return np.array([numbers.setdefault(value, len(numbers)) for value in values], dtype=np.int64)


def without_match(query: Labels, gallery: Labels) -> int:
    """How many queries are not counted because every gallery image of their person is left out, or there is none."""
    asked, answers = query.ranked(), gallery.ranked()
    alone = 0
    for pid in np.unique(asked.pids):
        mine = asked.pids == pid
        there = (answers.pids == pid) & (pid != JUNK_PID)
        relevant = ~shares_key(asked.keys[mine], answers.keys[there])
        alone += int((~relevant.any(axis=1)).sum())
    return alone


def by_track(features: LabelledFeatures, labels: Labels, how: TrackFeatures) -> LabelledFeatures:
    """Features with one row for each tracklet, see `TrackFeatures`; unchanged if single images are ranked."""
    if labels.tracks is None:
        return features
    rows = labels.first_of_tracks
    if how == "best":
        return features[_best(features.features.visibility, labels.tracks)]
    seen = features.features
    total = np.zeros((len(rows), *seen.visibility.shape[1:]), np.float64)
    summed = np.zeros((len(rows), *seen.embeddings.shape[1:]), np.float64)
    np.add.at(total, labels.tracks, seen.visibility)
    weighted = np.where(seen.visibility[..., None] > 0, seen.embeddings, 0)  # a hidden region may hold anything
    np.add.at(summed, labels.tracks, weighted.astype(np.float64) * seen.visibility[..., None])
    count = np.bincount(labels.tracks, minlength=len(rows))[:, None]
    embeddings = summed / np.where(total > 0, total, 1)[..., None]
    mean = RegionFeatures((total / count).astype(np.float32), embeddings.astype(np.float32))
    return replace(features[rows], features=mean)


def _best(visibility: Float32, tracks: Int64) -> Int64:
    """(tracklets,), the row of the image whose least visible region is most visible; the first of equals.

    Visibility sums to 1 over the regions, so this prefers images that show all regions equally.
    """
    order = np.lexsort((np.arange(len(tracks)), -visibility.min(axis=1), tracks))
    first = np.unique(tracks[order], return_index=True)[1]
    best: Int64 = order[first]
    return best
