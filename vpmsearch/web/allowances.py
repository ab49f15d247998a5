"""Limits how often a client may ask."""

from __future__ import annotations

from collections import OrderedDict


class Buckets:
    """A bucket of requests per client. It holds one minute's requests and is refilled evenly.

    If there are too many clients, the one that asked longest ago is forgotten.
    """

    KEPT = 10_000

    def __init__(self, a_minute: int) -> None:
        self.capacity = float(a_minute)
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()  # client -> (level, when)

    def wait(self, client: str, now: float) -> float:
        """Take a request from the bucket. 0 if there was one, else the seconds until there is one."""
        level, before = self._levels.pop(client, (self.capacity, now))
        level = min(self.capacity, level + (now - before) * self.capacity / 60)
        taken = level >= 1
        self._levels[client] = (level - taken, now)
        if len(self._levels) > self.KEPT:
            self._levels.popitem(last=False)
        return 0.0 if taken else (1 - level) * 60 / self.capacity


class Allowances:
    """A client's limits: of searches, of pictures (ten times as many), and of guesses at the token (as many).

    Each limit is counted by itself, so wrong tokens do not use up anybody's searches.

    Args:
        searches_a_minute: searches of one client in a minute.
    """

    def __init__(self, searches_a_minute: int) -> None:
        self.searches = Buckets(searches_a_minute)
        self.pictures = Buckets(10 * searches_a_minute)
        self.strangers = Buckets(searches_a_minute)
