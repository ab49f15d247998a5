"""uvicorn's HTTP/1.1 with a time limit for the head of a request, which uvicorn itself does not have."""

from __future__ import annotations

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

TOO_SLOW = (
    b"HTTP/1.1 408 Request Timeout\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n"
    b'{"error": "the head of the request took too long to arrive"}'
)


class HeadTimeoutProtocol(H11Protocol):
    """One connection. It is closed if a head is not complete `SECONDS` after it began, or after the connection.

    If the number of connections reaches its limit, those whose head has been awaited longest are closed first. So a
    client that sends half a head on many connections keeps nobody out.
    """

    SECONDS = 10.0

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first request."""
        super().connection_made(transport)
        if self.limit_concurrency is not None and len(self.connections) >= self.limit_concurrency:
            waiting = [each for each in self.connections if isinstance(each, HeadTimeoutProtocol) and each._head_timer]
            if waiting:
                min(waiting, key=HeadTimeoutProtocol._deadline)._give_up()
        self._await_head()

    def data_received(self, data: bytes) -> None:
        """A part of a request."""
        super().data_received(data)
        if self.conn.their_state is h11.IDLE:
            self._await_head()
        else:
            self._stop_waiting()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is awaited any more."""
        self._stop_waiting()
        super().connection_lost(exc)

    def _await_head(self) -> None:
        if self._head_timer is None and not self.transport.is_closing():
            self._head_timer = self.loop.call_later(self.SECONDS, self._give_up)

    def _stop_waiting(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _deadline(self) -> float:
        return self._head_timer.when() if self._head_timer is not None else 0.0

    def _give_up(self) -> None:
        self._stop_waiting()
        self.connections.discard(self)
        if not self.transport.is_closing():
            if self.conn.trailing_data[0]:  # a browser that connected in advance has sent nothing and gets no answer
                self.transport.write(TOO_SLOW)
            self.transport.close()
