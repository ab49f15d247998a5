"""A folder and a server with the same gallery: build time, latency, recall@10, room, and how equal their distances are.

    python benchmarks/server_store.py --server postgresql+psycopg://me@/gallery --images 5000

The database must hold no index yet; it keeps what was built. Queries go to the two stores in turns within one run.
Embeddings are rounded to the index's dtype first, so that both compare the same numbers.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from machine import report
from reid_like import DIM, REGIONS, People

from vpmsearch.evaluation.searching import recall
from vpmsearch.search.open import searcher
from vpmsearch.store import Gallery
from vpmsearch.store.open import create_index
from vpmsearch.types import ImageRecord, ModelInfo, RegionFeatures, SearchResult

COMMIT = 4096


def build(store: Gallery, people: People, dtype: str) -> float:
    """Seconds to take in the gallery and to build the indexes."""
    first = 0
    start = time.perf_counter()
    with store.writer() as writer:
        for pids, features in people.blocks():
            for at in range(0, len(features), COMMIT):
                part = rounded(features[at : at + COMMIT], dtype)
                numbers = range(first, first + len(part))
                records = [ImageRecord(f"/g/{i}.jpg", f"{i:032x}", int(pids[i - first + at]), i % 8) for i in numbers]
                writer.add(records, part)
                writer.commit()
                first += len(part)
    return time.perf_counter() - start


def rounded(features: RegionFeatures, dtype: str) -> RegionFeatures:
    """As the index stores them."""
    return RegionFeatures(features.visibility, features.embeddings.astype(dtype).astype(np.float32))


def timed(engine: Any, query: RegionFeatures, **options: Any) -> tuple[SearchResult, float]:
    start = time.perf_counter()
    result = engine.search(query, 10, **options)[0]
    return result, 1e3 * (time.perf_counter() - start)


def largest_difference(ours: list[SearchResult], theirs: list[SearchResult]) -> float:
    """Of the distances, rank by rank, relative."""
    pairs = [
        (a.distance, b.distance)
        for x, y in zip(ours, theirs, strict=True)
        for a, b in zip(x.matches, y.matches, strict=True)
    ]
    one, other = np.array(pairs).T
    return float((np.abs(one - other) / np.maximum(one, 1e-12)).max())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", required=True, help="postgresql+psycopg://… of a database without an index")
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--queries", type=int, default=50)
    parser.add_argument("--index-type", default="hnsw", help="of the server's index; the folder's is auto")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    people = People(args.images, seed=args.seed)
    info = ModelInfo((REGIONS, 1), DIM, f"drawn-{args.images}")
    queries = rounded(people.queries(args.queries), args.dtype)
    with (
        tempfile.TemporaryDirectory() as folder,
        create_index(Path(folder) / "index", info, embedding_dtype=args.dtype) as embedded,
        create_index(args.server, info, embedding_dtype=args.dtype, index_type=args.index_type) as server,
    ):
        stores = {"folder": embedded, "server": server}
        seconds = {name: build(store, people, args.dtype) for name, store in stores.items()}
        engines = {name: searcher(store) for name, store in stores.items()}
        found: dict[tuple[str, bool], list[SearchResult]] = {(n, e): [] for n in stores for e in (False, True)}
        times: dict[tuple[str, bool], list[float]] = {key: [] for key in found}
        for row in [0, *range(len(queries))]:  # the first only warms up
            for (name, exact), results in found.items():
                result, ms = timed(engines[name], queries[row : row + 1], exact=exact)
                results.append(result)
                times[name, exact].append(ms)
        found = {key: results[1:] for key, results in found.items()}
        rows = []
        for name, store in stores.items():
            p50, p95 = np.percentile(times[name, False][1:], (50, 95))
            stages = [result.timings_ms for result in found[name, False]]
            rows.append(
                {
                    "store": name,
                    "type": "/".join(sorted({kind for kinds in store.stats().region_index_types for kind in kinds})),
                    "images": args.images,
                    "build s": seconds[name],
                    "bytes an image": store.stats().bytes_on_disk["total"] / args.images,
                    "recall@10": recall(found[name, False], found[name, True]),
                    "p50 ms": float(p50),
                    "p95 ms": float(p95),
                    "lists ms": float(np.median([stage.get("candidates", 0.0) for stage in stages])),
                    "re-rank ms": float(np.median([stage.get("re-rank", 0.0) for stage in stages])),
                    "exact p50 ms": float(np.median(times[name, True][1:])),
                    "depth": float(np.median([result.depth for result in found[name, False]])),
                    "complete": float(np.mean([result.complete for result in found[name, False]])),
                }
            )
        report(rows, args.output, args.seed)
        ours, theirs = found["folder", True], found["server", True]
        same = sum(
            [m.path for m in a.matches] == [m.path for m in b.matches] for a, b in zip(ours, theirs, strict=True)
        )
        print(
            f"exact: largest relative difference {largest_difference(ours, theirs):.2e}, same order {same}/{len(ours)}"
        )


if __name__ == "__main__":
    main()
