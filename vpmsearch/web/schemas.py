"""The JSON that the REST interface sends. An answer to a search has the form of `query --json`: docs/answers.md."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field


class Problem(BaseModel):
    """Why a request failed, in words for a person."""

    error: str


class RegionPart(BaseModel):
    """One region's part in a match. The match's distance is Σ weight · distance / Σ weight over its regions (Eq. 4)."""

    region: int
    name: str = Field(description="head, torso, legs or body; several regions may have one name")
    distance: float
    weight: float = Field(description="visibility in the query × visibility in the image")
    share: float = Field(description="this region's share of all weights, 0 to 1")


class Hit(BaseModel):
    """One image of the index, and the parts that its distance is made of."""

    rank: int
    image_id: int
    path: str
    distance: float = Field(description="Eq. 4")
    pid: int | str | None = Field(description="the person, if known")
    camid: int | str | None = Field(description="the camera, if known")
    regions: list[RegionPart] = Field(description="the regions that query and image were compared by")
    captured_at: datetime | None = Field(description="when it was taken, in UTC, if known")
    attributes: dict[str, str] = Field(description="what else is known of the image: names and values")
    width: int = Field(description="of the image, in pixels")
    height: int
    box: list[int] | None = Field(
        min_length=4,
        max_length=4,
        description="left, top, width, height in pixels: the part of its photograph or film that the image is",
    )
    seconds: float | None = Field(description="when its frame is shown, from the beginning of its film")
    false_match_rate: float | None = Field(
        description="the share, 0 to 1, of searches for people who are not in the index that find an image at least as "
        "near; none without `vpmsearch calibrate`, for the query itself, and if the query was filled or has confirmed "
        "images"
    )
    itself: bool = Field(description="it is the query itself or has the same content, so it is no match")
    track_images: int | None = Field(
        description="how many images of its track were found, at least; none if tracks were not asked for"
    )
    notes: list[str] = Field(description="the rate, the track and whether it is the query itself, in words")


class QueryRegion(BaseModel):
    """What the query shows of one region."""

    region: int
    name: str
    visibility: float
    counts: bool = Field(description="the search uses it: enough of it is visible, and it was asked for")
    photograph: int = Field(
        description="number, from 0, of the photograph it was taken from: first the photographs in the order given, "
        "then the images given by id, then the confirmed ones"
    )


class NoMatch(BaseModel):
    """Why there are no matches."""

    kind: str = Field(
        description="index: the index is empty; labels: no image of the index has such labels at all; filter: no image "
        "passes the filters; query: the query shows no region that counts; regions: no image that passes the filters "
        "shows a region of the query; itself: only the query itself does"
    )
    reason: str = Field(description="the same as a sentence")


class SearchAnswer(BaseModel):
    """One page of an answer: some of the ranks, and what holds for all of them."""

    model_config = ConfigDict(populate_by_name=True, serialize_by_alias=True)

    query: str = Field(description="names of the photographs and images that were searched with")
    exact: bool = Field(description="the search was asked to compare every image")
    candidates: int = Field(description="images that were compared by Eq. 4")
    elapsed_ms: float
    matches: list[Hit] = Field(description="best first")
    verdict: str | None = Field(
        description='"match", "unsure" or "no match", for the nearest image that is not the query itself; none without '
        "`vpmsearch calibrate`, and if images were confirmed"
    )
    verdict_word: str | None = Field(
        description='the verdict as it is shown to people: that of `verdict`, or "no person" where there is `no_person`'
    )
    verdict_text: str | None = Field(
        description="what the verdict means or, where there is `no_person`, why there is none: a sentence"
    )
    filled_from: int | None = Field(
        description="id of the image that the query was filled from; the verdict is that of the query before"
    )
    confirmed: list[int] = Field(description="ids of images that the user has confirmed; they are part of the query")
    refused: list[int] = Field(description="ids of images that the user has refused; they have no rank")
    depth: int = Field(description="how many images of each region's list were compared; 0 if all images were")
    complete: bool = Field(description="the answer is certainly that of `exact`: no other image belongs into it")
    bound_closed: bool = Field(
        description="no image that the lists do not name can be nearer; approximate lists may still have missed one"
    )
    empty: NoMatch | None = Field(description="why there are no matches; none if there are some")
    calibration_notice: str | None = Field(
        description="why the calibration should be made anew; none if it is up to date"
    )
    no_person: str | None = Field(
        description="a sentence that says why the query is no picture of a person; there is no verdict then"
    )
    query_regions: list[QueryRegion] = Field(description="what the query shows")
    images: int | None = Field(description="images in the index; none if it is on a database server")
    form: int = Field(alias="schema", description="version of this form")
    offset: int = Field(description="how many ranks come before this page; only over REST")
    more: bool = Field(description="whether another page follows; only over REST")


class Pair(BaseModel):
    """The ids of two images of the index that a person is to compare."""

    image: int
    other: int


class Pairs(BaseModel):
    """Pairs of images. A person says of each whether both show the same person."""

    pairs: list[Pair]


class RegionsSeen(BaseModel):
    """Where the model sees which region, in a photograph or in the part of it that was asked for."""

    grid: list[int] = Field(min_length=2, max_length=2, description="rows and columns of regions on a whole person")
    names: list[str]
    labels: list[list[int]] = Field(
        description="(h, w): the likeliest region, laid evenly over the photograph; -1: an occluder"
    )
    visibility: list[float] = Field(description="of each region; the sum is at most 1")
    min_visibility: float = Field(description="a smaller visibility counts as 0")
    width: int = Field(description="of what the model saw, in pixels; a large JPEG may have been decoded smaller")
    height: int


class FoundPerson(BaseModel):
    """A person that a detector found in a photograph."""

    box: list[int] = Field(min_length=4, max_length=4, description="left, top, width, height in pixels")
    score: float = Field(description="how sure the detector is, 0 to 1")


class PeopleFound(BaseModel):
    """The people in a photograph, surest first: at most 200."""

    width: int = Field(description="of the photograph, in pixels, upright")
    height: int
    detector: str = Field(description="which, and what it was trained on")
    people: list[FoundPerson]


class KnownPerson(BaseModel):
    """An image of the index that was cut from a scene."""

    image_id: int
    box: list[int] = Field(min_length=4, max_length=4, description="left, top, width, height in pixels of the scene")


class KnownPeople(BaseModel):
    """The images of the index that were cut from one photograph, or from one moment of a film: at most 200."""

    width: int = Field(description="of the scene, in pixels; 0 where the image is no part of one")
    height: int
    people: list[KnownPerson]


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
    dataset: str = Field(description="what the weights were trained on")
    camids: list[int | str]
    attributes: list[str] = Field(description="names of attributes that images have, for `where`")
    captured: list[datetime] | None = Field(
        min_length=2, max_length=2, description="the first and the last time; none if no image has one"
    )
    examples: list[int] = Field(description="ids of a few images to begin a search with; none in a very large index")


class Health(BaseModel):
    """Whether the server answers from the newest commit."""

    status: str = Field(description='"ok", or "stale" if the newest commit cannot be read and an older one answers')
    version: str
    images: int | None = Field(description="none without the token")
    problem: str | None = Field(description='why it is stale; "" if it is not; none without the token')
