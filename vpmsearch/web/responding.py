"""How the endpoints respond: in turn, in lines of JSON, or with a picture; and what they ask of a request."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from typing import Any, TypeVar

from fastapi import Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from vpmsearch.errors import ImageError
from vpmsearch.web.asking import Asker
from vpmsearch.web.guard import Exchange, route_of
from vpmsearch.web.service import SearchService
from vpmsearch.web.waiting import MEDIA_TYPE, Line, Place

Value = TypeVar("Value")
Answer = TypeVar("Answer", bound=BaseModel)

HUNG_UP = 499
"""Counted for whoever hung up before the answer, as nginx does; nobody is sent it."""


def service_of(request: Request) -> SearchService:
    """The service behind the application."""
    service: SearchService = request.app.state.service
    return service


def asker_of(request: Request) -> Asker:
    """Who asks, as the guard found."""
    exchange: Exchange = request.state.exchange
    return exchange.asker


async def in_turn(request: Request, work: Callable[[Place], Answer]) -> Answer | Response:
    """The answer itself, or lines of JSON for whoever accepts them, see `waited`.

    Whoever hangs up gives up his place in either case: the response takes care of that for lines.
    """
    if MEDIA_TYPE in request.headers.get("accept", ""):
        line: Line = request.app.state.searching
        at_once = {"X-Accel-Buffering": "no"}  # nginx would else keep the lines back until there are many
        told = line.told(work, functools.partial(_failed, request))
        return StreamingResponse(told, media_type=MEDIA_TYPE, headers=at_once)
    return await waited(request, work)


def _failed(request: Request, error: Exception) -> tuple[int, str]:
    """Count a failure; its status and text."""
    status, text = service_of(request).problem_of(error)
    request.app.state.metrics.failed.labels(route_of(request.scope), status).inc()
    exchange: Exchange = request.state.exchange
    exchange.failed = status
    return status, text


async def waited(request: Request, work: Callable[[Place], Value]) -> Value | Response:
    """Run what keeps a core busy in one of few threads, so that pictures and health do not wait behind it."""
    line: Line = request.app.state.searching
    place = Place()
    watching = asyncio.ensure_future(_hung_up(request))
    try:
        with line.in_line(lambda: work(place), place) as searching:
            either: set[asyncio.Future[Any]] = {searching, watching}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if not searching.done():
                watching.result()  # raises where what came was no end of the connection, but a body that may not be
                return Response(status_code=HUNG_UP)
            return searching.result()
    except Exception as error:
        status, text = _failed(request, error)
        raise HTTPException(status, text) from error
    finally:
        watching.cancel()


async def _hung_up(request: Request) -> None:
    """Until the client has gone, which uvicorn tells but does not cancel a request for."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def shown(load: Callable[[], Value]) -> Value:
    """What the file of an image of the index gives; without the file there is nothing to show."""
    try:
        return load()
    except ImageError as error:
        raise HTTPException(404, f"the image cannot be shown: {error.reason}") from error


def picture(
    request: Request, service: SearchService, image_id: int, kind: str, load: Callable[[int], bytes]
) -> Response:
    """A JPEG that a browser may keep but must ask about: a removed image is gone at once."""
    tag = f'"{service.view.record(image_id).content_hash}-{kind}"'
    headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(shown(functools.partial(load, image_id)), media_type="image/jpeg", headers=headers)
