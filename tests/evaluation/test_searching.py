"""`measure_search`: shares and medians of real searches; and the recall that it reports."""

from __future__ import annotations

import math

import numpy as np
import pytest

from vpmsearch.evaluation import searching
from vpmsearch.evaluation.searching import measure_search, recall, resident_memory, rounds
from vpmsearch.search import engine as search
from vpmsearch.search.engine import SearchEngine
from vpmsearch.store import GalleryStore
from vpmsearch.types import ImageRecord, Match, ModelInfo, RegionFeatures, SearchResult


def result(*distances: float) -> SearchResult:
    return SearchResult(tuple(Match(i, "x", None, None, d, ()) for i, d in enumerate(distances)), 5, False)


def test_recall_is_the_share_of_the_exact_matches():
    exact = [result(1, 2, 3, 4), result(), result(1, 1)]
    assert recall([result(1, 2, 3, 4), result(), result(1, 1)], exact) == 1
    assert recall([result(1, 2, 5, 6), result(), result(1, 1)], exact) == 0.75
    assert recall([result(4, 4, 4, 4), result(), result(1, 2)], exact) == 0.75
    assert recall([], []) == 1


def test_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(search, "SCAN_BELOW", 0)
    monkeypatch.setattr(searching, "BUDGETS", (1, 100))
    rng = np.random.default_rng(0)
    features = RegionFeatures(
        rng.dirichlet([1, 1], 60).astype(np.float32), rng.normal(size=(60, 2, 4)).astype(np.float32)
    )
    told: list[int] = []
    with GalleryStore.create(tmp_path / "index", ModelInfo((2, 1), 4, "w")) as store:
        with store.writer() as writer:
            writer.add([ImageRecord(f"{i}") for i in range(60)], features)
            writer.commit()
        measured = measure_search(SearchEngine(store), features[:5], told.append)
    assert sum(told) == rounds(5)
    assert measured.queries == 5
    assert measured.recalls == {1: 1, 10: 1, 100: 1}  # flat lists, 60 images
    assert measured.complete == measured.closed == 1
    assert 0 < measured.p50_ms <= measured.p95_ms <= measured.p99_ms
    assert measured.exact_p50_ms > 0
    assert measured.queries_a_second > 0
    assert list(measured.curve) == [1, 100]
    assert measured.curve[100][1] == 1
    assert all(0 <= value <= 1 and math.isfinite(ms) for ms, value in measured.curve.values())


def test_memory_is_told_where_the_system_tells_it():
    found = resident_memory()
    assert not found or found["rss_anon_gib"] > 0


@pytest.mark.parametrize("queries", [1, 7])
def test_rounds(queries):
    assert rounds(queries) % queries == 0
