"""The verdict on a distance: match, unsure or no match. `vpmsearch calibrate` must have measured the gallery first.

A ranking always has a first image. Two distributions tell whether it shows the person searched for: how near the
nearest image of somebody else comes, and how far right first answers lie. The first gives the *false-match rate* of a
distance. Take searches for people who are not in the gallery: the rate is the share of them that find an image at least
as near. Then

    match      at most 5 % of searches for absent people find an image as near
    no match   at most 5 % of right first answers lie as far, and many searches for absent people find one as near
    unsure     everything between

Both distributions are kept by the number of regions that the query shows, since images come nearer by chance if fewer
regions are compared. They hold for a gallery of about the size, cameras and light that were measured.
`vpmsearch.search.calibration` measures them.
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
"""Beyond the distance from which on there is "no match" at most this share of right first answers may lie."""
PIDS, PAIRS, LIKENESS = "pids", "pairs", "likeness"
"""How strangers were told from the same person: by pids, by a person's answers, or by the distances alone."""
ACCEPTED = {PIDS: 0.05, PAIRS: 0.03, LIKENESS: 0.03, "": 0.05}
"""False-match rate up to which a hit is a match. 5 % is promised; an estimated rate may be a little wrong."""
DOUBTFUL = {PIDS: 0.25, PAIRS: 0.5, LIKENESS: 0.5, "": 1.0}
"""False-match rate from which on the verdict may be "no match"; higher if strangers were estimated, not known."""
FEWEST = 40
"""Distances that a number of visible regions needs for its own rates. With fewer it also uses its neighbours'."""
OUTGROWN = 1.25
"""The calibration is called old if the number of images has grown or shrunk by this factor."""

Distances = tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Calibration:
    """Distances of the nearest stranger and of right first answers, by the number of regions that the query shows.

    fingerprint: of the weights. min_visibility: of the index. images, identities: numbers in the gallery when it was
    measured. labelled: whether all strangers were known by their pids. distances: for each number of visible regions,
    1 to p, the distances of the nearest strangers, ascending. own: the same for right first answers. basis: `PIDS`,
    `PAIRS` or `LIKENESS`; "" if an earlier version measured, which had no `own`: then the verdict is never "no match".
    growth: number of images now over `images`; not stored.
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

        A gallery that has grown has `growth` times as many strangers, so the rate is 1 − (1 − rate)^growth.

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
        """The stored values, as JSON values."""
        kept = asdict(self)
        del kept["growth"]
        return kept

    def save(self, index: Path) -> Path:
        """Write the calibration into the folder of an index, whole or not at all."""
        return calibration_file.write(index, self.values())

    def grown_to(self, images: int) -> Calibration:
        """The same calibration for a gallery that now has so many images."""
        return replace(self, growth=images / max(self.images, 1))

    def notice(self, images: int, identities: int) -> str:
        """Why a gallery of so many images and identities needs a new calibration; "" if it needs none."""
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
    """The calibration of an index; None if there is none, or if its weights or threshold are not those of the index.

    Args:
        index: an open index, or the folder of one. Of an open index the present size counts (`growth`).

    Raises:
        StoreDamagedError: the file is not what was written.
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
    """Why the calibration of an index should be made anew; "" if it need not, or if there is none."""
    if known is None:
        return ""
    snapshot = index.snapshot
    return known.notice(len(snapshot), snapshot.counts()["identities"])


def _is_sound(found: Calibration) -> bool:
    """Whether the values have the right types; the file may come from anybody."""
    numbers = (found.images, found.identities)
    whole = all(isinstance(number, int) and not isinstance(number, bool) and number >= 0 for number in numbers)
    lists = (*found.distances, *found.own)
    known = isinstance(found.basis, str) and found.basis in ACCEPTED
    return whole and known and all(np.isfinite(each).all() for each in lists)


def _of(distances: Distances, visible: int) -> NDArray[np.float64]:
    """The distances for a number of visible regions. Those of the nearest numbers are added until there are enough."""
    order = sorted(range(len(distances)), key=lambda i: (abs(i + 1 - visible), i))
    found: list[float] = []
    for number in order:
        found += distances[number]
        if len(found) >= FEWEST:
            break
    return np.sort(np.array(found, np.float64))
