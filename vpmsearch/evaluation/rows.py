"""The rows of results that `evaluate` prints for each γ, crop and weighting."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np

from vpmsearch.data.crops import CropBox
from vpmsearch.data.poor import AS_IT_IS
from vpmsearch.evaluation.intervals import DIFFERENCE, Interval, mean_interval
from vpmsearch.evaluation.metrics import QueryMetrics, RankMetrics

Weighting = Literal["visibility", "uniform"]
"""The weights of regions: "visibility" is Eq. 4; with "uniform" all regions count the same (MVPM-1 of Table 3)."""


@dataclass(frozen=True)
class Ranking:
    """What ordered the gallery: Eq. 4 alone, or what came on top of it.

    matcher: an older matcher, see `evaluation.matching`. candidates: how many of the nearest by Eq. 4 it reorders; None
    is all images, so the matcher alone ranks. reciprocal: rank by common neighbours. expand: average each query with
    this many of its nearest, then rank by Eq. 4. own_camera: whether, in the last two, images of the query's person
    from the query's camera may help. Images with the query's content never help.
    """

    matcher: str | None = None
    candidates: int | None = None
    reciprocal: bool = False
    expand: int | None = None
    own_camera: bool = False

    def __str__(self) -> str:
        if self.matcher is not None:
            return self.matcher if self.candidates is None else f"{self.matcher} of {self.candidates} by Eq. 4"
        if not self.reciprocal and self.expand is None:
            return "Eq. 4"
        how = "reciprocal" if self.reciprocal else f"expanded by {self.expand}"
        return f"Eq. 4, {how}, own camera's images of the person {'may' if self.own_camera else 'may not'} help"


@dataclass(frozen=True)
class Gain:
    """The difference between two ways of answering the same queries: of their means, with paired intervals."""

    rank1: float
    rank1_interval: Interval
    mean_ap: float
    mean_ap_interval: Interval

    @classmethod
    def of(cls, better: QueryMetrics, base: QueryMetrics) -> Gain:
        """`better` minus `base`: metrics of the same queries, in the same order."""
        hits, ap = better.hits(1) - base.hits(1), better.ap - base.ap
        intervals = (mean_interval(hits, bounds=DIFFERENCE), mean_interval(ap, bounds=DIFFERENCE))
        return cls(float(np.nanmean(hits)), intervals[0], float(np.nanmean(ap)), intervals[1])


@dataclass(frozen=True)
class Evaluation:
    """One row of results: the protocol, its metrics (0-1), and the numbers of images.

    boxes: the crop of each query; None is the whole image. draws: how many galleries were drawn, if it is single-shot.
    fnmr: false-match rate -> false-non-match rate; always by Eq. 4 alone, whatever `ranking` is.
    per_query: the values behind the means. visible_f1: how well the model knows which regions a query shows, see
    `visible_set_f1`. gain: over the row of "uniform"; None if that was not measured. photo: how the queries'
    photographs were degraded, see `vpmsearch.data.poor.POOR`.
    """

    gamma: float
    crop: str
    weighting: Weighting
    metrics: RankMetrics
    per_query: QueryMetrics
    visible_f1: float
    queries: int
    gallery: int
    gain: Gain | None = None
    boxes: tuple[CropBox | None, ...] = ()
    draws: int | None = None
    fnmr: Mapping[float, float] = field(default_factory=dict)
    ranking: Ranking = Ranking()
    photo: str = AS_IT_IS

    @property
    def rank1_interval(self) -> Interval:
        """The confidence interval of rank-1, over queries."""
        return mean_interval(self.per_query.hits(1))

    @property
    def mean_ap_interval(self) -> Interval:
        """The confidence interval of mAP, over queries."""
        return mean_interval(self.per_query.ap)

    def to_json(self) -> dict[str, Any]:
        """The row for `evaluate --json`: CMC, mAP in both forms and mINP as fractions, intervals as pairs.

        The keys matcher, candidates, reciprocal, expand and own_camera are those of `Ranking`.
        """
        cmc = self.metrics.cmc
        row: dict[str, Any] = {
            "gamma": self.gamma,
            "crop": self.crop,
            "weighting": self.weighting,
            **asdict(self.ranking),
            **{f"rank{k}": float(cmc[k - 1]) for k in (1, 3, 5, 10)},
            "map": self.metrics.mean_ap,
            "map_trapezoid": self.metrics.mean_ap_trapezoid,
            "minp": self.metrics.mean_inp,
            "rank1_interval": list(self.rank1_interval),
            "map_interval": list(self.mean_ap_interval),
            "visible_f1": self.visible_f1,
            "queries": self.queries,
            "gallery": self.gallery,
        }
        if self.photo != AS_IT_IS:
            row["photo"] = self.photo
        if self.fnmr:
            row["fnmr"] = {str(fmr): value for fmr, value in self.fnmr.items()}
            row["fnmr_ranking"] = str(Ranking())
        if self.draws:
            row["draws"] = self.draws
        if self.gain:
            row |= {"rank1_gain": self.gain.rank1, "rank1_gain_interval": list(self.gain.rank1_interval)}
            row |= {"map_gain": self.gain.mean_ap, "map_gain_interval": list(self.gain.mean_ap_interval)}
        return row
