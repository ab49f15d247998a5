"""What a calibration says of an answer: the verdict and the false-match rates. All interfaces use this function."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import zip_longest

from vpmsearch.search.itself import Answered
from vpmsearch.search.verdict import Calibration, visible_regions
from vpmsearch.types import Match, ModelInfo, RegionFeatures, SearchResult


def judged(
    answered: Answered,
    query: RegionFeatures,
    info: ModelInfo,
    known: Calibration | None,
    notice: str = "",
    track_images: Sequence[int] = (),
    no_person: str = "",
) -> SearchResult:
    """The result with its verdict, rates and notices.

    The verdict is that of the nearest image that is not the query itself, and of the query before filling. The query
    itself has no rate. If the query was filled or has confirmed images, no match has a rate: a calibration does not
    know such distances. With confirmed images there is no verdict either, as a person has given it.

    Args:
        answered: result of `search_others`. query: one, (1, p) and (1, p, d), as it was searched with; regions that
            were not asked for have visibility 0. info: model of the index. known: its calibration, None if there is
            none. notice: why the calibration should be made anew, or "". track_images: for each match how many images
            of its track were found, see `vpmsearch.search.tracks`; empty if tracks were not asked for. no_person: why
            the query shows nobody, see `vpmsearch.search.no_person`, or "". If it shows nobody, nothing is a match.
    """
    visible, is_mean = visible_regions(info, query), answered.filled_from is not None or bool(answered.confirmed)

    def rate(match: Match) -> float | None:
        if known is None or is_mean or match.image_id in answered.itself:
            return None
        return known.false_match_rate(visible, match.distance)

    matches = tuple(
        replace(match, false_match_rate=rate(match), itself=match.image_id in answered.itself, track_images=images)
        for match, images in zip_longest(answered.result.matches, track_images)
    )
    nearest = answered.nearest.distance if answered.nearest is not None else None
    return replace(
        answered.result,
        matches=matches,
        no_person=no_person,
        verdict=None if known is None or no_person or answered.confirmed else known.verdict(visible, nearest),
        filled_from=answered.filled_from,
        confirmed=tuple(sorted(answered.confirmed)),
        refused=tuple(sorted(answered.refused)),
        calibration_notice=notice,
    )
