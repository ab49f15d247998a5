"""`vpmsearch serve`."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vpmsearch.commands import options
from vpmsearch.commands.terminal import answer, command, say

if TYPE_CHECKING:
    import logging

    from fastapi import FastAPI

    from vpmsearch.web.settings import ServeSettings

TOKEN_VARIABLE = "VPMSEARCH_TOKEN"
STOP_SECONDS = 10
"""For the answers under way when the server is told to stop."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, example="vpmsearch serve --index indexes/mine")(serve)


def serve(
    index: options.Index = options.DEFAULT_INDEX,
    host: Annotated[
        str, typer.Option(help="Address to listen at. Beyond this machine a token is needed; one is made if not given.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 8000,
    token_file: Annotated[
        Path | None, typer.Option(help=f"File that holds the token. Else ${TOKEN_VARIABLE}.", show_default=False)
    ] = None,
    weights: options.Weights = None,
    device: options.Device = "auto",
    max_upload: Annotated[int, typer.Option(min=1, help="MiB that an upload may have.")] = 32,
    rate: Annotated[
        int, typer.Option(min=1, help="Searches a minute by one client; ten times as many pictures.")
    ] = 600,
) -> None:
    """Serve a page and a REST interface over an index. New commits are picked up; Ctrl-C stops.

    The page is at the address printed on stdout, the interface under /api (its OpenAPI schema: /api/openapi.json).
    """
    try:
        from vpmsearch.web.app import create_app
    except ModuleNotFoundError as error:
        from vpmsearch.errors import DataError

        raise DataError(f"serve needs {error.name}: pip install 'vpmsearch[web]'") from error
    from vpmsearch.model.device import choose_device
    from vpmsearch.model.extraction import Extractor
    from vpmsearch.model.weights import find_by_fingerprint
    from vpmsearch.store.open import open_index
    from vpmsearch.web.service import SearchService
    from vpmsearch.web.settings import ServeSettings, is_loopback, new_token

    token = _token(token_file) or ("" if is_loopback(host) else new_token())
    settings = ServeSettings(
        host=host, port=port, token=token, max_upload_bytes=max_upload * 2**20, searches_a_minute=rate
    )
    chosen = choose_device(device)
    with open_index(index, device=str(chosen)) as store:
        loaded = find_by_fingerprint(store.model_info.fingerprint, store.model_info.weights, weights)
        service = SearchService(store, Extractor(loaded, chosen), max_pixels=settings.max_pixels)
        say(f"{index}: {len(store.snapshot)} images")
        _run(create_app(service, settings), settings)


def _token(file: Path | None) -> str:
    return file.read_text(encoding="utf-8").strip() if file is not None else os.environ.get(TOKEN_VARIABLE, "").strip()


def _run(app: FastAPI, settings: ServeSettings) -> None:
    """Listen until told to stop by Ctrl-C or SIGTERM; answers under way are finished."""
    import logging
    import socket

    import uvicorn

    from vpmsearch.errors import DataError

    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        log_level="warning",
        access_log=False,  # paths name images; /api/metrics counts
        proxy_headers=False,  # anybody may write them, and the limits go by the client's address
        server_header=False,
        limit_concurrency=4 * settings.max_waiting,  # connections, idle ones included; `Guard` limits requests
        timeout_keep_alive=30,
        timeout_graceful_shutdown=STOP_SECONDS,
    )
    logging.getLogger("uvicorn.error").addFilter(_is_told)
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((settings.host, settings.port))
        except OSError as error:
            raise DataError(
                f"cannot listen at {settings.host} port {settings.port} ({error.strerror or error}); try another --port"
            ) from error
        name = f"[{settings.host}]" if ":" in settings.host else settings.host
        # The fragment of an address is not sent to any server, so the token is in nobody's log.
        answer(f"http://{name}:{listening.getsockname()[1]}/{f'#token={settings.token}' if settings.token else ''}")
        sys.stdout.flush()
        # uvicorn raises the signal that stopped it once more when it has stopped; that is no failure.
        before = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            uvicorn.Server(config).run(sockets=[listening])
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
    say("stopped")


def _is_told(record: logging.LogRecord) -> bool:
    """Not the traceback of a request that uvicorn itself cancelled, since the server stops."""
    from asyncio import CancelledError

    return not (record.exc_info and isinstance(record.exc_info[1], CancelledError))
