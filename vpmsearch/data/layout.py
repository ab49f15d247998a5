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
"""Two fields may make one number, such as a scene and its camera. The number is first · COMBINED + second."""


@dataclass(frozen=True)
class Tracklets:
    """MARS's lists: the images of each tracklet, and the tracklets that are queries. Read by
    `vpmsearch.data.tracklets`.

    names: a text file with the name of one image in each line. table: a .mat file with one row for each tracklet: first
    line, last line, pid, camera. Lines count from 1. queries: a .mat file with the numbers of the rows that are
    queries, from 1. asks: True if the part has the queries, False if it has the others.
    """

    names: str
    table: str
    queries: str = ""
    asks: bool = False


@dataclass(frozen=True)
class Listing:
    """A text file that names the images of a part, one in each line.

    name: path of the file below the data set's root. line: a regular expression that fits a line. Its group `path` is
    an image or a folder of images below the part's folder. Its other groups are the labels that the line has.
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

    folder: its path below the data set's root, "" for the root. pattern: how files are named, in place of the layout's
    pattern. labels: labels of all images here, as text, in place of those in the names. skips: a regular expression of
    names that belong to the data set and do not count here. listing: the file that names the images; without it every
    image counts whose name fits. tracklets: the files that name the images, where these are grouped into tracklets.
    pids: a file with the pids that count here, separated by commas; if it is missing, all count. needs_pids: without
    that file nothing can be read. optional: the folder may be missing.
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
    """One of the forms in which a data set is distributed. Its fields say where the splits lie."""

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

    count: how many splits are drawn if none are published. both: each split makes two trials; in the second one the
    gallery's camera has the queries. files: names of files with published splits, in the root or the folder around it;
    the first that exists is read. least: how many images a person needs in each camera to take part. others: whether
    gallery images of people who are no query are in the gallery of every trial.
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
    `vpmsearch.data.patterns`. Its groups are:

    - pid, camid, track, clothes, and captured_at in seconds since 1970. A single letter is a number: a and A are 1;
    - again: the pid once more. If it is a number it must be the same;
    - group and scene: a number that is combined with the pid, or with the camid, see `COMBINED`;
    - place: where the camera stands, if several stand at one place.

    variants: the first one that is found is read. example: a file's name. roots: usual names of the data set's folder.
    distractors: pids that many people share, see `LabelledImage.distractor`. junk: pids that are dropped. halves: how
    its people are split, if it is measured over trials. meaning: what the fields mean, in words. note: what else one
    should know. source: who made the data set, or what was read to know its layout.
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
    """Whether a name fits one of the parts, or is one of the names that do not count there."""
    return any(pattern_of(layout, part).fields(name) is not None or _skipped(part, name) for part in parts)


def _skipped(part: Part, name: str) -> bool:
    return bool(part.skips) and _compiled(f"(?P<any>{part.skips})").fields(name) is not None


_patterns: dict[str, NamePattern] = {}


def _compiled(text: str) -> NamePattern:
    if text not in _patterns:
        _patterns[text] = name_pattern(text)
    return _patterns[text]
