"""The application: one page, and the endpoints under /api, which /api/docs and /api/openapi.json describe."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, Response
from fastapi.routing import APIRoute
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

from vpmsearch.errors import VpmsearchError
from vpmsearch.version import VERSION
from vpmsearch.web.access_log import AccessLog
from vpmsearch.web.endpoints import guarded, router
from vpmsearch.web.guard import Guard
from vpmsearch.web.metrics import Metrics
from vpmsearch.web.people import PeopleFinder
from vpmsearch.web.service import SearchService
from vpmsearch.web.sessions import Sessions
from vpmsearch.web.settings import ServeSettings
from vpmsearch.web.waiting import MEDIA_TYPE, Line

STATIC = Path(__file__).parent / "static"
SEARCHES_AT_ONCE = 3
"""Threads that search. One waits for the model, the others decode and re-rank; more would only share the cores."""
OUR_FAULT = (500, 503)


def create_app(service: SearchService, settings: ServeSettings, access_log: AccessLog | None = None) -> FastAPI:
    """The ASGI application over one service.

    Args:
        service: open for as long as the application runs. settings: its protection. access_log: told of each request.
    """
    app = FastAPI(
        title="vpmsearch",
        version=VERSION,
        description="Search a gallery of person crops with a photograph that may show only a part of the person.",
        openapi_url="/api/openapi.json",
        docs_url=None,  # these pages load their scripts from elsewhere
        redoc_url=None,
        lifespan=_lifespan,
    )
    metrics = Metrics()
    app.state.service, app.state.settings, app.state.metrics = service, settings, metrics
    app.state.finder = PeopleFinder(settings.detector, str(service.extractor.device))
    app.state.searching, app.state.sessions = Line(SEARCHES_AT_ONCE), Sessions()
    app.include_router(router)
    app.mount("/static", StaticFiles(directory=STATIC))
    app.add_api_route("/", _page, include_in_schema=False)
    app.add_middleware(Guard, settings=settings, metrics=metrics, sessions=app.state.sessions, access_log=access_log)
    app.add_exception_handler(HTTPException, _http_problem)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(VpmsearchError, _our_problem)
    _expect_failures(metrics)
    return app


def _expect_failures(metrics: Metrics) -> None:
    """Begin the series of server errors at 0. If a series began at 1, Prometheus' `rate` would miss that error."""
    counted = {(method, "other") for method in ("GET", "POST")}  # "busy" is answered before the path is read
    for route in (*router.routes, *guarded.routes):  # FastAPI's versions differ in what the first holds of the second
        if not isinstance(route, APIRoute):
            continue
        path = "/api" + route.path.removeprefix("/api")
        counted |= {(method, path) for method in route.methods or ()}
        if MEDIA_TYPE in route.responses.get(200, {}).get("content", {}):  # a search, which waits in the line
            for status in OUR_FAULT:
                metrics.failed.labels(path, status)
    for method, path in counted:
        for status in OUR_FAULT:
            metrics.requests.labels(method, path, status)


@contextlib.asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    refreshing = asyncio.create_task(_keep_fresh(app))
    try:
        with contextlib.suppress(asyncio.CancelledError):  # at a second Ctrl-C; else Starlette prints a traceback
            yield
    finally:
        refreshing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await refreshing
        await app.state.searching.drained()  # the service may be closed after this, so no search must be running


async def _keep_fresh(app: FastAPI) -> None:
    """Pick up new commits, for as long as the application runs."""
    service: SearchService = app.state.service
    metrics: Metrics = app.state.metrics
    while True:
        metrics.images.set(service.view.images)
        metrics.stale.set(bool(service.problem))
        await asyncio.sleep(app.state.settings.refresh_seconds)
        if await asyncio.to_thread(service.refresh):
            metrics.refreshes.inc()


async def _page() -> FileResponse:
    return FileResponse(STATIC / "index.html", headers={"cache-control": "no-cache"})


async def _http_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _problem(error.status_code, str(error.detail), error.headers)


async def _invalid(request: Request, error: Exception) -> Response:
    """Answer which field of the request cannot be understood. Its value is not sent back."""
    assert isinstance(error, RequestValidationError)
    texts = [
        f"{'.'.join(map(str, item['loc'][1:]))}: {item['msg'].removeprefix('Value error, ')}" for item in error.errors()
    ]
    return _problem(422, "; ".join(texts))


async def _our_problem(request: Request, error: Exception) -> Response:
    service: SearchService = request.app.state.service
    return _problem(*service.problem_of(error))


def _problem(status: int, text: str, headers: object = None) -> JSONResponse:
    return JSONResponse({"error": text}, status, headers if isinstance(headers, dict) else None)
