"""A query that is itself in the index: told apart, left out where asked for, and never its own match."""

from __future__ import annotations

import numpy as np
import pytest

from vpmsearch.search.engine import SearchEngine
from vpmsearch.search.itself import NOWHERE, Source, merged, search_others
from vpmsearch.store import GalleryStore
from vpmsearch.types import ImageRecord, ModelInfo, RegionFeatures


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    """60 images; 0 to 11 have one content, 12 and 13 another, the rest one each."""
    rng = np.random.default_rng(0)
    embeddings = rng.normal(size=(60, 2, 4)).astype(np.float32)
    embeddings[:12] = embeddings[0]
    embeddings[13] = embeddings[12]
    contents = ["same"] * 12 + ["twice"] * 2 + [f"{i}" for i in range(14, 60)]
    records = [ImageRecord(f"{i}.jpg", contents[i]) for i in range(60)]
    features = RegionFeatures(np.full((60, 2), 0.5, np.float32), embeddings)
    with GalleryStore.create(tmp_path_factory.mktemp("itself") / "index", ModelInfo((2, 1), 4, "w")) as store:
        with store.writer() as writer:
            writer.add(records, features)
            writer.commit()
        yield SearchEngine(store), features


@pytest.mark.parametrize("k", [1, 3, 12, 59, 100])
@pytest.mark.parametrize(("row", "content"), [(0, "same"), (12, "twice"), (20, "20"), (20, "elsewhere")])
@pytest.mark.parametrize("exact", [False, True])
def test_the_ranks_are_those_of_all_others(engine, k, row, content, exact):
    searching, features = engine
    everything = searching.search(features[[row]], 60, exact=True)[0].matches
    own = {m.image_id for m in everything if searching.snapshot.records_of([m.image_id])[0].content_hash == content}
    others = [m for m in everything if m.image_id not in own]
    (left_out,) = search_others(searching, features[[row]], [Source.of(content)], k, exact)
    assert left_out.result.matches == tuple(others[:k])
    assert left_out.nearest == others[0]
    assert not left_out.itself
    (kept,) = search_others(searching, features[[row]], [Source.of(content)], k, exact, exclude_self=False)
    assert kept.result.matches == tuple(everything[:k])
    assert kept.itself == own & {m.image_id for m in everything[:k]}
    assert kept.nearest == others[0], "also where the first k are all the query itself"


def test_an_image_that_one_searches_on_from_is_itself_and_so_is_its_content(engine):
    searching, features = engine
    ids = searching.snapshot.image_ids
    source = NOWHERE.with_images(searching, [int(ids[12])])
    (found,) = search_others(searching, features[[12]], [source], 60)
    assert {int(ids[12]), int(ids[13])}.isdisjoint(m.image_id for m in found.result.matches)
    assert len(found.result.matches) == 58
    nameless = Source(image_ids=frozenset({int(ids[20])}))
    (found,) = search_others(searching, features[[20]], [nameless], 60)
    assert len(found.result.matches) == 59
    assert NOWHERE.with_images(searching, []) is NOWHERE


def test_several_queries_have_sources_of_their_own(engine):
    searching, features = engine
    sources = [Source.of("same"), Source.of(""), Source.of("20")]
    found = search_others(searching, features[[0, 0, 20]], sources, 60)
    assert [len(each.result.matches) for each in found] == [48, 60, 59]
    one = merged(sources)
    assert one.contents == {"same", "20"}
    assert len(search_others(searching, features[[20]], [one], 60)[0].result.matches) == 47
    assert search_others(searching, features[np.zeros(0, np.int64)], [], 5) == []
    with pytest.raises(ValueError, match="one for each"):
        search_others(searching, features[[0]], [], 5)


def test_an_index_of_nothing_but_the_query(tmp_path):
    features = RegionFeatures(np.ones((1, 1), np.float32), np.ones((1, 1, 2), np.float32))
    with GalleryStore.create(tmp_path / "index", ModelInfo((1, 1), 2, "w")) as store:
        with store.writer() as writer:
            writer.add([ImageRecord("a.jpg", "a")], features)
            writer.commit()
        for exclude in (True, False):
            (found,) = search_others(SearchEngine(store), features, [Source.of("a")], 3, exclude_self=exclude)
            assert found.nearest is None
            assert len(found.result.matches) == (0 if exclude else 1)
            assert (found.result.empty is None) != exclude
        assert "the query itself" in search_others(SearchEngine(store), features, [Source.of("a")])[0].result.empty.text
