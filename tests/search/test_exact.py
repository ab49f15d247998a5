"""The exact path: a matrix product selects and loses nothing, whatever it rounds."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any

import numpy as np
import pytest
import segmented
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import visibility_weighted_distance

from vpmsearch.search import distances as scan
from vpmsearch.search import gpu, products
from vpmsearch.search.distances import Distances
from vpmsearch.search.gpu import DeviceDistances
from vpmsearch.types import RegionFeatures

CPU = torch.device("cpu")


features = partial(segmented.features, unseen=0.02)
make_store = partial(segmented.make_store, min_visibility=0)


@settings(max_examples=settings.default.max_examples // 2)
@given(
    sizes=st.lists(st.integers(1, 30), min_size=1, max_size=3),
    p=st.integers(1, 4),
    d=st.sampled_from([1, 3, 16, 520]),
    seed=st.integers(0, 2**16),
    place=st.sampled_from([(0.0, 1.0), (100.0, 1e-3), (0.0, 0.0), (0.0, 1e-12), (0.0, 1e19)]),
    dtype=st.sampled_from(["float32", "float16"]),
    block=st.sampled_from([3, 4096]),
    share=st.none() | st.floats(0, 1),
    keep=st.none() | st.booleans(),
)
def test_scan_is_eq_4(tmp_path_factory, sizes, p, d, seed, place, dtype, block, share, keep):
    """By NumPy, where keep is None, or by torch, which a GPU has."""
    n = sum(sizes)
    if place[1] > 1e4:
        dtype = "float32"
    queries = features(3, p, d, seed + 1, *place)
    gallery = features(n, p, d, seed, place[0], min(place[1], 1e16))  # a store takes no more
    removed = (2,) if n > 4 else ()
    with (
        make_store(tmp_path_factory.mktemp("scan") / "index", gallery, tuple(sizes), removed, dtype) as store,
        pytest.MonkeyPatch.context() as patch,
        np.errstate(over="ignore"),
    ):
        patch.setattr(scan, "BLOCK_ROWS", block)
        patch.setattr(scan, "EXTRA", 2)
        patch.setattr(scan, "QUERY_ROWS", 2)
        snapshot = store.snapshot
        by_torch = keep is not None
        distances = DeviceDistances(snapshot, CPU, keep=keep) if by_torch else Distances(snapshot)
        allowed = None if share is None else np.random.default_rng(seed).random(len(snapshot)) < share
        if keep:  # what a first scan keeps, a filter masks
            distances.scan(queries[:1], 1)
        ids = snapshot.image_ids.tolist()
        wanted = [i for row, i in enumerate(ids) if allowed is None or allowed[row]]
        stored = RegionFeatures(gallery.visibility, gallery.embeddings.astype(dtype).astype(np.float32))
        right = visibility_weighted_distance(
            queries.embeddings, queries.visibility, stored.embeddings, stored.visibility
        )
        for k in (1, 5, n + 1):
            for distance, found in zip(right, distances.scan(queries, k, allowed), strict=True):
                expected = sorted((distance[i - 1], i) for i in wanted if distance[i - 1] < 1e30)[:k]
                if place[1] > 1e4:  # squares leave float32: those that are found are right, in order
                    assert (np.diff(found[1]) >= 0).all()
                    continue
                assert len(found[0]) == len(expected)
                got = [(float(x), ids[r]) for x, r in zip(found[1], found[0].tolist(), strict=True)]
                assert got == sorted(got)
                for (value, image_id), (nearest, _) in zip(got, expected, strict=True):
                    assert value == pytest.approx(nearest, rel=1e-5, abs=1e-30)
                    assert value == pytest.approx(distance[image_id - 1], rel=1e-5, abs=1e-30)


@contextmanager
def setting(read: Callable[[], Any], write: Callable[[Any], object], value: Any) -> Iterator[None]:
    before = read()
    write(value)
    try:
        yield
    finally:
        write(before)


def new_way(owner: Any, precision: str) -> AbstractContextManager[None]:
    return setting(lambda: owner.fp32_precision, lambda value: setattr(owner, "fp32_precision", value), precision)


HOSTS = {
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "default dtype": lambda: setting(torch.get_default_dtype, torch.set_default_dtype, torch.float16),
    "flushing": lambda: setting(lambda: False, torch.set_flush_denormal, True),
    "TF32": lambda: new_way(torch.backends, "tf32"),
    "TF32 on a GPU": lambda: new_way(torch.backends.cuda.matmul, "tf32"),
    "bfloat16 products": lambda: new_way(torch.backends.mkldnn.matmul, "bf16"),
    "medium": lambda: setting(torch.get_float32_matmul_precision, torch.set_float32_matmul_precision, "medium"),
}


@pytest.mark.parametrize("by_torch", [False, True])
@pytest.mark.parametrize("host", HOSTS)
def test_what_a_host_program_has_set_changes_no_answer(tmp_path, host, by_torch):
    """Torch's settings are the process's. The newer way to allow TF32 made torch refuse to say what is set."""
    gallery, queries = features(300, 3, 16, 1), features(20, 3, 16, 2)
    with make_store(tmp_path / "index", gallery, (200, 100)) as store:
        made = (lambda: DeviceDistances(store.snapshot, CPU)) if by_torch else (lambda: Distances(store.snapshot))
        distances = made()
        right = distances.scan(queries, 7)
        with HOSTS[host]():
            found = made().scan(queries, 7)
            alone = [distances.nearest(queries[i : i + 1], np.arange(300), 7) for i in range(20)]
    for one, other, single in zip(right, found, alone, strict=True):
        for ours, theirs in ((one, other), (one, single)):
            np.testing.assert_array_equal(theirs[0], ours[0])
            np.testing.assert_array_equal(theirs[1], ours[1])


def test_products_of_shorter_factors_widen_the_bounds(monkeypatch):
    """As a GPU has them with TF32: 10 of 23 bits. The bound is below the distance all the same."""
    monkeypatch.setattr(gpu, "factor_rounding", lambda device: gpu.FACTOR_ROUNDING["tf32"])
    monkeypatch.setattr(
        torch.Tensor, "__matmul__", lambda a, b, plain=torch.Tensor.__matmul__: plain(short(a), short(b))
    )
    addmm = torch.addmm
    monkeypatch.setattr(torch, "addmm", lambda c, a, b, **more: addmm(c, short(a), short(b), **more))
    for seed in range(20):
        gallery, queries = features(50, 4, 32, seed, 1.0, 0.05), features(3, 4, 32, seed + 1, 1.0, 0.05)
        block = torch.from_numpy(gallery.embeddings)
        lower = gpu.lower_bounds(
            torch.from_numpy(queries.embeddings).transpose(0, 1),
            torch.from_numpy(products.scaled_weights(queries.visibility)),
            products.spans(queries.visibility),
            block,
            torch.from_numpy(products.scaled_weights(gallery.visibility)),
            gpu.squared_norms(block),
        ).numpy()
        true = visibility_weighted_distance(
            queries.embeddings, queries.visibility, gallery.embeddings, gallery.visibility
        )
        finite = np.isfinite(true)
        assert (lower[finite] * (1 - scan.SLACK) <= true[finite]).all()


def short(tensor: torch.Tensor) -> torch.Tensor:
    """float32 with the last 13 bits cut off."""
    return (tensor.float().contiguous().view(torch.int32) & ~0x1FFF).view(torch.float32)


@given(
    asked=st.integers(1, 2), m=st.integers(1, 20), p=st.integers(1, 4), d=st.integers(1, 300),
    seed=st.integers(0, 2**16), tile=st.sampled_from([3, 1024]),
    centre=st.sampled_from([0.0, 1.0, 300.0]), spread=st.sampled_from([0.0, 1e-4, 1.0]),
)  # fmt: skip
def test_lower_bounds_are_lower(asked, m, p, d, seed, tile, centre, spread):
    gallery, queries = features(m, p, d, seed, centre, spread), features(asked, p, d, seed + 1, centre, spread)
    block = torch.from_numpy(gallery.embeddings)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gpu, "TILE_ROWS", tile)
        by_torch = gpu.lower_bounds(
            torch.from_numpy(queries.embeddings).transpose(0, 1),
            torch.from_numpy(products.scaled_weights(queries.visibility)),
            products.spans(queries.visibility),
            block,
            torch.from_numpy(products.scaled_weights(gallery.visibility)),
            gpu.squared_norms(block),
        ).numpy()
        patch.setattr(products, "TILE", tile * p * d)
        by_numpy = products.Products(queries).lower_bounds(
            gallery.embeddings,
            products.scaled_weights(gallery.visibility),
            products.squared_norms(gallery.embeddings),
        )
    true = visibility_weighted_distance(queries.embeddings, queries.visibility, gallery.embeddings, gallery.visibility)
    finite = np.isfinite(true)
    for lower in (by_torch, by_numpy):
        assert (np.isinf(lower) == np.isinf(true)).all()
        assert (lower[finite] * (1 - scan.SLACK) <= true[finite]).all()
        if centre == 0 and spread == 1 and d > 8:  # and close, where nothing cancels
            np.testing.assert_allclose(lower[finite], true[finite], rtol=2e-3)


@given(
    m=st.integers(1, 20), p=st.integers(1, 4), d=st.integers(1, 300), seed=st.integers(0, 2**16),
    size=st.sampled_from([1e-8, 1e-5, 1.0, 1e4]), asked=st.sampled_from([1e-9, 1.0, 1e5, 1e15]),
)  # fmt: skip
def test_bounds_of_float16_are_those_of_the_same_numbers_in_float32(m, p, d, seed, size, asked):
    """To the last bit, also of denormal numbers, and where the query is too large to take their factor."""
    gallery, query = features(m, p, d, seed, 0.0, size), features(1, p, d, seed + 1, 0.0, asked)
    halves = gallery.embeddings.astype(np.float16)
    weights = products.scaled_weights(gallery.visibility)
    both = [
        products.Products(query).lower_bounds(block, weights, products.squared_norms(block))
        for block in (halves, halves.astype(np.float32))
    ]
    assert np.array_equal(*both)


def test_a_read_only_map_becomes_a_tensor_without_a_copy():
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    array.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tensor = gpu._tensor(array)
        assert gpu._tensor(array[:0]).shape == (0, 3)
    assert tensor.data_ptr() == array.ctypes.data
    assert tensor.tolist() == array.tolist()
    assert not array.flags.writeable


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_what_a_device_keeps_is_scanned_alike(tmp_path, device, dtype):
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no GPU")
    gallery, queries = features(200, 3, 16, 1), features(4, 3, 16, 2)
    with make_store(tmp_path / "index", gallery, (150, 50), (3, 160), dtype) as store:
        read = Distances(store.snapshot)
        kept = DeviceDistances(store.snapshot, torch.device(device), keep=True)
        allowed = np.arange(len(store.snapshot)) % 3 > 0
        for among in (None, None, allowed):  # the second from what the first kept
            for asked in (queries, queries[:1]):
                for right, found in zip(read.scan(asked, 7, among), kept.scan(asked, 7, among), strict=True):
                    np.testing.assert_array_equal(found[0], right[0])
                    np.testing.assert_allclose(found[1], right[1], rtol=1e-5)
