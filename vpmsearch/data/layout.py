"""The fields of a row in the table of layouts. `vpmsearch.data.layout_table` has the rows."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from vpmsearch.data.labelled import JUNK_PID, SAME_CAMERA, SPLITS, ImageRow, Protocol
from vpmsearch.data.moments import epoch
from vpmsearch.data.patterns import NamePattern, name_pattern

COMBINED = 1000
"""Two fields that make one number (a scene and its camera) are combined as first · COMBINED + second."""


@dataclass(frozen=True)
class Tracklets:
    """MARS's lists: the images of each tracklet, and the tracklets that are queries. Read by
    `vpmsearch.data.tracklets`.

    names: a text file with the images' names, one per line. table: a .mat file with a row (first line, last line, pid,
    camera) for each tracklet, lines from 1. queries: a .mat file with the numbers of the queries' rows, from 1. asks:
    whether the part has the queries or the others.
    """

    names: str
    table: str
    queries: str = ""
    asks: bool = False


@dataclass(frozen=True)
class Listing:
    """A text file that names the images of a part, one a line.

    name: below the data set's root. line: a regular expression of a line with the group `path`, an image or a folder
    of images below the part's folder, and groups with the labels that stand there.
    """

    name: str
    line: str

    @cached_property
    def expression(self) -> re.Pattern[str]:
        """The line's expression."""
        return re.compile(self.line)


@dataclass(frozen=True)
class Part:
    """Images of a split that lie in one folder.

    folder: below the data set's root, "" for the root. pattern: of the names, in place of the layout's. labels: fixed
    ones, as text, in place of those in the name. skips: names that are there and do not count, as an expression.
    listing: the file that names the images; without it all count whose name fits. tracklets: the files that do so for
    tracklets. pids: a file with the numbers that
    count here, separated by commas; where it is not there all count, or nothing can be read if `needs_pids`. optional:
    the folder may be missing.
    """

    folder: str
    pattern: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    skips: str = ""
    listing: Listing | None = None
    tracklets: Tracklets | None = None
    pids: str = ""
    needs_pids: bool = False
    optional: bool = False

    @property
    def needs(self) -> tuple[str, ...]:
        """What must be there below the root."""
        listing: tuple[str, ...] = (self.listing.name,) if self.listing else ()
        if self.tracklets:
            listing = (self.tracklets.names, self.tracklets.table, self.tracklets.queries)
        folder = () if self.optional else (self.folder,)
        return (*folder, *listing, *((self.pids,) if self.needs_pids else ()))


Parts = tuple[Part, ...]


@dataclass(frozen=True)
class Variant:
    """One of the forms in which a data set is distributed: where its splits lie."""

    train: Parts = ()
    query: Parts = ()
    gallery: Parts = ()

    def parts(self, *splits: str) -> Iterator[Part]:
        """The parts of some splits, or of all."""
        for split in splits or SPLITS:
            found: Parts = getattr(self, split)
            yield from found

    def needs(self, *splits: str) -> list[str]:
        """What must be there below the root for some splits, in order, each once."""
        return list(dict.fromkeys(need for part in self.parts(*splits) for need in part.needs if need))


SplitForm = Literal["people", "permutations", "training", "images"]
"""How a file of published splits says who is in which half, see `vpmsearch.data.split_files`."""


@dataclass(frozen=True)
class Halves:
    """The people of a data set, split at random into those to train on and those to test with, several times.

    count: of splits that are drawn where none are published. both: each is measured in both directions, so that it
    makes two trials: the queries' camera asks, then the gallery's. files: published splits, their names below the root
    or the folder around it; the first that is there is read. least: images that a person needs on each side to take
    part. others: gallery images of people who never ask are in the gallery of each trial.
    """

    count: int = 10
    both: bool = False
    files: tuple[tuple[str, SplitForm], ...] = ()
    least: int = 1
    others: bool = False


@dataclass(frozen=True)
class Layout:
    """How one data set lies on disk, what its names mean and how it is measured.

    name: what `--dataset` takes. title: what people call it. pattern: a regular expression of a file's name, see
    `vpmsearch.data.patterns`, with groups pid, camid, track, clothes, captured_at (seconds since 1970), `again` (the
    pid once more: where it is a number it must agree), `group` (before the pid) and `scene` (before the camid): two
    fields that make one number, see `COMBINED`; `place`, where several cameras stand. A single letter counts as a
    number, a or A as 1. variants: the first that is there is read. example: a name. roots: what the data set's folder
    is usually called. distractors: pids of many people, see `LabelledImage.distractor`. junk: pids that are dropped.
    halves: how its people are split where it is measured so. meaning: of the fields, in words. note: what else one
    should know. source: who made it, or what was read to know its layout.
    """

    name: str
    title: str
    pattern: str
    variants: tuple[Variant, ...]
    example: str
    meaning: str
    source: str
    roots: tuple[str, ...] = ()
    protocol: Protocol = SAME_CAMERA
    distractors: frozenset[int] = frozenset()
    junk: frozenset[int] = frozenset({JUNK_PID})
    halves: Halves | None = None
    note: str = ""

    def row(self, part: Part, fields: dict[str, str], name: str) -> ImageRow:
        """The image with what the fields of its name stand for; the part's own labels come first.

        Raises:
            ValueError: a field is no number where it should be one.
        """
        if part.labels:
            fields = {**fields, **part.labels}
        found, camera, taken = fields.get("pid"), fields.get("camid"), fields.get("captured_at")
        pid = camid = None
        if found is not None:
            pid = number(found)
            if "group" in fields:
                pid += COMBINED * number(fields["group"])
        if camera is not None:
            camid = number(camera)
            if "scene" in fields:
                camid += COMBINED * number(fields["scene"])
        return ImageRow(
            name,
            pid,
            camid,
            None if taken is None else epoch(float(taken)),
            fields.get("track"),
            fields.get("clothes"),
            (("place", fields["place"]),) if "place" in fields else (),
            pid in self.distractors,
        )

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that any variant has."""
        return tuple(split for split in SPLITS if any(getattr(variant, split) for variant in self.variants))


def number(text: str) -> int:
    """A number as names have it: 0001, -1, 00-1 (MARS's junk), or a letter counted from a = 1."""
    try:
        return int(text)
    except ValueError:
        pass
    if len(text) == 1 and text.isascii() and text.isalpha():
        return ord(text.lower()) - ord("a") + 1
    return int(text.lstrip("0"))


def pattern_of(layout: Layout, part: Part) -> NamePattern:
    """The pattern that names of a part are read by."""
    return _compiled(part.pattern or layout.pattern)


def is_known(layout: Layout, parts: list[Part], name: str) -> bool:
    """Whether a name belongs to one of some parts, or is known not to count there."""
    return any(pattern_of(layout, part).fields(name) is not None or _skipped(part, name) for part in parts)


def _skipped(part: Part, name: str) -> bool:
    return bool(part.skips) and _compiled(f"(?P<any>{part.skips})").fields(name) is not None


_patterns: dict[str, NamePattern] = {}


def _compiled(text: str) -> NamePattern:
    if text not in _patterns:
        _patterns[text] = name_pattern(text)
    return _patterns[text]
