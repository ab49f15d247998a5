"""Hits that were confirmed join the query, those that were refused go: against plain loops and whole rankings."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpmsearch.errors import StoreError
from vpmsearch.search.confirm import joined
from vpmsearch.search.engine import SearchEngine
from vpmsearch.search.itself import NOWHERE, Source, search_others
from vpmsearch.search.queries import summed
from vpmsearch.store import GalleryStore
from vpmsearch.types import ImageRecord, ModelInfo, RegionFeatures

P, D, N = 3, 4, 20
THRESHOLD = 1 / 6


@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.integers(0, 3))
def test_a_sum_is_that_of_the_loops(seed, count, n):
    rng = np.random.default_rng(seed)
    parts = [
        RegionFeatures(rng.random((n, P)) * rng.integers(0, 2, (n, P)), rng.normal(size=(n, P, D)))
        for _ in range(count)
    ]
    found = summed(parts, THRESHOLD)
    for row in range(n):
        for region in range(P):
            seen = [(float(part.visibility[row, region]), part.embeddings[row, region]) for part in parts]
            seen = [(weight, vector.astype(np.float64)) for weight, vector in seen if weight >= THRESHOLD]
            total = sum(weight for weight, _ in seen)
            assert found.visibility[row, region] == pytest.approx(total, rel=1e-6)
            mean = sum(weight * vector for weight, vector in seen) / total if seen else np.zeros(D)
            np.testing.assert_allclose(found.embeddings[row, region], mean, rtol=1e-5, atol=1e-6)


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    """20 images; each shows two of three regions, and 18 and 19 have one content."""
    rng = np.random.default_rng(0)
    visibility = np.full((N, P), 0.5, np.float32)
    visibility[np.arange(N), np.arange(N) % P] = 0
    features = RegionFeatures(visibility, rng.normal(size=(N, P, D)).astype(np.float32))
    records = [ImageRecord(f"{i}.jpg", str(min(i, 18))) for i in range(N)]
    with GalleryStore.create(tmp_path_factory.mktemp("confirm") / "index", ModelInfo((P, 1), D, "w")) as store:
        with store.writer() as writer:
            writer.add(records, features)
            writer.commit()
        yield SearchEngine(store), features


def ranks(answer) -> list[int]:
    return [match.image_id for match in answer.result.matches]


def test_what_a_query_does_not_show_comes_from_the_confirmed(engine):
    searching, features = engine
    ids = searching.snapshot.image_ids.tolist()
    query, taken, source = joined(searching, features[[0]], None, Source.of("0"), [ids[1], ids[1], ids[2]])
    np.testing.assert_allclose(query.visibility, [[1, 1, 1]], rtol=1e-6)
    np.testing.assert_allclose(query.embeddings[0, 0], (features.embeddings[1, 0] + features.embeddings[2, 0]) / 2)
    np.testing.assert_allclose(query.embeddings[0, 1], (features.embeddings[0, 1] + features.embeddings[2, 1]) / 2)
    assert taken == (1, 0, 0)
    assert source.confirmed == source.image_ids == {ids[1], ids[2]}
    same, as_before, nothing = joined(searching, features[[0]], (0, 0, 0), NOWHERE, [])
    assert (as_before, nothing) == ((0, 0, 0), NOWHERE)
    np.testing.assert_array_equal(same.embeddings, features.embeddings[:1])


def test_confirmed_images_and_their_copies_are_no_matches_of_the_query(engine):
    searching, features = engine
    ids = searching.snapshot.image_ids.tolist()
    query, _, source = joined(searching, features[[0]], None, Source.of("0"), [ids[5], ids[18]])
    (answer,) = search_others(searching, query, [source], N)
    by_hand = searching.search(summed([features[[0]], features[[5]], features[[18]]], THRESHOLD), N, exact=True)[0]
    own = {ids[0], ids[5], ids[18], ids[19]}
    assert ranks(answer) == [match.image_id for match in by_hand.matches if match.image_id not in own]
    assert answer.confirmed == {ids[5], ids[18]}


@pytest.mark.parametrize("exclude_self", [False, True])
@pytest.mark.parametrize("k", [1, 4, N])
@pytest.mark.parametrize("count", [0, 1, 3, N])
def test_refused_images_go_and_the_others_move_up(engine, k, count, exclude_self):
    searching, features = engine
    everything = [match.image_id for match in searching.search(features[[3]], N, exact=True)[0].matches]
    own = searching.snapshot.image_ids.tolist()[3]
    refused = everything[:count]
    (answer,) = search_others(
        searching, features[[3]], [Source.of("3")], k, exclude_self=exclude_self, refused=[*refused, 10**12]
    )
    left = [each for each in everything if each not in refused]
    others = [each for each in left if each != own]
    assert ranks(answer) == (others if exclude_self else left)[:k]
    assert (answer.nearest.image_id if answer.nearest else None) == (others[0] if others else None)
    assert answer.refused == {*refused, 10**12}
    if not ranks(answer):
        assert "refused" in answer.result.empty.text


def test_a_refused_image_fills_nothing(engine):
    searching, features = engine
    (first,) = search_others(searching, features[[3]], [Source.of("3")], 1, fill=True)
    (answer,) = search_others(searching, features[[3]], [Source.of("3")], N, fill=True, refused=[first.filled_from])
    assert answer.filled_from not in (None, first.filled_from)
    assert first.filled_from not in ranks(answer)


def test_an_image_that_is_not_there_cannot_be_confirmed(engine):
    searching, features = engine
    with pytest.raises(StoreError, match="is not in the index"):
        joined(searching, features[[0]], None, NOWHERE, [10**12])
