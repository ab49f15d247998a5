"""DSR's distances of 500 queries to 100 candidates each, against a double loop over pairs with numpy's least squares.

    python benchmarks/matchers.py

Feature maps of 16 × 8 pixels with 256 numbers each, drawn. The loop goes through a few pairs (`--pairs`), its time is
scaled up. CPU seconds, as machines are shared; with OMP_NUM_THREADS=1 waiting threads do not count. Expected: the same
distances, ratio >= 100.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from machine import report

from vpmsearch.evaluation.matchers import RIDGE, candidate_distances, second_moments, spatial_features

QUERIES, CANDIDATES = 500, 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=20, help="pairs that the loop goes through")
    parser.add_argument("--output", type=Path)
    given = parser.parse_args()
    torch.manual_seed(0)
    query, gallery = (spatial_features(torch.randn(n, 256, 16, 8), (1,)) for n in (QUERIES, CANDIDATES))
    candidates = np.tile(np.arange(CANDIDATES), (QUERIES, 1))
    start = time.process_time()
    found = candidate_distances(second_moments(query), candidates, enumerate(gallery))
    ours = time.process_time() - start
    start = time.process_time()
    for pair in range(given.pairs):
        x, y = query[pair % QUERIES].double().numpy(), gallery[pair % CANDIDATES].double().numpy()
        dictionary = np.vstack([y.T, np.sqrt(RIDGE) * np.eye(len(y))])  # (d + M, M)
        weights, *_ = np.linalg.lstsq(dictionary, np.vstack([x.T, np.zeros((len(y), len(x)))]), rcond=None)
        distance = ((x.T - y.T @ weights) ** 2).sum() / len(x)
        np.testing.assert_allclose(found[pair % QUERIES, pair % CANDIDATES], distance, atol=1e-5)
    loop = (time.process_time() - start) * QUERIES * CANDIDATES / given.pairs
    row = {"queries": QUERIES, "candidates": CANDIDATES, "cpu_s": ours, "loop_cpu_s": loop, "ratio": loop / ours}
    report([row], given.output)


if __name__ == "__main__":
    main()
