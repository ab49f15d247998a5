"""Sessions of browsers. The cookie holds a session id instead of the token."""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

SECONDS = 12 * 3600.0
"""A session ends if it was not used for so long. All sessions end when the server stops."""


class Sessions:
    """Session ids that replace the token. Kept in memory only; a new one may drop the one used longest ago.

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
        """Whether a session is valid. The call counts as a use of it.

        Ids are looked up by hash, so the time taken does not tell how much of a guess is right.
        """
        now = self._clock()
        with self._lock:
            used = self._used.pop(session, None)
            if used is None or now - used > SECONDS:
                return False
            self._used[session] = now
            return True
