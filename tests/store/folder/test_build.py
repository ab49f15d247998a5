"""How region indexes are built: beside each other, told of, in bounded memory, and whole or not at all."""

from __future__ import annotations

import threading

import faiss
import numpy as np
import pytest

from vpmsearch.errors import StoreError
from vpmsearch.store import GalleryStore, compact, verify
from vpmsearch.store.folder import segments
from vpmsearch.store.folder.region_index import RegionIndex, threads_within
from vpmsearch.types import ImageRecord, ModelInfo, RegionFeatures

P, D = 3, 4


def some_images(n: int, seed: int = 0) -> RegionFeatures:
    """The last region is visible in every second image only."""
    rng = np.random.default_rng(seed)
    visibility = np.full((n, P), 0.5, np.float32)
    visibility[::2, -1] = 0
    return RegionFeatures(visibility, rng.normal(size=(n, P, D)).astype(np.float32))


def create(path, index_type="flat") -> GalleryStore:
    return GalleryStore.create(path, ModelInfo((P, 1), D, "w"), index_type=index_type)


def add(writer, n: int, first: int = 0) -> None:
    writer.add([ImageRecord(f"{i}.jpg") for i in range(first, first + n)], some_images(n, first))


@pytest.fixture
def together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Regions are indexed by two threads, however few the images."""
    monkeypatch.setattr(segments, "_TOGETHER_FROM", 0)
    monkeypatch.setattr(segments, "threads", lambda: 2)


@pytest.mark.parametrize("kind", ["flat", "ivf-flat"])
def test_together_or_one_after_the_other_is_the_same(tmp_path, monkeypatch, kind):
    written, threads = [], []
    real = segments.write_region

    def watched(*args, **kwargs):
        threads.append(threading.current_thread())
        real(*args, **kwargs)

    monkeypatch.setattr(segments, "write_region", watched)
    monkeypatch.setattr(segments, "threads", lambda: 2)
    for least in (10**9, 0):
        monkeypatch.setattr(segments, "_TOGETHER_FROM", least)
        with create(tmp_path / str(least), kind) as store, store.writer() as writer:
            add(writer, 1100)
            writer.commit()
            folder = store.path / "segments" / "1"
            written.append([(folder / f"region_{region}.faiss").read_bytes() for region in range(P)])
    assert written[0] == written[1]
    assert {thread is threading.main_thread() for thread in threads[:P]} == {True}
    assert {thread is threading.main_thread() for thread in threads[P:]} == {False}


def test_a_region_that_fails_beside_others_leaves_nothing(tmp_path, monkeypatch, together):
    real = segments.write_region

    def failing(folder, region, *args, **kwargs):
        if region == 1:
            raise OSError(28, "No space left on device")
        real(folder, region, *args, **kwargs)

    with create(tmp_path / "index") as store, store.writer() as writer:
        add(writer, 5)
        monkeypatch.setattr(segments, "write_region", failing)
        with pytest.raises(StoreError, match="No space left"):
            writer.commit()
        monkeypatch.setattr(segments, "write_region", real)
        assert list((store.path / "segments").iterdir()) == []
        writer.commit()
        assert len(store.snapshot) == 5
    assert verify(tmp_path / "index").ok


def test_progress_is_told_to_the_end(tmp_path, together):
    told: list[tuple[int, int]] = []
    with create(tmp_path / "index") as store, store.writer(on_build=lambda *pair: told.append(pair)) as writer:
        for first, n in ((0, 10), (10, 7)):
            add(writer, n, first)
            writer.commit()
            total = 2 * n + n // 2  # two regions of all images, and one of every second
            assert told[-1] == (total, total)
            assert [done for done, _ in told] == sorted(done for done, _ in told)
            told.clear()
    compact(tmp_path / "index", on_build=lambda *pair: told.append(pair))
    assert told[-1] == (42, 42)


def test_vectors_are_fetched_in_blocks_and_the_sample_is_bounded(monkeypatch):
    monkeypatch.setattr("vpmsearch.store.folder.index_building._BLOCK", 300)
    monkeypatch.setattr("vpmsearch.store.folder.index_building._TRAINING_POINTS", 1)
    vectors, fetched, added = some_images(2000).embeddings[:, 0], [], []

    def rows(positions):
        fetched.append(len(positions))
        return vectors[positions]

    index = RegionIndex.build_from(rows, D, np.arange(2000), "ivf-flat", on_added=added.append)
    assert index.kind == "ivf-flat"
    assert max(fetched) <= 300
    assert sum(added) == len(index) == 2000


def test_threads_within_are_those_of_the_caller_alone():
    before, beside = faiss.omp_get_max_threads(), []

    def look_from_another() -> None:
        other = threading.Thread(target=lambda: beside.append(faiss.omp_get_max_threads()))
        other.start()
        other.join()

    look_from_another()
    with threads_within(before + 3):
        assert faiss.omp_get_max_threads() == before + 3
        look_from_another()
    assert beside[0] == beside[1]
    assert faiss.omp_get_max_threads() == before
