"""Images of one track as one match, against a loop over the whole ranking."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from vpmsearch.search.itself import Answered
from vpmsearch.search.tracks import by_track, track_of
from vpmsearch.types import ImageRecord, Match, SearchResult


@dataclass
class View:
    """Records by their ids, as a snapshot gives them."""

    records: list[ImageRecord]
    asked: list[int] = field(default_factory=list)

    def records_of(self, image_ids: list[int]) -> list[ImageRecord]:
        return [self.records[image_id] for image_id in image_ids]

    def search(self, itself: frozenset[int] = frozenset()) -> Callable[[int], Answered]:
        """Image i at distance i."""

        def nearest(count: int) -> Answered:
            self.asked.append(count)
            ids = range(min(count, len(self.records)))
            matches = tuple(Match(i, self.records[i].path, None, None, float(i), ()) for i in ids)
            return Answered(SearchResult(matches, len(self.records), False), itself, matches[0] if matches else None)

        return nearest


def image(path: str, track: str | None = None, camid: int | None = None) -> ImageRecord:
    return ImageRecord(path, camid=camid, attributes={} if track is None else {"track": track})


def expected(records: list[ImageRecord], k: int) -> list[int]:
    seen, shown = set(), []
    for place, record in enumerate(records):
        key = track_of(record) or place
        if key not in seen:
            seen.add(key)
            shown.append(place)
    return shown[:k]


@pytest.mark.parametrize("k", [1, 3, 5, 50])
def test_ranks_are_filled_with_tracks(k: int) -> None:
    records = [image(f"a/{n}.jpg", "1") for n in range(70)] + [image(f"a/{n}.jpg", str(n // 9)) for n in range(70, 200)]
    records.insert(3, image("a/alone.jpg"))
    view = View(records)
    found = by_track(view, k, view.search())  # type: ignore[arg-type]
    shown = [match.image_id for match in found.answered.result.matches]
    assert shown == expected(records, k)
    assert len(found.images) == len(shown)
    assert found.images[0] >= 1
    if k > 1:
        assert max(view.asked) > 4 * k or k == 50  # seventy images are of one track: 4 · k do not reach the others


def test_a_ranking_that_ends_is_given_whole() -> None:
    view = View([image("a/1.jpg", "1"), image("a/2.jpg", "1"), image("a/3.jpg", "2")])
    found = by_track(view, 10, view.search(frozenset({0, 1})))  # type: ignore[arg-type]
    assert [match.image_id for match in found.answered.result.matches] == [0, 2]
    assert found.images == (2, 1)
    assert found.answered.itself == {0}
    empty = View([])
    assert by_track(empty, 10, empty.search()).images == ()  # type: ignore[arg-type]


def test_a_tracks_name_counts_within_a_place_and_camera() -> None:
    records = [
        image("a/f.mp4#t=1&xywh=1,1,5,5", "1"),
        image("a/f.mp4#t=2&xywh=1,1,5,5", "1"),
        image("a/g.mp4#t=2&xywh=1,1,5,5", "1"),
        image("a/1.jpg#xywh=1,1,5,5", "1"),
        image("a/2.jpg#xywh=1,1,5,5", "1"),
        image("a/3.jpg", "1", camid=2),
        image("b/3.jpg", "1"),
    ]
    assert track_of(image("a/1.jpg")) is None
    assert len({track_of(record) for record in records}) == 5
    assert track_of(records[0]) == track_of(records[1])
    assert track_of(records[3]) == track_of(records[4])
