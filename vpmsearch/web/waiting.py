"""Searches keep a core busy, so few run at once and the others wait in line; who wants to can watch how it moves."""

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
"""Seconds between two looks at how a search is getting on; one that takes less tells nothing but its answer."""


class GoneError(Exception):
    """Whoever asked has gone: the search may stop. Nobody hears it."""


@dataclass(eq=False)
class Place:
    """Somebody's place in the line, and once it is his turn what is being done for him. `gone`: he has left."""

    doing: str = ""
    gone: bool = False

    def now(self, doing: str) -> None:
        """Say what is done next.

        Raises:
            GoneError: nobody is there for whom to do it.
        """
        if self.gone:
            raise GoneError
        self.doing = doing


class Line:
    """Runs what is brought to it in so many threads, first come first served.

    A thread takes the next only when it is done with the one before, whether or not somebody still waits for that: so
    never more run at once, whoever hangs up or is cancelled, at whatever moment.

    Args:
        threads: that run at once.
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

        The last is `{"answer": …}`, or `{"error": "…", "status": 422}` with the status it would have had alone: the
        response has begun by then. Whoever goes away gives up his place.

        Args:
            work: takes the place, to say by its `now` what it does. problem_of: status and text of an error.
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
            except Exception as error:  # as the handlers of the application would, which come too late here
                status, text = problem_of(error)
                last = _line({"error": text, "status": status})
            yield last

    async def drained(self) -> None:
        """Wait until the threads are done, also with what nobody waits for any more. Nothing can be brought after."""
        await asyncio.to_thread(self._threads.shutdown)

    @contextlib.contextmanager
    def in_line(self, work: Callable[[], Value], place: Place) -> Iterator[asyncio.Future[Value]]:
        """Stand in line for as long as the block runs; gives what `work` will give, when it is its turn.

        Whoever leaves before loses his place, at once. What has begun is not interrupted; it may stop where it calls
        `Place.now`.
        """

        def begun() -> Value:
            self._waiting.pop(place, None)
            place.now("")  # he may have left a moment ago
            return work()

        self._waiting[place] = None
        running = asyncio.get_running_loop().run_in_executor(self._threads, begun)
        running.add_done_callback(_looked_at)
        try:
            yield running
        finally:
            place.gone = True
            self._waiting.pop(place, None)
            # Takes it out of the queue of the threads. Of what has begun only the future ends, not the thread.
            running.cancel()


def _line(values: dict[str, Any]) -> str:
    return json.dumps(values, allow_nan=False) + "\n"


def _looked_at(running: asyncio.Future[Any]) -> None:
    """Nobody hears the error of a search that nobody waits for any more; asyncio would complain of that."""
    if not running.cancelled():
        running.exception()
