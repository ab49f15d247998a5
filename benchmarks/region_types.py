"""What a region's index should be: FAISS types beside one another on one region of the galleries of reid_like.py.

    python benchmarks/region_types.py --images 100000

For each type: build seconds, bytes a vector, milliseconds a search of 400 neighbours with one thread (regions are
searched beside each other), and which share of the 10 and of the 100 nearest it names among them. The choice made from
it is in docs/decisions/0005-search.md.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from machine import report
from reid_like import DIM, People

K = 400


def types(n: int) -> dict[str, tuple[str, tuple[int, ...]]]:
    """FAISS's names, and the efforts (lists, or efSearch) to try."""
    lists = min(int(2 * n**0.5), n // 39)
    shares = tuple(max(1, lists // divisor) for divisor in (64, 32, 16, 8))
    return {
        "flat": ("Flat", (0,)),
        "hnsw": ("HNSW32", (64, 400)),
        "ivf-flat": (f"IVF{lists},Flat", shares),
        "ivf-sq8": (f"IVF{lists},SQ8", shares),
        "ivf-pq": (f"IVF{lists},PQ64x8", shares),
        "ivf-pq-fast-scan": (f"IVF{lists},PQ128x4fs", shares),
        "ivf-rabitq": (f"IVF{lists},RaBitQ", shares),
        "ivf-rabitq-fast-scan": (f"IVF{lists},RaBitQfs", shares),
        "ivf-rabitq4-fast-scan": (f"IVF{lists},RaBitQfs4", shares),
    }


def measure(
    vectors: np.ndarray, queries: np.ndarray, name: str, factory: str, efforts: tuple[int, ...]
) -> Iterator[dict[str, Any]]:
    index = faiss.index_factory(DIM, factory)
    start = time.perf_counter()
    if not index.is_trained:
        index.train(vectors[:: max(1, len(vectors) // (50 * index.nlist))])
    index.add(vectors)
    built = time.perf_counter() - start
    size = len(faiss.serialize_index(index)) / len(vectors)
    exact = faiss.knn(queries, vectors, 100)[1]
    for effort in efforts:
        if name == "hnsw":
            index.hnsw.efSearch = effort
        elif effort:
            index.nprobe = effort
        times, found = [], []
        threads = faiss.omp_get_max_threads()
        faiss.omp_set_num_threads(1)
        for query in queries:
            start = time.perf_counter()
            found.append(index.search(query[None], K)[1][0])
            times.append(1e3 * (time.perf_counter() - start))
        faiss.omp_set_num_threads(threads)
        shares = {k: np.mean([np.isin(a[:k], b).mean() for a, b in zip(exact, found, strict=True)]) for k in (10, 100)}
        row: dict[str, Any] = {"type": name, "effort": effort, "build_s": built, "bytes": size}
        row |= {"p50_ms": statistics.median(times), "of_10": float(shares[10]), "of_100": float(shares[100])}
        yield row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=50)
    parser.add_argument("--types", nargs="+")
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    people = People(args.images)
    vectors = np.concatenate([features.embeddings[:, 0] for _, features in people.blocks()])
    queries = np.ascontiguousarray(people.queries(args.queries).embeddings[:, 0])
    rows = []
    for name, (factory, efforts) in types(args.images).items():
        if args.types is None or name in args.types:
            try:
                rows += measure(vectors, queries, name, factory, efforts)
            except RuntimeError as error:
                print(f"{name}: {error}")
    report(rows, args.output)


if __name__ == "__main__":
    main()
