"""k-reciprocal re-ranking against its definition, as dense matrices and sets."""

from __future__ import annotations

import math

import numpy as np
import oracles
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vpmsearch.evaluation.helpers import Bars
from vpmsearch.evaluation.labelled import LabelledFeatures
from vpmsearch.evaluation.metrics import RankAccumulator
from vpmsearch.evaluation.ranked import rank, rank_expanded, rank_reciprocal
from vpmsearch.evaluation.ranking import StreamingRanker
from vpmsearch.evaluation.reciprocal import ReciprocalRanker
from vpmsearch.types import RegionFeatures

INF = math.inf


def plain(matrix, num_queries, k1, k2, weight, barred=None, twins=()):
    """(Q, G) from the (N, N) distances of all images to all.

    barred: (N, N), pairs of which one may not help the other. twins: images that are nobody's neighbours.
    """
    n = len(matrix)
    barred = np.zeros((n, n), bool) if barred is None else barred.copy()
    barred[:, list(twins)] = True
    np.fill_diagonal(barred, False)
    every = np.where(np.eye(n), 0, matrix)
    matrix = np.where(barred, INF, every)
    ranking = [
        [i, *(j for j in sorted(range(n), key=lambda j: (matrix[i, j], j)) if j != i and matrix[i, j] < INF)]
        for i in range(n)
    ]
    largest = [max(v**2 for v in row if v < INF) or 1 for row in matrix]
    d = np.array([[v**2 / most if v < INF else INF for v in row] for row, most in zip(every, largest, strict=True)])

    def reciprocal(i, k):
        return {j for j in ranking[i][: k + 1] if i in ranking[j][: k + 1]}

    v = np.zeros((n, n))
    for i in range(n):
        found = reciprocal(i, k1)
        expanded = set(found)
        for j in found:
            other = reciprocal(j, max(round(k1 / 2), 1))
            if len(other & found) > 2 / 3 * len(other):
                expanded |= other
        if i < num_queries:
            expanded = {j for j in expanded if not barred[i, j]}
        for j in expanded:
            v[i, j] = math.exp(-d[i, j])
        v[i] /= v[i].sum()
    v = np.array([np.mean([v[j] for j in ranking[i][:k2]], axis=0) for i in range(n)])
    result = np.full((num_queries, n - num_queries), INF)
    for i, g in np.ndindex(result.shape):
        j = num_queries + g
        if d[i, j] < INF:
            one, other = (np.where(barred[i], 0, row) for row in (v[i], v[j]))
            one, other = (row / (row.sum() or 1) for row in (one, other))
            jaccard = 1 - np.minimum(one, other).sum() / np.maximum(one, other).sum()
            result[i, g] = (1 - weight) * jaccard + weight * d[i, j]
    return result


def draw(n, seed, p=2, d=3, unseen=0.3):
    rng = np.random.default_rng(seed)
    visibility = rng.dirichlet(np.ones(p), n).astype(np.float32)
    visibility[rng.random((n, p)) < unseen] = 0
    return RegionFeatures(visibility, rng.normal(size=(n, p, d)).astype(np.float32))


@settings(max_examples=settings.default.max_examples // 2)
@given(
    num_queries=st.integers(1, 5),
    size=st.integers(1, 15),
    k1=st.sampled_from([1, 2, 3, 6, 20]),
    k2=st.sampled_from([1, 2, 6]),
    weight=st.sampled_from([0.0, 0.3, 1.0]),
    seed=st.integers(0, 2**16),
)
def test_distances_are_the_definition(num_queries, size, k1, k2, weight, seed):
    features = draw(num_queries + size, seed)
    sides = (features.embeddings, features.visibility)
    labels = np.zeros(len(features), np.int64)
    ranker = StreamingRanker(features, features.visibility, labels, labels, torch.device("cpu"))
    found = ReciprocalRanker(
        features, features.visibility, num_queries, ranker, k1=k1, k2=k2, weight=weight
    ).distances()
    expected = plain(oracles.visibility_weighted_distance(*sides, *sides), num_queries, k1, k2, weight)
    np.testing.assert_allclose(np.concatenate([rows for _, rows in found]), expected, rtol=1e-4, atol=1e-5)


@given(
    num_queries=st.integers(1, 6),
    size=st.integers(1, 15),
    k1=st.sampled_from([2, 6, 20]),
    own_camera=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_who_may_not_help_does_not(num_queries, size, k1, own_camera, seed):
    n, rng = num_queries + size, np.random.default_rng(seed)
    features = draw(n, seed)
    pids, camids, contents = rng.integers(1, 4, n), rng.integers(1, 3, n), rng.choice(["", "a", "b", "c", "d"], n)
    same = (contents[:, None] == contents) & (contents != "")
    if not own_camera:
        same |= (pids[:, None] == pids) & (camids[:, None] == camids)
    asked = np.arange(n) < num_queries
    barred = same & (asked[:, None] | asked)
    twins = [i for i in range(num_queries, n) if contents[i] and contents[i] in contents[:num_queries]]
    sides = [(pids[some], camids[some], contents[some]) for some in (asked, ~asked)]
    bars = Bars.of(*sides, own_camera=own_camera)
    assert bars.twins.nonzero()[0].tolist() == [i - num_queries for i in twins]
    ranker = StreamingRanker(features, features.visibility, pids, camids, torch.device("cpu"))
    found = ReciprocalRanker(features, features.visibility, num_queries, ranker, k1=k1, bars=bars).distances()
    both = (features.embeddings, features.visibility)
    expected = plain(oracles.visibility_weighted_distance(*both, *both), num_queries, k1, 6, 0.3, barred, twins)
    np.testing.assert_allclose(np.concatenate([rows for _, rows in found]), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("own_camera", [False, True])
def test_the_querys_own_photograph_in_the_gallery_changes_nothing(own_camera):
    rng = np.random.default_rng(5)
    images, contents = draw(72, 5, 2, 8), np.array([f"{i}" for i in range(72)])
    pids, camids = rng.integers(1, 8, 72), rng.integers(1, 4, 72)
    query, gallery = np.arange(12), np.arange(12, 72)

    def distances(among):
        sides = [(pids[some], camids[some], contents[some]) for some in (query, among)]
        every = np.append(query, among)
        labels = np.zeros(len(every), np.int64)
        features = images[every]
        ranker = StreamingRanker(features, features.visibility, labels, labels, torch.device("cpu"))
        bars = Bars.of(*sides, own_camera=own_camera)
        found = ReciprocalRanker(features, features.visibility, 12, ranker, k1=6, bars=bars)
        return np.concatenate([rows for _, rows in found.distances()])[:, :60]

    np.testing.assert_allclose(distances(np.append(gallery, query)), distances(gallery), rtol=1e-9)


def test_images_of_the_own_camera_help_where_they_may():
    """Query and gallery by other cameras differ much; the own camera's images stand between them."""
    rng = np.random.default_rng(4)
    pids, camids = np.repeat(np.arange(1, 21), 8), np.tile([1, 1, 1, 1, 2, 2, 2, 2], 20)
    centres, views = rng.normal(size=(21, 1, 16)), rng.normal(size=(21, 3, 1, 16))
    embeddings = (centres[pids] + 0.8 * views[pids, camids] + 0.4 * rng.normal(size=(160, 1, 16))).astype(np.float32)
    every = LabelledFeatures(RegionFeatures(np.ones((160, 1), np.float32), embeddings), pids, camids)
    query, gallery = every[np.arange(0, 160, 8)], every[np.flatnonzero(np.arange(160) % 8 > 0)]
    ways = [rank_reciprocal, lambda *sides, **how: rank_expanded(*sides, 3, **how)]
    for way in ways:
        strict, mild = (way(query, gallery, min_visibility=0, own_camera=own) for own in (False, True))
        assert strict.ap.mean() < mild.ap.mean()


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch):
    features, labels = draw(40, 1), np.zeros(40, np.int64)

    def distances():
        ranker = StreamingRanker(features, features.visibility, labels, labels, torch.device("cpu"))
        return np.concatenate(
            [rows for _, rows in ReciprocalRanker(features, features.visibility, 9, ranker).distances()]
        )

    whole = distances()
    monkeypatch.setattr("vpmsearch.evaluation.ranking.BLOCK_ELEMENTS", 160)
    np.testing.assert_allclose(distances(), whole, rtol=1e-9)


def test_metrics_are_of_the_gallery_without_junk_and_it_helps_where_people_cluster():
    rng = np.random.default_rng(2)

    def side(n, noise):
        pids = np.arange(n) % 12 + 1
        centres = np.random.default_rng(3).normal(size=(13, 2, 8))
        features = draw(n, n, 2, 8, 0)
        embeddings = (centres[pids] + noise * rng.normal(size=(n, 2, 8))).astype(np.float32)
        return LabelledFeatures(RegionFeatures(features.visibility, embeddings), pids, np.full(n, n % 7))

    query, gallery = side(12, 1.3), side(73, 0.7)
    junk = np.append(gallery.pids[:-1], -1)
    gallery = LabelledFeatures(gallery.features, junk, gallery.camids)
    found = rank_reciprocal(query, gallery, min_visibility=0, own_camera=True)
    kept = gallery.features[:-1]
    features = RegionFeatures.concatenate([query.features, kept])
    sides = (features.embeddings, features.visibility)
    matrix = plain(oracles.visibility_weighted_distance(*sides, *sides), 12, 20, 6, 0.3)
    expected = RankAccumulator(gallery.pids[:-1], gallery.camids[:-1])
    expected.update(matrix, query.pids, query.camids)
    np.testing.assert_allclose(found.ap, expected.per_query().ap, atol=1e-3)
    before = rank(query, gallery, min_visibility=0).result().mean_ap
    assert found.means().mean_ap > before + 0.02
