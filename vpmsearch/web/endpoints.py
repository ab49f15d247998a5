"""The endpoints under /api."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, File, Form, Path, Query, Request, Response, Security, UploadFile
from fastapi.responses import HTMLResponse
from fastapi.security import HTTPBearer
from starlette.exceptions import HTTPException

from vpmsearch.data.crops import CropBox
from vpmsearch.search.pairs import PAIRS_ASKED, choose_pairs
from vpmsearch.search.queries import region_names
from vpmsearch.version import VERSION
from vpmsearch.web import searching
from vpmsearch.web.answers import regions_seen, search_answer
from vpmsearch.web.asking import cookie_name
from vpmsearch.web.exports import MEDIA_TYPES, FileForm, exported
from vpmsearch.web.fields import LARGEST_ID, box_of, known_fields
from vpmsearch.web.people import PeopleFinder, known_people
from vpmsearch.web.reference import reference_page
from vpmsearch.web.responding import asker_of, in_turn, picture, service_of, shown, waited
from vpmsearch.web.schemas import (
    Health,
    IndexStats,
    KnownPeople,
    Pair,
    Pairs,
    PeopleFound,
    Problem,
    RegionsSeen,
    SearchAnswer,
)
from vpmsearch.web.searching import Asked, asked
from vpmsearch.web.waiting import MEDIA_TYPE, Place

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

WHOLE = CropBox(0.0, 0.0, 1.0, 1.0)
"""All of a photograph, at its full size."""

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


@router.get("/health")
async def health(request: Request) -> Health:
    """Whether the server answers, and from the newest commit. Needs no token."""
    service = service_of(request)
    status = "stale" if service.problem else "ok"
    images, problem = (service.view.images, service.problem) if asker_of(request).known else (None, None)
    return Health(status=status, version=VERSION, images=images, problem=problem)


@router.post("/session", status_code=204, responses={401: _ERRORS[401], 429: _ERRORS[429]})
async def session(request: Request) -> Response:
    """Begin a session for the token that this request brings, since an <img> cannot bring it. For the page.

    Its id is kept in a cookie, which ends with the browser, when the server stops, or unused for twelve hours.
    """
    settings, asker = request.app.state.settings, asker_of(request)
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

    return await in_turn(request, work)


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

    return await waited(request, work)


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

    return await in_turn(request, work)


@guarded.post("/people", responses=_UPLOAD_ERRORS | _LINES, response_model=PeopleFound)
async def people(
    request: Request, photograph: Annotated[UploadFile, File(description="A photograph of a scene.")]
) -> PeopleFound | Response:
    """The people in a photograph, as a detector finds them. A box, as `xywh=…`, is a part to search with.

    Waits in the same line as the searches, and tells of it in lines of JSON where a search would.
    """
    service = service_of(request)
    finder: PeopleFinder = request.app.state.finder

    def work(place: Place) -> PeopleFound:
        place.now("seeing")
        return finder.find(service.part(photograph.file.read(), WHOLE))

    return await in_turn(request, work)


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

    return await in_turn(request, work)


@guarded.get("/images/{image_id}/regions", responses=_IMAGE_ERRORS | _LINES, response_model=RegionsSeen)
async def image_regions(
    request: Request, image_id: ImageId, box: Annotated[str, Query()] = ""
) -> RegionsSeen | Response:
    """The same, of an image of the index."""
    service, part = service_of(request), box_of(box)

    def work(place: Place) -> RegionsSeen:
        place.now("seeing")
        return regions_seen(service, shown(lambda: service.see_stored(image_id, part)))

    return await in_turn(request, work)


@guarded.get("/images/{image_id}", responses=_IMAGE_ERRORS | _JPEG, response_class=Response)
def image(request: Request, image_id: ImageId) -> Response:
    """An image of the index as a JPEG of at most 1024 × 1024 pixels, without the metadata of its file."""
    service = service_of(request)
    return picture(request, service, image_id, "whole", service.picture)


@guarded.get("/images/{image_id}/thumbnail", responses=_IMAGE_ERRORS | _JPEG, response_class=Response)
def thumbnail(request: Request, image_id: ImageId) -> Response:
    """The same, at most 192 × 256 pixels."""
    service = service_of(request)
    return picture(request, service, image_id, "small", service.thumbnail)


@guarded.get("/images/{image_id}/scene", responses=_IMAGE_ERRORS | _JPEG, response_class=Response)
def scene(request: Request, image_id: ImageId) -> Response:
    """The whole picture that an image was cut from, its box outlined, as a JPEG of at most 2048 × 2048 pixels.

    Of an image that is no part of a picture it is the image.
    """
    service = service_of(request)
    return picture(request, service, image_id, "scene", service.scene)


@guarded.get("/images/{image_id}/people", responses=_IMAGE_ERRORS)
def image_people(request: Request, image_id: ImageId) -> KnownPeople:
    """The images of the index that were cut from the same photograph, or moment of a film, as an image; itself too."""
    service = service_of(request)
    return shown(lambda: known_people(service, service.view, image_id))


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
    scheme = "https" if asker_of(request).secure else "http"
    base = f"{scheme}://{request.headers.get('host', '')}{request.scope['root_path']}"
    return HTMLResponse(reference_page(request.app.openapi(), base))


@guarded.get("/metrics", responses=_ERRORS, response_class=Response)
async def metrics(request: Request) -> Response:
    """The server's own numbers for Prometheus."""
    return Response(request.app.state.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


router.include_router(guarded)
