"""Images of a store, for people's own analysis."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from tiny_weights import write_pictures

import vpmsearch
from vpmsearch.errors import DataError, FeatureError
from vpmsearch.store import GalleryStore
from vpmsearch.store import selection as selections
from vpmsearch.types import ImageRecord, RegionFeatures, SearchFilter

P, D, N = 3, 4, 7
RECORDS = [
    ImageRecord(
        f"/g/{i}.png", f"{i:040x}", pid=i % 3, camid=i % 2, captured_at=datetime(2026, 11, 1 + i, tzinfo=UTC), width=8,
        height=9,
    )
    for i in range(N)
]  # fmt: skip


def drawn_features() -> RegionFeatures:
    rng = np.random.default_rng(0)
    visibility = rng.uniform(0.1, 1, (N, P)).astype(np.float32)
    visibility[::2, 1] = 0.01  # below min_visibility
    visibility /= visibility.sum(axis=1, keepdims=True)
    return RegionFeatures(visibility, rng.normal(size=(N, P, D)).astype(np.float32))


@pytest.fixture
def store(tmp_path: Path):
    info = {"num_regions": P, "embedding_dim": D, "fingerprint": "f" * 64, "name": "made <up>"}
    with GalleryStore.create(tmp_path / "index", info) as made:
        with made.writer() as writer:
            writer.add(RECORDS, drawn_features())
            writer.commit()
        made.refresh()
        yield made


def test_looked_through_in_blocks(store: GalleryStore, monkeypatch):
    monkeypatch.setattr(selections, "BLOCK", 2)
    assert [(image.image_id, image.record.path) for image in store] == [(i + 1, f"/g/{i}.png") for i in range(N)]
    assert len(store) == N
    some = store.filter(pids=[1], camids=[0], before=datetime(2026, 11, 9, tzinfo=UTC))
    assert [image.record.path for image in some] == ["/g/4.png"]
    assert repr(some) == "<Selection: 1 image>"
    assert len(store.filter(prefix="/nowhere")) == 0
    assert list(store.filter(after=datetime(2026, 11, 6, tzinfo=UTC)).image_ids) == [6, 7]


def test_a_label_by_itself_is_no_list_of_letters(store: GalleryStore):
    with store.writer() as writer:
        features = RegionFeatures(np.ones((2, P), np.float32), np.zeros((2, P, D), np.float32))
        bob, _ = writer.add([ImageRecord("bob.jpg", pid="bob", camid=71), ImageRecord("b.jpg", pid="b")], features)
        writer.commit()
    assert store.find(pids="bob") == store.find(camids="71") == store.find(camids=71) == [bob]
    assert SearchFilter(pids="bob") == SearchFilter(pids=("bob",))


def test_as_arrays(store: GalleryStore, monkeypatch):
    monkeypatch.setattr(selections, "BLOCK", 3)
    features = drawn_features()
    every = store.filter()
    np.testing.assert_array_equal(every.features().embeddings, features.embeddings)
    np.testing.assert_array_equal(every.features().visibility, features.visibility)
    ids, vectors = every.embeddings(1)
    shown = [i for i in range(N) if features.visibility[i, 1] >= 1 / (2 * P)]
    assert shown
    assert len(shown) < N
    assert ids.tolist() == [i + 1 for i in shown]
    np.testing.assert_array_equal(vectors, features.embeddings[shown, 1])
    assert [each.shape for each in store.filter(prefix="/nowhere").embeddings(0)] == [(0,), (0, D)]
    for region in (-1, P):
        with pytest.raises(FeatureError, match="there is no region"):
            every.embeddings(region)


def test_as_an_index_of_faiss(store: GalleryStore):
    ids, vectors = store.filter().embeddings(0)
    distances, found = store.filter().to_faiss(0).search(vectors[2:3], len(ids))
    expected = ((vectors - vectors[2]) ** 2).sum(axis=1)
    order = np.argsort(expected, kind="stable")
    assert found[0].tolist() == ids[order].tolist()
    np.testing.assert_allclose(distances[0], expected[order], atol=1e-5)


def test_as_tables(store: GalleryStore):
    pandas = pytest.importorskip("pandas")
    frame = store.filter(camids=[1]).to_pandas()
    assert list(frame.columns) == ["image_id", "path", "content_hash", "pid", "camid", "captured_at", "width", "height"]
    assert list(frame["path"]) == ["/g/1.png", "/g/3.png", "/g/5.png"]
    assert frame["captured_at"][0] == pandas.Timestamp("2026-11-02", tz="UTC")
    pytest.importorskip("pyarrow")
    table = store.filter(camids=[1]).to_arrow()
    assert table.column("image_id").to_pylist() == [2, 4, 6]
    flat = np.array(table.column("embeddings").to_pylist(), np.float32).reshape(3, P, D)
    np.testing.assert_array_equal(flat, drawn_features().embeddings[[1, 3, 5]])


def test_what_is_missing_is_said(store: GalleryStore, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(DataError, match=r"pip install 'vpmsearch\[postgres\]'"):
        store.filter().to_arrow()


def test_a_store_shows_itself(store: GalleryStore):
    text = store._repr_html_()
    assert "<th>images</th><td>7</td>" in text
    assert "made &lt;up&gt;" in text
    assert "0 head, 1 torso, 2 legs" in text
    assert "2026-11-01T00:00:00+00:00 to 2026-11-07T00:00:00+00:00" in text
    assert text.count("missing") == N  # there are no such files
    assert "1 of 1 image" in store.filter(prefix="/g/4")._repr_html_()


def test_pictures_are_in_it(tmp_path: Path, store: GalleryStore):
    path = write_pictures(tmp_path / "g", 1)[0]
    with store.writer() as writer:
        writer.add([ImageRecord(str(path), "a" * 40)], drawn_features()[:1])
        writer.commit()
    store.refresh()
    assert store.filter(prefix=str(path))._repr_html_().count("data:image/jpeg") == 1
    assert vpmsearch.GalleryStore is GalleryStore
