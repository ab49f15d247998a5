"""Remembers which images the last filters let through, as people search with the same filter again and again."""

from __future__ import annotations

import copy
import threading

import numpy as np

from vpmsearch.store import Snapshot
from vpmsearch.types import Bool, SearchFilter

KEPT = 4
"""Filters whose images are remembered, a byte an image each. Of a million images, a filter by 25,000 identities takes
about as long as half a search."""


class Filters:
    """The filters of the searches of one snapshot. Safe for several threads."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._known: list[tuple[SearchFilter, Bool, int]] = []  # the last one used is first
        self._lock = threading.Lock()

    def passing(self, wanted: SearchFilter | None) -> tuple[Bool | None, int]:
        """(N,) which images pass, None if all do; and how many."""
        if wanted is None or wanted == SearchFilter():
            return None, len(self._snapshot)
        with self._lock:
            known = next((each for each in self._known if each[0] == wanted), None)
        if known is None:
            passed = self._snapshot.select(wanted)
            passed.flags.writeable = False
            own = copy.deepcopy(wanted)  # `where` is a dictionary, which its owner may change
            known = own, passed, int(np.count_nonzero(passed))
        with self._lock:
            self._known = [known, *(each for each in self._known if each[0] != wanted)][:KEPT]
        return known[1], known[2]
