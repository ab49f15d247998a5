"""What it costs to store embeddings as float16 or 8 bits a number: Eq. 4's distances and rankings, of a real index.

    python benchmarks/embedding_precision.py --index indexes/market --queries 100

Queries are images of the index (float32), whole and then with the lower half of their regions unseen; only the gallery
is rounded, as in a store. `error`: largest relative error of a distance; `of_10`: share of the 10 nearest that stay
among the 10 nearest; mAP and rank-1 over the identities of the index, same camera left out. 8 bits: each number as one
of 256 levels between the least and the largest of its place in the gallery.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import report

from vpmsearch.equations import visibility_weighted_distance
from vpmsearch.evaluation.metrics import evaluate_rank
from vpmsearch.store import GalleryStore


def eight_bits(x: np.ndarray) -> np.ndarray:
    low, high = x.min(axis=0), x.max(axis=0)
    step = np.maximum(high - low, 1e-12) / 255
    return (np.rint((x - low) / step) * step + low).astype(np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--index", type=Path, required=True)
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    with GalleryStore.open(args.index) as store:
        snapshot = store.snapshot
        stored = snapshot.embeddings(np.arange(len(snapshot)))
        seen = np.where(snapshot.visible, snapshot.visibility, np.float32(0))
        records = snapshot.records(np.arange(len(snapshot)))
    pids, camids = (np.array([getattr(r, name) or 0 for r in records]) for name in ("pid", "camid"))
    chosen = np.random.default_rng(args.seed).choice(np.flatnonzero(pids > 0), args.queries, replace=False)
    half = seen[chosen].copy()
    half[:, half.shape[1] // 2 :] = 0
    rounded = {
        "float32": stored,
        "float16": stored.astype(np.float16).astype(np.float32),
        "8 bits": eight_bits(stored),
    }
    rows: list[dict[str, Any]] = []
    for name, visibility in (("whole", seen[chosen]), ("half", half)):
        distances: dict[str, np.ndarray] = {}
        for kind, gallery in rounded.items():
            values = (stored[chosen], visibility, gallery, seen)
            distances[kind] = visibility_weighted_distance(*map(torch.from_numpy, values)).numpy()
            for row, own in enumerate(chosen):
                distances[kind][row, own] = np.inf
            right, found = distances["float32"], distances[kind]
            finite = np.isfinite(right)
            nearest = [np.argsort(d, axis=1, kind="stable")[:, :10] for d in (right, found)]
            metrics = evaluate_rank(found, pids[chosen], pids, camids[chosen], camids)
            rows.append(
                {"queries": name, "stored": kind}
                | {"error": float(np.max(np.abs(found[finite] - right[finite]) / right[finite]))}
                | {"of_10": float(np.mean([np.isin(a, b).mean() for a, b in zip(*nearest, strict=True)]))}
                | {"rank1": float(metrics.cmc[0]), "map": metrics.mean_ap}
            )
    report(rows, args.output, args.seed)


if __name__ == "__main__":
    main()
