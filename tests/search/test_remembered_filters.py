"""The images that the last filters let through are remembered. They are those of the filter that is asked for."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest
import segmented
from hypothesis import given, settings
from hypothesis import strategies as st

from vpmsearch.search.engine import SearchEngine
from vpmsearch.search.filters import KEPT, Filters
from vpmsearch.store import GalleryStore
from vpmsearch.store.folder.snapshot import Snapshot
from vpmsearch.types import ImageRecord, ModelInfo, SearchFilter

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory) -> Snapshot:
    features = segmented.features(60, 2, 4, 0, unseen=0.0)
    store = GalleryStore.create(tmp_path_factory.mktemp("filters") / "index", ModelInfo((2, 1), 4, "w"))
    with store, store.writer() as writer:
        records = [
            ImageRecord(f"{i % 3}/{i}.jpg", pid=i % 5, camid=i % 2, captured_at=NOON, attributes={"site": str(i % 4)})
            for i in range(60)
        ]
        writer.add(records, features)
        writer.commit()
        store.refresh()
        return store.snapshot


some = st.builds(
    SearchFilter,
    pids=st.sampled_from([(), (1,), (1, 3), (9,)]),
    camids=st.sampled_from([(), (0,)]),
    captured_after=st.sampled_from([None, NOON]),
    path_prefix=st.sampled_from(["", "1/"]),
    where=st.sampled_from([{}, {"site": "1"}, {"site": ["1", "2"]}]),
)


@settings(max_examples=50, deadline=None)
@given(asked=st.lists(some, max_size=12))
def test_what_is_remembered_is_what_would_be_selected(snapshot, asked):
    filters = Filters(snapshot)
    for wanted in asked:
        passed, count = filters.passing(wanted)
        right = snapshot.select(wanted)
        assert count == right.sum()
        assert (passed is None) == (wanted == SearchFilter())
        assert np.array_equal(right if passed is None else passed, right)


def test_a_filter_is_worked_out_once(snapshot, monkeypatch):
    """The least recently used of more than `KEPT` is forgotten, so memory is limited."""
    calls = list[SearchFilter]()
    select = Snapshot.select
    monkeypatch.setattr(Snapshot, "select", lambda self, wanted: calls.append(wanted) or select(self, wanted))
    filters, asked = Filters(snapshot), [SearchFilter(pids=(pid,)) for pid in range(KEPT + 1)]
    for wanted in (*asked[:KEPT], asked[0], asked[KEPT], asked[0], SearchFilter(pids=(0,)), asked[1]):
        filters.passing(wanted)
    assert calls == [*asked, asked[1]]


def test_a_changed_filter_is_another(snapshot):
    """`where` is a dictionary that its owner may change."""
    filters, wanted = Filters(snapshot), SearchFilter(where={"site": "1"})
    filters.passing(wanted)
    wanted.where["site"] = ("2",)
    assert np.array_equal(filters.passing(wanted)[0], snapshot.select(SearchFilter(where={"site": "2"})))


def test_what_is_remembered_cannot_be_changed(snapshot):
    passed, _ = Filters(snapshot).passing(SearchFilter(pids=(1,)))
    with pytest.raises(ValueError, match="read-only"):
        passed[0] = True


def test_a_refreshed_engine_asks_again(tmp_path):
    features = segmented.features(30, 2, 4, 0, unseen=0.0)
    features.visibility[:] = 0.5
    with segmented.make_store(tmp_path / "index", features[:20], [20]) as store:
        engine, wanted = SearchEngine(store), SearchFilter(pids=(1,))
        assert len(engine.search(features[:1], 30, filter=wanted)[0].matches) == 7
        with store.writer() as writer:
            writer.add([ImageRecord(f"n{i}.jpg", pid=1) for i in range(10)], features[20:])
            writer.commit()
        engine.refresh()
        assert len(engine.search(features[:1], 30, filter=wanted)[0].matches) == 17
