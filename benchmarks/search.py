"""The default search against the exact path: recall@10 and latency, on embeddings that look like re-ID.

    python benchmarks/search.py --images 2000 16000

Identities are clusters on the unit sphere of each region (spread 0.6 of the distance between identities), half of the
queries show half a body. Expected on two CPU cores: recall 0.99 or more.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from machine import report

from vpmsearch.search import SearchEngine
from vpmsearch.store import GalleryStore
from vpmsearch.types import ImageRecord, ModelInfo, RegionFeatures

REGIONS, DIM, PER_IDENTITY = 6, 256, 20


def features(count: int, centres: np.ndarray, pids: np.ndarray, half: np.ndarray, seed: int) -> RegionFeatures:
    """`count` images of identities `pids`: (count, 6, 256); where `half`, the lower three regions are hardly seen."""
    rng = np.random.default_rng(seed)
    embeddings = centres[pids] + 0.6 * rng.standard_normal((count, REGIONS, DIM), dtype=np.float32) / np.sqrt(DIM)
    visibility = np.full((count, REGIONS), 1 / 6, np.float32)
    visibility[half] = np.array([0.32, 0.32, 0.32, 0.02, 0.01, 0.01], np.float32)
    return RegionFeatures(visibility, embeddings.astype(np.float32))


def measure(images: int, queries: int, folder: Path) -> dict[str, Any]:
    """One size of gallery."""
    rng = np.random.default_rng(0)
    identities = max(1, images // PER_IDENTITY)
    centres = rng.standard_normal((identities, REGIONS, DIM), dtype=np.float32) / np.sqrt(np.float32(DIM))
    pids = rng.integers(identities, size=images)
    gallery = features(images, centres, pids, rng.random(images) < 0.1, seed=1)
    asked = features(queries, centres, rng.integers(identities, size=queries), rng.random(queries) < 0.5, seed=2)
    with GalleryStore.create(folder, ModelInfo((REGIONS, 1), DIM, "benchmark")) as store:
        with store.writer() as writer:
            writer.add([ImageRecord(f"{i}.jpg", pid=int(pid)) for i, pid in enumerate(pids)], gallery)
            writer.commit()
        engine = SearchEngine(store)
        engine.search(asked[:1], exact=True)  # warm up: map the embeddings
        fast = [engine.search(asked[i : i + 1])[0] for i in range(queries)]
        exact = [engine.search(asked[i : i + 1], exact=True)[0] for i in range(queries)]
    recalls = [
        len({m.image_id for m in a.matches} & {m.image_id for m in b.matches}) / len(b.matches)
        for a, b in zip(fast, exact, strict=True)
    ]
    return {
        "images": images,
        "recall_at_10": statistics.mean(recalls),
        "p50_ms": statistics.median(r.elapsed_ms for r in fast),
        "exact_p50_ms": statistics.median(r.elapsed_ms for r in exact),
        "candidates": statistics.median(r.candidates for r in fast),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, nargs="+", default=[2000, 16000])
    parser.add_argument("--queries", type=int, default=50)
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = [measure(images, args.queries, Path(folder) / str(images)) for images in args.images]
    report(rows, args.output)


if __name__ == "__main__":
    main()
