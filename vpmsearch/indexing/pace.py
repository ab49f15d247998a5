"""When to commit: often enough that a kill costs little work, seldom enough that commits cost little time."""

from __future__ import annotations

import time
from collections.abc import Callable

COMMIT_IMAGES = 4096
"""Images a commit takes at most: a segment of 4,096 × 6 × 256 float32 is 24 MiB, and as much again in FAISS."""
LOST_SECONDS = 20.0
"""Work, in seconds, that a kill at any moment may cost. A batch that alone takes longer costs itself."""
_SPARE_SECONDS = 2.0  # images that threads have decoded ahead, and a commit that takes longer than the one before


class Pace:
    """Says after each batch whether to commit now, as the next batch and the commit itself take time as well.

    Args:
        clock: seconds, such as `time.monotonic`.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._begun = self._last = clock()
        self._longest = self._commit = 0.0

    def is_due(self, pending: int) -> bool:
        """Whether to commit. To be asked once after each batch of work.

        Args:
            pending: images that wait for the commit.
        """
        now = self._clock()
        self._longest = max(self._longest, now - self._last)
        self._last = now
        # Without a commit now, the next chance comes after one more batch, and what it commits lasts a commit later.
        expected = now - self._begun + self._longest + self._commit + _SPARE_SECONDS
        return pending >= COMMIT_IMAGES or expected > LOST_SECONDS

    def committed(self, seconds: float) -> None:
        """Begin anew after a commit.

        Args:
            seconds: what it took until it would last.
        """
        # The slowest batch since the last commit is what the next ones are expected to take: machines get busy.
        self._longest, self._commit = self._longest / 2, seconds
        self._begun = self._last = self._clock()
