"""Galleries of random features, the same for every run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from vpmsearch.store import GalleryStore
from vpmsearch.types import ImageRecord, ModelInfo, RegionFeatures

MakeFeatures = Callable[..., RegionFeatures]


@pytest.fixture(scope="session")
def make_features() -> MakeFeatures:
    def make(n: int, p: int = 6, d: int = 8, seed: int = 0) -> RegionFeatures:
        rng = np.random.default_rng(seed)
        visibility = rng.dirichlet(np.full(p, 0.5), n).astype(np.float32).reshape(n, p)
        return RegionFeatures(visibility, rng.normal(size=(n, p, d)).astype(np.float32))

    return make


@pytest.fixture(scope="session")
def make_records() -> Callable[..., list[ImageRecord]]:
    def make(n: int, start: int = 0) -> list[ImageRecord]:
        numbers = range(start, start + n)
        return [ImageRecord(f"cam{i % 3}/{i:04}.jpg", f"hash{i}", i % 5, i % 3, None, 64, 128) for i in numbers]

    return make


@pytest.fixture(scope="session")
def info() -> ModelInfo:
    return ModelInfo((6, 1), 8, "sha256:feed", weights="vpm.safetensors", input_size=(384, 128))


@pytest.fixture
def store(tmp_path: Path, info: ModelInfo) -> Iterator[GalleryStore]:
    with GalleryStore.create(tmp_path / "index", info) as store:
        yield store


@pytest.fixture
def filled(store: GalleryStore, make_features: MakeFeatures, make_records: Callable[..., list[ImageRecord]]):
    """Two segments, 30 and 20 images with ids 1 to 50, of which 7 and 40 are removed."""
    with store.writer() as writer:
        writer.add(make_records(30), make_features(30))
        writer.commit()
        writer.add(make_records(20, start=30), make_features(20, seed=1))
        writer.commit()
        assert writer.remove([7, 40]) == 2
        writer.commit()
    return store
