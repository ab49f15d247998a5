"""The endpoints under /api."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any, TypeVar

import anyio.to_thread
from fastapi import APIRouter, File, Form, Path, Query, Request, Response, Security, UploadFile
from fastapi.security import HTTPBearer
from starlette.exceptions import HTTPException

import vpmsearch
from vpmsearch.data.crops import CropBox
from vpmsearch.data.images import printable
from vpmsearch.errors import ImageError
from vpmsearch.queries import parse_regions, region_names, together
from vpmsearch.types import ImageRecord, Match, RegionFeatures, SearchFilter, as_utc
from vpmsearch.web.guard import COOKIE, has_token
from vpmsearch.web.schemas import (
    Health,
    Hit,
    IndexStats,
    Problem,
    QueryRegion,
    RegionPart,
    RegionsSeen,
    SearchAnswer,
)
from vpmsearch.web.service import Found, Photograph, SearchService, View

Value = TypeVar("Value")

MAX_PHOTOGRAPHS = 8
MAX_RANK = 1000
"""Ranks that can be paged through."""
LARGEST_ID = 2**63 - 1  # SQLite's
LARGEST_CAMID = 2**31 - 1

_ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "description": text}
    for status, text in {
        401: "No token, or a wrong one",
        403: "Asked by another site",
        429: "Too many requests; Retry-After says when to come back",
        503: "Busy, or the index cannot be read",
    }.items()
}
_UPLOAD_ERRORS = _ERRORS | {
    400: {"model": Problem, "description": "The form cannot be read"},
    404: {"model": Problem, "description": "No such image in the index"},
    408: {"model": Problem, "description": "The body took too long"},
    413: {"model": Problem, "description": "Too large an upload"},
    422: {"model": Problem, "description": "A field or a photograph cannot be understood"},
}
_IMAGE_ERRORS = _ERRORS | {
    404: {"model": Problem, "description": "No such image in the index, or its file is gone or has changed"},
    422: {"model": Problem, "description": "A field cannot be understood"},
}
_JPEG: dict[int | str, dict[str, Any]] = {200: {"content": {"image/jpeg": {}}}, 304: {"description": "Not changed"}}

router = APIRouter(prefix="/api")
guarded = APIRouter(dependencies=[Security(HTTPBearer(auto_error=False, description="Where the server asks for one."))])
ImageId = Annotated[int, Path(ge=1, le=LARGEST_ID, description="As a search gave it.")]
Box = Annotated[
    str, Form(description='Part of the photograph: "left,top,right,bottom" as fractions 0 to 1; "" is all of it.')
]


def service_of(request: Request) -> SearchService:
    """The service behind the application."""
    service: SearchService = request.app.state.service
    return service


@router.get("/health")
async def health(request: Request) -> Health:
    """Whether the server answers, and from the newest commit. Needs no token."""
    service = service_of(request)
    known = has_token(request, request.app.state.settings.token)
    status = "stale" if service.problem else "ok"
    images, problem = (len(service.view.snapshot), service.problem) if known else (None, None)
    return Health(status=status, version=vpmsearch.__version__, images=images, problem=problem)


@router.post("/session", status_code=204, responses={401: _ERRORS[401], 429: _ERRORS[429]})
async def session(request: Request) -> Response:
    """Keep the token that this request brings in a cookie, since an <img> cannot bring it. For the page."""
    token = request.app.state.settings.token
    if not has_token(request, token):
        raise HTTPException(401, "that is not the token", {"WWW-Authenticate": "Bearer"})
    answer = Response(status_code=204)
    if token:
        secure = request.url.scheme == "https"
        answer.set_cookie(COOKIE, token, httponly=True, samesite="strict", secure=secure)
    return answer


@guarded.post("/search", responses=_UPLOAD_ERRORS)
async def search(
    request: Request,
    photograph: Annotated[
        list[UploadFile] | None, File(description=f"Up to {MAX_PHOTOGRAPHS} photographs of one person.")
    ] = None,
    box: Annotated[
        list[str] | None, Form(description='Of each photograph the part to use: "left,top,right,bottom", or "".')
    ] = None,
    image_id: Annotated[
        list[Annotated[int, Form(ge=1, le=LARGEST_ID)]] | None, Form(description="Images of the index to search with.")
    ] = None,
    regions: Annotated[
        str, Form(max_length=1000, description='Compare by these alone: "0,1" or "torso"; "" is all.')
    ] = "",
    pid: Annotated[list[int] | None, Form(description="Only these identities.")] = None,
    camid: Annotated[list[int] | None, Form(description="Only these cameras.")] = None,
    after: Annotated[datetime | None, Form(description="Only images captured at or after this time.")] = None,
    before: Annotated[datetime | None, Form(description="Only images captured before this time.")] = None,
    exact: Annotated[bool, Form(description="Compare with every image instead of candidates.")] = False,
    offset: Annotated[int, Form(ge=0, lt=MAX_RANK, description="Ranks to skip.")] = 0,
    limit: Annotated[int, Form(ge=1, le=100, description="Matches to answer.")] = 24,
) -> SearchAnswer:
    """Rank the images of the index by Eq. 4: by the regions that they and the query both show.

    Several photographs and images together are one query: of each region the one that shows most of it.
    """
    uploads, ids = photograph or [], image_id or []
    _check_count(len(uploads) + len(ids))
    boxes = [_box(text) for text in box or [""] * len(uploads)]
    if len(boxes) != len(uploads):
        raise HTTPException(422, f"{len(uploads)} photographs and {len(boxes)} boxes: give one for each, or none")
    only = _filter(pid, camid, after, before)
    service = service_of(request)

    def work() -> SearchAnswer:
        view = service.view
        chosen = parse_regions(regions, view.snapshot.model_info.num_regions)
        # Read only now: who waits for a thread keeps his photographs in a temporary file, not in memory.
        parts = [service.see(upload.file.read(), part).features for upload, part in zip(uploads, boxes, strict=True)]
        parts += [service.stored_features(view, each) for each in ids]
        query, sources = together(RegionFeatures.concatenate(parts))
        page = min(limit, MAX_RANK - offset)
        found = service.search(view, query, offset=offset, limit=page, exact=exact, only=only, regions=chosen)
        return _answer(view, query, sources, chosen, found, offset)

    return await _searching(request, work)


@guarded.post("/regions", responses=_UPLOAD_ERRORS)
async def regions(
    request: Request, photograph: Annotated[UploadFile, File(description="A photograph.")], box: Box = ""
) -> RegionsSeen:
    """Which regions the model sees where in a photograph, or in a part of it."""
    service, part = service_of(request), _box(box)
    return _seen(service, await _searching(request, lambda: service.see(photograph.file.read(), part)))


@guarded.get("/images/{image_id}/regions", responses=_IMAGE_ERRORS)
async def image_regions(request: Request, image_id: ImageId, box: Annotated[str, Query()] = "") -> RegionsSeen:
    """The same, of an image of the index."""
    service, part = service_of(request), _box(box)
    return _seen(service, await _searching(request, lambda: _shown(lambda: service.see_stored(image_id, part))))


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


@guarded.get("/stats", responses=_ERRORS)
def stats(request: Request) -> IndexStats:
    """What is in the index."""
    view = service_of(request).view
    info, counts = view.snapshot.model_info, view.snapshot.counts()
    return IndexStats(
        **counts,
        grid=info.num_regions,
        names=list(region_names(info.num_regions)),
        min_visibility=info.threshold,
        weights=info.name,
        dataset=info.dataset,
        camids=list(view.camids),
        captured=view.captured,
    )


@guarded.get("/metrics", responses=_ERRORS, response_class=Response)
async def metrics(request: Request) -> Response:
    """The server's own numbers for Prometheus."""
    return Response(request.app.state.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


async def _searching(request: Request, work: Callable[[], Value]) -> Value:
    """Run what keeps a core busy in one of few threads, so that pictures and health do not wait behind it."""
    return await anyio.to_thread.run_sync(work, limiter=request.app.state.searching)


def _check_count(count: int) -> None:
    if not 1 <= count <= MAX_PHOTOGRAPHS:
        raise HTTPException(422, f"a query takes 1 to {MAX_PHOTOGRAPHS} photographs and images, got {count}")


def _box(text: str) -> CropBox | None:
    """Read "left,top,right,bottom" as fractions; None for the whole photograph."""
    if not text.strip():
        return None
    try:
        left, top, right, bottom = map(float, text[:200].split(","))
    except ValueError as error:
        raise HTTPException(422, 'a box is "left,top,right,bottom", four fractions from 0 to 1') from error
    inside = 0 <= left < right <= 1 and 0 <= top < bottom <= 1  # also refuses NaN
    if not inside or not math.isfinite(left + top):
        raise HTTPException(422, "a box needs 0 ≤ left < right ≤ 1 and 0 ≤ top < bottom ≤ 1")
    whole = (left, top, right, bottom) == (0, 0, 1, 1)
    return None if whole else CropBox(left, top, right, bottom)


def _filter(
    pids: list[int] | None, camids: list[int] | None, after: datetime | None, before: datetime | None
) -> SearchFilter:
    for number in (*(pids or ()), *(camids or ())):
        if not -LARGEST_ID <= number <= LARGEST_ID:
            raise HTTPException(422, f"{number} is too large")
    try:
        earliest, latest = (None if moment is None else as_utc(moment) for moment in (after, before))
    except OverflowError as error:
        raise HTTPException(422, "there is no such year in UTC") from error
    return SearchFilter(tuple(pids or ()), tuple(camids or ()), earliest, latest)


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


def _seen(service: SearchService, photograph: Photograph) -> RegionsSeen:
    info = service.view.snapshot.model_info
    return RegionsSeen(
        grid=info.num_regions,
        names=list(region_names(info.num_regions)),
        labels=photograph.labels.tolist(),
        visibility=photograph.features.visibility[0].tolist(),
        min_visibility=info.threshold,
        width=photograph.size[0],
        height=photograph.size[1],
    )


def _answer(
    view: View,
    query: RegionFeatures,
    sources: tuple[int, ...],
    chosen: tuple[int, ...] | None,
    found: Found,
    offset: int,
) -> SearchAnswer:
    info = view.snapshot.model_info
    names, counts = region_names(info.num_regions), info.visible(query.visibility[0])
    shown = [
        QueryRegion(
            region=region,
            name=names[region],
            visibility=float(query.visibility[0, region]),
            counts=bool(counts[region]) and (chosen is None or region in chosen),
            photograph=sources[region],
        )
        for region in range(info.p)
    ]
    hits = [
        _hit(rank, match, record, rate, names)
        for (rank, match, record), rate in zip(found.matches, found.false_match_rates, strict=True)
    ]
    result = found.result
    return SearchAnswer(
        offset=offset,
        more=found.more and offset + len(hits) < MAX_RANK,
        exact=result.exact,
        candidates=result.candidates,
        elapsed_ms=result.elapsed_ms,
        verdict=found.verdict,
        query=shown,
        matches=hits,
    )


def _hit(rank: int, match: Match, record: ImageRecord, rate: float | None, names: tuple[str, ...]) -> Hit:
    regions = [
        RegionPart(region=r.region, name=names[r.region], distance=r.distance, weight=r.weight, share=r.share)
        for r in match.regions
    ]
    return Hit(
        rank=rank,
        image_id=match.image_id,
        path=printable(match.path),
        pid=match.pid,
        camid=match.camid,
        captured_at=record.captured_at,
        width=record.width,
        height=record.height,
        distance=match.distance,
        false_match_rate=rate,
        regions=regions,
    )


router.include_router(guarded)
