"""The line of waiting searches. A search keeps a core busy, so few run at once; clients can watch the line move."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel

Value = TypeVar("Value")
MEDIA_TYPE = "application/x-ndjson"
"""Lines of JSON: how a search is getting on, then its answer."""
TICK = 0.25
"""Seconds between two looks at the progress of a search. A shorter search sends only its answer."""


class GoneError(Exception):
    """The client has gone, so the search may stop. Nobody receives this error."""


@dataclass(eq=False)
class Place:
    """A client's place in the line, and once its turn has come, what is being done. `gone`: the client has left."""

    doing: str = ""
    gone: bool = False

    def now(self, doing: str) -> None:
        """Say what is done next.

        Raises:
            GoneError: the client has left.
        """
        if self.gone:
            raise GoneError
        self.doing = doing


class Line:
    """Runs work in a fixed number of threads, first come first served.

    A thread takes new work only when the work before is done, even if nobody waits for that any more. So never more
    runs at once, whichever client disconnects or is cancelled, and whenever.

    Args:
        threads: number of threads.
    """

    def __init__(self, threads: int) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="search")
        self._waiting: dict[Place, None] = {}  # in the order in which they came

    def before(self, place: Place) -> int:
        """How many are to begin before this one; 0 when it has begun or is the next."""
        waiting = list(self._waiting)
        return waiting.index(place) if place in waiting else 0

    async def told(
        self, work: Callable[[Place], BaseModel], problem_of: Callable[[Exception], tuple[int, str]]
    ) -> AsyncIterator[str]:
        """Lines of JSON: `{"waiting": 3}` or `{"doing": "…"}` whenever that changes; then the answer or an error.

        The last line is `{"answer": …}` or `{"error": "…", "status": 422}`. The status is part of the line, since the
        response has begun by then. A client that disconnects loses its place.

        Args:
            work: takes the place, and says by its `now` what it does. problem_of: returns status and text of an error.
        """
        place = Place()
        said: dict[str, Any] = {}
        with self.in_line(lambda: work(place), place) as running:
            while not (await asyncio.wait({running}, timeout=TICK))[0]:
                now = {"doing": place.doing} if place.doing else {"waiting": self.before(place)}
                if now != said:
                    yield _line(now)
                    said = now
            try:
                last = _line({"answer": running.result().model_dump(mode="json")})
            except Exception as error:  # the application's handlers come too late here, as the response has begun
                status, text = problem_of(error)
                last = _line({"error": text, "status": status})
            yield last

    async def drained(self) -> None:
        """Wait until all threads are done, also with work that nobody waits for. No work can be added after that."""
        await asyncio.to_thread(self._threads.shutdown)

    @contextlib.contextmanager
    def in_line(self, work: Callable[[], Value], place: Place) -> Iterator[asyncio.Future[Value]]:
        """Keep `work` in line while the block runs. Yields the future of its result.

        If the block ends before the turn has come, the place is lost at once. Work that has begun is not interrupted,
        but may stop where it calls `Place.now`.
        """

        def begun() -> Value:
            self._waiting.pop(place, None)
            place.now("")  # the client may have left a moment ago
            return work()

        self._waiting[place] = None
        running = asyncio.get_running_loop().run_in_executor(self._threads, begun)
        running.add_done_callback(_looked_at)
        try:
            yield running
        finally:
            place.gone = True
            self._waiting.pop(place, None)
            # Removes the work from the threads' queue. If it has begun, only the future ends and the thread goes on.
            running.cancel()


def _line(values: dict[str, Any]) -> str:
    return json.dumps(values, allow_nan=False) + "\n"


def _looked_at(running: asyncio.Future[Any]) -> None:
    """Read the error of a search that nobody waits for any more; asyncio would complain if nobody did."""
    if not running.cancelled():
        running.exception()
