"""Picks the function of `vpmsearch.evaluation.ranked` that an evaluation's settings ask for."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial

from vpmsearch.data.crops import CropBox
from vpmsearch.data.labelled import LabelledImage
from vpmsearch.errors import DataError
from vpmsearch.evaluation.labelled import LabelledFeatures
from vpmsearch.evaluation.matching import ImageMatcher, check_matcher
from vpmsearch.evaluation.metrics import QueryMetrics
from vpmsearch.evaluation.ranked import (
    How,
    pair_errors,
    rank,
    rank_expanded,
    rank_matched,
    rank_matched_single_shot,
    rank_reciprocal,
    rank_single_shot,
)
from vpmsearch.evaluation.rows import Ranking, Weighting
from vpmsearch.evaluation.single_shot import ShotDraws
from vpmsearch.model.extraction import Extractor


@dataclass(frozen=True)
class Way:
    """Ranks as the arguments of `evaluate_model` say. shots: the drawn galleries, if any."""

    extractor: Extractor
    gallery: LabelledFeatures
    min_visibility: float
    shots: ShotDraws | None
    ranking: Ranking
    matcher: ImageMatcher | None

    def __call__(self, query: LabelledFeatures, boxes: Sequence[CropBox | None], weighting: Weighting) -> QueryMetrics:
        """The metrics of the queries, cut to `boxes`."""
        sides = (query, self.gallery)
        how = self._how(weighting)
        if self.matcher is not None:
            match, candidates = partial(self.matcher, boxes), self.ranking.candidates
            if self.shots is None:
                return rank_matched(*sides, match, candidates=candidates, **how)
            return rank_matched_single_shot(*sides, match, self.shots, candidates=candidates, **how)
        if self.ranking.reciprocal:
            return rank_reciprocal(*sides, own_camera=self.ranking.own_camera, **how)
        if self.ranking.expand is not None:
            return rank_expanded(*sides, self.ranking.expand, own_camera=self.ranking.own_camera, **how)
        if self.shots is None:
            return rank(*sides, **how).per_query()
        return rank_single_shot(*sides, self.shots, **how)

    def fnmr(self, query: LabelledFeatures, levels: Sequence[float], weighting: Weighting) -> dict[float, float]:
        """False-match rate -> FNMR, over pairs with the whole gallery, by plain Eq. 4; empty without levels."""
        return pair_errors(query, self.gallery, levels, **self._how(weighting)) if levels else {}

    def _how(self, weighting: Weighting) -> How:
        return How(min_visibility=self.min_visibility, weighting=weighting, device=self.extractor.torch_device)


def check_ways(ranking: Ranking, draws: int | None, seen_already: bool) -> None:
    """Check that the ways to rank fit together.

    Raises:
        DataError: they do not, there is no such matcher, or `expand` is below 1.
    """
    matcher, reciprocal, expand = ranking.matcher, ranking.reciprocal, ranking.expand
    if matcher is not None:
        check_matcher(matcher)
        if seen_already:
            raise DataError("a matcher needs the images of the gallery: leave --index away")
    if ranking.own_camera and not reciprocal and expand is None:
        raise DataError("images of the own camera can help with --expand or --reciprocal only: leave --own-camera away")
    if reciprocal and (matcher is not None or draws is not None):
        raise DataError("neighbours in common rank all of the gallery: leave --matcher and --single-shot away")
    if expand is not None:
        if expand < 1:
            raise DataError(f"a query is averaged with at least one neighbour, not {expand}")
        if matcher is not None or reciprocal or draws is not None:
            raise DataError(
                "queries averaged with their nearest are ranked by Eq. 4 against all of the gallery: leave --matcher, "
                "--reciprocal and --single-shot away"
            )


def matcher_of(
    ranking: Ranking, extractor: Extractor, query: Sequence[LabelledImage], gallery: Sequence[LabelledImage]
) -> AbstractContextManager[ImageMatcher | None]:
    """The older matcher that `ranking` names, ready for these images; None if Eq. 4 alone ranks."""
    if ranking.matcher is None:
        return nullcontext()
    return ImageMatcher(ranking.matcher, extractor, query, gallery)
