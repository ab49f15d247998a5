"""Many queries at once, one by one, exactly, and by matrices: side by side on one gallery of 16k images, in one run.

    python benchmarks/search_batch.py --images 16384 --rounds 5
    python benchmarks/search_batch.py --index indexes/market

The gallery is one of reid_like.py, or an index, whose own images (rounds of different ones) are then the queries, every
second one with the lower half of its regions unseen. Per round: 256 queries at once and 64 of them one by one by the
default path, one by one and at once by the exact path, and BPBReID's way (search_scale.py). Milliseconds a query are
medians over the rounds, wall-clock and of the processor; memory is what a way needs at its peak beyond what was held
before it. Expected: `batch_times` (single / batch) ≥ 5, `matrices_times` (matrices / exact batch) ≥ 3, `memory_share`
(exact batch / matrices) ≤ 0.2; all three by processor time.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from machine import report
from reid_like import People
from search_scale import BATCH, Clock, build, by_matrices

from vpmsearch.search.engine import SearchEngine
from vpmsearch.store import GalleryStore
from vpmsearch.types import RegionFeatures

SINGLE = 64


def status(name: str) -> float:
    """A line of this process's memory in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 2**10 for line in lines if line.startswith(f"{name}:"))


def own_queries(store: GalleryStore, seed: int) -> RegionFeatures:
    """Images of an index, every second one half a body."""
    snapshot = store.snapshot
    rows = np.sort(np.random.default_rng(seed).choice(len(snapshot), BATCH, replace=False))
    visibility = snapshot.visibility[rows].copy()
    visibility[1::2, visibility.shape[1] // 2 :] = 0
    return RegionFeatures(visibility, snapshot.embeddings(rows))


def measure(store: GalleryStore, questions: list[RegionFeatures]) -> dict[str, Any]:
    engine, snapshot = SearchEngine(store), store.snapshot
    seen = np.where(snapshot.visible, snapshot.visibility, np.float32(0))
    whole: list[np.ndarray] = []  # the float32 gallery that matrices need; held only from the last way on

    def one_by_one(asked: RegionFeatures, exact: bool) -> None:
        for row in range(SINGLE):
            engine.search(asked[row : row + 1], exact=exact)

    def matrices(asked: RegionFeatures) -> None:
        by_matrices(asked, RegionFeatures(seen, whole[0]))

    ways: dict[str, tuple[Callable[[RegionFeatures], object], int]] = {
        "single": (lambda asked: one_by_one(asked, False), SINGLE),
        "batch": (engine.search, BATCH),
        "exact_single": (lambda asked: one_by_one(asked, True), SINGLE),
        "exact_batch": (lambda asked: engine.search(asked, exact=True), BATCH),
        "matrices": (matrices, BATCH),
    }
    row: dict[str, Any] = {"images": len(snapshot), "load": os.getloadavg()[0]}
    for name, (way, count) in ways.items():
        before = status("VmRSS")
        if name == "matrices":
            whole.append(snapshot.embeddings(np.arange(len(snapshot))))
        Path("/proc/self/clear_refs").write_text("5")  # the peak is counted anew
        clocks = [Clock() for _ in questions]
        for asked, clock in zip(questions, clocks, strict=True):
            with clock.running():
                way(asked)
        row[f"{name}_ms"] = 1e3 * statistics.median(clock.wall for clock in clocks) / count
        row[f"{name}_cpu_ms"] = 1e3 * statistics.median(clock.cpu for clock in clocks) / count
        row[f"{name}_mib"] = status("VmHWM") - before
    row["batch_times"] = row["single_cpu_ms"] / row["batch_cpu_ms"]
    row["matrices_times"] = row["matrices_cpu_ms"] / row["exact_batch_cpu_ms"]
    row["memory_share"] = row["exact_batch_mib"] / row["matrices_mib"]
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=16_384)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--index", type=Path)
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    if args.index is not None:
        with GalleryStore.open(args.index) as store:
            row = measure(store, [own_queries(store, seed) for seed in range(args.rounds)])
    else:
        people = People(args.images)
        everything = people.queries(BATCH * args.rounds)
        questions = [everything[start : start + BATCH] for start in range(0, len(everything), BATCH)]
        with tempfile.TemporaryDirectory() as folder:
            build(people, Path(folder) / "index")
            with GalleryStore.open(Path(folder) / "index") as store:
                row = measure(store, questions)
    report([row], args.output)


if __name__ == "__main__":
    main()
