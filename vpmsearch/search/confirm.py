"""Confirm and go on: hits that a person has confirmed as the person searched for join the query.

The query and the confirmed images are averaged region by region, weighted by what each shows of the region (`summed`).
`vpmsearch.search.fill` does the same with an image that nobody has confirmed. So a region that the query does not show
comes from the confirmed images. A region that several images show is a mean, which depends less on pose and light.
(`together` joins photographs that are one query from the start: each region comes from the one that shows most of it.)

Confirmed images are part of the query, so the ranks leave them out where they leave out the query itself. Refused
images are always left out: `search_others` takes their ids. A query with confirmed images has no verdict, as a person
has given it, and a calibration does not know distances to a mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from vpmsearch.search.itself import Source
from vpmsearch.search.queries import summed
from vpmsearch.search.searcher import Searcher
from vpmsearch.types import RegionFeatures

Taken = tuple[int, ...]
"""For each region the number of the query's photograph that shows it."""


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
        query: one query, (1, p) and (1, p, d). taken: for each region the photograph it was taken from, see
            `together`; None for a single photograph. source: what the query was made of. confirmed: image ids; a
            repeated one counts once. first: number of photographs in the query, which is the number of the first
            confirmed image.

    Returns:
        The query, (1, p) and (1, p, d); `taken`, with the number of the confirmed image that shows most of a region
        where the query does not show it; and what the query is now made of.

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
