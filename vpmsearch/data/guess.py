"""Finds the known data sets that a folder looks like, and what would be read from it."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from pathlib import Path

from vpmsearch.data.folders import camera_of
from vpmsearch.data.image_files import first_images
from vpmsearch.data.labelled import SPLITS, LabelledImage
from vpmsearch.data.layout import Layout
from vpmsearch.data.layout_finder import Place, names_fit, places_below, variant_at
from vpmsearch.data.layout_reader import read_split
from vpmsearch.data.layout_table import LAYOUTS
from vpmsearch.data.patterns import LABELS, name_pattern
from vpmsearch.errors import DataError
from vpmsearch.words import printable

SHOWN = 10
"""How many names are looked at."""
_TOLD = ("gallery", "query", "train")
_SUGGESTIONS = (
    (re.compile(r"^(?P<camera>.+)-\d{9,10}\.\d+-[^/]+$"), "{camid}-{captured_at:unix}-{}"),
    (re.compile(r"^\d+_c\d+"), "{pid}_c{camid}_{}"),
    (re.compile(r"^\d+_\d+_\d+"), "{pid}_{camid}_{}"),
    (re.compile(r"^\d+_\d+$"), "{pid}_{}"),
    (re.compile(r"^\d{8}[-_]\d{6}"), "{captured_at:%Y%m%d-%H%M%S}{}"),
)
"""Common forms of names (without extension), and a first pattern for each."""


@dataclass(frozen=True)
class Guess:
    """A known layout that fits a folder.

    root: the data set's folder. splits: the first images of each split that can be read.
    """

    layout: Layout
    root: Path
    splits: dict[str, tuple[LabelledImage, ...]]

    @property
    def named_so(self) -> bool:
        """Whether the folder is called as the data set usually is."""
        called = {part.lower() for part in self.root.parts[-2:]}
        return any(root.lower() in called for root in self.layout.roots)


def guesses(root: Path, *, below: bool = True) -> list[Guess]:
    """Known layouts that fit a folder or one up to two folders below it, the likeliest first.

    A layout fits a folder that has the layout's folders and lists, and most of whose first names are named as it says.

    Args:
        below: also look below the folder. It takes long if there are many folders.
    """
    found = [guess for layout in LAYOUTS for guess in _guesses(layout, root, below)]
    # A more specific pattern is likelier: Market-1501's fits half of all data sets.
    order = {layout.name: -len(layout.pattern) for layout in LAYOUTS}
    return sorted(found, key=lambda guess: (-len(guess.splits), not guess.named_so, order[guess.layout.name]))


def called_so(root: Path) -> list[Layout]:
    """Layouts whose folder usually has this folder's name. What lies in it is not looked at."""
    name = root.resolve().name.lower()
    return [layout for layout in LAYOUTS if name in (called.lower() for called in layout.roots)]


def _guesses(layout: Layout, root: Path, below: bool) -> Iterator[Guess]:
    for wanted in (tuple(s for s in SPLITS if s in layout.splits), ("query", "gallery"), ("gallery",), ("train",)):
        if not set(wanted) <= set(layout.splits):
            continue
        variant = variant_at(layout, root, wanted)
        places = [Place(root, variant)] if variant is not None else []
        if variant is None and below:
            places = places_below(layout, root, wanted)
        places = [place for place in places if names_fit(layout, place, wanted, SHOWN)]
        found = [guess for place in places if (guess := _read(layout, place, wanted)) is not None]
        if found:
            yield from found
            return


def _read(layout: Layout, place: Place, splits: Sequence[str]) -> Guess | None:
    """The first images of each split; None if a split has none or cannot be read."""
    shown: dict[str, tuple[LabelledImage, ...]] = {}
    for split in splits:
        try:
            rows = read_split(layout, place, split)
            shown[split] = tuple(row.image() for _, row in zip(range(SHOWN), rows, strict=False))
        except DataError:
            return None
        if not shown[split]:
            return None
    return Guess(layout, place.root, shown)


@dataclass(frozen=True)
class Tried:
    """A file's name and what a pattern reads from it: the labels, or the problem if it reads none."""

    name: str
    labels: dict[str, str]
    problem: str = ""


def tried(root: Path, pattern: str, zone: tzinfo | None = None) -> list[Tried]:
    """What a pattern reads from the first names below a folder.

    Raises:
        DataError: the pattern is none, or there are no images.
    """
    reader = name_pattern(pattern, zone)
    names = first_images(root, SHOWN)
    if not names:
        raise DataError(f"no images in {printable(root)}")
    found = []
    for path in names:
        name = path[len(str(root).rstrip("/")) + 1 :]
        try:
            fields = reader.fields(name)
            image = None if fields is None else reader.labelled(Path(path), fields)
        except DataError as error:
            found.append(Tried(name, {}, str(error).partition(": ")[2]))
            continue
        if image is None or fields is None:
            found.append(Tried(name, {}, "the pattern does not fit"))
        else:
            found.append(Tried(name, labels_of(image) | {k: v for k, v in fields.items() if k == "split"}))
    return found


def labels_of(image: LabelledImage) -> dict[str, str]:
    """The labels that are known of an image, as text."""
    known: dict[str, str] = {}
    for label in LABELS:
        value = getattr(image, label, None)
        if value is not None:
            known[label] = value.isoformat() if label == "captured_at" else str(value)
    if image.distractor:
        known["distractor"] = "yes"
    return known | dict(image.attributes)


def suggested_pattern(root: Path) -> str | None:
    """A first pattern for names of an unknown data set; None if nothing is recognised."""
    stems = [os.path.splitext(os.path.basename(name))[0] for name in first_images(root, SHOWN)]  # noqa: PTH119, PTH122
    votes = Counter(pattern for stem in stems for sign, pattern in _SUGGESTIONS if sign.search(stem))
    if votes:
        return votes.most_common(1)[0][0]
    cameras = [camera_of(Path(stem)) for stem in stems]
    return None if not any(cameras) else "a regular expression with (?P<camid>…)"
