"""A query filled from its nearest image: as average query expansion with one neighbour does, by other code."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpmsearch.search.engine import SearchEngine
from vpmsearch.search.fill import filled
from vpmsearch.search.itself import NOWHERE, Source, search_others
from vpmsearch.store import GalleryStore
from vpmsearch.types import ImageRecord, ModelInfo, RegionFeatures

P, D = 3, 4
THRESHOLD = 1 / 6


def by_loops(query, nearest):
    """In float64, one region at a time."""
    visibility, embedding = np.zeros(P), np.zeros((P, D))
    for region in range(P):
        own, other = (float(v[region]) for v in (query[0], nearest[0]))
        own, other = own if own >= THRESHOLD else 0, other if other >= THRESHOLD else 0
        visibility[region] = own + other
        if own + other > 0:
            parts = [
                weight * vector[region].astype(np.float64)
                for weight, vector in ((own, query[1]), (other, nearest[1]))
                if weight
            ]
            embedding[region] = sum(parts) / (own + other)
    return visibility, embedding


@given(st.integers(0, 2**32 - 1), st.integers(0, 5))
def test_filled_queries_are_those_of_the_loops(seed, count):
    rng = np.random.default_rng(seed)
    queries, nearest = (
        RegionFeatures(rng.random((count, P)) * rng.integers(0, 2, (count, P)), rng.normal(size=(count, P, D)))
        for _ in range(2)
    )
    known = rng.integers(0, 2, count).astype(np.bool_)
    found = filled(queries, nearest, known, THRESHOLD)
    assert found.visibility.shape == (count, P)
    for row in range(count):
        if not known[row]:
            np.testing.assert_array_equal(found.embeddings[row], queries.embeddings[row])
            np.testing.assert_array_equal(found.visibility[row], queries.visibility[row])
            continue
        pairs = [(each.visibility[row], each.embeddings[row]) for each in (queries, nearest)]
        visibility, embeddings = by_loops(*pairs)
        np.testing.assert_allclose(found.visibility[row], visibility, rtol=1e-6)
        np.testing.assert_allclose(found.embeddings[row], embeddings, rtol=1e-5, atol=1e-6)


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    rng = np.random.default_rng(0)
    features = RegionFeatures(np.full((20, P), 1 / P, np.float32), rng.normal(size=(20, P, D)).astype(np.float32))
    with GalleryStore.create(tmp_path_factory.mktemp("fill") / "index", ModelInfo((P, 1), D, "w")) as store:
        with store.writer() as writer:
            writer.add([ImageRecord(f"{i}.jpg", str(i)) for i in range(20)], features)
            writer.commit()
        yield SearchEngine(store), features


def test_the_query_itself_fills_nothing(engine):
    searching, features = engine
    ids = searching.snapshot.image_ids.tolist()
    (answer,) = search_others(searching, features[[4]], [Source.of("4")], 20, fill=True)
    (plain,) = search_others(searching, features[[4]], [Source.of("4")], 1)
    assert answer.filled_from == plain.result.matches[0].image_id != ids[4]
    assert answer.nearest == plain.result.matches[0], "of the query as it was"
    assert ids[4] not in [match.image_id for match in answer.result.matches]


def test_a_query_that_shares_no_region_stays_as_it_is(engine):
    searching, features = engine
    nothing = RegionFeatures(np.zeros((1, P), np.float32), features.embeddings[:1])
    (answer,) = search_others(searching, nothing, [NOWHERE], 3, fill=True)
    assert answer.filled_from is None
    assert answer.result.matches == ()
    assert search_others(searching, features[[]], [], 3, fill=True) == []
