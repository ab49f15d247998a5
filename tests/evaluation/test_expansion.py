"""Average query expansion against its definition, image by image and region by region."""

from __future__ import annotations

import math

import numpy as np
import oracles
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_reciprocal import draw

from vpmsearch.evaluation.expansion import expanded_queries
from vpmsearch.evaluation.helpers import Bars
from vpmsearch.evaluation.labelled import LabelledFeatures
from vpmsearch.evaluation.metrics import RankAccumulator
from vpmsearch.evaluation.ranked import rank, rank_expanded
from vpmsearch.evaluation.ranking import StreamingRanker
from vpmsearch.types import RegionFeatures


def plain(query, gallery, k):
    """(Q, p) and (Q, p, d), float64: the mean over the query and its k nearest that share a region."""
    matrix = oracles.visibility_weighted_distance(
        query.embeddings, query.visibility, gallery.embeddings, gallery.visibility
    )
    visibility, embeddings = np.zeros(query.visibility.shape), np.zeros(query.embeddings.shape)
    for q in range(len(matrix)):
        near = sorted((g for g in range(len(gallery)) if matrix[q, g] < math.inf), key=lambda g: (matrix[q, g], g))[:k]
        parts = [(query, q), *((gallery, g) for g in near)]
        for i in range(query.num_regions):
            shown = [(float(side.visibility[n, i]), side.embeddings[n, i].astype(np.float64)) for side, n in parts]
            total = math.fsum(weight for weight, _ in shown)
            visibility[q, i] = total / len(parts)
            for weight, embedding in shown:
                if weight > 0:
                    embeddings[q, i] += weight / total * embedding
    return visibility, embeddings


def ranker_of(gallery):
    labels = np.zeros(len(gallery), np.int64)
    return StreamingRanker(gallery, gallery.visibility, labels, labels, torch.device("cpu"))


def expanded(query, gallery, k):
    return expanded_queries(query, query.visibility, gallery, gallery.visibility, ranker_of(gallery), k)


@given(
    num_queries=st.integers(0, 6),
    size=st.integers(0, 12),
    k=st.sampled_from([1, 2, 5, 99]),
    p=st.integers(1, 4),
    unseen=st.sampled_from([0.0, 0.3, 0.8]),
    seed=st.integers(0, 2**16),
)
def test_queries_are_the_definition(num_queries, size, k, p, unseen, seed):
    images = draw(num_queries + size, seed, p, 3, unseen)
    query, gallery = images[:num_queries], images[num_queries:]
    found = expanded(query, gallery, k)
    visibility, embeddings = plain(query, gallery, k)
    np.testing.assert_allclose(found.visibility, visibility, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(found.embeddings, embeddings, rtol=1e-5, atol=1e-5)
    assert (found.visibility[query.visibility > 0] > 0).all()


@pytest.mark.parametrize("own_camera", [False, True])
def test_who_may_not_help_is_no_neighbour(own_camera):
    rng = np.random.default_rng(7)
    images = draw(40, 7, 3, 4, 0.2)
    pids, camids, contents = rng.integers(1, 5, 40), rng.integers(1, 3, 40), rng.choice(["", "a", "b", "c"], 40)
    query, gallery = images[:8], images[8:]
    sides = [(pids[some], camids[some], contents[some]) for some in (slice(0, 8), slice(8, 40))]
    bars = Bars.of(*sides, own_camera=own_camera)
    found = expanded_queries(query, query.visibility, gallery, gallery.visibility, ranker_of(gallery), 4, bars)
    for row in range(8):
        helpers = [
            i
            for i in range(8, 40)
            if not (contents[i] and contents[i] == contents[row])
            and (own_camera or (pids[i], camids[i]) != (pids[row], camids[row]))
        ]
        visibility, embeddings = plain(query[[row]], images[np.array(helpers)], 4)
        np.testing.assert_allclose(found.visibility[row], visibility[0], rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(found.embeddings[row], embeddings[0], rtol=1e-5, atol=1e-5)


def test_a_region_is_filled_in_from_neighbours_and_what_does_not_count_is_not_read(monkeypatch: pytest.MonkeyPatch):
    nan = np.float32(np.nan)
    query = RegionFeatures(np.float32([[1, 0], [0, 0]]), np.float32([[[1], [nan]], [[nan], [nan]]]))
    gallery = RegionFeatures(
        np.float32([[0.5, 0.5], [0.25, 0.75], [0, 1]]), np.float32([[[2], [10]], [[7], [20]], [[nan], [30]]])
    )
    found = expanded(query, gallery, 2)
    np.testing.assert_allclose(found.visibility, [[1.75 / 3, 1.25 / 3], [0, 0]], rtol=1e-6)
    np.testing.assert_allclose(found.embeddings[0, :, 0], [(1 + 1 + 1.75) / 1.75, (5 + 15) / 1.25], rtol=1e-6)
    assert (found.embeddings[1] == 0).all(), "who shares no region has no neighbour"
    monkeypatch.setattr("vpmsearch.evaluation.ranking.BLOCK_ELEMENTS", 1)
    again = expanded(query, gallery, 2)
    np.testing.assert_array_equal(again.embeddings, found.embeddings)


def test_metrics_are_of_the_gallery_without_junk_and_it_helps_where_people_cluster():
    rng = np.random.default_rng(2)

    def side(n, noise):
        pids = np.arange(n) % 12 + 1
        centres = np.random.default_rng(3).normal(size=(13, 2, 8))
        embeddings = (centres[pids] + noise * rng.normal(size=(n, 2, 8))).astype(np.float32)
        return LabelledFeatures(RegionFeatures(draw(n, n, 2, 8, 0.2).visibility, embeddings), pids, np.full(n, n % 7))

    query, gallery = side(24, 1.3), side(121, 0.7)
    gallery = LabelledFeatures(gallery.features, np.append(gallery.pids[:-1], -1), gallery.camids)
    found = rank_expanded(query, gallery, 5, min_visibility=0, own_camera=True)
    kept = gallery.features[:-1]
    visibility, embeddings = plain(query.features, kept, 5)
    matrix = oracles.visibility_weighted_distance(embeddings, visibility, kept.embeddings, kept.visibility)
    expected = RankAccumulator(gallery.pids[:-1], gallery.camids[:-1])
    expected.update(matrix, query.pids, query.camids)
    np.testing.assert_allclose(found.ap, expected.per_query().ap, atol=1e-3)
    assert found.means().mean_ap > rank(query, gallery, min_visibility=0).result().mean_ap + 0.02
