"""Listens, tells the address, serves until told to stop."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from collections.abc import Callable

import uvicorn
from fastapi import FastAPI

from vpmsearch.errors import DataError
from vpmsearch.web.connections import HeadTimeoutProtocol
from vpmsearch.web.settings import ServeSettings

STOP_SECONDS = 10
"""For the answers under way when the server is told to stop."""
_SOMEWHERE_ELSE = {socket.AF_INET: "192.0.2.1", socket.AF_INET6: "2001:db8::1"}
"""Addresses of nobody (RFC 5737, RFC 3849)."""


def run(app: FastAPI, settings: ServeSettings, tell: Callable[[str], None]) -> None:
    """Listen until told to stop by Ctrl-C or SIGTERM; answers under way are finished.

    Args:
        tell: told the address when the server listens there.

    Raises:
        DataError: nobody can listen there.
    """
    config = config_of(app, settings)
    logging.getLogger("uvicorn.error").addFilter(_is_told)
    with listening(settings) as sock:
        tell(address_of(settings, sock))
        # After it has stopped, uvicorn raises the signal that stopped it again. That is no failure.
        before = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            uvicorn.Server(config).run(sockets=[sock])
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def config_of(app: FastAPI, settings: ServeSettings) -> uvicorn.Config:
    """How uvicorn serves the application."""

    class Protocol(HeadTimeoutProtocol):
        SECONDS = settings.header_seconds

    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http=Protocol,
        ws="none",
        log_level="warning",
        access_log=False,  # `AccessLog` is ours, and /api/metrics counts
        proxy_headers=False,  # `asking` looks at them, and only where the proxy is trusted
        server_header=False,
        limit_concurrency=4 * settings.max_waiting,  # connections, idle ones included; `Guard` limits requests
        timeout_keep_alive=30,
        timeout_graceful_shutdown=STOP_SECONDS,
    )


def listening(settings: ServeSettings) -> socket.socket:
    """A socket bound to the address; DataError where nobody can listen there."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((settings.host, settings.port))
    except (OSError, UnicodeError) as error:
        sock.close()
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        raise DataError(
            f"cannot listen at {settings.host} port {settings.port} ({reason}); try another --port"
        ) from error
    return sock


def address_of(settings: ServeSettings, sock: socket.socket) -> str:
    """An address of the page that works, with the token in its fragment, which no server and no log sees."""
    host, port = sock.getsockname()[:2]
    if host in ("0.0.0.0", "::"):  # every address of this machine, and no address itself
        host = _own_address(sock.family)
    elif settings.host == "localhost":
        host = settings.host
    name = f"[{host}]" if ":" in host else host
    return f"http://{name}:{port}{settings.root_path}/{f'#token={settings.token}' if settings.token else ''}"


def _own_address(family: socket.AddressFamily) -> str:
    """The address of this machine that others see, as its routes have it; nothing is sent."""
    with socket.socket(family, socket.SOCK_DGRAM) as asking:
        try:
            asking.connect((_SOMEWHERE_ELSE[family], 9))
            return str(asking.getsockname()[0])
        except OSError:  # no network
            return "::1" if family == socket.AF_INET6 else "127.0.0.1"


def _is_told(record: logging.LogRecord) -> bool:
    """Not the traceback of a request that uvicorn itself cancelled, since the server stops."""
    return not (record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError))
