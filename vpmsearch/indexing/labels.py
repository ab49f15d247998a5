"""Merges the labels that a source gives with those that the index has."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

from vpmsearch.data.datasets import LabelledImage
from vpmsearch.labels import Attributes, as_attributes
from vpmsearch.types import ImageRecord, as_utc

LABELS = ("pid", "camid", "captured_at")


@dataclass
class LabelChanges:
    """How many images got a label, got another one, or lost it; each by the label's name."""

    given: Counter[str] = field(default_factory=Counter)
    changed: Counter[str] = field(default_factory=Counter)
    cleared: Counter[str] = field(default_factory=Counter)

    def count(self, before: ImageRecord, after: ImageRecord) -> None:
        """Add what differs between two records of an image."""
        for name in (*LABELS, *{**before.attributes, **after.attributes}):
            old, new = _value(before, name), _value(after, name)
            if old != new:
                kind = self.given if old is None else self.cleared if new is None else self.changed
                kind[name] += 1

    def __str__(self) -> str:
        """Such as "pid: 3 given, 1 changed; camid: 2 taken away"; empty when nothing changed."""
        kinds = (("given", self.given), ("changed", self.changed), ("taken away", self.cleared))
        others = sorted({name for _, kind in kinds for name in kind if name not in LABELS})
        names = (*LABELS, *others)
        told = {name: [f"{kind[name]} {what}" for what, kind in kinds if kind[name]] for name in names}
        return "; ".join(f"{name}: {', '.join(parts)}" for name, parts in told.items() if parts)


def labelled(record: ImageRecord, path: str, image: LabelledImage, *, clear: bool) -> ImageRecord:
    """The record of an image with the labels that a source gives.

    A label that the source does not know stays as it is: a folder of photographs has no labels at all, and a list of
    identities has no times. With `clear` such a label is removed.

    Args:
        record: the record in the index. path: the image's present path. image: the image with the source's labels.
    """
    return replace(record, path=path, **_chosen(record, image, clear=clear))


def keeps_labels(record: ImageRecord, image: LabelledImage) -> bool:
    """Whether the index knows a label of an image that its source does not."""
    lacking = any(getattr(image, name) is None and getattr(record, name) is not None for name in LABELS)
    return lacking or not record.attributes.keys() <= attributes_of(image).keys()


def with_missing(record: ImageRecord, other: ImageRecord) -> ImageRecord:
    """A record in which missing labels are taken from another record."""
    missing = {name: getattr(other, name) for name in LABELS if getattr(record, name) is None}
    return replace(record, attributes=_merged(other.attributes, record.attributes), **missing)


def unlabelled(record: ImageRecord) -> ImageRecord:
    """A record without any label."""
    return replace(record, pid=None, camid=None, captured_at=None, attributes={})


def attributes_of(image: LabelledImage) -> dict[str, str]:
    """The attributes that a source gives an image beside its labels, sorted by name; tracklet and clothes too.

    Raises:
        DataError: an attribute is not one that an image can have.
    """
    found: dict[str, str | None] = {"track": image.track, "clothes": image.clothes, **dict(image.attributes)}
    return as_attributes(found)


def _merged(first: Attributes, then: Attributes) -> dict[str, str]:
    return dict(sorted({**first, **then}.items()))


def _value(record: ImageRecord, name: str) -> Any:
    return getattr(record, name) if name in LABELS else record.attributes.get(name)


def _chosen(record: ImageRecord, image: LabelledImage, *, clear: bool) -> dict[str, Any]:
    given: dict[str, Any] = {name: getattr(image, name) for name in LABELS}
    if image.captured_at is not None:
        given["captured_at"] = as_utc(image.captured_at)
    chosen = {name: value for name, value in given.items() if clear or value is not None}
    noted = attributes_of(image)
    return chosen | {"attributes": noted if clear else _merged(record.attributes, noted)}
