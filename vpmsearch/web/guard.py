"""Guards the endpoints: refuses requests without reading them, limits what is read, adds headers. Plain ASGI.

It refuses in this order: too many requests at once, a host name that is not ours (DNS rebinding), a page of another
site (seen by Sec-Fetch-Site or Origin), no token, too many requests by one client, too large a body. Dependencies of
FastAPI would be too late, as it reads the body before it calls them.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vpmsearch.web.access_log import AccessLog
from vpmsearch.web.allowances import Allowances
from vpmsearch.web.asking import Asker, asker_of
from vpmsearch.web.metrics import Metrics
from vpmsearch.web.sessions import Sessions
from vpmsearch.web.settings import ServeSettings

log = logging.getLogger("vpmsearch.web")

OPEN_PATHS = frozenset({"/", "/api/health", "/api/session"})
"""Answered without a token: the page, whether we are alive, and where the token is brought; /static/ too."""

DISCARD_SECONDS = 5.0
"""Limit for reading the rest of a body that is refused."""

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
    """An answer that is given without reading the request's body."""

    status: int
    reason: str
    error: str
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Exchange:
    """One request and its answer. Endpoints find it as `request.state.exchange`.

    path: without the prefix of a proxy; "" is the prefix without a slash. is_head: the method is HEAD, which is
    answered like GET but without the body. status, started, size: of the answer; size in bytes. failed: the status of a
    search that failed after the answer had begun.
    """

    path: str
    is_head: bool
    asker: Asker
    number: str = field(default_factory=lambda: secrets.token_hex(8))
    status: int = 500
    started: bool = False
    size: int = 0
    failed: int | None = None


class Guard:
    """Wraps the application; see the module."""

    def __init__(
        self,
        app: ASGIApp,
        settings: ServeSettings,
        metrics: Metrics,
        sessions: Sessions | None = None,
        access_log: AccessLog | None = None,
    ) -> None:
        self.app, self.settings, self.metrics = app, settings, metrics
        self._sessions = sessions or Sessions()
        self._log = access_log
        self._allowances = Allowances(settings.searches_a_minute)
        self._active = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":  # the lifespan; there are no websockets
            await self.app(scope, receive, send)
            return
        start = time.monotonic()
        request, exchange = self._begun(scope)
        self._active += 1
        self.metrics.active.set(self._active)
        try:
            await self._answer(request, exchange, receive, _noting(send, exchange))
        finally:
            self._active -= 1
            self.metrics.active.set(self._active)
            self._account(request, exchange, time.monotonic() - start)

    def _begun(self, scope: Scope) -> tuple[Request, Exchange]:
        """A request as the application takes it: with the prefix of the proxy, which may have kept it or taken it."""
        root, path, is_head = self.settings.root_path, scope["path"], scope["method"] == "HEAD"
        if root and (path == root or path.startswith(root + "/")):
            path = path[len(root) :]
        exchange = Exchange(path, is_head, asker_of(Request(scope), self.settings, self._sessions))
        changed = {"path": root + path, "root_path": root, "method": "GET" if is_head else scope["method"]}
        return Request({**scope, **changed, "state": {**scope.get("state", {}), "exchange": exchange}}), exchange

    async def _answer(self, request: Request, exchange: Exchange, receive: Receive, sending: Send) -> None:
        try:
            refusal = self._refusal(request, exchange.asker, exchange.path)
            if refusal is not None:
                self.metrics.refused.labels(refusal.reason).inc()
                if exchange.asker.known and refusal.status != 503 and "expect" not in request.headers:
                    await _discarded(receive, 2 * self.settings.max_upload_bytes)
                headers = {"connection": "close", **refusal.headers}  # the rest of the body will not be read
                answer: Response = JSONResponse({"error": refusal.error}, refusal.status, headers)
                await answer(request.scope, receive, sending)
            elif not exchange.path:  # without the slash the page's addresses, which are relative, would lead elsewhere
                await RedirectResponse(f"{self.settings.root_path}/", 308)(request.scope, receive, sending)
            else:
                await self.app(request.scope, self._limited(receive), sending)
        except Exception:
            log.exception("%s %s (request %s)", request.method, exchange.path, exchange.number)
            if not exchange.started:
                text = f"a fault of vpmsearch; the server's log shows it (request {exchange.number})"
                await JSONResponse({"error": text}, 500)(request.scope, receive, sending)

    def _account(self, request: Request, exchange: Exchange, seconds: float) -> None:
        route = route_of(request.scope)
        method = request.method if request.method in ("GET", "POST") else "other"
        self.metrics.requests.labels(method, route, exchange.status).inc()
        self.metrics.seconds.labels(route).observe(seconds)
        if self._log is not None:
            self._log.write(
                request=exchange.number,
                client=exchange.asker.address,
                method="HEAD" if exchange.is_head else request.method,
                path=exchange.path,
                status=exchange.status,
                failed=exchange.failed,
                bytes=exchange.size,
                ms=round(1000 * seconds, 1),
            )

    def _refusal(self, request: Request, asker: Asker, path: str) -> Refusal | None:
        limits = self.settings
        if self._active > limits.max_waiting:
            return Refusal(503, "busy", "too many requests at once; try again soon", {"retry-after": "5"})
        host = request.headers.get("host", "").lower()
        name = host if host.endswith("]") else host.rpartition(":")[0] or host
        if limits.allowed_hosts is not None and name not in limits.allowed_hosts:
            return Refusal(421, "host", "this server is not called that; use its address")
        if path.startswith("/api/") and _is_from_elsewhere(request, host):
            return Refusal(403, "cross-site", "other sites may not ask this server")
        wait = self._wait(request, asker, path) if path.startswith("/api/") and path != "/api/health" else 0.0
        if wait > 0:
            after = {"retry-after": str(int(wait) + 1)}
            return Refusal(429, "rate", f"too many requests; try again in {int(wait) + 1} s", after)
        if not asker.known and not (path in {"", *OPEN_PATHS} or path.startswith("/static/")):
            return Refusal(401, "token", "a token is needed", {"www-authenticate": "Bearer"})
        length = request.headers.get("content-length", "0")
        if not length.isdecimal() or int(length[:20]) > limits.max_upload_bytes:
            return Refusal(413, "size", self._too_large)
        return None

    @property
    def _too_large(self) -> str:
        return f"an upload may have {self.settings.max_upload_bytes / 2**20:g} MiB at most"

    def _wait(self, request: Request, asker: Asker, path: str) -> float:
        """Seconds until the request may be made, 0 if now. Every request that runs the model counts as a search."""
        now = time.monotonic()
        if not asker.known:
            return self._allowances.strangers.wait(asker.key, now)
        runs_model = path.endswith("/regions") or (request.method == "POST" and path != "/api/session")
        allowance = self._allowances.searches if runs_model else self._allowances.pictures
        return allowance.wait(asker.key, now)

    def _limited(self, receive: Receive) -> Receive:
        """The body. It is cut off if it is larger or slower than allowed, whatever its header said."""
        count, deadline, done = 0, time.monotonic() + self.settings.body_seconds, False

        async def receiving() -> Message:
            nonlocal count, done
            if done:  # only the client's disconnection can follow
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


async def _discarded(receive: Receive, most: int) -> None:
    """Read and drop the rest of a body, for a limited time.

    A client that still sends when the connection is closed sees only the closing and not the answer; a proxy turns that
    into a 502. For unknown clients nothing is read, as they would hold a connection that long.
    """
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(DISCARD_SECONDS):
            while most > 0:
                message = await receive()
                most -= len(message.get("body", b""))
                if not message.get("more_body", False):
                    return


def _noting(send: Send, exchange: Exchange) -> Send:
    """Adds the headers, notes what is sent, and keeps the body of an answer to HEAD back."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            exchange.status, exchange.started = message["status"], True
            message["headers"] = _with_headers(message["headers"], exchange)
        elif message["type"] == "http.response.body":
            if exchange.is_head:
                message = {**message, "body": b""}
            exchange.size += len(message.get("body", b""))
        await send(message)

    return sending


def route_of(scope: Scope) -> str:
    """The pattern of the path: with ids, each path would be a series. Some FastAPI versions leave out the prefix."""
    exchange: Exchange = scope["state"]["exchange"]
    found = str(getattr(scope.get("route"), "path", "other"))
    is_bare = exchange.path.startswith("/api/") and found[0] == "/" and found[:5] != "/api/"
    return f"/api{found}" if is_bare else found


def _is_from_elsewhere(request: Request, host: str) -> bool:
    """Whether a page of another site makes the request.

    Browsers say so in Sec-Fetch-Site, except old ones and all over plain HTTP. Then Origin tells: it must name the host
    that was asked for. Its scheme may differ, as a proxy may speak TLS for us.
    """
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site not in ("same-origin", "none")
    origin = request.headers.get("origin")
    if origin is None:
        return False
    try:
        found = urlsplit(origin.lower())
        return found.netloc not in {host, host.removesuffix({"http": ":80", "https": ":443"}.get(found.scheme, ""))}
    except ValueError:
        return True


def _with_headers(headers: list[tuple[bytes, bytes]], exchange: Exchange) -> list[tuple[bytes, bytes]]:
    given = {name.lower() for name, _ in headers}
    cache = "no-store" if exchange.path.startswith("/api/") else "no-cache"
    added = HEADERS | {"cache-control": cache, "x-request-id": exchange.number}
    return [*headers, *((k.encode(), v.encode()) for k, v in added.items() if k.encode() not in given)]
