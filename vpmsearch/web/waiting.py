"""Searches keep a core busy, so few run at once and the others wait in line; who wants to can watch how it moves."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import anyio
import anyio.to_thread
from pydantic import BaseModel

Value = TypeVar("Value")
MEDIA_TYPE = "application/x-ndjson"
"""Lines of JSON: how a search is getting on, then its answer."""
TICK = 0.25
"""Seconds between two looks at how a search is getting on; one that takes less tells nothing but its answer."""


@dataclass(eq=False)
class Place:
    """Somebody's place in the line, and once it is his turn what is being done for him."""

    doing: str = ""


class Line:
    """Runs what is brought to it in so many threads, first come first served.

    Args:
        threads: that run at once.
    """

    def __init__(self, threads: int) -> None:
        self._limiter = anyio.CapacityLimiter(threads)
        self._waiting: dict[Place, None] = {}  # in the order in which they came

    async def run(self, work: Callable[[], Value], place: Place | None = None) -> Value:
        """What `work` gives, when it is its turn; whoever stops waiting before loses his place."""
        place = place or Place()

        def begun() -> Value:
            self._waiting.pop(place, None)
            return work()

        self._waiting[place] = None
        try:
            return await anyio.to_thread.run_sync(begun, limiter=self._limiter)
        finally:
            self._waiting.pop(place, None)

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
            work: takes the place, to say in its `doing` what it does. problem_of: status and text of an error.
        """
        place = Place()
        running = asyncio.ensure_future(self.run(lambda: work(place), place))
        running.add_done_callback(_looked_at)
        said: dict[str, Any] = {}
        try:
            while not (await asyncio.wait({running}, timeout=TICK))[0]:
                now = {"doing": place.doing} if place.doing else {"waiting": self.before(place)}
                if now != said:
                    yield _line(now)
                    said = now
            try:
                yield _line({"answer": running.result().model_dump(mode="json")})
            except Exception as error:  # as the handlers of the application would, which come too late here
                status, text = problem_of(error)
                yield _line({"error": text, "status": status})
        finally:
            running.cancel()


def _line(values: dict[str, Any]) -> str:
    return json.dumps(values, allow_nan=False) + "\n"


def _looked_at(task: asyncio.Future[Any]) -> None:
    """Nobody hears the error of a search that nobody waits for any more; asyncio would complain of that."""
    if not task.cancelled():
        task.exception()
