"""One image of each identity: draws against plain loops, and means over many draws against the exact expectation."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from oracles import visibility_weighted_distance

from vpmsearch.errors import DataError
from vpmsearch.evaluation.labelled import LabelledFeatures
from vpmsearch.evaluation.ranked import rank_matched_single_shot, rank_single_shot
from vpmsearch.evaluation.single_shot import ShotDraws, shot_metrics
from vpmsearch.types import RegionFeatures

INF = math.inf


def plain_rank(distances, pids, camids, order, pid, camid):
    """One draw by its definition: walk through the order, take the first of each identity that counts."""
    chosen = {}
    for image in order:
        if pids[image] == -1 or (pids[image] == pid and camids[image] == camid):
            continue
        identity = ("nobody knows", image) if pids[image] == 0 else pids[image]
        chosen.setdefault(identity, image)
    if pid not in chosen:
        return math.nan
    ranking = sorted(chosen.values(), key=lambda image: (distances[image], image))
    right = chosen[pid]
    return INF if distances[right] == INF else ranking.index(right) + 1


@given(size=st.integers(1, 25), people=st.integers(1, 6), seed=st.integers(0, 2**16))
def test_ranks_match_plain_loops(size, people, seed):
    rng = np.random.default_rng(seed)
    pids, camids = rng.integers(-1, people + 1, size), rng.integers(0, 3, size)
    distances = rng.choice([0.0, 0.5, 1.0, 1.5, INF], size)
    draws = ShotDraws(pids, camids, 5, seed)
    looked_at = np.full(size, np.nan)
    looked_at[draws.columns()] = distances[draws.columns()]
    for pid, camid in product(range(1, people + 1), range(3)):
        expected = [plain_rank(distances, pids, camids, order, pid, camid) for order in draws.orders]
        np.testing.assert_array_equal(draws.ranks(looked_at, pid, camid), expected)


def test_draws_are_of_the_seed_and_hold_every_identity_once():
    pids, camids = np.array([3, 3, 3, 5, 5, 0, 0, -1]), np.arange(8)
    draws = ShotDraws(pids, camids, 40, 1)
    for drawn in draws.drawn:
        assert sorted(pids[drawn]) == [0, 0, 3, 5]
    assert {tuple(drawn) for drawn in draws.drawn} == {(i, j, 5, 6) for i in (0, 1, 2) for j in (3, 4)}
    again, other = (ShotDraws(pids, camids, 40, seed) for seed in (1, 2))
    assert all(map(np.array_equal, again.orders, draws.orders))
    assert not all(map(np.array_equal, other.orders, draws.orders))
    with pytest.raises(DataError, match="at least once"):
        ShotDraws(pids, camids, 0)


def test_many_draws_approach_the_expectation():
    """Of 3 images of the person and 3 each of two others, all 27 galleries are as likely."""
    rng = np.random.default_rng(0)
    distances = rng.random(9)
    pids, camids = np.repeat([1, 2, 3], 3), np.full(9, 1)
    ranks = ShotDraws(pids, camids, 4000).ranks(distances, 1, 0)
    expected = [1 + (distances[b] < distances[a]) + (distances[c] < distances[a])
                for a, b, c in product(range(3), range(3, 6), range(6, 9))]  # fmt: skip
    for k in (1, 2):
        share = np.mean(np.array(expected) <= k)
        assert 0 < share < 1
        assert np.mean(ranks <= k) == pytest.approx(share, abs=4 * math.sqrt(share * (1 - share) / 4000))


def test_metrics_of_ranks():
    found = shot_metrics(np.array([[1, 2], [4, INF], [np.nan, np.nan]]))
    np.testing.assert_allclose(found.ap, [0.75, 0.125, np.nan])
    np.testing.assert_allclose(found.inp, [0.75, 0.125, np.nan])
    np.testing.assert_allclose(found.ap_trapezoid, [(1 + 0.25) / 2, 0.0625, np.nan])
    np.testing.assert_allclose(found.hits(1), [0.5, 0, np.nan])
    np.testing.assert_allclose(found.hits(4), [1, 0.5, np.nan])
    means = found.means(5)
    np.testing.assert_allclose(means.cmc, [0.25, 0.5, 0.5, 0.75, 0.75])
    assert means.num_valid_queries == 2
    assert means.mean_ap == pytest.approx((0.75 + 0.125) / 2)


def test_features_are_ranked_by_eq_4():
    rng = np.random.default_rng(3)

    def side(n):
        visibility = rng.dirichlet(np.ones(3), n).astype(np.float32)
        features = RegionFeatures(visibility, rng.normal(size=(n, 3, 4)).astype(np.float32))
        return LabelledFeatures(features, rng.integers(1, 5, n), rng.integers(0, 2, n))

    query, gallery = side(6), side(20)
    draws = ShotDraws(gallery.pids, gallery.camids, 7)
    found = rank_single_shot(query, gallery, draws, min_visibility=0.2, device=torch.device("cpu"))
    weights = [np.where(s.features.visibility >= 0.2, s.features.visibility, 0) for s in (query, gallery)]
    matrix = visibility_weighted_distance(
        query.features.embeddings, weights[0], gallery.features.embeddings, weights[1]
    )
    for row in range(6):
        expected = [
            plain_rank(matrix[row], gallery.pids, gallery.camids, order, query.pids[row], query.camids[row])
            for order in draws.orders
        ]
        np.testing.assert_array_equal(found.first_hit_rank[row], expected)


@pytest.mark.parametrize("count", [1, 2, 99, None])
def test_ranks_with_a_matcher(count):
    """Each draw has its own candidates and their own distances; the matcher here is a table with a number a draw."""
    rng = np.random.default_rng(4)

    def side(n, least):
        visibility = rng.dirichlet(np.ones(2), n).astype(np.float32)
        visibility[rng.random((n, 2)) < 0.3] = 0
        features = RegionFeatures(visibility, rng.normal(size=(n, 2, 3)).astype(np.float32))
        return LabelledFeatures(features, rng.integers(least, 5, n), rng.integers(0, 2, n))

    query, gallery = side(8, 1), side(30, -1)
    table = rng.random((6, 8, 30))
    draws = ShotDraws(gallery.pids, gallery.camids, 6, 0)
    asked = []

    def match(rows):
        asked.append(rows)
        draw, row, _ = np.ogrid[:6, :8, :0]
        return np.where(rows >= 0, table[draw, row, rows], INF)

    found = rank_matched_single_shot(query, gallery, match, draws, candidates=count, min_visibility=0)
    (rows,) = asked
    features = [a for s in (query, gallery) for a in (s.features.embeddings, s.features.visibility)]
    matrix = visibility_weighted_distance(*features)
    for q, draw in np.ndindex(8, 6):
        pid, camid = query.pids[q], query.camids[q]
        chosen = {}
        for image in draws.orders[draw]:
            if gallery.pids[image] != pid or gallery.camids[image] != camid:
                identity = ("nobody knows", image) if gallery.pids[image] == 0 else gallery.pids[image]
                chosen.setdefault(identity, image)
        there = [i for i in chosen.values() if count is None or matrix[q, i] < INF]
        order = sorted(there, key=lambda i: (matrix[q, i], i))
        assert set(rows[draw, q].tolist()) - {-1} == set(order[:count])
        order = [*sorted(order[:count], key=lambda i: table[draw, q, i]), *order[count or 99 :]]
        right = chosen.get(pid)
        expected = math.nan if right is None else order.index(right) + 1 if right in order else INF
        np.testing.assert_equal(found.first_hit_rank[q, draw], expected)
