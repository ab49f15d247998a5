"""The scan over signs: its estimates are what they should be, and its answers as good as they say."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
import segmented
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import visibility_weighted_distance

pytest.importorskip("numba", reason="the extra [scan] is not installed")

from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from vpmsearch.search import engine as engines
from vpmsearch.search.distances import Distances, counting
from vpmsearch.search.engine import SearchEngine
from vpmsearch.search.scan import blocks, estimated, sign_kernels, signs, vectors
from vpmsearch.search.scan.blocks import LANES, Effort
from vpmsearch.search.scan.estimated import EstimatedScan
from vpmsearch.search.scan.rough import Rough
from vpmsearch.search.scan.signs import LEVELS, QuerySigns, Signs, bits_of, bytes_of, centre, flips
from vpmsearch.types import ImageRecord, RegionFeatures, SearchFilter

features = partial(segmented.features, unseen=0.05)
make_store = segmented.make_store


def estimates(queries: RegionFeatures, gallery: np.ndarray, visibility: np.ndarray) -> tuple[np.ndarray, Signs]:
    """(Q, n), by the kernel; and the signs that they come from."""
    made = Signs(gallery, visibility, centre(gallery, visibility))
    while made.left:
        made.encode(sign_kernels, 1)
    asked = QuerySigns.of(sign_kernels, queries, made.middle)
    wanted = np.ones((len(made), LANES), np.bool_)
    found = np.full((len(asked.query), *wanted.shape), np.nan, np.float32)
    least = np.full(found.shape[:2], np.nan, np.float32)
    sign_kernels.estimates(made.codes, wanted, 0, len(made), 0, asked.tables, asked.query, found, least)
    assert np.array_equal(least, found.min(axis=2))
    return found.reshape(len(found), -1)[: len(queries), : len(gallery)], made


@functools.cache
def matrix(dim: int, bits: int) -> np.ndarray:
    """The projection, from its definition: a Hadamard matrix has −1 to the power of the common bits of i and j."""
    hadamard = [[(-1) ** (i & j % bits).bit_count() / np.sqrt(bits) for j in range(dim)] for i in range(bits)]
    return np.array(hadamard) * flips(dim)


def estimated_square(a: np.ndarray, b: np.ndarray, turn: np.ndarray) -> tuple[float, float]:
    """Of two embeddings less the mean, by the formula in `signs.py`; and how far levels may be from their sums."""
    projected, signs = turn @ a, np.where(turn @ b > 0, 1, -1)
    total = np.abs(turn @ b).sum()
    if total == 0:
        return a @ a + b @ b, 0.0
    fours = np.abs(projected).reshape(-1, 4).sum(axis=1)
    step = 2 * fours.max() / LEVELS
    levels = len(fours) * step / 2
    return max(a @ a + b @ b - 2 * (b @ b) / total * (projected @ signs), 0.0), 2 * (b @ b) / total * levels


@settings(max_examples=12, deadline=None)
@given(
    n=st.integers(1, 20),
    p=st.integers(1, 5),
    d=st.sampled_from([1, 3, 32, 33, 100]),
    count=st.integers(1, 5),
    seed=st.integers(0, 2**16),
    spread=st.sampled_from([0.0, 1e-12, 1.0, 1e4, 1e15]),
    centre=st.sampled_from([0.0, 1.0]),
    dtype=st.sampled_from(["float32", "float16"]),
    kinds=st.lists(st.sampled_from(["equal", "zero", "blind"]), max_size=2),
)
def test_estimates_are_those_of_the_formula(n, p, d, count, seed, spread, centre, dtype, kinds):
    """By an independent loop in float64, to the digits that the codes keep."""
    gallery, queries = features(n, p, d, seed, centre, spread), features(count, p, d, seed + 1, centre, spread)
    stored = gallery.embeddings.astype("float32" if spread > 1e3 else dtype)
    visibility = gallery.visibility.copy()
    if "equal" in kinds:
        stored[0] = queries.embeddings[0]
    if "zero" in kinds:
        stored[-1] = 0
    if "blind" in kinds:
        visibility[n // 2] = 0
    found, made = estimates(queries, stored, visibility)
    turn = matrix(d, bits_of(p))
    for row, column in np.ndindex(count, n):
        own = queries.visibility[row].astype(np.float64) * visibility[column]
        if own.sum() == 0:
            assert np.isinf(found[row, column])
            continue
        right, allowance = 0.0, 0.0
        for region in np.flatnonzero(own):
            a, b = (
                each.astype(np.float64) - made.middle[region].astype(np.float64)
                for each in (queries.embeddings[row, region], stored[column, region])
            )
            size = a @ a + b @ b + 1e-11 * d * centre**2
            square, levels = estimated_square(a, b, turn)
            # Scales keep 8 bits, also that of the product, which may be longer than a and b.
            error = levels + 2.0**-7 * (2 * (a @ a + b @ b) + square + levels) + 2.0**-7 * size
            right += own[region] * np.sqrt(square)
            allowance += own[region] * (np.sqrt(square + error) - np.sqrt(square) + 2.0**-7 * np.sqrt(square + size))
        assert abs(found[row, column] - right / own.sum()) <= allowance / own.sum() + 1e-6 * spread


@pytest.mark.slow
def test_estimates_where_numba_compiles_for_any_processor(tmp_path):
    """Without AVX2 a register holds one row, and bytes are looked up one by one."""
    anywhere = {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": "", "NUMBA_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", "-o", "addopts=", "-k", "of_the_formula"]
    done = subprocess.run([*command, __file__], env=os.environ | anywhere, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout


@pytest.mark.parametrize("kind", ["alike", "few are large"])
def test_estimates_are_near_the_distances(kind):
    """Also where a few numbers are far larger than the others, as the projection mixes them."""
    gallery, queries = features(300, 4, 256, 0), features(10, 4, 256, 1)
    if kind == "few are large":
        for each in (gallery, queries):
            each.embeddings[:, :, :3] *= 30
    found, _ = estimates(queries, gallery.embeddings, gallery.visibility)
    right = visibility_weighted_distance(
        queries.embeddings, queries.visibility, gallery.embeddings.astype(np.float64), gallery.visibility
    )
    shared = np.isfinite(right)
    error = found[shared] / right[shared] - 1
    assert np.sqrt(np.mean(error**2)) < (0.05 if kind == "alike" else 0.12)
    assert abs(error.mean()) < 0.02


@pytest.mark.parametrize("dim", [1, 5, 64, 70, 300])
@pytest.mark.parametrize("bits", [64, 256])
def test_a_projection_is_a_product_with_its_matrix(dim, bits):
    numbers = np.random.default_rng(dim).normal(size=(3, dim)).astype(np.float32)
    found = np.full((4, bits), 7, np.float32)
    sign_kernels.project(numbers, flips(dim), found)
    assert found[:3] == pytest.approx(numbers @ matrix(dim, bits).T, abs=1e-4)
    assert (found[3] == 7).all()


def test_signs_of_a_region_are_fewer_where_there_are_more_regions():
    assert [bits_of(p) for p in (1, 2, 3, 5, 6, 8, 100)] == [512, 256, 128, 128, 128, 128, 128]


@pytest.mark.parametrize("avx2", [True, False])
def test_bytes_are_looked_up_on_every_processor(monkeypatch, avx2):
    """Where numba compiles for one that has AVX2, and where it does not."""
    sizes = []

    @intrinsic
    def look_up(typing, tables, picks, out):
        def generate(context, builder, signature, arguments):
            sizes.append(vectors.lookup_bytes(context))
            kind = ir.VectorType(vectors.I8, sizes[-1])
            table, pick = (vectors.load(builder, address, kind) for address in arguments[:2])
            vectors.store(builder, vectors.looked_up(context, builder, table, pick), arguments[2])
            return context.get_dummy_value()

        return types.void(*[types.intp] * 3), generate

    if not avx2:
        monkeypatch.setattr(vectors, "_has", lambda *_: False)
    run = njit(lambda tables, picks, out: look_up(tables.ctypes.data, picks.ctypes.data, out.ctypes.data))
    rng = np.random.default_rng(0)
    tables, picks = (rng.integers(most, size=32, dtype=np.uint8) for most in (256, 16))
    out = np.zeros(32, np.uint8)
    run(tables, picks, out)
    (size,) = sizes
    assert size == 16 or avx2
    right = np.take_along_axis(tables.reshape(-1, 16), picks.reshape(-1, 16).astype(np.intp), axis=1).ravel()
    assert np.array_equal(out[:size], right[:size])


@settings(max_examples=20, deadline=None)
@given(
    n=st.integers(0, 40),
    p=st.integers(1, 5),
    d=st.sampled_from([1, 7, 64, 300]),
    k=st.integers(1, 45),
    seed=st.integers(0, 2**16),
    place=st.sampled_from([(0.0, 1.0), (100.0, 1e-3), (0.0, 0.0), (0.0, 1e-22), (0.0, 2e16)]),
    dtype=st.sampled_from(["float32", "float16"]),
)
def test_rough_distances_leave_out_none_of_the_nearest(tmp_path_factory, n, p, d, k, seed, place, dtype):
    """They are near the true ones, by an independent loop; and the nearest are those of `eq4`, to the last bit."""
    gallery, queries = features(n + 1, p, d, seed, *place), features(1, p, d, seed + 1, *place)
    gallery.embeddings[0] = queries.embeddings[0]
    path, dtype = tmp_path_factory.mktemp("rough") / "index", "float32" if place[1] > 1e3 else dtype
    with make_store(path, gallery, [n + 1], (), dtype) as store:
        distances = Distances(store.snapshot)
        query = RegionFeatures(counting(store.snapshot.model_info, queries.visibility), queries.embeddings)
        rough = Rough(store.snapshot, distances, query)
        rows = np.random.default_rng(seed).permutation(n + 1)
        rough.add(rows[: n // 2])
        rough.add(rows[n // 2 :])
        embeddings = store.snapshot.embeddings(rows).astype(np.float64)
        right = visibility_weighted_distance(
            query.embeddings, query.visibility, embeddings, distances.visibility[rows]
        )[0]
        assert np.array_equal(np.isinf(rough.values), np.isinf(right))
        shared = np.isfinite(right)
        assert rough.values[shared] == pytest.approx(right[shared], rel=2e-5, abs=1e-17)
        got, values = rough.nearest(k)
        all_rows, all_values = distances.nearest(query, np.arange(n + 1), k)
        assert np.array_equal(got, all_rows)
        assert np.array_equal(values, all_values)


def test_huge_numbers_are_found_too():
    """Squares beyond float32 have an estimate, not infinity: infinite ones are never compared."""
    gallery, queries = features(20, 2, 64, 0, 0.0, 2e16), features(2, 2, 64, 1, 0.0, 2e16)
    gallery.visibility[:], queries.visibility[:] = 0.5, 0.5
    found, _ = estimates(queries, np.clip(gallery.embeddings, -1e17, 1e17), gallery.visibility)
    assert np.isfinite(found).all()


@settings(max_examples=6, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=3),
    p=st.integers(1, 4),
    d=st.sampled_from([1, 16, 130]),
    seed=st.integers(0, 2**16),
    place=st.sampled_from([(0.0, 1.0), (100.0, 1e-3), (0.0, 0.0)]),
    dtype=st.sampled_from(["float32", "float16"]),
    share=st.none() | st.floats(0, 1),
    least_visibility=st.sampled_from([0.0, 0.2]),
    count=st.integers(1, 5),
    extra=st.sampled_from([0, 3, 200]),
)
def test_answers_are_as_good_as_they_say(
    tmp_path_factory, sizes, p, d, seed, place, dtype, share, least_visibility, count, extra
):
    """Of segments, with removals and filters, for one query and several; what is called complete is exact."""
    n = sum(sizes)
    gallery, queries = features(n, p, d, seed, *place), features(count, p, d, seed + 1, *place)
    queries.embeddings[0] = gallery.embeddings[0]
    path = tmp_path_factory.mktemp("signs") / "index"
    with (
        make_store(path, gallery, sizes, (2,) if n > 4 else (), dtype, min_visibility=least_visibility) as store,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(estimated, "EXTRA", extra)
        patch.setattr(estimated, "QUERIES", 3)
        patch.setattr(blocks, "PIECE", 1)
        snapshot = store.snapshot
        distances = Distances(snapshot)
        scan = EstimatedScan(snapshot, distances, Effort())
        assert scan.prepare()
        allowed = None if share is None else np.random.default_rng(seed).random(len(snapshot)) < share
        rows = np.arange(len(snapshot)) if allowed is None else np.flatnonzero(allowed)
        for k, most in ((1, 4), (5, 10), (n + 1, 2 * n + 2)):
            for row, answer in enumerate(scan.search(queries, k, most, allowed)):
                query, (got, values) = queries[row : row + 1], answer.best
                right, nearest = distances.nearest(query, rows, k)
                assert np.array_equal(distances.direct(query, got), values)
                assert np.isin(got, rows).all()
                assert np.array_equal(np.lexsort((got, values)), np.arange(len(got)))
                assert len(got) <= answer.compared <= min(most, len(rows))
                assert len(got) == len(right) or answer.compared == most
                if extra == 200 and k > n:
                    assert answer.complete
                if answer.complete:
                    assert answer.closed
                    assert np.array_equal(got, right)
                    assert np.array_equal(values, nearest)


def clustered(images: int, p: int, d: int, seed: int) -> tuple[RegionFeatures, RegionFeatures]:
    """A gallery in which identities share parts, and 30 queries of it, every second one half of a body."""
    rng = np.random.default_rng(seed)
    parts = rng.normal(size=(40, p, d))
    chosen = rng.integers(40, size=(max(images // 20, 1), p))
    centres = parts[chosen, np.arange(p)] + 0.25 * rng.normal(size=(len(chosen), p, d))

    def draw(count: int) -> np.ndarray:
        return centres[rng.integers(len(centres), size=count)] + 0.5 * rng.normal(size=(count, p, d))

    shown = rng.dirichlet(np.full(p, 4.0), images)
    asked = np.full((30, p), 1 / p)
    asked[::2, : p // 2] = 0
    gallery = RegionFeatures(shown.astype(np.float32), draw(images).astype(np.float32))
    return gallery, RegionFeatures(asked.astype(np.float32), draw(30).astype(np.float32))


def recall(found, right) -> float:
    both = [
        {match.image_id for match in a.matches} & {match.image_id for match in b.matches}
        for a, b in zip(found, right, strict=True)
    ]
    return sum(map(len, both)) / sum(len(each.matches) for each in right)


@pytest.fixture
def eager(monkeypatch):
    """Signs are made after two queries, 64 images each, and few images are searched like many."""
    monkeypatch.setattr(estimated, "LOAD_AFTER", 2)
    monkeypatch.setattr(estimated, "SHARE", 64 * 3 * 32)
    monkeypatch.setattr(signs, "_ROWS", 64)
    monkeypatch.setattr(engines, "SCAN_BELOW", 10)


def listed_store(path, gallery, sizes, removed=()):
    return make_store(path, gallery, sizes, removed, index_type="hnsw")


def test_engine_makes_signs_share_by_share(tmp_path, eager):
    """Lists answer until they are there; both are approximate, and say so."""
    gallery, queries = clustered(900, 3, 32, 0)
    with listed_store(tmp_path / "index", gallery, [600, 300], removed=(5, 9)) as store:
        engine = SearchEngine(store)
        stages = [set(engine.search(queries[row : row + 1])[0].timings_ms) for row in range(20)]
        # Two searches, then 14 shares; the last one answers.
        assert ["scan" in each for each in stages] == [False] * 15 + [True] * 5
        found, right = engine.search(queries), engine.search(queries, exact=True)
        assert recall(found, right) >= 0.99
        assert not any(each.complete for each in found)
        assert all(each.bound_closed for each in found)
        assert all(10 <= each.candidates < 898 for each in found)
        for wanted in (SearchFilter(pids=(0,)), SearchFilter(pids=(0, 2))):
            some, exact = (engine.search(queries, filter=wanted, exact=e) for e in (False, True))
            assert recall(some, exact) >= 0.99
            assert {match.pid for each in some for match in each.matches} <= set(wanted.pids)


def test_signs_follow_the_index(tmp_path, eager):
    """Of what was added and removed; those of segments that stay are kept, finished or not."""
    gallery, queries = clustered(800, 3, 32, 0)
    with listed_store(tmp_path / "index", gallery[:600], [600]) as store:
        engine = SearchEngine(store)
        for row in range(6):
            engine.search(queries[row : row + 1])
        (before,) = (made for _, made in engine._view.estimates._signs.values())
        assert 0 < before.left < 600
        with store.writer() as writer:
            nearest = engine.search(queries[:1], exact=True)[0].matches[0].image_id
            writer.remove([nearest])
            writer.add([ImageRecord(f"n{i}.jpg") for i in range(200)], gallery[600:])
            writer.commit()
        engine.refresh()
        assert before in [made for _, made in engine._view.estimates._signs.values()]
        assert engine._view.estimates.prepare()
        found, right = engine.search(queries), engine.search(queries, exact=True)
        assert recall(found, right) >= 0.99
        assert nearest not in {match.image_id for each in found for match in each.matches}
        assert any(match.path.startswith("n") for each in found for match in each.matches)


def test_a_view_may_be_made_while_signs_are(tmp_path, monkeypatch):
    """`refresh` in one thread reads which signs there are, while a search in another adds to them."""
    gallery, _ = clustered(40, 3, 32, 0)
    with listed_store(tmp_path / "index", gallery, [30, 10]) as store:
        before = EstimatedScan(store.snapshot, Distances(store.snapshot), Effort())
        assert before.prepare()
        is_same = EstimatedScan._is_same

        def meanwhile(scan: EstimatedScan, key: int, files: object) -> bool:
            before._signs[len(before._signs) + 100] = before._signs[1]
            return is_same(scan, key, files)

        monkeypatch.setattr(EstimatedScan, "_is_same", meanwhile)
        after = EstimatedScan(store.snapshot, Distances(store.snapshot), Effort(), before)
        assert after._signs == {key: before._signs[key] for key in store.snapshot.parts}


def test_finished_signs_stay_finished():
    """Segments before may have used up more than the share of a search."""
    gallery, _ = clustered(30, 3, 32, 0)
    made = Signs(gallery.embeddings, gallery.visibility, np.zeros((3, 32), np.float32))
    made.encode(sign_kernels, 30)
    for images in (0, -250):
        made.encode(sign_kernels, images)
        assert made.left == 0


@pytest.mark.parametrize("why", ["memory", "machine", "numba"])
def test_without_signs_lists_answer(tmp_path, eager, monkeypatch, why):
    gallery, queries = clustered(300, 3, 32, 0)

    def full(*_):
        raise MemoryError

    with listed_store(tmp_path / "index", gallery, [300]) as store:
        right = SearchEngine(store).search(queries[:1])
        if why == "memory":
            monkeypatch.setattr(blocks, "MOST_BYTES", bytes_of(300, 3, 32) - 1)
        elif why == "machine":
            monkeypatch.setattr(Signs, "__init__", full)
        else:
            monkeypatch.setattr(estimated, "kernels", lambda: None)
        engine = SearchEngine(store)
        for _ in range(8):
            found = engine.search(queries[:1])
        assert [each.matches for each in found] == [each.matches for each in right]
        assert "scan" not in found[0].timings_ms
        assert not engine._view.estimates.prepare()


@pytest.mark.parametrize(("images", "right"), [(0, 64), (100_000, 64), (1_000_000, 16), (10**9, 4)])
def test_queries_share_a_pass_while_their_values_fit(images, right):
    assert blocks.queries_at_once(64, images) == right


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_recall_where_identities_share_parts(tmp_path, dtype):
    """At a size at which `auto` takes lists of codes; the answers hold what exact ones do."""
    gallery, queries = clustered(40_000, 4, 64, 0)
    with make_store(tmp_path / "index", gallery, [25_000, 15_000], (3,), dtype) as store:
        engine = SearchEngine(store)
        assert engine._view.estimates.prepare()
        found, right = engine.search(queries), engine.search(queries, exact=True)
        assert recall(found, right) >= 0.99
        assert "scan" in found[0].timings_ms
        assert max(each.candidates for each in found) <= 1600
