"""Every type, filtered in FAISS and masked on the host, against a plain loop in float64."""

from __future__ import annotations

import math
import threading

import faiss
import numpy as np
import pytest

from vpmsearch.errors import DeviceError, StoreDamagedError, StoreError
from vpmsearch.store.folder.index_types import INDEX_TYPES, check_index_type, choose_type, gpu_of
from vpmsearch.store.folder.region_index import Allowed, RegionIndex

KINDS = [kind for kind in INDEX_TYPES if kind != "auto"]
EXACT = ("flat", "hnsw", "ivf-flat")
DIM = 8


def gallery(n: int, seed: int = 0):
    rng = np.random.default_rng(seed)
    ids = np.sort(rng.choice(4 * n + 1, n, replace=False)).astype(np.int64)
    return rng.normal(size=(n, DIM)).astype(np.float32), ids


def only(ids):
    """What a search may find."""
    return None if ids is None else Allowed(ids)


def nearest(query, vectors, ids, allowed):
    """The oracle: (distance, id) of every allowed vector, ascending."""
    found = []
    for vector, image_id in zip(vectors, ids, strict=True):
        if allowed is None or image_id in allowed:
            squared = sum((float(a) - float(b)) ** 2 for a, b in zip(query, vector, strict=True))
            found.append((math.sqrt(squared), int(image_id)))
    return sorted(found)


@pytest.fixture(scope="module")
def built():
    """One index of each type; codes of 4 bits instead of 8, which learn from 1,000 vectors instead of 10,000."""
    indexes = {}
    vectors, ids = gallery(1000)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vpmsearch.store.folder.index_types._PQ_BITS", 4)
        for kind in KINDS:
            indexes[kind] = (RegionIndex.build(vectors, ids, kind), vectors, ids)
    return indexes


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("share", [None, 0.5, 0.02, 0.0])
@pytest.mark.parametrize("kind", KINDS)
def test_search(built, kind, share, masked):
    index, vectors, ids = built[kind]
    assert index.kind == kind
    index.masked = masked
    rng = np.random.default_rng(5)
    allowed = None if share is None else ids[rng.random(len(ids)) < share]
    queries = rng.normal(size=(3, DIM)).astype(np.float32)
    available = len(ids) if allowed is None else len(allowed)
    for k in (1, 100):
        for query, (found, distances) in zip(queries, index.search(queries, k, only(allowed)), strict=True):
            assert len(found) == len(distances) == min(k, available)
            assert len(set(found.tolist())) == len(found)
            assert np.isin(found, ids if allowed is None else allowed).all()
            assert (np.diff(distances) >= 0).all()
            assert found.dtype == np.int64
            assert distances.dtype == np.float32
            if kind in EXACT:  # what they report is the true distance, whichever they found
                true = {image_id: distance for distance, image_id in nearest(query, vectors, ids, set(found.tolist()))}
                np.testing.assert_allclose(distances, [true[i] for i in found.tolist()], rtol=1e-4)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("kind", EXACT)
def test_exact_types_agree_with_the_loop(built, kind, masked):
    index, vectors, ids = built[kind]
    index.masked = masked
    rng = np.random.default_rng(6)
    allowed = ids[rng.random(len(ids)) < 0.1]
    queries = rng.normal(size=(2, DIM)).astype(np.float32)
    # More than exist: every type must then look at all it has.
    for query, (found, distances) in zip(queries, index.search(queries, len(ids), only(allowed)), strict=True):
        expected = nearest(query, vectors, ids, set(allowed.tolist()))
        assert found.tolist() == [image_id for _, image_id in expected]
        np.testing.assert_allclose(distances, [distance for distance, _ in expected], rtol=1e-4)


@pytest.mark.parametrize("kind", ["ivf-sq8", "ivf-pq", "ivf-pqfs", "hnsw", "ivf-flat"])
def test_approximate_types_find_most_neighbours(built, kind):
    index, vectors, ids = built[kind]
    index.masked = False
    queries = vectors[::100]
    exact = RegionIndex.build(vectors, ids, "flat").search(queries, 10)
    found = index.search(queries, 10)
    recall = np.mean([np.isin(a[0], b[0]).mean() for a, b in zip(exact, found, strict=True)])
    assert recall > {"ivf-pq": 0.3, "ivf-pqfs": 0.5}.get(kind, 0.9)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [0, 1, 5])
def test_few_vectors(kind, n, masked):
    vectors, ids = gallery(n)
    index = RegionIndex.build(vectors, ids, kind)
    index.masked = masked
    queries = np.zeros((2, DIM), np.float32)
    assert [len(found) for found, _ in index.search(queries, 10)] == [n, n]
    assert [len(found) for found, _ in index.search(queries, 10, only(ids[:1]))] == [min(n, 1)] * 2
    assert [len(found) for found, _ in index.search(queries, 10, only(np.array([10**6])))] == [0, 0]
    assert index.search(queries[:0], 10) == []


def test_ties_are_ordered_by_id():
    vectors = np.zeros((6, DIM), np.float32)
    index = RegionIndex.build(vectors, np.array([9, 3, 7, 1, 5, 2], np.int64), "flat")
    found, distances = index.search(vectors[:1], 6)[0]
    assert found.tolist() == [1, 2, 3, 5, 7, 9]
    assert not distances.any()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [0.0, 1e-20, 3.0])
def test_vectors_that_are_all_alike(kind, value):
    """A fast scan over them divides 0 by 0; a list must not say that nothing nearer is left."""
    vectors = np.full((1200, DIM), value, np.float32)
    index = RegionIndex.build(vectors, np.arange(1200), kind)
    found, distances = index.search(vectors[:1], 30)[0]
    assert len(np.unique(found)) == 30
    np.testing.assert_allclose(distances, 0, atol=1e-3)


def test_a_few_long_vectors_do_not_spoil_the_codes_of_the_others():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(3000, DIM)).astype(np.float32)
    vectors[::1000] *= 100
    ids = np.arange(3000)
    exact = RegionIndex.build(vectors, ids, "flat").search(vectors[5:40], 10)
    found = RegionIndex.build(vectors, ids, "ivf-pqfs").search(vectors[5:40], 100)
    named = [np.isin(a, b).mean() for (a, _), (b, _) in zip(exact, found, strict=True)]
    assert np.mean(named) > 0.9


def test_equal_vectors_never_give_a_nan():
    # Many queries make FAISS expand the square, which can come out below 0.
    vectors = (np.random.default_rng(0).normal(size=(64, DIM)) * 100).astype(np.float32)
    for found, distances in RegionIndex.build(vectors, np.arange(64), "flat").search(vectors, 1):
        assert len(found) == 1
        assert np.isfinite(distances).all()


@pytest.mark.parametrize("kind", KINDS)
def test_round_trip(tmp_path, built, kind):
    index, vectors, ids = built[kind]
    index.masked = False
    index.write(tmp_path / "region.faiss")
    again = RegionIndex.read(tmp_path / "region.faiss")
    assert again.kind == kind
    assert again.dim == DIM
    np.testing.assert_array_equal(again.ids, ids)
    for before, after in zip(
        index.search(vectors[:3], 5, only(ids[::2])), again.search(vectors[:3], 5, only(ids[::2])), strict=True
    ):
        np.testing.assert_array_equal(before[0], after[0])
        np.testing.assert_array_equal(before[1], after[1])


def test_blocks_give_the_same_index(monkeypatch):
    vectors, ids = gallery(300)
    whole = RegionIndex.build(vectors, ids, "flat")
    monkeypatch.setattr("vpmsearch.store.folder.index_building._BLOCK", 7)
    pieces = RegionIndex.build(vectors, ids, "flat")
    for a, b in zip(whole.search(vectors[:5], 9), pieces.search(vectors[:5], 9), strict=True):
        np.testing.assert_array_equal(a[0], b[0])


@pytest.mark.parametrize(
    "damage", [lambda raw: b"", lambda raw: b"no index at all", lambda raw: raw[: len(raw) // 2], lambda raw: raw[:-1]]
)
def test_damaged_files_are_refused(tmp_path, damage):
    path = tmp_path / "region_0.faiss"
    RegionIndex.build(*gallery(50), "flat").write(path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(StoreDamagedError, match=r"region_0\.faiss"):
        RegionIndex.read(path)


def test_foreign_and_missing_files_are_refused(tmp_path):
    with pytest.raises(StoreDamagedError, match="missing"):
        RegionIndex.read(tmp_path / "none.faiss")
    faiss.write_index(faiss.IndexLSH(8, 16), str(tmp_path / "lsh.faiss"))
    with pytest.raises(StoreDamagedError, match="IndexLSH"):
        RegionIndex.read(tmp_path / "lsh.faiss")
    twice = faiss.IndexIDMap2(faiss.IndexFlatL2(2))
    twice.add_with_ids(np.zeros((2, 2), np.float32), np.array([4, 4]))
    faiss.write_index(twice, str(tmp_path / "twice.faiss"))
    with pytest.raises(StoreDamagedError, match="twice"):
        RegionIndex.read(tmp_path / "twice.faiss")


def test_the_rule_for_types(monkeypatch):
    assert choose_type("auto", 10, 256) == "flat"
    assert choose_type("auto", 10**6, 256) == "ivf-pqfs"
    assert choose_type("auto", 10**6, 251) == "ivf-sq8"  # a prime cannot be taken apart
    assert choose_type("auto", 10**6, 2048) == "ivf-pqfs"
    assert choose_type("ivf-pq", 5000, 256) == "flat"
    assert choose_type("ivf-flat", 5000, 256) == "ivf-flat"
    assert choose_type("hnsw", 0, 256) == "hnsw"
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 1)
    assert choose_type("auto", 10**6, 256) == "ivf-sq8"
    with pytest.raises(StoreError, match="unknown index type"):
        check_index_type("cagra")


def test_devices(monkeypatch):
    monkeypatch.setattr(faiss, "StandardGpuResources", object, raising=False)  # as faiss-gpu has it
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 0)
    assert gpu_of("cpu") is None
    assert gpu_of("auto") is None
    for device in ("cuda", "cuda:1", "tpu", "cuda:x"):
        with pytest.raises(DeviceError, match="device"):
            gpu_of(device)
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 2)
    assert gpu_of("auto") == 0
    assert gpu_of("cuda:1") == 1
    with pytest.raises(DeviceError, match="cuda:2"):
        gpu_of("cuda:2")
    monkeypatch.delattr(faiss, "StandardGpuResources")  # faiss-cpu: lists stay on the CPU, torch uses the GPU
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 0)
    assert gpu_of("cuda") is None
    with pytest.raises(DeviceError, match="unknown device"):
        gpu_of("tpu")


class FakeGpuIndex:
    """What an index on a GPU can and cannot do, on the CPU: no selectors, at most 2,048 neighbours and lists."""

    searches = 0

    def __init__(self, index):
        self.index = faiss.clone_index(index)

    def search(self, queries, k, *, params):
        assert k <= 2048
        if params is not None:
            assert params.sel is None
            assert params.nprobe <= 2048
        FakeGpuIndex.searches += 1
        return self.index.search(queries, k, params=params)


@pytest.mark.parametrize("kind", ["flat", "ivf-flat", "ivf-sq8", "ivf-pqfs", "hnsw"])
def test_the_way_to_a_gpu(monkeypatch, kind):
    vectors, ids = gallery(2500)
    cpu = RegionIndex.build(vectors, ids[::-1].copy(), kind)
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 1)
    monkeypatch.setattr(faiss, "index_cpu_to_gpu", lambda _, gpu, index: FakeGpuIndex(index))
    monkeypatch.setattr("vpmsearch.store.folder.gpu_index._resources", lambda gpu: (None, threading.Lock()))
    FakeGpuIndex.searches = 0
    gpu = RegionIndex.build(vectors, ids[::-1].copy(), kind, "cuda")
    assert gpu.masked == (kind not in ("hnsw", "ivf-pqfs"))
    half, few = ids[::2], ids[:3]
    for allowed in (None, half, few, ids[:0]):
        for k in (1, 50, 2500):  # the last is beyond what a GPU selects
            for (a, da), (b, db) in zip(
                cpu.search(vectors[:3], k, only(allowed)), gpu.search(vectors[:3], k, only(allowed)), strict=True
            ):
                assert len(b) == min(k, len(ids) if allowed is None else len(allowed))
                assert allowed is None or np.isin(b, allowed).all()
                if kind == "flat":
                    np.testing.assert_array_equal(a, b)
                    np.testing.assert_allclose(da, db, rtol=1e-5)
    assert (FakeGpuIndex.searches > 0) == (kind not in ("hnsw", "ivf-pqfs"))


def test_what_a_gpu_refuses_is_told(monkeypatch):
    def refuse(*_):
        raise RuntimeError("Error in allocMemory at StandardGpuResources.cpp:1: Failed: out of memory")

    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 1)
    monkeypatch.setattr(faiss, "index_cpu_to_gpu", refuse)
    monkeypatch.setattr("vpmsearch.store.folder.gpu_index._resources", lambda gpu: (None, threading.Lock()))
    with pytest.raises(DeviceError, match=r"GPU 0 \(out of memory\); use --device cpu"):
        RegionIndex.build(*gallery(5), "flat", "cuda")
    assert len(RegionIndex.build(*gallery(0), "flat", "cuda")) == 0


@pytest.mark.gpu
@pytest.mark.parametrize("kind", KINDS)
def test_gpu(tmp_path, kind):
    if faiss.get_num_gpus() == 0:
        pytest.skip("no GPU")
    vectors, ids = gallery(10_000)
    cpu = RegionIndex.build(vectors, ids, kind)
    assert cpu.kind == kind
    cpu.write(tmp_path / "region.faiss")
    gpu = RegionIndex.read(tmp_path / "region.faiss", "cuda")
    assert gpu.masked == (kind not in ("hnsw", "ivf-pqfs"))
    allowed = ids[np.random.default_rng(1).random(len(ids)) < 0.1]
    for k in (1, 10, 3000):
        for some in (None, allowed):
            for a, b in zip(
                cpu.search(vectors[:4], k, only(some)), gpu.search(vectors[:4], k, only(some)), strict=True
            ):
                assert len(b[0]) == min(k, len(ids) if some is None else len(some))
                assert some is None or np.isin(b[0], some).all()
                if kind in ("flat", "hnsw"):
                    np.testing.assert_allclose(a[1], b[1], atol=2e-3)
