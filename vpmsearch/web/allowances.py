"""How often one may ask."""

from __future__ import annotations

from collections import OrderedDict


class Buckets:
    """A bucket of requests a client, refilled evenly; holds a minute's worth. Forgets who asked longest ago."""

    KEPT = 10_000

    def __init__(self, a_minute: int) -> None:
        self.capacity = float(a_minute)
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()  # client -> (level, when)

    def wait(self, client: str, now: float) -> float:
        """Take one; 0 if there was one, else the seconds until there is."""
        level, before = self._levels.pop(client, (self.capacity, now))
        level = min(self.capacity, level + (now - before) * self.capacity / 60)
        taken = level >= 1
        self._levels[client] = (level - taken, now)
        if len(self._levels) > self.KEPT:
            self._levels.popitem(last=False)
        return 0.0 if taken else (1 - level) * 60 / self.capacity


class Allowances:
    """Searches, ten times as many pictures, and as many guesses at the token, which use up nobody else's.

    Args:
        searches_a_minute: by one client.
    """

    def __init__(self, searches_a_minute: int) -> None:
        self.searches = Buckets(searches_a_minute)
        self.pictures = Buckets(10 * searches_a_minute)
        self.strangers = Buckets(searches_a_minute)
