"""When to commit: often enough that a kill costs little work, seldom enough that commits cost little time."""

from __future__ import annotations

import time
from collections.abc import Callable

COMMIT_IMAGES = 4096
"""Largest number of images in a commit. A segment of 4,096 × 6 × 256 float32 is 24 MiB, and as much again in FAISS."""
LOST_SECONDS = 20.0
"""Seconds of work that may be lost if the process is killed. If one batch takes longer, that batch may be lost."""
_SPARE_SECONDS = 2.0  # for images that threads have decoded ahead, and for a commit slower than the one before


class Pace:
    """Decides after each batch whether to commit now. It counts in the time of the next batch and of the commit.

    Args:
        clock: seconds, such as `time.monotonic`.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._begun = self._last = clock()
        self._longest = self._commit = 0.0

    def is_due(self, pending: int) -> bool:
        """Whether to commit. To be called once after each batch.

        Args:
            pending: images that wait for the commit.
        """
        now = self._clock()
        self._longest = max(self._longest, now - self._last)
        self._last = now
        # Without a commit now, the next chance is after one more batch, and the work is safe when that commit is done.
        expected = now - self._begun + self._longest + self._commit + _SPARE_SECONDS
        return pending >= COMMIT_IMAGES or expected > LOST_SECONDS

    def committed(self, seconds: float) -> None:
        """Begin anew after a commit.

        Args:
            seconds: duration of the commit.
        """
        # The next batches may be as slow as the slowest before, as machines get busy. Its time is halved per commit.
        self._longest, self._commit = self._longest / 2, seconds
        self._begun = self._last = self._clock()
