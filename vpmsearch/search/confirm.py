"""Confirm and go on: hits of which a person has said that they show whoever is searched for join the query.

Region by region the query and the confirmed images are averaged, weighted by what each shows of the region (`summed`),
as `vpmsearch.search.fill` does with an image that nobody has confirmed. So a region that the query does not show comes
from the confirmed images, and one that several show is a mean, which depends less on pose and light than each of them.
(`together`, for photographs that are one query from the start, takes each region from the one that shows most of it.)

Confirmed images are a part of the query, so they are left out of the ranks where the query itself is. Images that were
refused are left out always: `search_others` takes them. There is no verdict of a query with confirmed images, as a
person has given it, and distances to a mean are not those that a calibration knows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from vpmsearch.search.itself import Source
from vpmsearch.search.queries import summed
from vpmsearch.search.searcher import Searcher
from vpmsearch.types import RegionFeatures

Taken = tuple[int, ...]
"""For each region the photograph of a query that it is shown by."""


def joined(
    engine: Searcher,
    query: RegionFeatures,
    taken: Taken | None,
    source: Source,
    confirmed: Sequence[int],
    *,
    first: int = 1,
) -> tuple[RegionFeatures, Taken | None, Source]:
    """A query and the images of the index that were confirmed, as one query.

    Args:
        query: one, (1, p) and (1, p, d). taken: for each region the photograph it was taken from, see `together`; None
            where there is one. source: what the query was made of. confirmed: ids, each counts once. first: how many
            photographs the query has, so the number of the first confirmed image.

    Returns:
        The query, (1, p) and (1, p, d); taken, where a region that the query does not show has the number of the
        confirmed image that shows most of it; and what the query is made of now.

    Raises:
        StoreError: an image is not in the index.
    """
    ids = list(dict.fromkeys(confirmed))
    if not ids:
        return query, taken, source
    info = engine.snapshot.model_info
    images = engine.snapshot.features_of(ids)
    whole = summed([query, *(images[[row]] for row in range(len(ids)))], info.threshold)
    shown = info.visible(query.visibility[0])
    best = images.visibility.argmax(axis=0)
    now = tuple(
        (taken[region] if taken else 0) if shown[region] else first + int(best[region]) for region in range(info.p)
    )
    made_of = replace(source.with_images(engine, ids), confirmed=source.confirmed | frozenset(ids))
    return whole, now, made_of
