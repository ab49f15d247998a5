"""k-reciprocal re-ranking against its definition, as dense matrices and sets."""

from __future__ import annotations

import math

import numpy as np
import oracles
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vpmsearch.evaluation.metrics import RankAccumulator
from vpmsearch.evaluation.ranked import LabelledFeatures, rank, rank_reciprocal
from vpmsearch.evaluation.ranking import StreamingRanker
from vpmsearch.evaluation.reciprocal import ReciprocalRanker
from vpmsearch.types import RegionFeatures

INF = math.inf


def plain(matrix, num_queries, k1, k2, weight):
    """(Q, G) from the (N, N) distances of all images to all."""
    n = len(matrix)
    matrix = np.where(np.eye(n), 0, matrix)
    ranking = [
        [i, *(j for j in sorted(range(n), key=lambda j: (matrix[i, j], j)) if j != i and matrix[i, j] < INF)]
        for i in range(n)
    ]
    d = np.array(
        [
            [value**2 / (max(v**2 for v in row if v < INF) or 1) if value < INF else INF for value in row]
            for row in matrix
        ]
    )

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
        for j in expanded:
            v[i, j] = math.exp(-d[i, j])
        v[i] /= v[i].sum()
    v = np.array([np.mean([v[j] for j in ranking[i][:k2]], axis=0) for i in range(n)])
    result = np.full((num_queries, n - num_queries), INF)
    for i, g in np.ndindex(result.shape):
        j = num_queries + g
        if d[i, j] < INF:
            jaccard = 1 - np.minimum(v[i], v[j]).sum() / np.maximum(v[i], v[j]).sum()
            result[i, g] = (1 - weight) * jaccard + weight * d[i, j]
    return result


def draw(n, seed, p=2, d=3, unseen=0.3):
    rng = np.random.default_rng(seed)
    visibility = rng.dirichlet(np.ones(p), n).astype(np.float32)
    visibility[rng.random((n, p)) < unseen] = 0
    return RegionFeatures(visibility, rng.normal(size=(n, p, d)).astype(np.float32))


@settings(max_examples=12)
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

    query, gallery = side(24, 1.3), side(121, 0.7)
    junk = np.append(gallery.pids[:-1], -1)
    gallery = LabelledFeatures(gallery.features, junk, gallery.camids)
    found = rank_reciprocal(query, gallery, min_visibility=0)
    kept = gallery.features[:-1]
    features = RegionFeatures.concatenate([query.features, kept])
    sides = (features.embeddings, features.visibility)
    matrix = plain(oracles.visibility_weighted_distance(*sides, *sides), 24, 20, 6, 0.3)
    expected = RankAccumulator(gallery.pids[:-1], gallery.camids[:-1])
    expected.update(matrix, query.pids, query.camids)
    np.testing.assert_allclose(found.ap, expected.per_query().ap, atol=1e-3)
    before = rank(query, gallery, min_visibility=0).result().mean_ap
    assert found.means().mean_ap > before + 0.02
