"""The values that flow from one stage to the next: frozen dataclasses of numpy arrays, no torch.

Axes: n images, p regions (row-major over the grid: top to bottom, then left to right), d numbers an embedding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from operator import index
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from vpmsearch.errors import FeatureError, ModelError
from vpmsearch.labels import ImageRecord as ImageRecord
from vpmsearch.labels import SearchFilter as SearchFilter
from vpmsearch.results import VERDICT_TEXTS as VERDICT_TEXTS
from vpmsearch.results import Match as Match
from vpmsearch.results import NoMatches as NoMatches
from vpmsearch.results import RegionMatch as RegionMatch
from vpmsearch.results import SearchResult as SearchResult
from vpmsearch.words import number_of

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
