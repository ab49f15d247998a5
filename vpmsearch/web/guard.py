"""What stands before the endpoints: refuses without reading, limits what is read, adds headers. Plain ASGI.

In this order: too many requests at once, a host name that is not ours (DNS rebinding), a page elsewhere (its requests
say so in Sec-Fetch-Site), too many requests by one client, no token, too large a body. Dependencies of FastAPI would be
too late: it reads the body before it asks them.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import time
from collections import OrderedDict
from dataclasses import dataclass, field

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vpmsearch.web.metrics import Metrics
from vpmsearch.web.settings import ServeSettings

log = logging.getLogger("vpmsearch.web")

COOKIE = "vpmsearch_token"
OPEN_PATHS = frozenset({"/", "/api/health", "/api/session"})
"""Answered without a token: the page, whether we are alive, and where the token is brought; /static/ too."""

HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "geolocation=(), microphone=(), camera=()",
}


@dataclass(frozen=True)
class Refusal:
    """An answer given unread."""

    status: int
    reason: str
    error: str
    headers: dict[str, str] = field(default_factory=dict)


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


class Guard:
    """Wraps the application; see the module."""

    def __init__(self, app: ASGIApp, settings: ServeSettings, metrics: Metrics) -> None:
        self.app, self.settings, self.metrics = app, settings, metrics
        self._searches = Buckets(settings.searches_a_minute)
        self._pictures = Buckets(10 * settings.searches_a_minute)
        self._active = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":  # the lifespan; there are no websockets
            await self.app(scope, receive, send)
            return
        start, status, started = time.monotonic(), 500, False
        request = Request(scope)

        async def sending(message: Message) -> None:
            nonlocal status, started
            if message["type"] == "http.response.start":
                status, started = message["status"], True
                message["headers"] = _with_headers(message["headers"], scope["path"])
            await send(message)

        self._active += 1
        self.metrics.active.set(self._active)
        try:
            refusal = self._refusal(request)
            if refusal is None:
                await self.app(scope, self._limited(receive), sending)
            else:
                self.metrics.refused.labels(refusal.reason).inc()
                headers = {"connection": "close", **refusal.headers}  # the body is not read
                answer = JSONResponse({"error": refusal.error}, refusal.status, headers)
                await answer(scope, receive, sending)
        except Exception:
            log.exception("%s %s", request.method, scope["path"])
            if not started:
                fault = JSONResponse({"error": "a fault of vpmsearch; the server's log shows it"}, 500)
                await fault(scope, receive, sending)
        finally:
            self._active -= 1
            self.metrics.active.set(self._active)
            route = route_of(scope)
            method = request.method if request.method in ("GET", "POST") else "other"
            self.metrics.requests.labels(method, route, status).inc()
            self.metrics.seconds.labels(route).observe(time.monotonic() - start)

    def _refusal(self, request: Request) -> Refusal | None:
        limits, path = self.settings, request.scope["path"]
        if self._active > limits.max_waiting:
            return Refusal(503, "busy", "too many requests at once; try again soon", {"retry-after": "5"})
        host = request.headers.get("host", "").lower()
        name = host if host.endswith("]") else host.rpartition(":")[0] or host
        if limits.allowed_hosts is not None and name not in limits.allowed_hosts:
            return Refusal(421, "host", "this server is not called that; use its address")
        if path.startswith("/api/") and request.headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
            return Refusal(403, "cross-site", "other sites may not ask this server")
        wait = self._wait(request) if path.startswith("/api/") and path != "/api/health" else 0.0
        if wait > 0:
            after = {"retry-after": str(int(wait) + 1)}
            return Refusal(429, "rate", f"too many requests; try again in {int(wait) + 1} s", after)
        if not self._is_open(path) and not has_token(request, limits.token):
            return Refusal(401, "token", "a token is needed", {"www-authenticate": "Bearer"})
        length = request.headers.get("content-length", "0")
        if not length.isdecimal() or int(length[:20]) > limits.max_upload_bytes:
            return Refusal(413, "size", self._too_large)
        return None

    @property
    def _too_large(self) -> str:
        return f"an upload may have {self.settings.max_upload_bytes / 2**20:g} MiB at most"

    def _wait(self, request: Request) -> float:
        client = request.client.host if request.client else ""
        buckets = self._searches if request.method == "POST" else self._pictures
        return buckets.wait(client, time.monotonic())

    @staticmethod
    def _is_open(path: str) -> bool:
        return path in OPEN_PATHS or path.startswith("/static/")

    def _limited(self, receive: Receive) -> Receive:
        """The body, cut off where it is larger or slower than allowed, whatever its header said."""
        count, deadline, done = 0, time.monotonic() + self.settings.body_seconds, False

        async def receiving() -> Message:
            nonlocal count, done
            if done:  # what may come now is that the client hangs up
                return await receive()
            try:
                message = await asyncio.wait_for(receive(), max(0.0, deadline - time.monotonic()))
            except TimeoutError as error:
                raise HTTPException(408, "the request took too long to arrive") from error
            count += len(message.get("body", b""))
            done = not message.get("more_body", False)
            if count > self.settings.max_upload_bytes:
                raise HTTPException(413, self._too_large)
            return message

        return receiving


def route_of(scope: Scope) -> str:
    """The pattern of the path, since ids would make a series each. FastAPI's versions differ in giving the prefix."""
    path = str(getattr(scope.get("route"), "path", "other"))
    return f"/api{path}" if scope["path"].startswith("/api/") and path[0] == "/" and path[:5] != "/api/" else path


def has_token(request: Request, token: str) -> bool:
    """Whether the request brings the token, as a bearer or in the cookie; always where none is asked for."""
    kind, _, brought = request.headers.get("authorization", "").partition(" ")
    given = brought.strip() if kind.lower() == "bearer" else request.cookies.get(COOKIE, "")
    return not token or hmac.compare_digest(given.encode("utf-8", "replace"), token.encode())


def _with_headers(headers: list[tuple[bytes, bytes]], path: str) -> list[tuple[bytes, bytes]]:
    given = {name.lower() for name, _ in headers}
    added = HEADERS | ({"cache-control": "no-store"} if path.startswith("/api/") else {"cache-control": "no-cache"})
    return [*headers, *((k.encode(), v.encode()) for k, v in added.items() if k.encode() not in given)]
