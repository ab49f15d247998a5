"""CMC, mAP and mINP against plain loops."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpmsearch.errors import DataError, FeatureError
from vpmsearch.evaluation.metrics import RankAccumulator, RankMetrics, evaluate_rank

INF = math.inf


def plain_query(distances, pid, camid, gallery_pids, gallery_camids):
    """One query by the definitions, in Python floats: (ap, trapezoid, inp, first rank), or None if not valid."""
    order = sorted(range(len(distances)), key=lambda column: (float(distances[column]), column))
    left = [
        column
        for column in order
        if gallery_pids[column] != -1 and not (gallery_pids[column] == pid and gallery_camids[column] == camid)
    ]
    total = sum(gallery_pids[column] == pid for column in left)
    if total == 0:
        return None
    ap = trapezoid = old_recall = 0.0
    old_precision = 1.0
    found, first, last = 0, INF, INF
    for rank, column in enumerate(left, start=1):
        hit = gallery_pids[column] == pid and distances[column] != INF
        if hit:
            found += 1
            ap += found / rank / total
            first = min(first, rank)
            last = rank
        precision, recall = found / rank, found / total
        trapezoid += (recall - old_recall) * (old_precision + precision) / 2
        old_recall, old_precision = recall, precision
    return ap, trapezoid, total / last if found == total else 0.0, first


def plain(distmat, query_pids, gallery_pids, query_camids, gallery_camids, max_rank=50):
    rows = [
        plain_query(distmat[row], query_pids[row], query_camids[row], gallery_pids, gallery_camids)
        for row in range(len(query_pids))
    ]
    rows = [row for row in rows if row is not None]
    if not rows:
        return None
    cmc = [sum(row[3] <= rank for row in rows) / len(rows) for rank in range(1, max_rank + 1)]
    return RankMetrics(np.array(cmc), *(sum(row[i] for row in rows) / len(rows) for i in range(3)), len(rows))


def toolbox(distmat, query_pids, gallery_pids, query_camids, gallery_camids, max_rank):
    """(cmc, mAP) as the usual re-ID toolboxes compute them: argsort, mask, cumulative sums."""
    curves, precisions = [], []
    for distances, pid, camid in zip(distmat, query_pids, query_camids, strict=True):
        nearest = np.argsort(distances)
        is_own = (gallery_pids[nearest] == pid) & (gallery_camids[nearest] == camid)
        matches = (gallery_pids[nearest] == pid)[~is_own].astype(np.float64)
        if not matches.any():
            continue
        found = np.cumsum(matches)
        curves.append(np.minimum(found, 1)[:max_rank])
        precisions.append((found / np.arange(1, len(found) + 1) * matches).sum() / matches.sum())
    return np.mean(curves, axis=0), np.mean(precisions)


def assert_same(result, expected, tolerance=1e-12):
    assert result.num_valid_queries == expected.num_valid_queries
    np.testing.assert_allclose(result.cmc, expected.cmc, rtol=0, atol=tolerance)
    for name in ("mean_ap", "mean_ap_trapezoid", "mean_inp"):
        assert getattr(result, name) == pytest.approx(getattr(expected, name), abs=tolerance), name


def draw(seed, num_queries=23, gallery_size=117, num_pids=9, dtype=np.float64):
    rng = np.random.default_rng(seed)
    return (
        rng.random((num_queries, gallery_size)).astype(dtype),
        rng.integers(1, num_pids, num_queries),
        rng.integers(-1, num_pids, gallery_size),
        rng.integers(1, 5, num_queries),
        rng.integers(1, 5, gallery_size),
    )


def test_by_hand():
    # Ranking without the query's own camera (the nearest) and the junk: distractor, hit, other, hit, other.
    distmat = [[0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6]]
    result = evaluate_rank(distmat, [7], [7, -1, 0, 7, 8, 7, 9], [1], [1, 2, 2, 2, 2, 3, 3], max_rank=3)
    assert result.cmc.tolist() == [0, 1, 1]
    assert result.mean_ap == pytest.approx((1 / 2 + 2 / 4) / 2)
    assert result.mean_ap_trapezoid == pytest.approx(((0 + 1 / 2) / 2 + (1 / 3 + 2 / 4) / 2) / 2)
    assert result.mean_inp == pytest.approx(2 / 4)
    assert result.num_valid_queries == 1


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize(("num_queries", "gallery_size", "num_pids"), [(1, 40, 3), (23, 117, 9), (60, 300, 90)])
def test_matches_plain_loop(num_queries, gallery_size, num_pids, dtype):
    case = draw(num_queries, num_queries, gallery_size, num_pids, dtype)
    assert_same(evaluate_rank(*case, max_rank=60), plain(*case, max_rank=60))


@pytest.mark.parametrize("seed", range(5))
def test_matches_the_usual_toolboxes_where_there_is_no_junk(seed):
    distmat, query_pids, gallery_pids, query_camids, gallery_camids = draw(seed)
    case = (distmat, query_pids, np.maximum(gallery_pids, 0), query_camids, gallery_camids)
    cmc, mean_ap = toolbox(*case, max_rank=20)
    result = evaluate_rank(*case, max_rank=20)
    np.testing.assert_allclose(result.cmc, cmc, rtol=0, atol=1e-12)
    assert result.mean_ap == pytest.approx(mean_ap, abs=1e-12)


small = st.tuples(st.integers(1, 5), st.integers(1, 12)).flatmap(
    lambda shape: st.tuples(
        st.lists(
            st.lists(st.sampled_from([0.0, 0.5, 1.0, 2.0, INF]), min_size=shape[1], max_size=shape[1]),
            min_size=shape[0],
            max_size=shape[0],
        ),
        st.lists(st.integers(0, 3), min_size=shape[0], max_size=shape[0]),
        st.lists(st.integers(-1, 3), min_size=shape[1], max_size=shape[1]),
        st.lists(st.integers(0, 2), min_size=shape[0], max_size=shape[0]),
        st.lists(st.integers(0, 2), min_size=shape[1], max_size=shape[1]),
    )
)


@given(small)
def test_ties_and_infinite_distances_match_plain_loop(case):
    expected = plain(*case, max_rank=15)
    if expected is None:
        with pytest.raises(DataError, match="relevant"):
            evaluate_rank(*case, max_rank=15)
        return
    result = evaluate_rank(*case, max_rank=15)
    assert_same(result, expected)
    values = [*result.cmc, result.mean_ap, result.mean_ap_trapezoid, result.mean_inp]
    assert all(0 <= value <= 1 + 1e-12 for value in values)
    assert all(before <= after for before, after in pairwise(result.cmc))


@given(st.integers(0, 10**6))
def test_order_of_the_gallery_and_scale_do_not_matter(seed):
    case = draw(seed, 6, 40, 4)
    distmat, query_pids, gallery_pids, query_camids, gallery_camids = case
    shuffled = np.random.default_rng(seed).permutation(40)
    expected = evaluate_rank(*case)
    other = (distmat[:, shuffled], query_pids, gallery_pids[shuffled], query_camids, gallery_camids[shuffled])
    assert_same(evaluate_rank(*other), expected)
    assert_same(evaluate_rank(distmat * 37.5, *case[1:]), expected)


@given(st.integers(0, 10**6), st.integers(1, 30))
def test_distractors_never_help(seed, count):
    distmat, query_pids, gallery_pids, query_camids, gallery_camids = draw(seed, 6, 40, 4)
    before = evaluate_rank(distmat, query_pids, gallery_pids, query_camids, gallery_camids)
    rng = np.random.default_rng(seed + 1)
    after = evaluate_rank(
        np.hstack([distmat, rng.random((6, count))]),
        query_pids,
        np.concatenate([gallery_pids, np.zeros(count, int)]),
        query_camids,
        np.concatenate([gallery_camids, rng.integers(1, 5, count)]),
    )
    assert after.num_valid_queries == before.num_valid_queries
    assert (after.cmc <= before.cmc).all()
    for name in ("mean_ap", "mean_ap_trapezoid", "mean_inp"):
        assert getattr(after, name) <= getattr(before, name) + 1e-12


def test_junk_changes_nothing():
    distmat, query_pids, gallery_pids, query_camids, gallery_camids = draw(3)
    kept = gallery_pids != -1
    assert 0 < kept.sum() < len(kept)
    without = evaluate_rank(distmat[:, kept], query_pids, gallery_pids[kept], query_camids, gallery_camids[kept])
    assert_same(evaluate_rank(distmat, query_pids, gallery_pids, query_camids, gallery_camids), without, 0)


def test_integer_distances_and_lists():
    case = ([[3, 1, 2]], [1], [1, 1, 2], [1], [2, 2, 2])
    assert_same(evaluate_rank(*case), plain(*case))


def test_nothing_retrieved_is_a_miss_and_counted():
    case = ([[INF, INF, INF], [INF, 0.5, INF]], [1, 1], [1, 1, 2], [1, 1], [2, 2, 2])
    result = evaluate_rank(*case)
    assert result.num_valid_queries == 2
    assert result.cmc.tolist() == [0.5] * 50
    assert result.mean_ap == pytest.approx((0 + 1 / 2) / 2)
    assert result.mean_ap_trapezoid == pytest.approx((0 + 1 / 2) / 2)
    assert result.mean_inp == 0


def test_cmc_stays_level_beyond_the_gallery():
    result = evaluate_rank([[0.2, 0.1]], [1], [1, 2], [1], [2, 2], max_rank=5)
    assert result.cmc.tolist() == [0, 1, 1, 1, 1]


def test_blocks_give_the_same_and_every_query_has_its_values():
    case = draw(11, 30, 80, 40)
    distmat, query_pids, gallery_pids, query_camids, gallery_camids = case
    accumulator = RankAccumulator(gallery_pids, gallery_camids)
    for block in (slice(0, 1), slice(1, 1), slice(1, 17), slice(17, 30)):
        accumulator.update(distmat[block], query_pids[block], query_camids[block])
    assert_same(accumulator.result(), evaluate_rank(*case), 0)
    queries = accumulator.per_query()
    expected = [
        plain_query(distmat[row], query_pids[row], query_camids[row], gallery_pids, gallery_camids) or [math.nan] * 4
        for row in range(30)
    ]
    assert 0 < queries.valid.sum() < 30
    got = np.stack([queries.ap, queries.ap_trapezoid, queries.inp, queries.first_hit_rank], axis=1)
    np.testing.assert_allclose(got, np.array(expected), rtol=0, atol=1e-12)


def test_many_blocks_inside_evaluate_rank(monkeypatch):
    case = draw(5)
    expected = evaluate_rank(*case)
    monkeypatch.setattr("vpmsearch.evaluation.metrics._BLOCK_ELEMENTS", 300)  # two queries at a time
    assert_same(evaluate_rank(*case), expected, 0)


def test_arguments_are_left_alone():
    case = draw(8)
    copies = [array.copy() for array in case]
    evaluate_rank(*case)
    for array, copy in zip(case, copies, strict=True):
        np.testing.assert_array_equal(array, copy)


@pytest.mark.parametrize(
    "case",
    [
        (np.empty((1, 0)), [1], [], [1], []),
        (np.empty((0, 1)), [], [1], [], [1]),
        ([[0.1]], [1], [-1], [1], [2]),
        ([[0.1]], [1], [1], [1], [1]),
        ([[0.1]], [-1], [-1], [1], [2]),
    ],
    ids=["empty gallery", "no queries", "only junk", "only the query's camera", "junk as query"],
)
def test_no_valid_query(case):
    with pytest.raises(DataError, match="relevant image"):
        evaluate_rank(*case)


@pytest.mark.parametrize(
    ("error", "case"),
    [
        (FeatureError, ([[0.1, math.nan]], [1], [1, 2], [1], [2, 2])),
        (FeatureError, ([[0.1]], [1], [1, 2], [1], [2, 2])),
        (FeatureError, ([0.1, 0.2], [1], [1, 2], [1], [2, 2])),
        (FeatureError, ([["near", "far"]], [1], [1, 2], [1], [2, 2])),
        (DataError, ([[0.1, 0.2]], [1], [1, 2], [1], [2])),
        (DataError, ([[0.1, 0.2]], [1], [1, 2], [1, 1], [2, 2])),
        (DataError, ([[0.1, 0.2]], [1], [1, None], [1], [2, 2])),
        (DataError, ([[0.1, 0.2]], [1.5], [1, 2], [1], [2, 2])),
        (DataError, ([[0.1, 0.2]], [[1]], [1, 2], [1], [2, 2])),
    ],
)
def test_bad_input_is_refused(error, case):
    with pytest.raises(error):
        evaluate_rank(*case)


def test_bad_max_rank_is_refused():
    with pytest.raises(DataError, match="max_rank"):
        RankAccumulator([1], [1], max_rank=0)
