"""The values that flow from one stage to the next: frozen dataclasses of numpy arrays, no torch.

Axes: n images, p regions (row-major over the grid: top to bottom, then left to right), d numbers an embedding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from operator import index
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from vpmsearch.errors import FeatureError, ModelError
from vpmsearch.labels import Attributes, Label
from vpmsearch.labels import ImageRecord as ImageRecord
from vpmsearch.labels import SearchFilter as SearchFilter
from vpmsearch.views import result_view
from vpmsearch.words import number_of

if TYPE_CHECKING:
    from pandas import DataFrame
    from PIL.Image import Image

Float32 = NDArray[np.float32]
Int64 = NDArray[np.int64]
Bool = NDArray[np.bool_]

MAX_REGIONS = 1024
"""Regions p of a model: an index opens a file for each of them in every segment."""

MAX_EMBEDDING_DIM = 1 << 16
"""Numbers d of an embedding."""


def as_utc(moment: datetime) -> datetime:
    """The same moment in UTC; without a time zone it is taken as UTC.

    Raises:
        OverflowError: there is no such year in UTC.
    """
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


@dataclass(frozen=True)
class RegionFeatures:
    """What a model sees in n images.

    visibility: (n, p) float32, C_i / (h·w) of Eq. 2: in [0, 1]. The sum over the regions is 1; less where the model has
    an occluder class and sees an occluder.
    embeddings: (n, p, d) float32, f_i of Eq. 3.
    """

    visibility: Float32
    embeddings: Float32

    def __post_init__(self) -> None:
        if self.visibility.ndim != 2 or self.embeddings.ndim != 3:
            raise FeatureError(
                f"visibility must be (n, p) and embeddings (n, p, d); "
                f"got {self.visibility.shape} and {self.embeddings.shape}"
            )
        if self.visibility.shape != self.embeddings.shape[:2]:
            raise FeatureError(
                f"visibility {self.visibility.shape} and embeddings {self.embeddings.shape} "
                "disagree on the number of images or regions"
            )
        object.__setattr__(self, "visibility", np.ascontiguousarray(self.visibility, dtype=np.float32))
        object.__setattr__(self, "embeddings", np.ascontiguousarray(self.embeddings, dtype=np.float32))

    def __len__(self) -> int:
        return len(self.visibility)

    def __repr__(self) -> str:
        return (
            f"<RegionFeatures: {number_of(len(self), 'image')}, {number_of(self.num_regions, 'region')} of "
            f"{number_of(self.embedding_dim, 'number')}>"
        )

    def __getitem__(self, rows: slice | NDArray[Any] | Sequence[int]) -> RegionFeatures:
        return RegionFeatures(self.visibility[rows], self.embeddings[rows])

    @property
    def num_regions(self) -> int:
        """Regions p."""
        return int(self.embeddings.shape[1])

    @property
    def embedding_dim(self) -> int:
        """Numbers d in one region's embedding."""
        return int(self.embeddings.shape[2])

    def check_finite(self) -> None:
        """Check that distances can be computed from these features.

        Raises:
            FeatureError: a value is NaN or infinite, or a visibility is negative.
        """
        bad = ~np.isfinite(self.visibility).all(axis=1) | ~np.isfinite(self.embeddings).all(axis=(1, 2))
        bad |= (self.visibility < 0).any(axis=1)
        if bad.any():
            rows = np.flatnonzero(bad)
            raise FeatureError(
                f"of {number_of(len(self), 'image')} {len(rows)} have features that are not finite or negative "
                f"visibility (first: row {rows[0]}); the weights or the input are damaged"
            )

    @classmethod
    def concatenate(cls, parts: Sequence[RegionFeatures]) -> RegionFeatures:
        """Join features along the images. There must be at least one part."""
        return cls(
            np.concatenate([part.visibility for part in parts]), np.concatenate([part.embeddings for part in parts])
        )


@dataclass(frozen=True, init=False)
class ModelInfo:
    """The model an index was built with: one index, one model.

    num_regions: the grid (m, n) of p = m·n regions; may be given as one number m for (m, 1). embedding_dim: d.
    fingerprint: identifies the weights; features of another fingerprint are refused. input_size: (height, width)
    pixels. min_visibility: see DESIGN "visibility"; None means 1/(2p). weights: where the file was found.
    name, dataset: for people to read.
    """

    num_regions: tuple[int, int]
    embedding_dim: int
    fingerprint: str
    weights: str
    name: str
    dataset: str
    input_size: tuple[int, int]
    min_visibility: float | None

    def __init__(  # by hand, since more is accepted than is then read
        self,
        num_regions: tuple[int, int] | int,
        embedding_dim: int,
        fingerprint: str,
        weights: str = "",
        name: str = "",
        dataset: str = "",
        input_size: tuple[int, int] = (0, 0),
        min_visibility: float | None = None,
    ) -> None:
        grid = (num_regions, 1) if isinstance(num_regions, int) else num_regions
        try:
            grid, embedding_dim = (index(grid[0]), index(grid[1])), index(embedding_dim)
        except (TypeError, IndexError) as error:
            raise ModelError(f"num_regions {grid} and embedding_dim {embedding_dim} must be whole numbers") from error
        if min(grid) < 1 or embedding_dim < 1:
            raise ModelError(f"an index needs at least one region and dimension, got {grid} and {embedding_dim}")
        if grid[0] * grid[1] > MAX_REGIONS or embedding_dim > MAX_EMBEDDING_DIM:
            raise ModelError(
                f"an index takes up to {MAX_REGIONS} regions of {MAX_EMBEDDING_DIM} numbers, got {grid[0]} × {grid[1]} "
                f"regions of {embedding_dim}"
            )
        if min_visibility is None:
            min_visibility = 1 / (2 * grid[0] * grid[1])
        if not 0 <= min_visibility < 1:
            raise ModelError(f"min_visibility must be in [0, 1), got {min_visibility}")
        values = {
            "num_regions": grid, "embedding_dim": embedding_dim, "fingerprint": fingerprint, "weights": weights,
            "name": name, "dataset": dataset, "input_size": (int(input_size[0]), int(input_size[1])),
            "min_visibility": min_visibility,
        }  # fmt: skip
        for field_name, value in values.items():
            object.__setattr__(self, field_name, value)  # frozen

    @property
    def p(self) -> int:
        """Regions in all, m·n."""
        return self.num_regions[0] * self.num_regions[1]

    @property
    def threshold(self) -> float:
        """`min_visibility` as a number: a smaller visibility counts as 0 wherever images are compared."""
        assert self.min_visibility is not None
        return self.min_visibility

    def visible(self, visibility: Float32) -> Bool:
        """Which regions count in comparisons: a bool array of the shape of `visibility`, C_i / (h·w) in float32."""
        visible: Bool = (visibility >= np.float32(self.threshold)) & (visibility > 0)
        return visible

    @classmethod
    def of(cls, info: ModelInfo | Mapping[str, Any]) -> Self | ModelInfo:
        """Take a ModelInfo as it is, or build one from a mapping.

        Raises:
            ModelError: the mapping has an unknown key or lacks a needed one.
        """
        if isinstance(info, ModelInfo):
            return info
        unknown = set(info) - {item.name for item in fields(cls)}
        if unknown:
            raise ModelError(f"unknown model_info keys: {', '.join(sorted(unknown))}")
        try:
            return cls(**info)
        except TypeError as error:
            raise ModelError(f"incomplete model_info: {error}") from error


@dataclass(frozen=True)
class RegionMatch:
    """One region's part in a match: distance D_i, weight C_i^q·C_i^g, and its share of all weights (0-1).

    name: of the body part, see `vpmsearch.search.queries.region_names`; several regions may have the same name.
    """

    region: int
    distance: float
    weight: float
    share: float
    name: str = ""


@dataclass(frozen=True)
class Match:
    """One gallery image with the reasons for its rank: Σ weight·distance / Σ weight = distance (Eq. 4).

    pid, camid, attributes, captured_at, width, height: as in its `ImageRecord`. false_match_rate: the share of searches
    for people who are not in the index that find an image as near, 0 to 1; None if the result was not judged (see
    `vpmsearch.search.judged`). itself: whether it is the query itself, or has the query's content; then it is no match.
    track_images: how many images of its track were found, if the search was for tracks.
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

    kind: "index", the index is empty; "labels", nothing passes the filter, as no image has such labels at all;
    "filter", nothing passes it; "query", the query shows no region that counts; "regions", no image that passes shares
    a region with the query; "itself", only the query itself does, and it was to be left out. text: the same for a
    person, with what was asked for.
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

    candidates: images that were compared by Eq. 4. exact: every image was asked to be. timings_ms: milliseconds by
    stage. depth: k', how many images of each region's list were compared; 0 where no list was needed. complete: no
    other image can belong into the answer, which is what `exact` gives. bound_closed: by the bound, no image that the
    lists do not name can; approximate lists may have missed one, so there it proves nothing. Where a scan over signs
    took the place of lists, it is true if no other image's estimate comes near the last match. empty: why there are no
    matches; None where there are some. verdict: "match", "unsure" or "no match" of the nearest image that is not the
    query itself; filled_from: the id of the image that the query was filled from; calibration_notice: why the
    calibration should be made anew, or ""; confirmed, refused: ids of images that a person has said to show whoever is
    searched for, or somebody else. A search leaves these empty; `vpmsearch.search.judged` sets them.
    no_person: why the query is no picture of a person, in a sentence, or ""; it has no verdict then.
    images: in the index when it was searched; None on a server, where counting them takes longer than a search.
    query: the photographs that were searched with, where `with_query` was given them.
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
        """The same, shown with the photographs that were searched with: several where they are one person."""
        return replace(self, query=photographs)

    def show(self, query: Image | None = None, *, top: int = 10, pid: Label | None = None) -> Image:
        """The ranks as a picture, which a notebook displays; `.save` and `.show` of it do elsewhere.

        Args:
            query: what was searched with, to stand at the left; default: what `with_query` was given. top: matches at
                most. pid: who that is, if known; matches are then marked right or wrong.
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
