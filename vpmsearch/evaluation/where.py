"""Measures on a part of a data set: the images with asked-for attributes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from vpmsearch.data.labelled import LabelledImage, ReidDataset
from vpmsearch.errors import DataError
from vpmsearch.indexing.labels import attributes_of
from vpmsearch.words import printable

_TOLD = 8


def only_where(dataset: ReidDataset, where: Mapping[str, Sequence[str]]) -> ReidDataset:
    """The data set with only the queries and gallery images that have asked-for attributes.

    Args:
        where: attribute -> values, of which an image must have one, as `vpmsearch.labels.wanted_attributes` gives them.
            An image's tracklet and clothes are attributes too, as in an index.

    Raises:
        DataError: no query or no gallery image has them; says which values there are.
    """
    kept = {}
    for split in ("query", "gallery"):
        images: tuple[LabelledImage, ...] = getattr(dataset, split)
        kept[split] = tuple(image for image in images if _has(attributes_of(image), where))
        if images and not kept[split]:
            raise DataError(_nothing(dataset.name, split, images, where))
    return replace(dataset, query=kept["query"], gallery=kept["gallery"])


def in_words(where: Mapping[str, Sequence[str]]) -> str:
    """What is asked for, such as "site=north or south, floor=1"."""
    return ", ".join(f"{printable(name)}={' or '.join(map(printable, values))}" for name, values in where.items())


def _has(attributes: Mapping[str, str], where: Mapping[str, Sequence[str]]) -> bool:
    return all(attributes.get(name) in values for name, values in where.items())


def _nothing(called: str, split: str, images: Sequence[LabelledImage], where: Mapping[str, Sequence[str]]) -> str:
    known: dict[str, set[str]] = {}
    for image in images:
        for name, value in attributes_of(image).items():
            known.setdefault(name, set()).add(value)
    told = []
    for name in where if known.keys() & where.keys() else known:
        values = sorted(known.get(name, ()))
        shown = f"{', '.join(map(printable, values[:_TOLD]))}{', …' * (len(values) > _TOLD)}"
        told.append(f"{printable(name)} is {shown}" if values else f"none has {printable(name)}")
    what = "query" if split == "query" else "gallery image"
    there = "; ".join(told) or "its images have no attributes"
    return f"no {what} of {called} has {in_words(where)}: {there}"
