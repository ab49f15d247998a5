"""Ranking a test set: the streaming evaluator against Eq. 4's full rows, both with the metrics they lead to.

    python benchmarks/evaluation.py
    python benchmarks/evaluation.py --queries 500 --gallery 4000

Synthetic embeddings of unit length in Market-1501's numbers. The direct way is what the evaluator did before: it ranks
a few queries only (`--direct`), and its time is scaled up. CPU seconds, as machines are shared; with OMP_NUM_THREADS=1
waiting threads do not count. Expected: ratio >= 5, the same figures to the last bit, memory_mib <= 1024.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from machine import report

from vpmsearch.equations import visibility_weighted_distance
from vpmsearch.evaluation.labelled import LabelledFeatures
from vpmsearch.evaluation.metrics import QueryMetrics, RankAccumulator
from vpmsearch.evaluation.ranked import rank
from vpmsearch.types import RegionFeatures


def draw(count: int, seed: int, identities: int = 750, p: int = 6, d: int = 256) -> LabelledFeatures:
    """Images of people that are some way apart; every region counts."""
    rng = np.random.default_rng([1, seed])
    pids = rng.integers(1, identities + 1, count)
    centres = np.random.default_rng(0).normal(size=(identities + 1, p, d)).astype(np.float32)
    embeddings = centres[pids] + 3 * rng.normal(size=(count, p, d)).astype(np.float32)
    embeddings /= np.linalg.norm(embeddings, axis=2, keepdims=True)
    visibility = rng.dirichlet(np.full(p, 4.0), count).astype(np.float32)
    return LabelledFeatures(RegionFeatures(visibility, embeddings), pids, rng.integers(1, 7, count))


def direct(query: LabelledFeatures, gallery: LabelledFeatures) -> QueryMetrics:
    """Every distance by Eq. 4's own function, 64 queries at a time."""
    accumulator = RankAccumulator(gallery.pids, gallery.camids)
    among = torch.from_numpy(gallery.features.embeddings), torch.from_numpy(gallery.features.visibility)
    for start in range(0, len(query.pids), 64):
        some = slice(start, start + 64)
        part = query.features[some]
        asked = torch.from_numpy(part.embeddings), torch.from_numpy(part.visibility)
        distances = visibility_weighted_distance(*asked, *among).numpy()
        accumulator.update(distances, query.pids[some], query.camids[some])
    return accumulator.per_query()


def peak_mib() -> float:
    """Most memory that this process has had at once."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, default=3368)
    parser.add_argument("--gallery", type=int, default=15_913)
    parser.add_argument("--direct", type=int, default=32, help="queries that the direct way ranks")
    parser.add_argument("--output", type=Path)
    given = parser.parse_args()
    query, gallery = draw(given.queries, 1), draw(given.gallery, 2)
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak of drawing
    before = peak_mib()
    start = time.process_time()
    found = rank(query, gallery, min_visibility=0).per_query()
    streaming = time.process_time() - start
    memory = peak_mib() - before
    few = LabelledFeatures(query.features[: given.direct], query.pids[: given.direct], query.camids[: given.direct])
    start = time.process_time()
    expected = direct(few, gallery)
    slow = (time.process_time() - start) * given.queries / given.direct
    np.testing.assert_array_equal(found.ap[: given.direct], expected.ap)
    row = {
        "queries": given.queries, "gallery": given.gallery, "streaming_cpu_s": streaming, "direct_cpu_s": slow,
        "ratio": slow / streaming, "memory_mib": memory, "mean_ap": found.means().mean_ap,
    }  # fmt: skip
    report([row], given.output)


if __name__ == "__main__":
    main()
