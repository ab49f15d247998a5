"""What the scan over signs finds of drawn galleries that lie in memory, beside the exact distances: no index is built.

    OMP_NUM_THREADS=1 python benchmarks/signs_recall.py --images 1000000 --gallery mixture --queries 32

The images are those of reid_like.py as float16 (3 GB for a million). Each query is answered by `EstimatedScan`, then by
float32 products with every image. `recall` is recall@10. `ms` is `process_time` of an answer, without records and the
explanation of matches, medians; `filtered_ms` where half of the identities pass. `compared` and `most` are how many
images were compared, the median and the largest. `closed` is the share of queries whose rule held. The last line is
JSON. Expected: recall ≥ 0.99 on both galleries.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from machine import report
from reid_like import DIM, GALLERIES, REGIONS, People

from vpmsearch.search.distances import Distances, counting
from vpmsearch.search.scan.blocks import Effort
from vpmsearch.search.scan.estimated import EstimatedScan
from vpmsearch.types import ModelInfo, RegionFeatures

K = 10
MOST = 1600
BATCH = 64
INFO = ModelInfo((REGIONS, 1), DIM, "benchmark")


@dataclass
class Held:
    """A gallery in memory, as much of a `Snapshot` as the scan asks for."""

    embeddings: np.ndarray
    visibility: np.ndarray
    model_info: ModelInfo = INFO

    def __post_init__(self) -> None:
        self.visible = self.model_info.visible(self.visibility)
        files = SimpleNamespace(embeddings=self.embeddings, visibility=self.visibility)
        self.parts = {1: SimpleNamespace(files=files, labels=range(len(self)))}

    def __len__(self) -> int:
        return len(self.visibility)

    def stored(self, rows: np.ndarray) -> np.ndarray:
        """(m, p, d)."""
        found: np.ndarray = self.embeddings[rows]
        return found

    def rows_of_segment(self, segment: int, size: int) -> np.ndarray:
        """(size,), −1 as padding."""
        rows = np.full(size, -1, np.int64)
        rows[: len(self)] = np.arange(len(self))
        return rows


def drawn(people: People) -> Held:
    """All images, as float16."""
    embeddings = np.empty((people.images, REGIONS, DIM), np.float16)
    visibility = np.empty((people.images, REGIONS), np.float32)
    first = 0
    for pids, features in people.blocks():
        some = slice(first, first + len(pids))
        embeddings[some], visibility[some] = features.embeddings, features.visibility
        first += len(pids)
    return Held(embeddings, visibility)


def exact(held: Held, queries: RegionFeatures) -> np.ndarray:
    """Rows (Q, 10) of the nearest by Eq. 4, from products in float32."""
    kept, found = np.full((len(queries), K), np.inf, np.float32), np.zeros((len(queries), K), np.int64)
    for first in range(0, len(held), 8192):
        block = held.embeddings[first : first + 8192].astype(np.float32)
        seen = np.where(held.visible[first : first + 8192], held.visibility[first : first + 8192], 0)
        weighted, total = np.zeros((2, len(queries), len(block)), np.float32)
        for region in range(REGIONS):
            a, b = queries.embeddings[:, region], block[:, region]
            squares = np.square(a).sum(axis=1)[:, None] + np.square(b).sum(axis=1) - 2 * a @ b.T
            weight = queries.visibility[:, region, None] * seen[:, region]
            weighted += weight * np.sqrt(np.maximum(squares, 0))
            total += weight
        with np.errstate(invalid="ignore", divide="ignore"):
            distances = np.where(total > 0, weighted / total, np.inf)
        rows = np.broadcast_to(np.arange(first, first + len(block)), distances.shape)
        kept, found = np.concatenate([kept, distances], axis=1), np.concatenate([found, rows], axis=1)
        order = np.argpartition(kept, K, axis=1)[:, :K]
        kept, found = np.take_along_axis(kept, order, axis=1), np.take_along_axis(found, order, axis=1)
    return found


def measure(gallery: str, images: int, count: int) -> dict[str, Any]:
    """One gallery."""
    people = GALLERIES[gallery](images)
    held, queries = drawn(people), people.queries(max(count, BATCH))
    queries = RegionFeatures(counting(INFO, queries.visibility), queries.embeddings)
    print(f"{gallery}: drawn", file=sys.stderr)
    scan: Any = EstimatedScan(held, Distances(held), Effort())  # type: ignore[arg-type] # as much as it asks for
    start = time.process_time()
    if not scan.prepare():
        sys.exit("no signs were made: pip install 'vpmsearch[scan]'")
    row: dict[str, Any] = {
        "gallery": gallery,
        "images": images,
        "queries": count,
        "signs_s": time.process_time() - start,
    }
    half = np.isin(people.pids(), np.unique(people.pids())[::2])
    answers: list[Any] = []
    for name, allowed in (("ms", None), ("filtered_ms", half)):
        spent, answers = [], []
        for one in [0, 1, *range(count)]:
            start = time.process_time()
            answers += scan.search(queries[one : one + 1], K, MOST, allowed)
            spent.append(1e3 * (time.process_time() - start))
        row[name] = statistics.median(spent[2:])
        if allowed is None:
            asked = answers[2:]
        else:
            row["filtered_compared"] = statistics.median(each.compared for each in answers[2:])
    start = time.process_time()
    scan.search(queries[np.arange(BATCH)], K, MOST)
    row["batch_ms"] = 1e3 * (time.process_time() - start) / BATCH
    right = exact(held, queries[:count])
    row["recall"] = statistics.mean(len({*each.best[0]} & {*near}) / K for each, near in zip(asked, right, strict=True))
    row["compared"], row["most"] = (
        statistics.median(each.compared for each in asked),
        max(each.compared for each in asked),
    )
    return row | {"closed": statistics.mean(each.closed for each in asked)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="+", default=[100_000])
    parser.add_argument("--gallery", nargs="+", choices=list(GALLERIES), default=list(GALLERIES))
    parser.add_argument("--queries", type=int, default=32)
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    rows = []
    for images in args.images:
        for gallery in args.gallery:
            rows.append(measure(gallery, images, args.queries))
            print(rows[-1], file=sys.stderr)
    report(rows, args.output)


if __name__ == "__main__":
    main()
