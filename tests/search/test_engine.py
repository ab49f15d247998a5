"""SearchEngine against a plain loop over Eq. 4, whatever the grid, dtype, index type and history of the store."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import visibility_weighted_distance

from vpmsearch.errors import DataError, FeatureError, ModelMismatchError, VpmsearchError
from vpmsearch.search.engine import SearchEngine
from vpmsearch.store import GalleryStore, compact
from vpmsearch.store.folder import index_building
from vpmsearch.types import ImageRecord, ModelInfo, RegionFeatures, SearchFilter, SearchResult

START = datetime(2024, 5, 1, 12, tzinfo=UTC)
EVERYTHING = 10**6  # k' that no gallery here reaches
REMOVED = (5, 17, 18, 60)


@pytest.fixture(scope="module", autouse=True, params=[0, 1024], ids=["lists", "all"])
def scan_below(request: pytest.FixtureRequest):
    """Galleries as small as these are all compared; what holds must hold of the lists too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vpmsearch.search.engine.SCAN_BELOW", request.param)
        yield


def make_features(n: int, p: int = 6, d: int = 8, seed: int = 0) -> RegionFeatures:
    """Random features in which about half of the visibilities are below 1/(2p), some of them 0."""
    rng = np.random.default_rng(seed)
    visibility = rng.dirichlet(np.full(p, 0.4), n).astype(np.float32).reshape(n, p)
    visibility[visibility < 0.01] = 0
    return RegionFeatures(visibility, rng.normal(size=(n, p, d)).astype(np.float32))


def make_records(n: int, first: int = 0) -> list[ImageRecord]:
    """pid, camid and captured_at of different periods, each unknown for some."""
    return [
        ImageRecord(
            f"/gallery/{i:04}.jpg",
            f"hash{i}",
            pid=None if i % 11 == 0 else i % 7,
            camid=None if i % 13 == 0 else i % 3,
            captured_at=None if i % 5 == 0 else START + timedelta(hours=i),
        )
        for i in range(first, first + n)
    ]


def fill(store: GalleryStore, features: RegionFeatures, sizes: tuple[int, ...], removed: tuple[int, ...] = ()) -> None:
    """Commit the features as segments of these sizes, then remove some images."""
    with store.writer() as writer:
        first = 0
        for size in sizes:
            writer.add(make_records(size, first), features[first : first + size])
            writer.commit()
            first += size
        writer.remove(removed)
        writer.commit()


def counting(visibility: np.ndarray, min_visibility: float) -> np.ndarray:
    """What counts where images are compared: a visibility below the threshold is 0."""
    return np.where(visibility >= np.float32(min_visibility), visibility, 0)


def oracle_ranking(
    query: RegionFeatures, row: int, gallery: RegionFeatures, min_visibility: float, ids: list[int]
) -> list[tuple[float, int]]:
    """(distance, image id), best first, of the images with these ids (image i + 1 is row i of the gallery)."""
    rows = [image_id - 1 for image_id in ids]
    distances = visibility_weighted_distance(
        query.embeddings[row : row + 1],
        counting(query.visibility[row : row + 1], min_visibility),
        gallery.embeddings[rows],
        counting(gallery.visibility[rows], min_visibility),
    )[0]
    return sorted(pair for pair in zip(distances.tolist(), ids, strict=True) if pair[0] < math.inf)


def assert_is_ranking(result: SearchResult, expected: list[tuple[float, int]]) -> None:
    """The oracle's distances, and its ids up to distances that float32 cannot tell apart."""
    assert len(result.matches) == len(expected)
    by_id = {image_id: distance for distance, image_id in expected}
    distances = [match.distance for match in result.matches]
    np.testing.assert_allclose(distances, [distance for distance, _ in expected], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(distances, [by_id[match.image_id] for match in result.matches], rtol=1e-5, atol=1e-6)
    assert len({match.image_id for match in result.matches}) == len(expected)


def ids_and_distances(result: SearchResult) -> list[tuple[int, float]]:
    return [(match.image_id, match.distance) for match in result.matches]


@pytest.fixture(scope="module")
def gallery() -> RegionFeatures:
    return make_features(80)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, gallery: RegionFeatures):
    """Three segments of 80 images with ids 1 to 80, four of them removed, at the default min_visibility."""
    with GalleryStore.create(tmp_path_factory.mktemp("search") / "index", ModelInfo((6, 1), 8, "w")) as store:
        fill(store, gallery, (40, 30, 10), REMOVED)
        yield store


# both paths against the oracle ------------------------------------------------------------------------------------


@pytest.mark.parametrize("grid", [(6, 1), (3, 2)])
@pytest.mark.parametrize("min_visibility", [0.0, None])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_both_paths_are_eq_4(tmp_path: Path, grid: tuple[int, int], min_visibility: float | None, dtype: str):
    gallery, queries = make_features(60, seed=1), make_features(3, seed=2)
    info = ModelInfo(grid, 8, "w", min_visibility=min_visibility)
    assert info.threshold == (0.0 if min_visibility == 0 else 1 / 12)
    with GalleryStore.create(tmp_path / "index", info, embedding_dtype=dtype) as store:
        fill(store, gallery, (25, 1, 34), removed=(3, 26, 60))
        engine = SearchEngine(store)
        exact = engine.search(queries, k=100, exact=True)
        default = engine.search(queries, k=100, candidates=60)
        few = engine.search(queries, k=4, candidates=60)
    stored = RegionFeatures(gallery.visibility, gallery.embeddings.astype(dtype).astype(np.float32))
    live = [image_id for image_id in range(1, 61) if image_id not in (3, 26, 60)]
    for row in range(3):
        assert exact[row].exact
        assert not default[row].exact
        assert_is_ranking(exact[row], oracle_ranking(queries, row, stored, info.threshold, live))
        assert default[row].matches == exact[row].matches  # to the last bit, explanations included
        assert few[row].matches == exact[row].matches[:4]


@pytest.fixture(scope="module")
def large() -> tuple[RegionFeatures, RegionFeatures, list[list[tuple[float, int]]]]:
    """420 images, three queries, and their rankings without images 7 and 401."""
    gallery, queries = make_features(420, p=2, d=4, seed=3), make_features(3, p=2, d=4, seed=4)
    live = [image_id for image_id in range(1, 421) if image_id not in (7, 401)]
    return gallery, queries, [oracle_ranking(queries, row, gallery, 0, live) for row in range(3)]


@pytest.mark.parametrize("kind", ["flat", "hnsw", "ivf-flat", "ivf-sq8", "ivf-pq", "ivf-pqfs"])
def test_every_index_type_gives_the_exact_ranking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, large, kind: str):
    # Lists and codes for small segments too: this is about finding everything, not about speed.
    monkeypatch.setattr(index_building, "choose_type", lambda asked, n, d: asked if n >= 256 else "flat")
    gallery, queries, expected = large
    info = ModelInfo((2, 1), 4, "w", min_visibility=0)
    with GalleryStore.create(tmp_path / "index", info, index_type=kind) as store:
        fill(store, gallery, (400, 20), removed=(7, 401))
        assert all(kind in types for types in store.stats().region_index_types)
        engine = SearchEngine(store)
        exact = engine.search(queries, k=420, exact=True)
        default = engine.search(queries, k=420, candidates=420)
        some = engine.search(queries, k=30, candidates=100, filter=SearchFilter(camids=(1,)))
        exact_some = engine.search(queries, k=420, exact=True, filter=SearchFilter(camids=(1,)))
    for row in range(3):
        assert_is_ranking(exact[row], expected[row])
        assert default[row].matches == exact[row].matches
        assert len(some[row].matches) == 30
        assert all(match.camid == 1 for match in some[row].matches)
        allowed = dict(ids_and_distances(exact_some[row]))
        assert all(allowed[image_id] == distance for image_id, distance in ids_and_distances(some[row]))


@settings(max_examples=settings.default.max_examples // 2)
@given(
    grid=st.sampled_from([(1, 1), (2, 1), (3, 2), (6, 1)]),
    d=st.integers(1, 9),
    sizes=st.lists(st.integers(1, 12), max_size=3),
    dtype=st.sampled_from(["float32", "float16"]),
    min_visibility=st.sampled_from([0.0, None, 0.4]),
    seed=st.integers(0, 2**16),
)
def test_any_shape(tmp_path_factory, grid, d, sizes, dtype, min_visibility, seed):
    n, p = sum(sizes), grid[0] * grid[1]
    gallery, queries = make_features(n, p, d, seed), make_features(2, p, d, seed + 1)
    removed = (1, n) if n > 3 else ()
    info = ModelInfo(grid, d, "w", min_visibility=min_visibility)
    with GalleryStore.create(tmp_path_factory.mktemp("any") / "index", info, embedding_dtype=dtype) as store:
        fill(store, gallery, tuple(sizes), removed)
        engine = SearchEngine(store)
        exact, default = engine.search(queries, k=50, exact=True), engine.search(queries, k=50)
    stored = RegionFeatures(gallery.visibility, gallery.embeddings.astype(dtype).astype(np.float32))
    live = [image_id for image_id in range(1, n + 1) if image_id not in removed]
    for row in range(2):
        assert_is_ranking(exact[row], oracle_ranking(queries, row, stored, info.threshold, live))
        assert default[row].matches == exact[row].matches


def test_a_block_more_or_less_changes_nothing(store: GalleryStore, monkeypatch: pytest.MonkeyPatch):
    queries = make_features(2, seed=9)
    whole = SearchEngine(store).search(queries, k=20, exact=True)
    monkeypatch.setattr("vpmsearch.search.distances.BLOCK_ROWS", 7)
    blocks = SearchEngine(store).search(queries, k=20, exact=True)
    assert [result.matches for result in blocks] == [result.matches for result in whole]


def test_a_few_candidates_give_true_distances_in_order(store: GalleryStore, gallery: RegionFeatures):
    queries = make_features(4, seed=10)
    for row, result in enumerate(SearchEngine(store).search(queries, k=5, candidates=1)):
        assert len(result.matches) == 5
        assert 5 <= result.candidates <= 80
        distances = [match.distance for match in result.matches]
        assert distances == sorted(distances)
        for match in result.matches:
            ((expected, _),) = oracle_ranking(queries, row, gallery, 1 / 12, [match.image_id])
            assert match.distance == pytest.approx(expected, rel=1e-5)


# ties, sharing, emptiness -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("exact", [False, True])
def test_ties_go_to_the_smaller_image_id(tmp_path: Path, exact: bool):
    one = make_features(1, seed=5)
    copies = RegionFeatures.concatenate([one] * 9)
    with GalleryStore.create(tmp_path / "index", ModelInfo((6, 1), 8, "w", min_visibility=0)) as store:
        fill(store, copies, (2, 4, 3), removed=(1, 4))
        result = SearchEngine(store).search(make_features(1, seed=6), k=5, exact=exact)[0]
        itself = SearchEngine(store).search(one, k=5, exact=exact)[0]
    assert [match.image_id for match in result.matches] == [2, 3, 5, 6, 7]
    assert len({match.distance for match in result.matches}) == 1
    assert [(match.image_id, match.distance) for match in itself.matches] == [(i, 0.0) for i in (2, 3, 5, 6, 7)]


@pytest.mark.parametrize("min_visibility", [0.0, None])
def test_who_shares_no_region_is_no_result_in_any_path(tmp_path: Path, min_visibility: float | None):
    # Below the default threshold of 1/4 a visibility counts as 0, so image 3 is seen in region 1 only.
    visibility = np.array([[1, 0], [0, 1], [0.2, 0.8], [0.6, 0.4]], np.float32)
    gallery = RegionFeatures(visibility, np.ones((4, 2, 3), np.float32))
    query = RegionFeatures(np.array([[1, 0]], np.float32), np.zeros((1, 2, 3), np.float32))
    expected = [1, 4] if min_visibility is None else [1, 3, 4]
    with GalleryStore.create(tmp_path / "index", ModelInfo((2, 1), 3, "w", min_visibility=min_visibility)) as store:
        fill(store, gallery, (4,))
        engine = SearchEngine(store)
        for exact in (False, True):
            for k in (1, 2, 4, 50):
                for candidates in (1, 50):
                    found = engine.search(query, k, exact, candidates=candidates)[0].matches
                    assert [match.image_id for match in found] == expected[:k]
        only_stranger = SearchFilter(camids=(1,))  # record 1: image 2, which shows region 1 alone
        assert [record.camid for record in make_records(4)] == [None, 1, 2, 0]
        assert engine.search(query, 5, filter=only_stranger)[0].matches == ()
        assert engine.search(query, 5, exact=True, filter=only_stranger)[0].matches == ()


@pytest.mark.parametrize("exact", [False, True])
def test_a_query_that_sees_nothing_finds_nothing(store: GalleryStore, exact: bool):
    features = make_features(1, seed=7)
    faint = RegionFeatures(np.full((1, 6), 0.01, np.float32), features.embeddings)  # all below 1/12
    dark = RegionFeatures(np.zeros((1, 6), np.float32), features.embeddings)
    for query in (faint, dark):
        assert SearchEngine(store).search(query, exact=exact)[0].matches == ()


@pytest.mark.parametrize("exact", [False, True])
def test_empty_gallery_and_emptied_gallery(tmp_path: Path, exact: bool):
    with GalleryStore.create(tmp_path / "index", ModelInfo((6, 1), 8, "w")) as store:
        queries = make_features(2)
        assert [result.matches for result in SearchEngine(store).search(queries, exact=exact)] == [(), ()]
        fill(store, make_features(3), (3,), removed=(1, 2, 3))
        results = SearchEngine(store).search(queries, exact=exact, filter=SearchFilter(pids=(1,)))
        assert [(result.matches, result.candidates) for result in results] == [((), 0), ((), 0)]


def test_more_asked_for_than_there_is(store: GalleryStore, gallery: RegionFeatures):
    query = make_features(1, seed=8)
    live = [image_id for image_id in range(1, 81) if image_id not in REMOVED]
    expected = oracle_ranking(query, 0, gallery, 1 / 12, live)
    for exact in (False, True):
        assert_is_ranking(SearchEngine(store).search(query, 10**6, exact)[0], expected)


def test_no_queries_no_results(store: GalleryStore):
    assert SearchEngine(store).search(make_features(0)) == []
    assert SearchEngine(store).search(make_features(0), exact=True) == []


# filters ----------------------------------------------------------------------------------------------------------

moments = st.none() | st.integers(-5, 90).map(lambda hours: START + timedelta(hours=hours))


def passes(record: ImageRecord, wanted: SearchFilter) -> bool:
    taken = record.captured_at
    return (
        (not wanted.pids or record.pid in wanted.pids)
        and (not wanted.camids or record.camid in wanted.camids)
        and (wanted.captured_after is None or (taken is not None and taken >= wanted.captured_after))
        and (wanted.captured_before is None or (taken is not None and taken < wanted.captured_before))
        and record.path.startswith(wanted.path_prefix)
    )


@given(
    wanted=st.builds(
        SearchFilter,
        st.lists(st.integers(-1, 8), max_size=3).map(tuple),
        st.lists(st.integers(-1, 3), max_size=2).map(tuple),
        moments,
        moments,
        st.sampled_from(["", "", "/gallery/000", "/gallery/%", "elsewhere"]),
    ),
    k=st.integers(1, 30),
    candidates=st.integers(1, 8),
    seed=st.integers(100, 110),
)
def test_filters_and_fewer_only_where_fewer_exist(store, gallery, wanted, k, candidates, seed):
    query = make_features(1, seed=seed)
    records = dict(enumerate(make_records(80), start=1))
    ids = [i for i, record in records.items() if i not in REMOVED and passes(record, wanted)]
    expected = oracle_ranking(query, 0, gallery, 1 / 12, ids)
    engine = SearchEngine(store)
    assert_is_ranking(engine.search(query, k, exact=True, filter=wanted)[0], expected[:k])
    approximate = engine.search(query, k, candidates=candidates, filter=wanted)[0]
    assert len(approximate.matches) == min(k, len(expected))
    assert {match.image_id for match in approximate.matches} <= {image_id for _, image_id in expected}
    all_of_them = engine.search(query, k, candidates=EVERYTHING, filter=wanted)[0]
    assert all_of_them.matches == engine.search(query, k, exact=True, filter=wanted)[0].matches


def test_a_filter_of_nothing_is_no_filter(store: GalleryStore):
    query = make_features(1, seed=11)
    engine = SearchEngine(store)
    plain = engine.search(query, 80)[0].matches
    assert engine.search(query, 80, filter=SearchFilter())[0].matches == plain
    with pytest.raises(DataError, match="does not fit 64 bits"):
        engine.search(query, 80, filter=SearchFilter(pids=(2**70,)))


def test_a_time_without_zone_is_utc(store: GalleryStore):
    query = make_features(1, seed=12)
    engine = SearchEngine(store)
    naive = SearchFilter(captured_after=datetime(2024, 5, 2, 12), captured_before=datetime(2024, 5, 3, 12))
    aware = SearchFilter(captured_after=START + timedelta(days=1), captured_before=START + timedelta(days=2))
    found = engine.search(query, 80, filter=naive)[0].matches
    assert found
    assert found == engine.search(query, 80, filter=aware)[0].matches


# what a result says -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("exact", [False, True])
def test_every_match_explains_itself(store: GalleryStore, gallery: RegionFeatures, exact: bool):
    queries = make_features(3, seed=13)
    records = make_records(80)
    for row, result in enumerate(SearchEngine(store).search(queries, 30, exact)):
        assert result.matches
        assert result.elapsed_ms == pytest.approx(sum(result.timings_ms.values()))
        assert all(milliseconds >= 0 for milliseconds in result.timings_ms.values())
        assert len(result.matches) <= result.candidates <= 76
        for match in result.matches:
            record, column = records[match.image_id - 1], match.image_id - 1
            assert (match.path, match.pid, match.camid) == (record.path, record.pid, record.camid)
            seen = [
                region
                for region in range(6)
                if min(queries.visibility[row, region], gallery.visibility[column, region]) >= np.float32(1 / 12)
            ]
            assert [region.region for region in match.regions] == seen
            total = math.fsum(region.weight for region in match.regions)
            explained = math.fsum(region.weight * region.distance for region in match.regions) / total
            assert explained == pytest.approx(match.distance, rel=1e-5)
            assert math.fsum(region.share for region in match.regions) == pytest.approx(1)
            for part in match.regions:
                weight = float(queries.visibility[row, part.region]) * float(gallery.visibility[column, part.region])
                assert part.weight == pytest.approx(weight)
                assert part.share == pytest.approx(weight / total)
                gap = queries.embeddings[row, part.region] - gallery.embeddings[column, part.region]
                assert part.distance == pytest.approx(float(np.linalg.norm(gap.astype(np.float64))), rel=1e-5)


@pytest.mark.parametrize("exact", [False, True])
def test_a_batch_is_its_queries_one_by_one(store: GalleryStore, exact: bool):
    queries = make_features(7, seed=14)
    engine = SearchEngine(store)
    together = engine.search(queries, 12, exact, candidates=15)
    for row in range(7):
        alone = engine.search(queries[row : row + 1], 12, exact, candidates=15)[0]
        assert alone.matches == together[row].matches
        assert alone.candidates == together[row].candidates


# refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", ["visibility", "embeddings"])
def test_queries_that_are_not_finite_are_refused(store: GalleryStore, exact: bool, value: float, where: str):
    queries = make_features(3, seed=15)
    getattr(queries, where)[1, 2] = value
    with pytest.raises(FeatureError):
        SearchEngine(store).search(queries, exact=exact)


@pytest.mark.parametrize(("p", "d"), [(5, 8), (6, 7), (8, 6), (1, 8)])
def test_features_of_another_model_are_refused(store: GalleryStore, p: int, d: int):
    with pytest.raises(ModelMismatchError, match=f"{p} regions × {d}.*6 × 8"):
        SearchEngine(store).search(make_features(1, p, d))


@pytest.mark.parametrize("k", [0, -1])
def test_k_below_one_is_refused(store: GalleryStore, k: int):
    with pytest.raises(VpmsearchError, match="k must be at least 1"):
        SearchEngine(store).search(make_features(1), k)


# snapshots --------------------------------------------------------------------------------------------------------


def test_an_engine_sees_its_moment_until_refreshed(tmp_path: Path):
    gallery, query = make_features(20, seed=16), make_features(1, seed=17)
    path = tmp_path / "index"
    info = ModelInfo((6, 1), 8, "w", min_visibility=0)
    with GalleryStore.create(path, info) as mine, GalleryStore.open(path) as theirs:
        fill(theirs, gallery[:10], (10,))
        mine.refresh()
        first, second = SearchEngine(mine), SearchEngine(mine)
        before = first.search(query, 50, exact=True)[0].matches
        assert {match.image_id for match in before} == set(range(1, 11))
        with theirs.writer() as writer:
            writer.add(make_records(10, 10), gallery[10:])
            writer.remove([1, 2])
            writer.commit()
        for exact in (False, True):
            assert first.search(query, 50, exact)[0].matches == before
        assert first.refresh() is True
        assert first.refresh() is False
        assert second.search(query, 50)[0].matches == before  # the store moved on, this engine did not
        assert second.refresh() is True
        for engine in (first, second):
            for exact in (False, True):
                found = {match.image_id for match in engine.search(query, 50, exact)[0].matches}
                assert found == set(range(3, 21))


def test_an_engine_outlives_a_compaction_which_changes_no_answer(tmp_path: Path):
    gallery, query = make_features(30, seed=18), make_features(2, seed=19)
    with GalleryStore.create(tmp_path / "index", ModelInfo((6, 1), 8, "w")) as store:
        fill(store, gallery, (10, 10, 10), removed=(4, 15))
        engine = SearchEngine(store)
        before = [result.matches for result in engine.search(query, 50)]
        compact(store.path)
        assert [result.matches for result in engine.search(query, 50)] == before  # its files are open
        assert engine.refresh() is True
        assert [result.matches for result in engine.search(query, 50)] == before
        assert [result.matches for result in engine.search(query, 50, exact=True)] == before


def test_an_engine_sees_the_commits_of_its_own_store_when_refreshed(tmp_path: Path):
    with GalleryStore.create(tmp_path / "index", ModelInfo((6, 1), 8, "w", min_visibility=0)) as store:
        engine = SearchEngine(store)
        fill(store, make_features(4, seed=20), (4,))
        query = make_features(1, seed=21)
        assert engine.search(query)[0].matches == ()
        assert engine.refresh() is True
        assert len(engine.search(query)[0].matches) == 4
