"""Remembers which images the last filters let through, as people search with the same filter again and again."""

from __future__ import annotations

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
        self._known: list[tuple[object, Bool, int]] = []  # the last one used is first
        self._lock = threading.Lock()

    def passing(self, wanted: SearchFilter | None) -> tuple[Bool | None, int]:
        """(N,) which images pass, None if all do; and how many."""
        if wanted is None or wanted == SearchFilter():
            return None, len(self._snapshot)
        key = _key(wanted)
        with self._lock:
            known = next((each for each in self._known if each[0] == key), None)
        if known is None:
            passed = self._snapshot.select(wanted)
            passed.flags.writeable = False
            known = key, passed, int(np.count_nonzero(passed))
        with self._lock:
            self._known = [known, *(each for each in self._known if each[0] != key)][:KEPT]
        return known[1], known[2]


def _key(wanted: SearchFilter) -> object:
    """What a filter asks for, as values that nobody can change: `where` is a dictionary."""
    return (
        wanted.pids,
        wanted.camids,
        wanted.captured_after,
        wanted.captured_before,
        wanted.path_prefix,
        tuple(wanted.attributes.items()),
    )
