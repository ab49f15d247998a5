"""Dead paths never stand before equally distant living ones, and nothing else changes places."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpmsearch.search import living
from vpmsearch.search.living import living_first
from vpmsearch.types import Match, SearchResult


class Index:
    """Images (distance, whether the file is there), nearest first; counts searches."""

    def __init__(self, images: list[tuple[float, bool]]) -> None:
        self.matches = [
            Match(number, f"/{'there' if there else 'gone'}/{number}", None, None, distance, ())
            for number, (distance, there) in enumerate(sorted(images, key=lambda image: image[0]))
        ]
        self.searches = 0

    def search(self, k: int) -> SearchResult:
        self.searches += 1
        return SearchResult(tuple(self.matches[:k]), len(self.matches), False)


@pytest.fixture(autouse=True)
def there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(living, "file_is_there", lambda path: str(path).startswith("/there"))


def answer(images: list[tuple[float, bool]], k: int) -> tuple[list[int], int]:
    index = Index(images)
    result = living_first(index.search(k), k, index.search)
    return [match.image_id for match in result.matches], index.searches


@given(st.lists(st.tuples(st.sampled_from([0.0, 0.5, 1.0]), st.booleans()), max_size=20), st.integers(1, 12))
def test_ties_are_ordered_by_whether_there_is_a_file(images: list[tuple[float, bool]], k: int):
    """Against a plain sort of everything."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(living, "file_is_there", lambda path: str(path).startswith("/there"))
        patched.setattr(living, "_ENOUGH", 1000)
        index = Index(images)
        found = living_first(index.search(k), k, index.search)
    expected = sorted(index.matches, key=lambda m: (m.distance, not m.path.startswith("/there"), m.image_id))[:k]
    assert list(found.matches) == expected


def test_a_second_search_only_where_it_can_tell_something():
    assert answer([(0, True), (0, False), (1, True)], 3) == ([0, 1, 2], 1)
    assert answer([(0, False), (1, True), (2, True)], 2) == ([0, 1], 1)
    assert answer([(0, False), (0, True), (1, True)], 1) == ([1], 2)  # just behind the cut
    assert answer([(0, False)] * 20 + [(0, True)], 2) == ([20, 0], 5)
    assert answer([(number, False) for number in range(20)], 10) == (list(range(10)), 1)  # of another machine
    assert answer([], 3) == ([], 1)


def test_files_are_looked_for_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    looked: list[str] = []
    monkeypatch.setattr(living, "file_is_there", lambda path: looked.append(path) or False)
    answer([(0, False)] * 4, 2)
    assert len(looked) == len(set(looked))
