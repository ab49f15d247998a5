"""The answer to a query: its matches, and what else is known of them. `vpmsearch.types` has these names too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from vpmsearch.labels import Attributes, Label
from vpmsearch.views import result_view
from vpmsearch.words import number_of

if TYPE_CHECKING:
    from pandas import DataFrame
    from PIL.Image import Image


@dataclass(frozen=True)
class RegionMatch:
    """One region's part in a match.

    distance: D_i. weight: C_i^q · C_i^g. share: the weight's share of the sum of all weights, 0 to 1.
    name: the body part, see `vpmsearch.search.queries.region_names`; several regions may have the same name.
    """

    region: int
    distance: float
    weight: float
    share: float
    name: str = ""


@dataclass(frozen=True)
class Match:
    """One gallery image with the reasons for its rank.

    distance: Σ weight · distance / Σ weight over `regions` (Eq. 4).
    pid, camid, attributes, captured_at, width, height: as in its `ImageRecord`.
    false_match_rate: the share, 0 to 1, of searches for people who are not in the index that find an image at least as
    near. None if the result was not judged, see `vpmsearch.search.judged`.
    itself: the image is the query itself or has the same content, so it is no match.
    track_images: how many images of its track were found; None if the search was not for tracks.
    """

    image_id: int
    path: str
    pid: Label | None
    camid: Label | None
    distance: float
    regions: tuple[RegionMatch, ...]
    attributes: Attributes = field(default_factory=dict, hash=False)
    captured_at: datetime | None = None
    width: int = 0
    height: int = 0
    false_match_rate: float | None = None
    itself: bool = False
    track_images: int | None = None


@dataclass(frozen=True)
class NoMatches:
    """Why a search found nothing.

    kind: "index": the index is empty. "labels": no image of the index has the labels that the filter asks for.
    "filter": no image passes the filter. "query": the query shows no region that counts. "regions": no image that
    passes the filter shows a region of the query. "itself": only the query itself does, and it was to be left out.
    text: the reason as a sentence, which names what was asked for.
    """

    kind: Literal["index", "labels", "filter", "query", "regions", "itself"]
    text: str


VERDICT_TEXTS: Mapping[str, str] = {
    "match": "Few strangers come as near as the first.",
    "unsure": "Now and then a stranger comes as near as the first.",
    "no match": "Strangers come as near as the first.",
}
"""What each verdict means, in a sentence. All interfaces show this text."""


@dataclass(frozen=True)
class SearchResult:
    """The answer to one query, best match first.

    candidates: how many images were compared by Eq. 4. exact: the search was asked to compare every image.
    timings_ms: milliseconds by stage.
    depth: k', how many images of each region's list were compared; 0 if no list was needed.
    complete: the answer is certainly that of an exact search: no other image belongs into it.
    bound_closed: no image beyond the ends of the lists can belong into it. Approximate lists may have missed an image
    before their end, so there it proves nothing. If a scan over signs took the place of lists, it is true if no other
    image's estimate comes near the last match.
    empty: why there are no matches; None if there are some.
    images: how many images the index had; None on a server, where counting them takes longer than a search.
    query: the photographs that were searched with, if `with_query` was given them.

    A search leaves the following empty; `vpmsearch.search.judged` sets them.
    verdict: "match", "unsure" or "no match", for the nearest image that is not the query itself.
    filled_from: id of the image that the query was filled from.
    calibration_notice: why the calibration should be made anew, or "".
    confirmed, refused: ids of images of which a person has said that they show the person searched for, or another one.
    no_person: a sentence that says why the query is no picture of a person, or ""; it has no verdict then.
    """

    matches: tuple[Match, ...]
    candidates: int
    exact: bool
    timings_ms: Mapping[str, float] = field(default_factory=dict)
    depth: int = 0
    complete: bool = False
    bound_closed: bool = False
    empty: NoMatches | None = None
    verdict: str | None = None
    filled_from: int | None = None
    calibration_notice: str = ""
    confirmed: tuple[int, ...] = ()
    refused: tuple[int, ...] = ()
    no_person: str = ""
    images: int | None = None
    query: tuple[Image, ...] = field(default=(), compare=False)

    @property
    def elapsed_ms(self) -> float:
        """All stages together, in milliseconds."""
        return sum(self.timings_ms.values())

    @property
    def verdict_word(self) -> str:
        """The verdict as it is shown: "match", "unsure", "no match" or "no person"; "" where there is none."""
        return "no person" if self.no_person else self.verdict or ""

    @property
    def verdict_text(self) -> str:
        """What the verdict means, or why the query shows no person, in a sentence; "" where neither is known."""
        if self.no_person:
            return f"{self.no_person[:1].upper()}{self.no_person[1:].rstrip('.')}."
        if self.verdict is None or all(match.itself for match in self.matches):
            return ""  # no image but the query itself was found, so there is no first one to speak of
        return VERDICT_TEXTS[self.verdict]

    def __repr__(self) -> str:
        nearest = f"nearest {self.matches[0].distance:.4f} {self.matches[0].path!r}, " if self.matches else ""
        nearest = f"{self.empty.text}, " if self.empty is not None else nearest
        matches = number_of(len(self.matches), "match", "matches")
        return f"<SearchResult: {matches}, {nearest}{self.candidates} compared>"

    def with_query(self, *photographs: Image) -> SearchResult:
        """The same result, which is then shown with these photographs. Several are of one person."""
        return replace(self, query=photographs)

    def show(self, query: Image | None = None, *, top: int = 10, pid: Label | None = None) -> Image:
        """The ranks as a picture. A notebook displays it; elsewhere use its methods `save` and `show`.

        Args:
            query: the photograph that is drawn at the left; default: those of `with_query`. top: matches at most. pid:
                the person in the query, if known; matches are then marked right or wrong.
        """
        return result_view().result_picture(self, query, top=top, pid=pid)

    def to_pandas(self) -> DataFrame:
        """A row for each match: the fields of docs/answers.md, and distance_i, weight_i and share_i of each region i.

        Raises:
            DataError: pandas is not installed.
        """
        return result_view().result_frame(self)

    def _repr_html_(self) -> str:
        return result_view().result_html(self)
