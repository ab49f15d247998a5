"""What goes over the wire. An answer to a search has the form of `query --json`: docs/answers.md."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field


class Problem(BaseModel):
    """Why a request failed, in words for a person."""

    error: str


class RegionPart(BaseModel):
    """One region's part in a match: Σ weight · distance / Σ weight over the regions is the match's distance (Eq. 4)."""

    region: int
    name: str = Field(description="head, torso, legs or body; several regions may have one name")
    distance: float
    weight: float = Field(description="visibility in the query × visibility in the image")
    share: float = Field(description="of all weights, 0 to 1")


class Hit(BaseModel):
    """One image of the index, and why it stands where it does."""

    rank: int
    image_id: int
    path: str
    distance: float = Field(description="Eq. 4")
    pid: int | str | None = Field(description="person, where known")
    camid: int | str | None = Field(description="camera, where known")
    regions: list[RegionPart] = Field(description="by which the two were compared")
    captured_at: datetime | None = Field(description="UTC, where known")
    attributes: dict[str, str] = Field(description="whatever else is noted about the image, by name")
    width: int = Field(description="of the image, in pixels")
    height: int
    box: list[int] | None = Field(
        min_length=4,
        max_length=4,
        description="left, top, width, height: the part of its photograph or film; in pixels",
    )
    seconds: float | None = Field(description="moment of its film")
    false_match_rate: float | None = Field(
        description="share of searches for people who are not in the index that find an image as near; none without "
        "`vpmsearch calibrate`, of the query itself, and of a query that was filled or has confirmed images"
    )
    itself: bool = Field(description="it is the query itself, or has its content: no match")
    track_images: int | None = Field(
        description="how many images of its track were found, at least; none where tracks were not asked for"
    )
    notes: list[str] = Field(description="the rate, the track and whether it is the query itself, in words")


class QueryRegion(BaseModel):
    """What the query shows of one region."""

    region: int
    name: str
    visibility: float
    counts: bool = Field(description="enough of it is visible, and it was asked for")
    photograph: int = Field(
        description="the photograph it was taken from, from 0, as they were given; then image ids, then confirmed"
    )


class NoMatch(BaseModel):
    """Why there are no matches."""

    kind: str = Field(
        description="index: it is empty; labels: nothing passes the filters, as no image has such labels; filter: "
        "nothing passes them; query: it shows no region that counts; regions: no image that passes shares one; "
        "itself: only the query itself does"
    )
    reason: str = Field(description="the same in words for a person")


class SearchAnswer(BaseModel):
    """One page of the ranks."""

    model_config = ConfigDict(populate_by_name=True, serialize_by_alias=True)

    query: str = Field(description="its photographs and images by name")
    exact: bool = Field(description="every image was asked to be compared")
    candidates: int = Field(description="images that were compared by Eq. 4")
    elapsed_ms: float
    matches: list[Hit] = Field(description="best first")
    verdict: str | None = Field(
        description='"match", "unsure" or "no match", of the nearest image that is not the query itself; none without '
        "`vpmsearch calibrate`, and where images were confirmed"
    )
    verdict_text: str | None = Field(
        description="what the verdict means or, where there is `no_person`, why there is none: a sentence"
    )
    filled_from: int | None = Field(
        description="id of the image that the query was filled from; the verdict is of the query as it was"
    )
    confirmed: list[int] = Field(description="ids of images that a person has confirmed: a part of the query")
    refused: list[int] = Field(description="ids of images that a person has refused: in no rank")
    depth: int = Field(description="how many images of each region's list were compared; 0 where all images were")
    complete: bool = Field(description="no other image can belong into the answer, which is what `exact` gives")
    bound_closed: bool = Field(description="by the bound; lists that are approximate may have missed an image")
    empty: NoMatch | None = Field(description="why there are no matches; none where there are some")
    calibration_notice: str | None = Field(description="why the calibration should be made anew; none where it is fine")
    no_person: str | None = Field(
        description="why the query is no picture of a person, in a sentence; there is no verdict then"
    )
    query_regions: list[QueryRegion] = Field(description="what the query shows")
    images: int | None = Field(description="in the index; none on a database server")
    form: int = Field(alias="schema", description="version of this form")
    offset: int = Field(description="ranks before the first; over REST alone")
    more: bool = Field(description="whether there is another page; over REST alone")


class Pair(BaseModel):
    """Two images of the index to be looked at, by their ids."""

    image: int
    other: int


class Pairs(BaseModel):
    """Pairs of images that a person may say of whether they show the same."""

    pairs: list[Pair]


class RegionsSeen(BaseModel):
    """Which regions the model sees where in a photograph, or in the part of it that was asked for."""

    grid: list[int] = Field(min_length=2, max_length=2, description="rows and columns of regions on a whole person")
    names: list[str]
    labels: list[list[int]] = Field(
        description="(h, w): the likeliest region, laid evenly over the photograph; -1: an occluder"
    )
    visibility: list[float] = Field(description="of each region; the sum is at most 1")
    min_visibility: float = Field(description="a smaller visibility counts as 0")
    width: int = Field(description="pixels of what was seen; a large JPEG may have been decoded smaller")
    height: int


class IndexStats(BaseModel):
    """What is in the index."""

    images: int
    removed: int
    rejected: int
    identities: int
    cameras: int
    segments: int
    grid: list[int] = Field(min_length=2, max_length=2)
    names: list[str] = Field(description="of the regions, row by row")
    min_visibility: float
    weights: str
    dataset: str = Field(description="that the weights were trained on")
    camids: list[int | str]
    attributes: list[str] = Field(description="names of attributes that images have, for `where`")
    captured: list[datetime] | None = Field(
        min_length=2, max_length=2, description="first and last; none where no image has a time"
    )
    examples: list[int] = Field(description="ids of a few images, to begin from; none in a very large index")


class Health(BaseModel):
    """Whether the server answers, and from the newest commit."""

    status: str = Field(description='"ok", or "stale": it answers from an older state of the index')
    version: str
    images: int | None = Field(description="none without the token")
    problem: str | None = Field(description='why it is stale, "" where it is not; none without the token')
