"""Recognises the query itself among the images of the index, so that no photograph is its own match.

The index may hold the file that is searched with, under any path and more than once. Or a hit is searched with in turn.
Such an image does not tell whether the person was seen elsewhere. So the verdict is that of the nearest *other* image,
and the ranks leave the query itself out where that is asked for.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from vpmsearch.search.fill import filled
from vpmsearch.search.living import living_first
from vpmsearch.search.searcher import CANDIDATES_PER_REGION, Searcher
from vpmsearch.types import Match, NoMatches, RegionFeatures, SearchFilter, SearchResult
from vpmsearch.words import number_of

MORE = 8
"""Further ranks to search if the first held too few other images; four times as many at each further try."""


@dataclass(frozen=True)
class Source:
    """What a query was made of.

    contents: content hashes of its files, see `vpmsearch.data.images.content_hash`. image_ids: images of the index that
    it was made from. confirmed: the images among them that a person has confirmed, see `vpmsearch.search.confirm`.
    """

    contents: frozenset[str] = frozenset()
    image_ids: frozenset[int] = frozenset()
    confirmed: frozenset[int] = frozenset()

    @classmethod
    def of(cls, *contents: str) -> Source:
        """The source of a query made of files with these content hashes."""
        return cls(frozenset(contents) - {""})

    def with_images(self, engine: Searcher, image_ids: Sequence[int]) -> Source:
        """This source and images of the index. Every image with the same content is then the query itself too.

        Raises:
            StoreError: an image is not in the index.
        """
        if not image_ids:
            return self
        hashes = {record.content_hash for record in engine.snapshot.records_of(image_ids)}
        return replace(self, contents=self.contents | hashes - {""}, image_ids=self.image_ids | frozenset(image_ids))


NOWHERE = Source()
"""The source of a query that was made of no file."""


def merged(sources: Sequence[Source]) -> Source:
    """The source of several photographs that are one query."""
    return Source(
        frozenset().union(*(source.contents for source in sources)),
        frozenset().union(*(source.image_ids for source in sources)),
        frozenset().union(*(source.confirmed for source in sources)),
    )


@dataclass(frozen=True)
class Answered:
    """The answer to one query.

    result: the result that was asked for. itself: ids of its matches that are the query itself. nearest: the nearest
    other image to the query before filling; None if no other image shares a region with it. filled_from: the image
    that the query was filled from, see `vpmsearch.search.fill`; None if it was not filled. confirmed, refused: images
    that show the person searched for, or somebody else, as a person has said. A calibration does not know distances to
    a query that was filled or has confirmed images.
    """

    result: SearchResult
    itself: frozenset[int]
    nearest: Match | None
    filled_from: int | None = None
    confirmed: frozenset[int] = frozenset()
    refused: frozenset[int] = frozenset()


def search_others(
    engine: Searcher,
    features: RegionFeatures,
    sources: Sequence[Source],
    k: int = 10,
    exact: bool = False,
    *,
    exclude_self: bool = True,
    filter: SearchFilter | None = None,
    candidates: int = CANDIDATES_PER_REGION,
    regions: Sequence[int] | None = None,
    fill: bool = False,
    refused: Collection[int] = (),
) -> list[Answered]:
    """The k nearest images for each query, and which of them are the query itself.

    Among equally distant images those whose files exist come first, see `living_first`.

    Args:
        sources: what each query was made of. exclude_self: leave the query itself out of the ranks. fill: fill each
            query from its nearest image and search again, see `vpmsearch.search.fill`. That image may be any of the
            index but the query itself; `filter` limits only the results. refused: ids of images that show somebody
            else; they get no rank, are not the nearest and fill no query. Others: as `SearchEngine.search`.

    Raises:
        FeatureError, ModelMismatchError: as `SearchEngine.search`.
        ValueError: there are not as many sources as queries.
    """
    if len(sources) != len(features):
        raise ValueError(
            f"{number_of(len(features), 'query')} and {number_of(len(sources), 'source')}: give one for each"
        )
    if fill:
        return _search_filled(
            engine,
            features,
            sources,
            k,
            exact,
            exclude_self,
            filter,
            candidates=candidates,
            regions=regions,
            refused=refused,
        )

    def search(queries: Sequence[int], count: int) -> list[SearchResult]:
        rows = features[np.array(queries)]
        return engine.search(rows, count, exact, filter=filter, candidates=candidates, regions=regions)

    def living(query: int, result: SearchResult, count: int) -> SearchResult:
        return living_first(result, count, lambda more: search([query], more)[0])

    gone = frozenset(refused)
    answers: list[Answered | None] = [None] * len(features)
    waiting, asked, step = list(range(len(features))), k + (1 if exclude_self else 0) + len(gone), MORE
    while waiting:
        found = [living(query, result, asked) for query, result in zip(waiting, search(waiting, asked), strict=True)]
        itself = _themselves(engine, found, [sources[query] for query in waiting])
        left = []
        for query, result, own in zip(waiting, found, itself, strict=True):
            allowed = [match for match in result.matches if match.image_id not in gone]
            others = [match for match in allowed if match.image_id not in own]
            shown = others[:k] if exclude_self else allowed[:k]
            empty = result.empty if shown or not result.matches else _NONE_LEFT[bool(gone)]
            kept = replace(result, matches=tuple(shown), empty=empty)
            answers[query] = Answered(
                kept,
                frozenset(match.image_id for match in shown) & own,
                others[0] if others else None,
                confirmed=sources[query].confirmed,
                refused=gone,
            )
            enough = len(others) >= k if exclude_self else bool(others) and len(allowed) >= k
            if not enough and len(result.matches) == asked:
                left.append(query)
        waiting, asked, step = left, asked + step, 4 * step
    return [answer for answer in answers if answer is not None]


_NONE_LEFT = (
    NoMatches("itself", "the only image that could be a match is the query itself"),
    NoMatches("itself", "all images that could be a match are the query itself or were refused"),
)
"""Reasons for an empty result where all matches were left out. The second is for searches with refused images."""


def _search_filled(
    engine: Searcher,
    features: RegionFeatures,
    sources: Sequence[Source],
    k: int,
    exact: bool,
    exclude_self: bool,
    filter: SearchFilter | None,
    **how: Any,
) -> list[Answered]:
    """Find each query's nearest image, fill the query from it, and search again."""
    first = search_others(engine, features, sources, 1, exact, **how)
    asked = first
    if filter is not None and filter != SearchFilter():
        asked = search_others(engine, features, sources, 1, exact, filter=filter, **how)
    found = [each.nearest for each in first]
    ids = [match.image_id for match in found if match is not None]
    known = np.array([match is not None for match in found], dtype=np.bool_)
    nearest = features
    if ids:
        helpers = engine.snapshot.features_of(ids)
        nearest = RegionFeatures(np.zeros_like(features.visibility), np.zeros_like(features.embeddings))
        nearest.visibility[known], nearest.embeddings[known] = helpers.visibility, helpers.embeddings
    query = filled(features, nearest, known, engine.snapshot.model_info.threshold)
    again = search_others(engine, query, sources, k, exact, exclude_self=exclude_self, filter=filter, **how)
    return [
        replace(answer, nearest=plain.nearest, filled_from=None if match is None else match.image_id)
        for answer, plain, match in zip(again, asked, found, strict=True)
    ]


def _themselves(engine: Searcher, results: Sequence[SearchResult], sources: Sequence[Source]) -> list[frozenset[int]]:
    """For each result the ids of its matches that are the query itself."""
    wanted = sorted({m.image_id for r, s in zip(results, sources, strict=True) if s.contents for m in r.matches})
    hashes = dict[int, str]()
    if wanted:
        records = engine.snapshot.records_of(wanted)
        hashes = {image_id: record.content_hash for image_id, record in zip(wanted, records, strict=True)}
    return [
        frozenset(
            match.image_id
            for match in result.matches
            if match.image_id in source.image_ids or hashes.get(match.image_id, "") in source.contents
        )
        for result, source in zip(results, sources, strict=True)
    ]
