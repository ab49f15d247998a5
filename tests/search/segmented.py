"""Stores with several segments and removed images, for tests of searches that must agree over all of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vpmsearch.store import GalleryStore
from vpmsearch.types import ImageRecord, ModelInfo, RegionFeatures


def features(
    n: int, p: int, d: int, seed: int, centre: float = 0.0, spread: float = 1.0, *, unseen: float
) -> RegionFeatures:
    """Random features; a visibility below `unseen` is 0."""
    rng = np.random.default_rng(seed)
    visibility = rng.dirichlet(np.full(p, 0.5), n).astype(np.float32).reshape(n, p)
    visibility[visibility < unseen] = 0
    return RegionFeatures(visibility, (centre + spread * rng.normal(size=(n, p, d))).astype(np.float32))


def make_store(
    path: Path, gallery: RegionFeatures, sizes: Sequence[int], removed=(), dtype="float32", index_type="auto", **model
) -> GalleryStore:
    """Segments of these sizes (merged as the store sees fit); image i is of identity i % 3."""
    info = ModelInfo((gallery.num_regions, 1), gallery.embedding_dim, "w", **model)
    store = GalleryStore.create(path, info, embedding_dtype=dtype, index_type=index_type)
    first = 0
    with store.writer() as writer:
        for size in sizes:
            records = [ImageRecord(f"{i}.jpg", pid=i % 3) for i in range(first, first + size)]
            writer.add(records, gallery[first : first + size])
            writer.commit()
            first += size
        writer.remove(removed)
        writer.commit()
    store.refresh()
    return store
