"""New commits are picked up, removals hold at once, many may ask at the same time."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from small_index import labelled, png
from tiny_weights import picture, write_pictures, write_weights

from vpmsearch.errors import ModelMismatchError, StoreError
from vpmsearch.indexing.indexer import index_gallery
from vpmsearch.model.extraction import Extractor
from vpmsearch.model.weights import read_weights
from vpmsearch.store import GalleryStore
from vpmsearch.types import SearchFilter
from vpmsearch.web.recent import Recent
from vpmsearch.web.service import SearchService


def grow(service: SearchService, folder, count: int) -> None:
    """What `vpmsearch index` in another process does."""
    gallery = folder / "gallery"
    there = len(list(gallery.glob("*.png"))) if gallery.is_dir() else 0
    write_pictures(gallery, count - there, first=there)  # those that are there may be read meanwhile
    paths = sorted(gallery.iterdir())
    with GalleryStore.open(service.store.path) as store:
        index_gallery(store, service.extractor, labelled(paths))


def until(condition, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_new_commits_are_seen_without_a_restart(own_service, client_of, tmp_path):
    client = client_of(own_service)
    assert client.get("/api/stats").json()["images"] == 6
    grow(own_service, tmp_path, 9)
    until(lambda: client.get("/api/stats").json()["images"] == 9)
    first = client.post("/api/search", files={"photograph": ("x", png(picture(8)))}).json()["matches"][0]
    assert first["path"].endswith("008.png")
    assert "vpmsearch_refreshes_total 1.0" in client.get("/api/metrics").text


def test_what_is_removed_is_not_shown_from_any_cache(own_service, tmp_path):
    image_id = int(own_service.view.snapshot.image_ids[0])
    assert own_service.thumbnail(image_id)
    assert own_service.see_stored(image_id, None)
    with GalleryStore.open(own_service.store.path) as store, store.writer() as writer:
        writer.remove([image_id])
        writer.commit()
    assert own_service.refresh()
    for ask in (own_service.thumbnail, own_service.picture, lambda i: own_service.see_stored(i, None)):
        with pytest.raises(StoreError, match="not in the index"):
            ask(image_id)
    assert not own_service.refresh()


def test_a_damaged_commit_leaves_the_old_state_and_says_so(own_service, client_of, tmp_path):
    client = client_of(own_service, refresh_seconds=60)
    grow(own_service, tmp_path, 9)
    newest = max((own_service.store.path / "segments").iterdir(), key=lambda folder: folder.stat().st_mtime)
    (newest / "embeddings.h5").write_bytes(b"damaged")
    assert not own_service.refresh()
    assert client.get("/api/health").json() | {"problem": ""} == {
        "status": "stale", "version": client.get("/api/health").json()["version"], "images": 6, "problem": "",
    }  # fmt: skip
    assert client.get("/api/health").json()["problem"]
    assert client.post("/api/search", data={"image_id": 1}).status_code == 200


def test_after_a_fault_it_looks_again(own_service, client_of, tmp_path, monkeypatch, caplog):
    look = own_service.store.refresh

    def fails():
        raise ZeroDivisionError("a secret")

    monkeypatch.setattr(own_service.store, "refresh", fails)
    client = client_of(own_service)
    until(lambda: client.get("/api/health").json()["status"] == "stale")
    assert client.get("/api/health").json()["problem"] == "a fault of vpmsearch; the server's log shows it"
    assert "a secret" in caplog.text
    monkeypatch.setattr(own_service.store, "refresh", look)
    grow(own_service, tmp_path, 9)
    until(lambda: client.get("/api/health").json() == client.get("/api/health").json() | {"status": "ok", "images": 9})


def test_other_weights_are_refused(own_service, tmp_path):
    other = Extractor(read_weights(write_weights(tmp_path / "other.safetensors", seed=1)), own_service.extractor.device)
    with pytest.raises(ModelMismatchError):
        SearchService(own_service.store, other, max_pixels=1)


def test_many_search_while_the_index_grows(own_service, tmp_path):
    stop = threading.Event()

    def refresh() -> None:
        while not stop.is_set():
            own_service.refresh()

    refreshing = threading.Thread(target=refresh)
    refreshing.start()
    data = [png(picture(i)) for i in range(6)]

    def ask(i: int) -> str:
        view = own_service.view
        query = own_service.see(data[i % 6], None).features
        found = own_service.search(view, query, offset=0, limit=3, exact=False, only=SearchFilter(), regions=None)
        assert own_service.thumbnail(found.result.matches[0].image_id)
        return found.result.matches[0].path

    try:
        with ThreadPoolExecutor(8) as pool:
            asked = [pool.submit(ask, i) for i in range(60)]
            for count in (8, 10, 12):
                grow(own_service, tmp_path, count)
            assert [job.result()[-7:] for job in asked] == [f"{i % 6:03}.png" for i in range(60)]
    finally:
        stop.set()
        refreshing.join()
    own_service.refresh()
    assert len(own_service.view.snapshot) == 12


def test_a_photograph_is_seen_once(own_service, monkeypatch):
    seen = []
    real = own_service.extractor.see
    monkeypatch.setattr(own_service.extractor, "see", lambda image: seen.append(image) or real(image))
    data = png(picture(1))
    first, second = own_service.see(data, None), own_service.see(data, None)
    assert first is second
    assert len(seen) == 1
    stored = own_service.stored_features(own_service.view, int(own_service.view.snapshot.image_ids[1]))
    assert np.allclose(stored.embeddings, first.features.embeddings, atol=1e-5)


def test_the_cache_forgets_what_was_asked_for_longest_ago():
    recent: Recent[int] = Recent(2)
    made = []

    def value(key: int) -> int:
        return recent.get(key, lambda: made.append(key) or key)

    for key in (1, 2, 1, 3, 1, 2):
        assert value(key) == key
    assert made == [1, 2, 3, 2]
