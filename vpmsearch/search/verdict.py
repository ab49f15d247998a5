"""Match, unsure or no match: what a distance says, once `vpmsearch calibrate` has measured distances of this gallery.

A ranking always has a first. Two distributions tell whether that is the person searched for: how near the nearest image
of somebody else comes, and how far the right first answers lie. From the first follows the *false-match rate* of a
distance: the share of searches for people who are not there whose nearest image is at least as near. Then

    match      at most 5 % of searches for absent people come as near
    no match   at most 5 % of right first answers lie as far, and many searches for absent people come as near
    unsure     everything between

Both are kept apart by how many regions the query shows, since fewer regions come nearer by chance. They hold for a
gallery of about the size, cameras and light that they were measured on; `vpmsearch.search.calibration` measures them.
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vpmsearch.store import Gallery, calibration_file
from vpmsearch.types import ModelInfo, RegionFeatures
from vpmsearch.words import number_of

MATCH, UNSURE, NO_MATCH = "match", "unsure", "no match"
MISSED = 0.05
"""Share of right first answers that may lie beyond the distance from which on nothing is a match."""
PIDS, PAIRS, LIKENESS = "pids", "pairs", "likeness"
"""What told strangers from other images of the same person: labels, a person's answers, or the distances alone."""
ACCEPTED = {PIDS: 0.05, PAIRS: 0.03, LIKENESS: 0.03, "": 0.05}
"""False-match rate up to which a hit is a match: 5 % is promised; a rate that was estimated may be wrong by some."""
DOUBTFUL = {PIDS: 0.25, PAIRS: 0.5, LIKENESS: 0.5, "": 1.0}
"""False-match rate from which on there may be no match; higher where strangers were estimated, not known."""
FEWEST = 40
"""Distances that a number of regions needs for rates of its own; with fewer it shares those of its neighbours."""
OUTGROWN = 1.25
"""Times as many images, or as few, as there were, from which on it is said that the calibration is old."""

Distances = tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Calibration:
    """Distances of the nearest stranger and of right first answers, by how many regions the query shows.

    fingerprint: of the weights. min_visibility: of the index. images, identities: in the gallery then. labelled:
    whether all strangers were known by their pids. distances: for each number of visible regions, 1 to p, the distances
    of the nearest strangers, ascending. own: the same of right first answers. basis: `PIDS`, `PAIRS` or `LIKENESS`; ""
    where an earlier version measured, which knew nothing of `own`: it never says "no match". growth: how many times as
    many images there are now; not kept.
    """

    fingerprint: str
    min_visibility: float
    images: int
    labelled: bool
    distances: Distances
    own: Distances = ()
    basis: str = ""
    identities: int = 0
    growth: float = 1.0

    def false_match_rate(self, visible: int, distance: float) -> float:
        """The share of searches for absent people whose nearest image is at least as near, in [0, 1].

        In a gallery that has grown there are so many times as many strangers: 1 − (1 − rate)^growth.

        Args:
            visible: regions that the query shows, 1 to p. distance: of a match, by Eq. 4.
        """
        known = _of(self.distances, visible)
        rate = float(np.searchsorted(known, distance, side="right") / len(known))
        return rate if self.growth <= 1 else 1 - (1 - rate) ** self.growth

    def missed_rate(self, visible: int, distance: float) -> float:
        """The share of right first answers that lie at least as far, in (0, 1]; 1 where none are known."""
        known = _of(self.own, visible) if any(self.own) else np.zeros(0)
        return float((len(known) - np.searchsorted(known, distance, side="left") + 1) / (len(known) + 1))

    def verdict(self, visible: int, distance: float | None) -> str:
        """`MATCH`, `UNSURE` or `NO_MATCH` for the nearest image; None where there is none."""
        if distance is None:
            return NO_MATCH
        rate = self.false_match_rate(visible, distance)
        if rate <= ACCEPTED[self.basis]:
            return MATCH
        far = rate > DOUBTFUL[self.basis] and self.missed_rate(visible, distance) <= MISSED
        return NO_MATCH if far else UNSURE

    def values(self) -> dict[str, Any]:
        """What is kept of it, as JSON can hold it."""
        kept = asdict(self)
        del kept["growth"]
        return kept

    def save(self, index: Path) -> Path:
        """Write it into the folder of an index, whole or not at all."""
        return calibration_file.write(index, self.values())

    def grown_to(self, images: int) -> Calibration:
        """The same in a gallery of so many images."""
        return replace(self, growth=images / max(self.images, 1))

    def notice(self, images: int, identities: int) -> str:
        """Why it should be made anew in a gallery of so many images and identities; "" where it need not."""
        again = "run `vpmsearch calibrate` again"
        if not self.basis:
            return f"it was made by an earlier version, which cannot tell that there is no match; {again}"
        if identities > OUTGROWN * self.identities:
            return f"labels came after it ({self.identities} identities then, {identities} now); {again} to use them"
        if not self.images / OUTGROWN <= images <= self.images * OUTGROWN:
            return f"the index held {number_of(self.images, 'image')} then and holds {images} now; {again}"
        return ""


def load_calibration(
    index: Gallery | str | os.PathLike[str], fingerprint: str, min_visibility: float
) -> Calibration | None:
    """The calibration of an index; None where there is none, or one of other weights or another threshold.

    Args:
        index: an open index, whose size then counts, or the folder of one.

    Raises:
        StoreDamagedError: it is not what was written.
    """
    if isinstance(index, str | os.PathLike):
        where: object = Path(index) / calibration_file.FILE_NAME
        written = calibration_file.read(Path(index))
    else:
        where, written = f"the calibration of {index.path}", index.calibration()
    values = calibration_file.of_model(written, fingerprint, min_visibility)
    if values is None:
        return None
    try:
        lists = {name: tuple(tuple(map(float, each)) for each in values.get(name, ())) for name in ("distances", "own")}
        found = Calibration(**{**values, **lists})
        if not _is_sound(found):
            raise ValueError("types")
    except (TypeError, ValueError) as error:
        raise calibration_file.damaged(where) from error
    if not any(found.distances):
        return None
    return found if isinstance(index, str | os.PathLike) else found.grown_to(len(index.snapshot))


def visible_regions(info: ModelInfo, query: RegionFeatures) -> int:
    """How many regions of one query, (1, p) and (1, p, d), count where images are compared."""
    return int(info.visible(query.visibility[0]).sum())


def notice_of(index: Gallery, known: Calibration | None) -> str:
    """Why the calibration of an index should be made anew; "" where it need not, or there is none."""
    if known is None:
        return ""
    snapshot = index.snapshot
    return known.notice(len(snapshot), snapshot.counts()["identities"])


def _is_sound(found: Calibration) -> bool:
    """Whether the values are of their types; the file may come from anybody."""
    numbers = (found.images, found.identities)
    whole = all(isinstance(number, int) and not isinstance(number, bool) and number >= 0 for number in numbers)
    lists = (*found.distances, *found.own)
    known = isinstance(found.basis, str) and found.basis in ACCEPTED
    return whole and known and all(np.isfinite(each).all() for each in lists)


def _of(distances: Distances, visible: int) -> NDArray[np.float64]:
    """The distances for a number of regions, with those of the nearest numbers until there are enough."""
    order = sorted(range(len(distances)), key=lambda i: (abs(i + 1 - visible), i))
    found: list[float] = []
    for number in order:
        found += distances[number]
        if len(found) >= FEWEST:
            break
    return np.sort(np.array(found, np.float64))
