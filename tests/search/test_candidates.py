"""The adaptive search against a plain float64 loop: `complete` is never claimed wrongly."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import visibility_weighted_distance

from vpmsearch.search import candidates as deepen
from vpmsearch.search import engine as search
from vpmsearch.search.bound import Grouped
from vpmsearch.search.engine import SearchEngine
from vpmsearch.store import GalleryStore
from vpmsearch.store.folder import index_building
from vpmsearch.types import ImageRecord, ModelInfo, RegionFeatures, SearchFilter, SearchResult


def make_features(n: int, p: int, d: int, seed: int, kinds: int = 0, centre: float = 0.0) -> RegionFeatures:
    """Random images, about a third of the regions not visible; `kinds`: copies of so many; `centre`: how far from 0."""
    rng = np.random.default_rng(seed)
    visibility = rng.dirichlet(np.full(p, 0.7), n).astype(np.float32).reshape(n, p)
    visibility[visibility < 0.05] = 0
    embeddings = (centre + rng.normal(size=(n, p, d))).astype(np.float32)
    if kinds and n:
        chosen = rng.integers(0, min(kinds, n), n)
        visibility, embeddings = visibility[chosen], embeddings[chosen]
    return RegionFeatures(visibility, embeddings)


def fill(store: GalleryStore, gallery: RegionFeatures, sizes, removed) -> None:
    """Image i, of row i − 1, has pid i mod 3 and camid i mod 50."""
    first = 0
    with store.writer() as writer:
        for size in sizes:
            records = [ImageRecord(f"{i}.jpg", pid=i % 3, camid=i % 50) for i in range(first + 1, first + size + 1)]
            writer.add(records, gallery[first : first + size])
            writer.commit()
            first += size
        writer.remove(removed)
        writer.commit()


@pytest.fixture
def lists(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Galleries of any size go through the lists, in small steps."""
    monkeypatch.setattr(search, "SCAN_BELOW", 0)
    monkeypatch.setattr(search, "SCAN_BATCH", 10**6)
    monkeypatch.setattr(deepen, "FIRST_DEPTH", 2)
    monkeypatch.setattr(deepen, "LIST_DEPTH", 5)
    monkeypatch.setattr(deepen, "CLOSE_BELOW", 2)
    return monkeypatch


def oracle(query: RegionFeatures, gallery: RegionFeatures, threshold: float, ids) -> list[tuple[float, int]]:
    """(distance, image id) of the images with these ids, best first."""
    rows = [image_id - 1 for image_id in ids]
    counting = [np.where(v >= np.float32(threshold), v, 0) for v in (query.visibility, gallery.visibility[rows])]
    found = visibility_weighted_distance(query.embeddings, counting[0], gallery.embeddings[rows], counting[1])[0]
    return sorted(pair for pair in zip(found.tolist(), ids, strict=True) if pair[0] < math.inf)


def assert_is_answer(result: SearchResult, expected: list[tuple[float, int]], k: int) -> None:
    by_id = {image_id: distance for distance, image_id in expected}
    assert len(result.matches) == min(k, len(expected))
    for match, (distance, _) in zip(result.matches, expected, strict=False):
        assert match.distance == pytest.approx(distance, rel=1e-5, abs=1e-6)
        assert match.distance == pytest.approx(by_id[match.image_id], rel=1e-5, abs=1e-6)


DEEP_CASES = given(
    sizes=st.lists(st.integers(1, 60), min_size=1, max_size=3),
    p=st.integers(1, 5),
    d=st.sampled_from([1, 2, 8]),
    seed=st.integers(0, 2**20),
    kinds=st.sampled_from([0, 0, 1, 3, 12]),
    centre=st.sampled_from([0.0, 0.0, 50.0]),
    dtype=st.sampled_from(["float32", "float16"]),
    min_visibility=st.sampled_from([0.0, None, 0.4]),
    k=st.integers(1, 12),
    candidates=st.sampled_from([1, 4, 16, 10**6]),
    wanted=st.sampled_from([None, SearchFilter(pids=(1,)), SearchFilter(camids=(7,)), SearchFilter(camids=(99,))]),
    close=st.sampled_from([0, 3]),
    batch=st.sampled_from([1, 25]),
)


@settings(max_examples=settings.default.max_examples // 2)
@DEEP_CASES
def test_complete_is_never_claimed_wrongly(tmp_path_factory, **case):
    check_completeness(tmp_path_factory, **case)


@pytest.mark.slow
@settings(max_examples=300)
@DEEP_CASES
def test_complete_is_never_claimed_wrongly_in_many_cases(tmp_path_factory, **case):
    check_completeness(tmp_path_factory, **case)


def check_completeness(
    tmp_path_factory, sizes, p, d, seed, kinds, centre, dtype, min_visibility, k, candidates, wanted, close, batch
):
    n = sum(sizes)
    gallery = make_features(n, p, d, seed, kinds, centre)
    queries = make_features(batch, p, d, seed + 1, centre=centre)
    if kinds:  # a query among its copies
        queries.embeddings[0], queries.visibility[0] = gallery.embeddings[0], gallery.visibility[0]
    removed = tuple(range(1, n, 5))
    info = ModelInfo((p, 1), d, "w", min_visibility=min_visibility)
    with (
        GalleryStore.create(tmp_path_factory.mktemp("deep") / "i", info, embedding_dtype=dtype) as store,
        pytest.MonkeyPatch.context() as patch,
    ):
        fill(store, gallery, sizes, removed)
        patch.setattr(search, "SCAN_BELOW", 0)
        patch.setattr(search, "SCAN_BATCH", 10**6)
        patch.setattr(deepen, "FIRST_DEPTH", 2)
        patch.setattr(deepen, "LIST_DEPTH", 5)
        patch.setattr(deepen, "CLOSE_BELOW", close)
        engine = SearchEngine(store)
        results = engine.search(queries, k, filter=wanted, candidates=candidates)
        exact = engine.search(queries, k, exact=True, filter=wanted)
    stored = RegionFeatures(gallery.visibility, gallery.embeddings.astype(dtype).astype(np.float32))
    ids = [i for i in range(1, n + 1) if i not in removed]
    if wanted is not None:
        ids = [i for i in ids if (not wanted.pids or i % 3 in wanted.pids) and i % 50 in (wanted.camids or (i % 50,))]
    for row, (result, right) in enumerate(zip(results, exact, strict=True)):
        expected = oracle(queries[row : row + 1], stored, info.threshold, ids)
        assert_is_answer(right, expected, k)
        assert len(result.matches) == min(k, len(expected))
        assert result.bound_closed == result.complete  # all lists are flat
        assert result.candidates <= len(ids)
        if result.complete:
            assert result.matches == right.matches
        if candidates >= n:
            assert result.complete
        assert right.complete
        assert right.bound_closed


def test_deeper_only_as_far_as_needed(tmp_path, lists):
    gallery, queries = make_features(400, 3, 8, 1), make_features(20, 3, 8, 2)
    with GalleryStore.create(tmp_path / "i", ModelInfo((3, 1), 8, "w")) as store:
        fill(store, gallery, (250, 150), (4, 9))
        engine = SearchEngine(store)
        results = engine.search(queries, 3)
        exact = engine.search(queries, 3, exact=True)
        shallow = engine.search(queries, 3, candidates=6)
    assert all(result.complete for result in results)
    assert [result.matches for result in results] == [result.matches for result in exact]
    assert len({result.depth for result in results}) > 1
    assert max(result.depth for result in shallow) <= 6
    assert sum(result.candidates for result in results) < 20 * 398
    assert {"candidates", "re-rank", "bound", "explain"} <= set(results[0].timings_ms)


@pytest.mark.parametrize("kind", ["hnsw", "ivf-flat", "ivf-sq8", "ivf-pq", "ivf-pqfs"])
def test_approximate_lists_prove_nothing_unless_they_ran_out(tmp_path, lists, kind):
    lists.setattr(index_building, "choose_type", lambda asked, n, d: asked if n >= 256 else "flat")
    gallery, queries = make_features(500, 2, 4, 3), make_features(10, 2, 4, 4)
    with GalleryStore.create(tmp_path / "i", ModelInfo((2, 1), 4, "w", min_visibility=0), index_type=kind) as store:
        fill(store, gallery, (500,), (3,))
        assert all(types == [kind] for types in store.stats().region_index_types)
        engine = SearchEngine(store)
        some, everything = engine.search(queries, 3), engine.search(queries, 3, candidates=10**6)
        exact = engine.search(queries, 3, exact=True)
        few = engine.search(queries, 5, filter=SearchFilter(camids=(7,)))
        exact_few = engine.search(queries, 5, True, filter=SearchFilter(camids=(7,)))
    for row in range(10):
        # Ten of 500 images pass the filter: the lists name all of them, so that nothing was missed.
        assert few[row].matches == exact_few[row].matches
        assert not some[row].complete or some[row].depth >= 250
        assert len(everything[row].matches) == 3
        if everything[row].complete:
            assert everything[row].matches == exact[row].matches
    assert any(result.bound_closed for result in some)


def test_a_commit_groups_only_its_own_images(tmp_path, lists, monkeypatch):
    """Groups of segments that stay are kept, also if images were removed. Answers are those of a new engine."""
    gallery, query = make_features(90, 3, 4, 0), make_features(1, 3, 4, 1)
    grouped, group = [], Grouped.of

    def counted(visibility, largest):
        grouped.append(len(visibility))
        return group(visibility, largest)

    monkeypatch.setattr(Grouped, "of", counted)
    with GalleryStore.create(tmp_path / "index", ModelInfo((3, 1), 4, "w")) as store:
        fill(store, gallery[:80], [64, 16], [])
        engine = SearchEngine(store)
        engine.search(query)
        before = sorted(grouped)
        assert sum(before) == 80
        grouped.clear()
        with store.writer() as writer:
            writer.remove([3, 70])
            writer.add([ImageRecord(f"n{i}.jpg") for i in range(8)], gallery[80:88])
            writer.commit()
        engine.refresh()
        found = engine.search(query, k=30)
        assert len(engine.snapshot.parts) > 1
        assert sum(grouped) < 64
        assert [each.matches for each in found] == [each.matches for each in SearchEngine(store).search(query, k=30)]


def test_many_copies_of_the_query(tmp_path, lists):
    """More ties than the first lists are long: the smallest ids are found all the same."""
    gallery = make_features(120, 2, 4, 5, kinds=1)
    with GalleryStore.create(tmp_path / "i", ModelInfo((2, 1), 4, "w", min_visibility=0)) as store:
        fill(store, gallery, (70, 50), (1, 2))
        result = SearchEngine(store).search(gallery[:1], 4)[0]
    assert result.complete
    assert [match.image_id for match in result.matches] == [3, 4, 5, 6]
    assert [match.distance for match in result.matches] == [0.0] * 4


def test_many_queries_at_once_scan_flat_indexes(tmp_path, monkeypatch):
    monkeypatch.setattr(search, "SCAN_BELOW", 0)
    gallery, queries = make_features(60, 2, 4, 8), make_features(20, 2, 4, 9)
    with GalleryStore.create(tmp_path / "i", ModelInfo((2, 1), 4, "w")) as store:
        fill(store, gallery, (40, 20), (7,))
        engine = SearchEngine(store)
        together = engine.search(queries, 5)
        alone = [engine.search(queries[row : row + 1], 5)[0] for row in range(20)]
    assert [result.matches for result in together] == [result.matches for result in alone]
    assert all(result.complete and result.depth == 0 and not result.exact for result in together)
    assert all(result.depth > 0 for result in alone)


def test_few_images_are_all_compared(tmp_path):
    gallery = make_features(30, 2, 4, 6)
    with GalleryStore.create(tmp_path / "i", ModelInfo((2, 1), 4, "w")) as store:
        fill(store, gallery, (30,), ())
        result = SearchEngine(store).search(make_features(1, 2, 4, 7))[0]
    assert (result.depth, result.candidates, result.complete, result.exact) == (0, 30, True, False)
