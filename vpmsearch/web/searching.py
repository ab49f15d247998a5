"""The fields of a search, and the search itself. Answers and exported files both use it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from fastapi import File, Form, Request, UploadFile

from vpmsearch.search.confirm import Taken, joined
from vpmsearch.search.itself import Source
from vpmsearch.search.no_person import no_person
from vpmsearch.search.queries import parse_regions, together
from vpmsearch.types import ModelInfo, RegionFeatures, SearchFilter
from vpmsearch.web.fields import (
    LARGEST_ID,
    MAX_CONFIRMED,
    MAX_PHOTOGRAPHS,
    MAX_RANK,
    MAX_REFUSED,
    Given,
    Moment,
    boxes_of,
    check_count,
    filter_of,
    whole_uploads,
)
from vpmsearch.web.pictures import Box
from vpmsearch.web.service import SearchService
from vpmsearch.web.state import Found, Photograph, View
from vpmsearch.web.waiting import Place
from vpmsearch.words import printable

Id = Annotated[int, Form(ge=1, le=LARGEST_ID)]
Text = Annotated[str, Form(max_length=5000)]


@dataclass(frozen=True)
class Asked:
    """A search that was asked for; the fields are those of the form, see `asked`. boxes: one for each upload."""

    uploads: list[UploadFile]
    boxes: list[Box | None]
    image_ids: list[int]
    cut_from: list[int]
    confirmed: list[int]
    refused: list[int]
    regions: str
    only: SearchFilter
    exact: bool
    exclude_self: bool
    by_track: bool
    fill: bool
    offset: int
    limit: int

    @property
    def name(self) -> str:
        """The photographs and images of the query by name."""
        files = (printable((upload.filename or "photograph")[:200]) for upload in self.uploads)
        return " + ".join([*files, *map("image {}".format, self.image_ids)])


async def asked(
    request: Request,
    photograph: Annotated[
        list[UploadFile] | None, Given, File(description=f"Up to {MAX_PHOTOGRAPHS} photographs of one person.")
    ] = None,
    box: Annotated[
        list[str] | None,
        Form(
            description='Of each photograph the part to use: "left,top,right,bottom" as fractions 0 to 1, '
            '"xywh=x,y,width,height" in pixels, or "".'
        ),
    ] = None,
    image_id: Annotated[list[Id] | None, Given, Form(description="Images of the index to search with.")] = None,
    confirmed: Annotated[
        list[Id] | None,
        Given,
        Form(
            max_length=MAX_CONFIRMED,
            description="Images of the index that show whoever is searched for: region by region they are averaged "
            "with the query, weighted by visibility. Then there is no verdict and no false-match rate.",
        ),
    ] = None,
    refused: Annotated[
        list[Id] | None,
        Given,
        Form(max_length=MAX_REFUSED, description="Images of the index that show somebody else: left out of the ranks."),
    ] = None,
    regions: Annotated[
        str, Form(max_length=1000, description='Compare by these alone: "0,1" or "torso"; "" is all.')
    ] = "",
    pid: Annotated[list[Text] | None, Given, Form(description="Only these identities, numbers or words.")] = None,
    camid: Annotated[list[Text] | None, Given, Form(description="Only these cameras, numbers or words.")] = None,
    exclude_camid: Annotated[
        list[Text] | None,
        Given,
        Form(
            description="Without these cameras, such as the query's own, and without images whose camera is not known."
        ),
    ] = None,
    where: Annotated[
        list[Annotated[str, Form(max_length=10_000)]] | None,
        Given,
        Form(
            max_length=100,
            description='Only images with these attributes: "site=north", or JSON: {"site": ["north", "south"]}. '
            "All names must fit; of one name, any value.",
        ),
    ] = None,
    after: Annotated[
        Moment | None,
        Form(description="Only images captured at or after this time; without a zone it is UTC."),
    ] = None,
    before: Annotated[Moment | None, Form(description="Only images captured before this time.")] = None,
    prefix: Annotated[
        str, Form(max_length=4096, description="Only images whose path, as answers give it, starts so.")
    ] = "",
    exact: Annotated[bool, Form(description="Compare with every image instead of candidates.")] = False,
    exclude_self: Annotated[
        bool, Form(description="Leave the query itself, or whatever has its content, out of the ranks.")
    ] = False,
    by_track: Annotated[
        bool, Form(description="Images of one track are one match: its nearest image, and how many it has.")
    ] = False,
    fill: Annotated[
        bool, Form(description="Fill what the query does not show from its nearest image, and search again.")
    ] = False,
    cut_from: Annotated[
        list[Id] | None,
        Given,
        Form(max_length=MAX_PHOTOGRAPHS, description="Images of the index that photographs were cut from."),
    ] = None,
    offset: Annotated[int, Form(ge=0, lt=MAX_RANK, description="Ranks to skip.")] = 0,
    limit: Annotated[int, Form(ge=1, le=100, description="Matches to answer.")] = 24,
) -> Asked:
    """The fields of a search, as FastAPI reads and describes them."""
    uploads, ids = whole_uploads(photograph or []), image_id or []
    check_count(len(uploads) + len(ids))
    service: SearchService = request.app.state.service
    view = service.view
    return Asked(
        uploads=uploads,
        boxes=boxes_of(box or [], len(uploads)),
        image_ids=ids,
        cut_from=cut_from or [],
        confirmed=confirmed or [],
        refused=refused or [],
        regions=regions,
        only=filter_of(
            view, pid or (), camid or (), exclude_camid or (), where or (), after, before, view.whole_prefix(prefix)
        ),
        exact=exact,
        exclude_self=exclude_self,
        by_track=by_track,
        fill=fill,
        offset=offset,
        limit=limit,
    )


@dataclass(frozen=True)
class Searched:
    """A search that was made.

    view: that was searched. query: (1, p) and (1, p, d), with what was confirmed. taken: for each region the
    photograph, image or confirmed image it was taken from. chosen: regions that were asked for, None for all. found: a
    page of the ranks.
    """

    asked: Asked
    view: View
    query: RegionFeatures
    taken: Taken
    chosen: tuple[int, ...] | None
    found: Found


def search(service: SearchService, asked: Asked, place: Place) -> Searched:
    """See what is to be seen, and search.

    Raises:
        VpmsearchError: a photograph, an image or a region cannot be searched with.
    """
    view, ids = service.view, asked.image_ids
    chosen = parse_regions(asked.regions, view.snapshot.model_info.num_regions)
    place.now("seeing" if asked.uploads else "searching")
    # Photographs are read only now. While a search waits for a thread, they stay in a temporary file.
    seen = [service.see(upload.file.read(), part) for upload, part in zip(asked.uploads, asked.boxes, strict=True)]
    parts = [photograph.features for photograph in seen] + [service.stored_features(view, each) for each in ids]
    source = Source.of(*(photograph.content for photograph in seen)).with_images(view.engine, [*ids, *asked.cut_from])
    plain, sources = together(RegionFeatures.concatenate(parts))
    query, taken, source = joined(view.engine, plain, sources, source, asked.confirmed, first=len(parts))
    place.now("searching")
    found = service.search(
        view,
        query,
        offset=asked.offset,
        limit=min(asked.limit, MAX_RANK - asked.offset),
        exact=asked.exact,
        only=asked.only,
        regions=chosen,
        source=source,
        exclude_self=asked.exclude_self,
        by_track=asked.by_track,
        fill=asked.fill,
        refused=asked.refused,
        nobody="" if ids else _shows_nobody(view.snapshot.model_info, seen),
    )
    return Searched(asked, view, query, taken or sources, chosen, found)


def _shows_nobody(info: ModelInfo, photographs: Sequence[Photograph]) -> str:
    """Why none of several photographs shows a person, in a sentence; "" where one may."""
    told = [
        no_person(*each.size, each.spread, int(info.visible(each.features.visibility[0]).sum()), info.p)
        for each in photographs
    ]
    return told[0] if told and all(told) else ""
