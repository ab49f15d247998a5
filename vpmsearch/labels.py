"""What is known about an image besides its features: labels and attributes, the record of both, and the filter by them.

A label (pid, camid) is a whole number or a word. Text that is written as a whole number is a number: "7" is 7. Any
other text is a word and stays as it is: "P-017", "lobby", and also "007", whose zeros a number would lose. So a label
and its text determine each other, and a store may keep either. An attribute is any other column, as text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from operator import index
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vpmsearch.errors import DataError

Label = int | str
Attributes = Mapping[str, str]

INT64 = range(-(2**63), 2**63)
MAX_LABEL = 200
"""Characters of a word."""
MAX_ATTRIBUTES = 100
"""Attributes of an image."""
MAX_NAME = 100
"""Characters of an attribute's name."""
MAX_VALUE = 4000
"""Characters of an attribute's value."""
RESERVED = ("path", "pid", "camid", "captured_at", "captured_after", "captured_before")
"""Names that no attribute has, as images have these by themselves and filters ask for them by themselves."""

_NUMBER = re.compile(r"0|-?[1-9][0-9]{0,18}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def as_label(value: object) -> Label:
    """A label as an index keeps it; see the head of this module.

    Args:
        value: a whole number of any type, or text; white space around it does not count.

    Raises:
        DataError: it is neither, does not fit 64 bits, or the text is empty, longer than `MAX_LABEL` or holds control
            characters.
    """
    if not isinstance(value, str):
        return _whole(value)
    text = value.strip()
    if len(text) <= 20 and _NUMBER.fullmatch(text) and int(text) in INT64:
        return int(text)
    if not text:
        raise DataError("a label is empty; leave it out (None) where it is not known")
    if len(text) > MAX_LABEL:
        raise DataError(f"a label has up to {MAX_LABEL} characters, {text[:20]!r}… has {len(text)}")
    if _CONTROL.search(text):
        raise DataError(f"the label {text!r} holds a control character or is no UTF-8; a label is one line of text")
    return text


def as_labels(values: Label | Iterable[Label]) -> tuple[Label, ...]:
    """Labels as an index keeps them. One by itself counts as a list of it: a word is no list of letters.

    Raises:
        DataError: as `as_label`.
    """
    if isinstance(values, str) or not isinstance(values, Iterable):
        return (as_label(values),)
    return tuple(map(as_label, values))


def _whole(value: object) -> int:
    try:
        number = index(value)  # type: ignore[arg-type]
    except TypeError as error:
        raise DataError(f"a label is a whole number or text, not {type(value).__name__}") from error
    if number not in INT64:
        raise DataError(f"the label {str(number)[:40]} does not fit 64 bits")
    return number


def label_order(label: Label) -> tuple[bool, int, str]:
    """By what labels are sorted: numbers first, ascending, then words by their code points."""
    return (True, 0, label) if isinstance(label, str) else (False, label, "")


def in_order(labels: Iterable[Label]) -> list[Label]:
    """The distinct labels, sorted; see `label_order`."""
    return sorted(set(labels), key=label_order)


def is_junk(pid: Label | None) -> bool:
    """Whether a pid says that its image shows no person well enough: a number below 0."""
    return isinstance(pid, int) and pid < 0


def label_codes(*groups: Sequence[Label]) -> list[NDArray[np.int64]]:
    """Labels as numbers, for arrays: equal ones get equal numbers over all groups.

    A number stays what it is. A word gets a number from 1 on that no label has, in the order of the words.

    Returns:
        An array (n,) of each group.
    """
    labels = set().union(*groups)
    taken = {label for label in labels if isinstance(label, int)}
    codes: dict[Label, int] = {number: number for number in taken}
    number = 0
    for word in sorted(label for label in labels if isinstance(label, str)):
        number += 1
        while number in taken:
            number += 1
        codes[word] = number
    return [np.array([codes[label] for label in group], dtype=np.int64) for group in groups]


def as_attributes(values: Mapping[Any, Any]) -> dict[str, str]:
    """Attributes as an index keeps them, by name in its order. A value of None is left out, any other becomes text.

    Raises:
        DataError: names one that is no attribute, or says that there are too many.
    """
    found = {as_name(name): attribute_text(value) for name, value in values.items() if value is not None}
    if len(found) > MAX_ATTRIBUTES:
        raise DataError(f"an image has up to {MAX_ATTRIBUTES} attributes, not {len(found)}")
    return dict(sorted(found.items()))


def wanted_attributes(texts: Iterable[str]) -> dict[str, list[str]]:
    """What "name=value" texts ask for: the values by name. The first "=" ends the name.

    Raises:
        DataError: one is none, or names what no attribute can be called.
    """
    found: dict[str, list[str]] = {}
    for text in texts:
        name, sign, value = text.partition("=")
        if not sign:
            raise DataError(f"{text[:80]!r} is not NAME=VALUE, such as site=north")
        found.setdefault(as_name(name), []).append(attribute_text(value))
    return found


def as_name(name: object) -> str:
    """The name of an attribute.

    Raises:
        DataError: it is no text, empty, too long, reserved, or holds control characters.
    """
    text = name.strip() if isinstance(name, str) else ""
    if not text or len(text) > MAX_NAME or _CONTROL.search(text):
        raise DataError(
            f"{str(name)[:40]!r} cannot be the name of an attribute; it is one line of 1 to {MAX_NAME} characters"
        )
    if text in RESERVED:
        raise DataError(f"{text!r} is no attribute: an image has it by itself, and it has a filter of its own")
    return text


def attribute_text(value: object) -> str:
    """The value of an attribute as text: numbers as JSON has them (2.0 is 2), true and false.

    Raises:
        DataError: it is longer than `MAX_VALUE`, holds a NUL or is no UTF-8.
    """
    if isinstance(value, bool | np.bool_):
        text = str(value).lower()
    elif isinstance(value, float | np.floating) and float(value).is_integer():
        text = str(int(value))
    else:
        text = str(value).strip()
    if len(text) > MAX_VALUE:
        raise DataError(f"an attribute has up to {MAX_VALUE} characters, {text[:20]!r}… has {len(text)}")
    if "\0" in text or (not text.isascii() and _CONTROL.search(text.translate(_LINES))):
        raise DataError(f"the attribute {text[:40]!r} holds a control character or is no UTF-8")
    return text


_LINES = str.maketrans("", "", "\t\n\r")


@dataclass(frozen=True)
class ImageRecord:
    """What the catalog knows about one image, besides embeddings and visibility.

    path: the text as given; it is shown to the user, and unique among the images that are not removed. content_hash:
    hex digest of the file's bytes, "" if there is no file. pid, camid: a whole number or a word, None if unlabelled.
    captured_at: None if unknown; a moment without a time zone counts as UTC. width, height: in pixels. attributes: name
    -> text.
    """

    path: str
    content_hash: str = ""
    pid: Label | None = None
    camid: Label | None = None
    captured_at: datetime | None = None
    width: int = 0
    height: int = 0
    attributes: Attributes = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class SearchFilter:
    """Which images may be results. Empty tuples and None mean "any".

    pids, camids: any of these. captured_after is inclusive, captured_before exclusive; an image without a time passes
    neither. path_prefix: the beginning of the path. where: attribute -> its value, or several values of which the image
    has one: `{"site": "north", "floor": ["1", "2"]}`; stored as tuples of text. Names and values are case-sensitive.

    Raises:
        DataError: path_prefix is no text (UTF-8 without NUL), so no path can start so; a pid or camid is no label; or
            no image can have such an attribute.
    """

    pids: tuple[Label, ...] = ()
    camids: tuple[Label, ...] = ()
    captured_after: datetime | None = None
    captured_before: datetime | None = None
    path_prefix: str = ""
    where: Mapping[str, str | Sequence[str]] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        for name in ("pids", "camids"):
            object.__setattr__(self, name, as_labels(getattr(self, name)))  # frozen
        wanted = {as_name(name): _texts(value) for name, value in sorted(self.where.items())}
        object.__setattr__(self, "where", {name: values for name, values in wanted.items() if values})
        try:
            self.path_prefix.encode()
        except UnicodeEncodeError as error:
            raise DataError(f"no path starts with {self.path_prefix!r}: it is not UTF-8") from error
        if "\0" in self.path_prefix:
            raise DataError(f"no path starts with {self.path_prefix!r}: it holds a NUL")

    @property
    def attributes(self) -> Mapping[str, tuple[str, ...]]:
        """`where`: attribute -> the values of which an image must have one."""
        return self.where  # type: ignore[return-value] # tuples since __post_init__


def _texts(values: object) -> tuple[str, ...]:
    """The values that are asked for of one attribute."""
    if isinstance(values, Iterable) and not isinstance(values, str):
        return tuple(map(attribute_text, values))
    return (attribute_text(values),)
