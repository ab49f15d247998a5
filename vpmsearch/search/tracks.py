"""Joins the images of one track to one match, so that ten pictures of one walk past a camera do not fill ten ranks.

A track is a person followed through successive pictures of one camera. Its name is unique only within one folder or
film and one camera. The nearest image of a track represents it.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace

from vpmsearch.data.film import is_film
from vpmsearch.data.fragment import file_of
from vpmsearch.search.itself import Answered
from vpmsearch.store import GalleryView
from vpmsearch.types import ImageRecord

TRACK = "track"
"""The attribute that names an image's track."""
DEEPER = 4
"""If the images found were of too few tracks, so many times as many are asked for."""


@dataclass(frozen=True)
class Tracked:
    """The answer to one query in which each track is one match, its nearest image.

    answered: as returned by `search_others`, with the k nearest tracks. images: for each match the number of images of
    its track that the search found, the match included. The track may have more.
    """

    answered: Answered
    images: tuple[int, ...]


def track_of(record: ImageRecord) -> Hashable | None:
    """A key that all images of one track share; None if the image has no track."""
    name = dict(record.attributes).get(TRACK)
    if not name:
        return None
    file = file_of(record.path)
    place = file if is_film(file) else os.path.dirname(file)  # noqa: PTH120 (text)
    return (place, record.camid, name)


def by_track(view: GalleryView, k: int, search: Callable[[int], Answered]) -> Tracked:
    """The k nearest tracks; an image without a track counts as a track of its own.

    Args:
        view: the view that is searched. search: returns the answer with a given number of images; it is called for
            more until k tracks are found or there are no more images.
    """
    asked = DEEPER * k
    while True:
        answered = search(asked)
        matches = answered.result.matches
        tracks = _tracks(view, [match.image_id for match in matches])
        first: dict[Hashable, int] = {}
        for place, track in enumerate(tracks):
            first.setdefault(track, place)
        if len(first) >= k or len(matches) < asked:
            break
        asked *= DEEPER
    counts = Counter(tracks)
    shown = [matches[place] for place in list(first.values())[:k]]
    result = replace(answered.result, matches=tuple(shown))
    own = answered.itself & {match.image_id for match in shown}
    return Tracked(replace(answered, result=result, itself=own), tuple(counts[track] for track in list(first)[:k]))


def _tracks(view: GalleryView, image_ids: Sequence[int]) -> list[Hashable]:
    records = view.records_of(image_ids) if image_ids else []
    found = zip(image_ids, map(track_of, records), strict=True)
    return [("image", image_id) if track is None else track for image_id, track in found]
