"""The endpoints under /api."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, File, Form, Path, Query, Request, Response, Security, UploadFile
from fastapi.responses import HTMLResponse, StreamingResponse
from fastapi.security import HTTPBearer
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from vpmsearch.errors import ImageError
from vpmsearch.search.pairs import PAIRS_ASKED, choose_pairs
from vpmsearch.search.queries import region_names
from vpmsearch.version import VERSION
from vpmsearch.web import searching
from vpmsearch.web.answers import regions_seen, search_answer
from vpmsearch.web.asking import Asker, cookie_name
from vpmsearch.web.exports import MEDIA_TYPES, FileForm, exported
from vpmsearch.web.fields import LARGEST_ID, box_of, known_fields
from vpmsearch.web.guard import Exchange, route_of
from vpmsearch.web.reference import reference_page
from vpmsearch.web.schemas import Health, IndexStats, Pair, Pairs, Problem, RegionsSeen, SearchAnswer
from vpmsearch.web.searching import Asked, asked
from vpmsearch.web.service import SearchService
from vpmsearch.web.waiting import MEDIA_TYPE, Line, Place

Value = TypeVar("Value")
Answer = TypeVar("Answer", bound=BaseModel)

_ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "description": text}
    for status, text in {
        401: "No token, or a wrong one",
        403: "Asked by another site",
        422: "A field cannot be understood",
        429: "Too many requests; Retry-After says when to come back",
        503: "Busy, or the index cannot be read",
    }.items()
}
_UPLOAD_ERRORS = _ERRORS | {
    400: {"model": Problem, "description": "The form cannot be read"},
    404: {"model": Problem, "description": "No such image in the index"},
    408: {"model": Problem, "description": "The body took too long"},
    413: {"model": Problem, "description": "Too large an upload"},
    415: {"model": Problem, "description": "No form; says which fields are wanted"},
    422: {"model": Problem, "description": "A field or a photograph cannot be understood"},
}
_IMAGE_ERRORS = _ERRORS | {
    404: {"model": Problem, "description": "No such image in the index, or its file is gone or has changed"},
}
_LINES: dict[int | str, dict[str, Any]] = {200: {"content": {MEDIA_TYPE: {"schema": {"type": "string"}}}}}
_FILES: dict[int | str, dict[str, Any]] = {200: {"content": {kind: {} for kind in MEDIA_TYPES.values()}}}
_JPEG: dict[int | str, dict[str, Any]] = {200: {"content": {"image/jpeg": {}}}, 304: {"description": "Not changed"}}
HUNG_UP = 499
"""Counted for whoever hung up before the answer, as nginx does; nobody is sent it."""

router = APIRouter(prefix="/api")
guarded = APIRouter(
    dependencies=[
        Security(HTTPBearer(auto_error=False, description="Where the server asks for one.")),
        Depends(known_fields),
    ]
)
ImageId = Annotated[int, Path(ge=1, le=LARGEST_ID, description="As a search gave it.")]
Box = Annotated[
    str,
    Form(
        description='Part of the photograph: "left,top,right,bottom" as fractions 0 to 1, or "xywh=x,y,width,height" '
        'in pixels; "" is all of it.'
    ),
]


def service_of(request: Request) -> SearchService:
    """The service behind the application."""
    service: SearchService = request.app.state.service
    return service


@router.get("/health")
async def health(request: Request) -> Health:
    """Whether the server answers, and from the newest commit. Needs no token."""
    service = service_of(request)
    status = "stale" if service.problem else "ok"
    images, problem = (service.view.images, service.problem) if _asker(request).known else (None, None)
    return Health(status=status, version=VERSION, images=images, problem=problem)


@router.post("/session", status_code=204, responses={401: _ERRORS[401], 429: _ERRORS[429]})
async def session(request: Request) -> Response:
    """Begin a session for the token that this request brings, since an <img> cannot bring it. For the page.

    Its id is kept in a cookie, which ends with the browser, when the server stops, or unused for twelve hours.
    """
    settings, asker = request.app.state.settings, _asker(request)
    if not asker.known:
        raise HTTPException(401, "that is not the token", {"WWW-Authenticate": "Bearer"})
    answer = Response(status_code=204)
    if asker.has_bearer:
        # The page's own address, which a browser tells of a POST: TLS ends at a proxy that we may know nothing of.
        over_tls = asker.secure or request.headers.get("origin", "").startswith("https://")
        answer.set_cookie(
            cookie_name(request),
            request.app.state.sessions.begin(),
            path=settings.root_path or "/",
            httponly=True,
            samesite="strict",
            secure=settings.secure_cookie or over_tls,
        )
    return answer


@guarded.post("/search", responses=_UPLOAD_ERRORS | _LINES, response_model=SearchAnswer)
async def search(request: Request, wanted: Annotated[Asked, Depends(asked)]) -> SearchAnswer | Response:
    """Rank the images of the index by Eq. 4: by the regions that they and the query both show.

    Several photographs and images together are one query: of each region the one that shows most of it. An image of the
    index that is the query itself never counts for the verdict.

    Asked with `Accept: application/x-ndjson` it answers in lines of JSON. First how it is getting on, whenever that
    changes: `{"waiting": 3}`, searches that come before, or `{"doing": "seeing"}` or `{"doing": "searching"}`. Then
    `{"answer": …}`, or `{"error": "…", "status": 422}`. A field that is empty is one that was not given.
    """
    service = service_of(request)

    def work(place: Place) -> SearchAnswer:
        searched = searching.search(service, wanted, place)
        request.app.state.metrics.searched(searched.found.result)
        return search_answer(searched)

    return await _in_turn(request, work)


@guarded.post("/export", responses=_UPLOAD_ERRORS | _FILES, response_class=Response)
async def export(
    request: Request,
    wanted: Annotated[Asked, Depends(asked)],
    form: Annotated[FileForm, Form(description="Of the file; parquet where pyarrow is installed.")],
) -> Response:
    """The same search as a file to hand on: its ranks, and the images that were confirmed and refused.

    `csv` and `parquet` have a row an image; `json` is the answer to the search; `html` is a report with pictures.
    """
    service = service_of(request)

    def work(place: Place) -> Response:
        searched = searching.search(service, wanted, place)
        request.app.state.metrics.searched(searched.found.result)
        return exported(service, searched, form)

    return await _waited(request, work)


@guarded.post("/regions", responses=_UPLOAD_ERRORS | _LINES, response_model=RegionsSeen)
async def regions(
    request: Request, photograph: Annotated[UploadFile, File(description="A photograph.")], box: Box = ""
) -> RegionsSeen | Response:
    """Which regions the model sees where in a photograph, or in a part of it.

    Waits in the same line as the searches, and tells of it in lines of JSON where a search would.
    """
    service, part = service_of(request), box_of(box)

    def work(place: Place) -> RegionsSeen:
        place.now("seeing")
        return regions_seen(service, service.see(photograph.file.read(), part))

    return await _in_turn(request, work)


@guarded.post("/pairs", responses=_UPLOAD_ERRORS | _LINES, response_model=Pairs)
async def pairs(
    request: Request,
    count: Annotated[int, Form(ge=1, le=PAIRS_ASKED, description="Pairs at most.")] = PAIRS_ASKED,
    seed: Annotated[int, Form(ge=0, le=LARGEST_ID, description="Which.")] = 0,
) -> Pairs | Response:
    """Pairs of images of which a person may say whether they show the same, for `vpmsearch calibrate --pairs`.

    Write the answers as CSV with the columns image, other (both as ids) and same (yes, no or empty).
    """
    service = service_of(request)

    def work(place: Place) -> Pairs:
        place.now("searching")
        chosen = choose_pairs(service.view.engine, count, seed)
        return Pairs(pairs=[Pair(image=image_id, other=other) for image_id, other in chosen])

    return await _in_turn(request, work)


@guarded.get("/images/{image_id}/regions", responses=_IMAGE_ERRORS | _LINES, response_model=RegionsSeen)
async def image_regions(
    request: Request, image_id: ImageId, box: Annotated[str, Query()] = ""
) -> RegionsSeen | Response:
    """The same, of an image of the index."""
    service, part = service_of(request), box_of(box)

    def work(place: Place) -> RegionsSeen:
        place.now("seeing")
        return regions_seen(service, _shown(lambda: service.see_stored(image_id, part)))

    return await _in_turn(request, work)


@guarded.get("/images/{image_id}", responses=_IMAGE_ERRORS | _JPEG, response_class=Response)
def image(request: Request, image_id: ImageId) -> Response:
    """An image of the index as a JPEG of at most 1024 × 1024 pixels, without the metadata of its file."""
    service = service_of(request)
    return _picture(request, service, image_id, "whole", service.picture)


@guarded.get("/images/{image_id}/thumbnail", responses=_IMAGE_ERRORS | _JPEG, response_class=Response)
def thumbnail(request: Request, image_id: ImageId) -> Response:
    """The same, at most 192 × 256 pixels."""
    service = service_of(request)
    return _picture(request, service, image_id, "small", service.thumbnail)


@guarded.get("/images/{image_id}/scene", responses=_IMAGE_ERRORS | _JPEG, response_class=Response)
def scene(request: Request, image_id: ImageId) -> Response:
    """The whole picture that an image was cut from, its box outlined, as a JPEG of at most 1024 × 1024 pixels.

    Of an image that is no part of a picture it is the image.
    """
    service = service_of(request)
    return _picture(request, service, image_id, "scene", service.scene)


@guarded.get("/stats", responses=_ERRORS)
def stats(request: Request) -> IndexStats:
    """What is in the index."""
    view = service_of(request).view
    info, counts = view.snapshot.model_info, view.snapshot.counts()
    return IndexStats(
        **counts,
        grid=list(info.num_regions),
        names=list(region_names(info.num_regions)),
        min_visibility=info.threshold,
        weights=info.name,
        dataset=info.dataset,
        camids=list(view.camids),
        attributes=list(view.attributes),
        captured=list(view.captured) if view.captured else None,
        examples=view.examples(),
    )


@guarded.get("/docs", include_in_schema=False)
async def reference(request: Request) -> HTMLResponse:
    """The interface, described for people."""
    scheme = "https" if _asker(request).secure else "http"
    base = f"{scheme}://{request.headers.get('host', '')}{request.scope['root_path']}"
    return HTMLResponse(reference_page(request.app.openapi(), base))


@guarded.get("/metrics", responses=_ERRORS, response_class=Response)
async def metrics(request: Request) -> Response:
    """The server's own numbers for Prometheus."""
    return Response(request.app.state.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


def _asker(request: Request) -> Asker:
    exchange: Exchange = request.state.exchange
    return exchange.asker


async def _in_turn(request: Request, work: Callable[[Place], Answer]) -> Answer | Response:
    """The answer itself, or lines of JSON for whoever accepts them, see `_waited`.

    Whoever hangs up gives up his place in either case: the response takes care of that for lines.
    """
    if MEDIA_TYPE in request.headers.get("accept", ""):
        line: Line = request.app.state.searching
        at_once = {"X-Accel-Buffering": "no"}  # nginx would else keep the lines back until there are many
        told = line.told(work, functools.partial(_failed, request))
        return StreamingResponse(told, media_type=MEDIA_TYPE, headers=at_once)
    return await _waited(request, work)


def _failed(request: Request, error: Exception) -> tuple[int, str]:
    """Count a failure; its status and text."""
    status, text = service_of(request).problem_of(error)
    request.app.state.metrics.failed.labels(route_of(request.scope), status).inc()
    exchange: Exchange = request.state.exchange
    exchange.failed = status
    return status, text


async def _waited(request: Request, work: Callable[[Place], Value]) -> Value | Response:
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


def _shown(load: Callable[[], Value]) -> Value:
    """What the file of an image of the index gives; without the file there is nothing to show."""
    try:
        return load()
    except ImageError as error:
        raise HTTPException(404, f"the image cannot be shown: {error.reason}") from error


def _picture(
    request: Request, service: SearchService, image_id: int, kind: str, load: Callable[[int], bytes]
) -> Response:
    """A JPEG that a browser may keep but must ask about: a removed image is gone at once."""
    tag = f'"{service.view.record(image_id).content_hash}-{kind}"'
    headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(_shown(functools.partial(load, image_id)), media_type="image/jpeg", headers=headers)


router.include_router(guarded)
