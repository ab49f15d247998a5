"""Verification: FNMR at FMR over pairs of a query and a gallery image (ISO/IEC 19795-1).

A pair matches if its distance is below a threshold. The false-match rate FMR is the share of impostor pairs (two
people; distractors count as people, junk is left out) that match. The false-non-match rate FNMR is the share of genuine
pairs (one person, two cameras) that do not match. 1 − FNMR as a function of FMR is the ROC. Two images that share no
region have no distance: such a pair counts, and never matches.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from vpmsearch.data.labelled import JUNK_PID
from vpmsearch.errors import DataError
from vpmsearch.evaluation.metrics import Float64
from vpmsearch.types import Bool, Int64


def check_levels(levels: Sequence[float]) -> None:
    """Check false-match rates.

    Raises:
        DataError: a level is not in (0, 1).
    """
    for level in levels:
        if not 0 < level < 1:
            raise DataError(f"a false-match rate is above 0 and below 1, not {level}")


class PairErrors:
    """Collects pairs block by block. Of the impostors it keeps only the nearest, as many as the levels need.

    Args:
        levels: FMRs in (0, 1). query_pids: (Q,), of all queries to come. gallery_pids: (G,).

    Raises:
        DataError: a level is out of its range, or there are no impostors.
    """

    def __init__(self, levels: Sequence[float], query_pids: Int64, gallery_pids: Int64) -> None:
        check_levels(levels)
        self._levels = tuple(levels)
        kept = gallery_pids[gallery_pids != JUNK_PID]
        pids, counts = np.unique(kept, return_counts=True)
        own = dict(zip(pids.tolist(), counts.tolist(), strict=True))
        self.impostors = sum(len(kept) - own.get(pid, 0) for pid in query_pids.tolist())
        """The number of all impostor pairs."""
        if self.impostors == 0:
            raise DataError("there is no pair of two people to measure false matches with")
        self._room = max((self._allowed(level) for level in levels), default=0) + 1
        self._nearest: Float64 = np.empty(0)
        self._genuine: list[Float64] = []

    def _allowed(self, level: float) -> int:
        """How many impostor pairs may match at an FMR. It is taken as a decimal: 0.29 of 100 is 29, not 28.99…."""
        return int(Fraction(str(level)) * self.impostors)

    def update(self, distances: Float64, genuine: Bool, impostor: Bool) -> None:
        """Add a block: distances (B, G), inf for none, and which pairs are genuine and which are impostors."""
        self._genuine.append(distances[genuine])
        nearest = np.concatenate([self._nearest, distances[impostor]])
        if len(nearest) > self._room:
            nearest = np.partition(nearest, self._room - 1)[: self._room]
        self._nearest = nearest

    def fnmr(self) -> dict[float, float]:
        """FNMR (0-1) at each level, for the largest threshold whose FMR is at most the level.

        Raises:
            DataError: there are no genuine pairs.
        """
        genuine = np.concatenate([np.empty(0), *self._genuine])
        if len(genuine) == 0:
            raise DataError("there is no pair of one person in two cameras to measure false non-matches with")
        impostors = np.sort(self._nearest)
        found = {}
        for level in self._levels:
            # The nearest impostor that must not match. Smaller distances match.
            threshold = impostors[self._allowed(level)] if len(impostors) else math.inf
            found[level] = float((genuine >= threshold).mean())
        return found
