"""The joint scan over codes: its bounds hold, and its answers are the exact ones to the last bit."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import segmented
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import visibility_weighted_distance

pytest.importorskip("numba", reason="the extra [scan] is not installed")

from vpmsearch.eq4 import distances_to
from vpmsearch.errors import StoreError
from vpmsearch.search import engine as engines
from vpmsearch.search.distances import Distances
from vpmsearch.search.engine import SearchEngine
from vpmsearch.search.scan import blocks, joint, kernels, vectors
from vpmsearch.search.scan.blocks import LANES, Effort
from vpmsearch.search.scan.codes import SLACK, Codes, QueryCodes, bytes_of
from vpmsearch.search.scan.joint import JointScan
from vpmsearch.types import ImageRecord, RegionFeatures, SearchFilter

features = partial(segmented.features, unseen=0.05)
make_store = segmented.make_store


def bounds(queries: RegionFeatures, gallery: np.ndarray, visibility: np.ndarray) -> np.ndarray:
    """(Q, n) lower bounds, by the kernel."""
    codes = Codes.of(kernels, gallery, visibility)
    asked = QueryCodes.of(queries, kernels.TILE)
    wanted = np.ones((len(codes), LANES), np.bool_)
    lower = np.full((len(asked.weight), *wanted.shape), np.nan, np.float32)
    least = np.full(lower.shape[:2], np.nan, np.float32)
    fields = (codes.words, codes.step, codes.length, codes.error, codes.weight)
    kernels.lower_bounds(*fields, wanted, 0, len(codes), 0, *asked.arguments(), lower, least)
    assert np.array_equal(least, lower.min(axis=2))
    return lower.reshape(len(lower), -1)[: len(queries), : len(gallery)]


@given(
    n=st.integers(1, 20),
    p=st.integers(1, 7),
    d=st.sampled_from([1, 3, 4, 16, 61, 256, 520]),
    count=st.integers(1, 5),
    seed=st.integers(0, 2**16),
    spread=st.sampled_from([0.0, 1e-25, 1e-12, 1e-4, 1.0, 1e4, 1e16]),
    centre=st.sampled_from([0.0, 1e-20, 1.0, 100.0]),
    dtype=st.sampled_from(["float32", "float16"]),
    kinds=st.lists(st.sampled_from(["equal", "zero", "huge", "blind", "outlier"]), max_size=3),
)
def test_bounds_hold(n, p, d, count, seed, spread, centre, dtype, kinds):
    """At most Eq. 4 by an independent loop in float64, and by `eq4` in float32; near it for usual numbers."""
    gallery, queries = features(n, p, d, seed, centre, spread), features(count, p, d, seed + 1, centre, spread)
    if spread > 1e3:
        dtype = "float32"  # float16 ends at 65,504
    stored = gallery.embeddings.astype(dtype)
    visibility = gallery.visibility.copy()
    for kind in kinds:
        if kind == "equal":
            stored[0] = queries.embeddings[0].astype(dtype)
        elif kind == "zero":
            stored[-1] = 0
        elif kind == "outlier":  # one number leaves nothing of the others
            stored[n // 2, :, 0] = 6e4
        elif kind == "blind":
            visibility[n // 2] = 0
        elif kind == "huge":  # a region that does not show may hold anything
            visibility[0, 0], stored[0, 0] = 0, np.inf
    lower = bounds(queries, stored, visibility)
    compared = np.where(np.isfinite(stored), stored, 0).astype(np.float64)
    right = visibility_weighted_distance(queries.embeddings, queries.visibility, compared, visibility)
    assert np.array_equal(np.isinf(lower), np.isinf(right))
    shared = np.isfinite(right)
    assert (lower >= 0).all()
    assert (lower[shared] * (1 - SLACK / 2) <= right[shared]).all()
    for row, query in enumerate(queries.embeddings):
        with np.errstate(over="ignore", invalid="ignore"):
            found = distances_to(query, queries.visibility[row], stored, visibility)
        assert (lower[row][shared[row]] * np.float32(1 - SLACK) <= found[shared[row]]).all()
    if not kinds and spread == 1.0 and centre == 0 and d >= 16:
        assert (lower[shared] >= 0.97 * right[shared]).all()


def test_products_are_exact_at_their_largest():
    """Sums that come as near to 2³¹ as codes can bring them."""
    for d in (256, 4096):
        gallery = np.full((LANES, 1, d), -1, np.float32)
        queries = RegionFeatures(np.ones((1, 1), np.float32), np.ones((1, 1, d), np.float32))
        lower = bounds(queries, gallery, np.ones((LANES, 1), np.float32))
        assert lower == pytest.approx(2 * np.sqrt(d), rel=1e-3)
        assert (lower <= 2 * np.sqrt(d)).all()


@settings(max_examples=settings.default.max_examples // 2)
@given(
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=3),
    p=st.integers(1, 4),
    d=st.sampled_from([1, 3, 16, 130]),
    seed=st.integers(0, 2**16),
    place=st.sampled_from([(0.0, 1.0), (100.0, 1e-3), (0.0, 0.0), (0.0, 1e-12), (0.0, 1e15)]),
    dtype=st.sampled_from(["float32", "float16"]),
    share=st.none() | st.floats(0, 1),
    least_visibility=st.sampled_from([0.0, 0.2]),
    count=st.integers(1, 5),
)
def test_scan_is_the_exact_path(tmp_path_factory, sizes, p, d, seed, place, dtype, share, least_visibility, count):
    """Rows and distances, bit by bit: of segments, with removals and filters, for one query and several."""
    if place[1] > 1e4:
        dtype = "float32"
    n = sum(sizes)
    gallery, queries = features(n, p, d, seed, *place), features(count, p, d, seed + 1, *place)
    queries.embeddings[0] = gallery.embeddings[0]
    removed = (2,) if n > 4 else ()
    path = tmp_path_factory.mktemp("scan") / "index"
    with (
        make_store(path, gallery, sizes, removed, dtype, min_visibility=least_visibility) as store,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(joint, "EXTRA", 1)
        patch.setattr(joint, "QUERIES", 3)
        patch.setattr(blocks, "PIECE", 1)
        snapshot = store.snapshot
        distances = Distances(snapshot)
        scan = JointScan(snapshot, distances, Effort())
        assert scan.prepare()
        allowed = None if share is None else np.random.default_rng(seed).random(len(snapshot)) < share
        rows = np.arange(len(snapshot)) if allowed is None else np.flatnonzero(allowed)
        for k in (1, 5, n + 1):
            found = scan.search(queries, k, allowed)
            for row, (got, values) in enumerate(found):
                right, distance = distances.nearest(queries[row : row + 1], rows, k)
                assert np.array_equal(got, right)
                assert np.array_equal(values, distance)


@pytest.fixture
def eager(monkeypatch):
    """Codes are made at once, and few images are searched like many."""
    monkeypatch.setattr(joint, "LOAD_AFTER", 0)
    monkeypatch.setattr(joint, "ENCODE_AFTER", 0)
    monkeypatch.setattr(engines, "SCAN_BELOW", 10)


def same(left, right) -> bool:
    return [each.matches for each in left] == [each.matches for each in right]


def test_engine_scans_when_it_is_worth_it(tmp_path, monkeypatch):
    gallery, queries = features(200, 3, 8, 0), features(4, 3, 8, 1)
    monkeypatch.setattr(engines, "SCAN_BELOW", 10)
    monkeypatch.setattr(joint, "LOAD_AFTER", 3 * 200 * 24)
    monkeypatch.setattr(joint, "ENCODE_AFTER", 5)
    with make_store(tmp_path / "index", gallery, [200]) as store:
        engine = SearchEngine(store)
        stages = [set(engine.search(queries[:1])[0].timings_ms) for _ in range(6)]
        assert ["scan" in each for each in stages] == [False] * 4 + [True] * 2  # 5 × what is to be encoded is more
        several = SearchEngine(store)
        assert "scan" not in several.search(queries[:1])[0].timings_ms
        assert "scan" in several.search(queries)[0].timings_ms  # four at once count as four


def test_engine_answers_the_same(tmp_path, eager, monkeypatch):
    """Default, exact, filtered, in batches: as without codes; complete, and all images counted."""
    gallery, queries = features(120, 3, 8, 0), features(20, 3, 8, 1)
    wanted = SearchFilter(pids=(0, 2))
    with make_store(tmp_path / "index", gallery, [60, 60], removed=(5, 9)) as store:
        engine = SearchEngine(store)
        answers = {
            (exact, narrowed): engine.search(queries, exact=exact, filter=narrowed)
            for exact in (False, True)
            for narrowed in (None, wanted)
        }
        single = [engine.search(queries[row : row + 1])[0] for row in range(len(queries))]
        monkeypatch.setattr(joint, "kernels", lambda: None)  # numba that does not load
        without = SearchEngine(store)
        for (exact, narrowed), found in answers.items():
            assert same(found, without.search(queries, exact=exact, filter=narrowed))
            assert all(each.complete and each.bound_closed for each in found)
            assert {each.candidates for each in found} == {118 if narrowed is None else 79}
        assert same(single, answers[False, None])


@given(
    sizes=st.lists(st.integers(1, 60), min_size=1, max_size=4),
    removed=st.sampled_from([0.0, 0.02, 0.5]),
    apart=st.booleans(),
    most=st.sampled_from([0, 2, 64]),
    seed=st.integers(0, 2**16),
)
def test_a_filter_comes_to_the_places_of_the_codes(sizes, removed, apart, most, seed):
    """Against a loop: rows of segments one after the other or mixed, with removed images, in few or many pieces."""
    rng = np.random.default_rng(seed)
    n = sum(sizes)
    order = np.arange(n) if apart else rng.permutation(n)
    rows = np.full((sum(-(-size // LANES) for size in sizes), LANES), -1)
    kept = np.sort(rng.permutation(n)[: max(1, round(n * (1 - removed)))])
    start, block = 0, 0
    for size in sizes:
        places = np.searchsorted(kept, np.sort(order[start : start + size]))
        there = np.isin(np.sort(order[start : start + size]), kept)
        rows[block:].reshape(-1)[:size] = np.where(there, places, -1)
        start, block = start + size, block + -(-size // LANES)
    allowed = rng.random(len(kept)) < 0.5
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "MOST_PIECES", most)
        found = blocks.Coded({}, rows, rows >= 0).wanted(allowed)
    assert found.dtype == np.bool_
    assert found.tolist() == [[row >= 0 and bool(allowed[row]) for row in block] for block in rows.tolist()]


def test_codes_follow_the_index(tmp_path, eager):
    """Of what was added, removed and merged; those of segments that stay are kept."""
    gallery, queries = features(90, 2, 8, 0), features(3, 2, 8, 1)
    with make_store(tmp_path / "index", gallery[:60], [60]) as store:
        engine = SearchEngine(store)
        engine.search(queries)
        before = engine._view.scan._coded.parts
        with store.writer() as writer:
            writer.remove([1])
            writer.commit()
            engine.refresh()
            engine.search(queries)
            after = engine._view.scan._coded.parts
            assert [part[1] for part in after.values()] == [part[1] for part in before.values()]
            writer.add([ImageRecord(f"n{i}.jpg") for i in range(30)], gallery[60:])
            writer.commit()
        engine.refresh()
        found = engine.search(queries, k=5)
        assert found[0].complete
        assert found[0].candidates == 89
        exact = Distances(store.snapshot).scan(queries, 5)
        assert [[m.image_id for m in each.matches] for each in found] == [
            store.snapshot.image_ids[rows].tolist() for rows, _ in exact
        ]


def test_too_many_codes_are_not_made(tmp_path, eager, monkeypatch):
    gallery, queries = features(100, 2, 8, 0), features(2, 2, 8, 1)
    monkeypatch.setattr(blocks, "MOST_BYTES", bytes_of(100, 2, 8) - 1)
    with make_store(tmp_path / "index", gallery, [100]) as store:
        engine = SearchEngine(store)
        found = engine.search(queries)
        assert not engine._view.scan.made
        monkeypatch.setattr(blocks, "MOST_BYTES", bytes_of(100, 2, 8))
        assert same(found, engine.search(queries))
        assert engine._view.scan.made


@pytest.mark.parametrize(
    ("given", "right"),
    [("0", 0), ("1", 10**6), (" 1600 ", 1_600_000_000), ("", 10**9 // 8), ("1e3", None), ("-1", None), ("²", None)],
)
def test_memory_for_codes_can_be_set(tmp_path, monkeypatch, given, right):
    """What cannot be read is told by a new engine, not by a search that would make codes."""
    monkeypatch.setattr(blocks, "memory_bytes", lambda: 10**9)
    monkeypatch.setenv(blocks.SETTING, given)
    gallery = features(20, 2, 8, 0)
    with make_store(tmp_path / "index", gallery, [20]) as store:
        if right is None:
            with pytest.raises(StoreError, match=r"VPMSEARCH_SCAN_MEMORY is '.*'; give the MB"):
                SearchEngine(store)
        else:
            assert blocks.most_bytes() == right
            assert SearchEngine(store)._view.scan.prepare() == (right > 0)


def test_a_machine_without_room_searches_without_codes(tmp_path, eager, monkeypatch):
    gallery, queries = features(100, 2, 8, 0), features(2, 2, 8, 1)

    def full(*_):
        raise MemoryError

    with make_store(tmp_path / "index", gallery, [100]) as store:
        right = SearchEngine(store).search(queries)
        monkeypatch.setattr(Codes, "of", full)
        engine = SearchEngine(store)
        assert same(right, engine.search(queries))
        assert not engine._view.scan.made


def test_kernels_without_a_folder_to_keep_them_in(monkeypatch):
    """numba refuses to compile for its cache where it finds no folder to write to."""
    usual = vectors.njit

    def refusing(*given, cache=False, **options):
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return usual(*given, **options)

    monkeypatch.setattr(vectors, "njit", refusing)
    twice = vectors.compiled("i8(i8)")(lambda number: 2 * number)
    assert twice(21) == 42
