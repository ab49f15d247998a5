"""The streaming ranker: the ranks of Eq. 4's full matrix, to the last one, whatever the embeddings are like."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from oracles import visibility_weighted_distance as plain_distance

from vpmsearch.equations import visibility_weighted_distance
from vpmsearch.errors import FeatureError
from vpmsearch.evaluation import ranking
from vpmsearch.evaluation.metrics import QueryMetrics, RankAccumulator
from vpmsearch.evaluation.ranking import StreamingRanker
from vpmsearch.types import RegionFeatures

CPU = torch.device("cpu")


def draw(n, p, d, rng, people=4, spread=1.0):
    """Features of n images of few people, about a third of the regions not visible; (features, pids, camids)."""
    pids = rng.integers(0, people, n)
    centres = np.random.default_rng(1).normal(size=(people, p, d))
    embeddings = (centres[pids] + spread * rng.normal(size=(n, p, d))).astype(np.float32)
    visibility = rng.dirichlet(np.ones(p), n).astype(np.float32)
    visibility[rng.random((n, p)) < 0.3] = 0
    return RegionFeatures(visibility, embeddings), pids, rng.integers(0, 3, n)


def of_the_matrix(query, gallery):
    """What `RankAccumulator` says of the full matrix of the package's own Eq. 4."""
    (features, pids, camids), (among, g_pids, g_camids) = query, gallery
    accumulator = RankAccumulator(g_pids, g_camids)
    sides = [torch.from_numpy(a) for side in (features, among) for a in (side.embeddings, side.visibility)]
    accumulator.update(visibility_weighted_distance(*sides).numpy(), pids, camids)
    return accumulator.per_query()


def streamed(query, gallery) -> QueryMetrics:
    (features, pids, camids), (among, g_pids, g_camids) = query, gallery
    accumulator = RankAccumulator(g_pids, g_camids)
    ranker = StreamingRanker(among, among.visibility, g_pids, g_camids, CPU)
    for block in ranker.rank(features, features.visibility, pids, camids):
        accumulator.add(block)
    return accumulator.per_query()


def assert_equal(query, gallery):
    found, expected = streamed(query, gallery), of_the_matrix(query, gallery)
    for name in ("ap", "ap_trapezoid", "inp", "first_hit_rank"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), err_msg=name)


def changed(side, change):
    features, pids, camids = side
    return RegionFeatures(features.visibility, change(features.embeddings)), pids, camids


CHANGES = {
    "as drawn": lambda e: e,
    "unit length": lambda e: e / np.linalg.norm(e, axis=2, keepdims=True),
    "far from zero": lambda e: e + 1000,
    "collapsed": lambda e: 1 + 1e-6 * e,
    "coarse": np.round,  # many ties
    "all alike": np.ones_like,
    "one image far off": lambda e: np.concatenate([e[:-1], 1e6 * e[-1:]]),
    "tiny": lambda e: 1e-25 * e,
    "huge": lambda e: 1e15 * e,
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
@pytest.mark.parametrize(("p", "d"), [(1, 3), (6, 16), (2, 520)])
def test_ranks_are_those_of_the_full_matrix(change, p, d, monkeypatch):
    monkeypatch.setattr(ranking, "GALLERY_ROWS", 37)
    monkeypatch.setattr(ranking, "BLOCK_ELEMENTS", 7 * 120)
    monkeypatch.setattr(ranking, "PAIR_NUMBERS", 50 * p * d)
    rng = np.random.default_rng(p)
    query, gallery = (changed(draw(n, p, d, rng), change) for n in (30, 120))
    assert_equal(query, gallery)


@given(
    shape=st.tuples(st.integers(1, 8), st.integers(1, 40), st.integers(1, 4), st.integers(1, 6)),
    levels=st.sampled_from([1.0, 2.0, 1e3]),
    faint=st.sampled_from([0, -3, -30]),
    seed=st.integers(0, 2**16),
)
def test_ties_and_faint_regions(shape, levels, faint, seed):
    """Embeddings on a grid, so that many pairs are equally far; visibilities down to 1e-30; images that are twins."""
    num_queries, size, p, d = shape
    rng = np.random.default_rng(seed)

    def side(n):
        features, pids, camids = draw(n, p, d, rng)
        visibility = features.visibility * (10.0 ** rng.uniform(faint, 0, (n, p))).astype(np.float32)
        embeddings = np.round(features.embeddings * levels) / levels
        twins = rng.integers(0, n, n // 2)
        embeddings[: n // 2], visibility[: n // 2] = embeddings[twins], visibility[twins]
        return RegionFeatures(visibility, embeddings), pids, camids

    assert_equal(side(num_queries), side(size))


def test_unseen_regions_may_hold_anything():
    rng = np.random.default_rng(0)
    clean = draw(9, 3, 4, rng), draw(50, 3, 4, rng)
    for value in (np.nan, np.inf):
        dirty = []
        for features, pids, camids in clean:
            embeddings = features.embeddings.copy()
            embeddings[features.visibility == 0] = value
            dirty.append((RegionFeatures(features.visibility, embeddings), pids, camids))
        found, expected = streamed(*dirty), streamed(*clean)
        np.testing.assert_array_equal(found.ap, expected.ap)


def test_what_counts_must_be_finite():
    rng = np.random.default_rng(0)
    query, gallery = draw(3, 2, 4, rng), draw(5, 2, 4, rng)
    for side, words in ((query, "query 0"), (gallery, "gallery image 3")):
        features = side[0]
        broken = features.embeddings.copy()
        features.visibility[3 % len(features)] = 0.5
        broken[3 % len(features), 1, 2] = np.nan
        sides = [(RegionFeatures(features.visibility, broken), *s[1:]) if s is side else s for s in (query, gallery)]
        with pytest.raises(FeatureError, match=words):
            streamed(*sides)


def test_approximate_distances_are_as_near_as_they_say():
    """Against float64 loops; and where no region is shared there is none."""
    rng = np.random.default_rng(2)
    for change in CHANGES.values():
        (query, *_), (gallery, *rest) = (changed(draw(n, 3, 20, rng), change) for n in (8, 30))
        ranker = StreamingRanker(gallery, gallery.visibility, *rest, CPU)
        side = ranking._Side.of(query, query.visibility, CPU, "query")
        found = ranker._approximate(side).numpy()
        expected = plain_distance(query.embeddings, query.visibility, gallery.embeddings, gallery.visibility)
        shared = np.isfinite(expected)
        assert (~shared).any()
        np.testing.assert_array_equal(np.isfinite(found), shared)
        off = np.abs(np.where(shared, found, 0) - np.where(shared, expected, 0))
        assert (off <= ranker._reach(side)[:, None]).all()


def test_few_pairs_are_compared_directly(monkeypatch):
    """That is where the time is saved: relevant images, and about as many neighbours."""
    rng = np.random.default_rng(3)
    query, gallery = draw(20, 4, 64, rng, people=40), draw(2000, 4, 64, rng, people=40)
    compared = []
    direct = StreamingRanker._direct

    def counted(self, queries, rows, columns):
        compared.append(len(rows))
        return direct(self, queries, rows, columns)

    monkeypatch.setattr(StreamingRanker, "_direct", counted)
    streamed(query, gallery)
    relevant = (query[1][:, None] == gallery[1]) & (query[2][:, None] != gallery[2])
    assert len(compared) == 2
    assert compared[0] == relevant.sum() > 0
    assert compared[1] < relevant.sum()


def test_nothing_to_rank():
    rng = np.random.default_rng(4)
    some, none = draw(3, 2, 4, rng), draw(0, 2, 4, rng)
    assert len(streamed(none, some).ap) == 0
    assert np.isnan(streamed(some, none).ap).all()


@pytest.mark.gpu
def test_a_gpu_gives_the_same():
    rng = np.random.default_rng(5)
    (query, q_pids, q_camids), (gallery, *rest) = draw(40, 6, 64, rng), draw(3000, 6, 64, rng)
    found = [
        next(StreamingRanker(gallery, gallery.visibility, *rest, torch.device(name)).rank(
            query, query.visibility, q_pids, q_camids
        )).ap
        for name in ("cpu", "cuda")
    ]  # fmt: skip
    np.testing.assert_allclose(*found, rtol=1e-3)
