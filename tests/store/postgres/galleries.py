"""Galleries of random features, the same for every run."""

from __future__ import annotations

import numpy as np

from vpmsearch.store import Gallery
from vpmsearch.types import ImageRecord, ModelInfo, RegionFeatures

INFO = ModelInfo((6, 1), 8, "sha256:feed", weights="vpm.safetensors", input_size=(384, 128))


def make_features(n: int, p: int = 6, d: int = 8, seed: int = 0) -> RegionFeatures:
    """Random features; about half of the visibilities are below 1/(2p), some of them 0."""
    rng = np.random.default_rng(seed)
    visibility = rng.dirichlet(np.full(p, 0.4), n).astype(np.float32).reshape(n, p)
    visibility[visibility < 0.01] = 0
    return RegionFeatures(visibility, rng.normal(size=(n, p, d)).astype(np.float32))


def make_records(n: int, first: int = 0) -> list[ImageRecord]:
    """Images 0 to n − 1 of three cameras, seven people."""
    return [ImageRecord(f"/g/cam{i % 3}/{i:05}.jpg", f"{i:064x}", i % 7, i % 3) for i in range(first, first + n)]


def make_calibration(images: int = 48) -> dict[str, object]:
    """What an index of `INFO` may keep: distances of strangers by how many regions a query shows."""
    distances = [[0.5 + i, 1.25 + i] * 40 for i in range(INFO.p)]
    known = {"fingerprint": INFO.fingerprint, "min_visibility": INFO.threshold, "labelled": True}
    return known | {"images": images, "distances": [sorted(each) for each in distances]}


def fill(store: Gallery, features: RegionFeatures, records: list[ImageRecord] | None = None) -> list[int]:
    """Commit images; their ids."""
    with store.writer() as writer:
        ids = writer.add(records or make_records(len(features)), features)
        writer.commit()
    return ids
