"""Sessions of browsers: what stands in the cookie instead of the token."""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

SECONDS = 12 * 3600.0
"""A session ends when it was not used for so long, and all do when the server stops."""


class Sessions:
    """Session ids that stand for the token. In memory only; the one used longest ago makes room for a new one.

    Args:
        clock: seconds, for tests.
    """

    KEPT = 10_000

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._used: OrderedDict[str, float] = OrderedDict()  # session id -> when it was used last
        self._lock, self._clock = threading.Lock(), clock

    def begin(self) -> str:
        """A new session; its id has 256 random bits."""
        session = secrets.token_urlsafe(32)
        with self._lock:
            self._used[session] = self._clock()
            if len(self._used) > self.KEPT:
                self._used.popitem(last=False)
        return session

    def is_known(self, session: str) -> bool:
        """Whether a session goes on; it was used then.

        Looked up by hash, so the time taken tells nothing of how much of a guess is right.
        """
        now = self._clock()
        with self._lock:
            used = self._used.pop(session, None)
            if used is None or now - used > SECONDS:
                return False
            self._used[session] = now
            return True
