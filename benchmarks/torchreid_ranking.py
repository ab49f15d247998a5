"""Ranking a test set, against torchreid, which ranks a finished matrix of distances: so do we, and from features.

    git clone https://github.com/KaiyangZhou/deep-person-reid
    (cd deep-person-reid/torchreid/metrics/rank_cylib && python setup.py build_ext --inplace)   # needs cython
    OMP_NUM_THREADS=1 python benchmarks/torchreid_ranking.py --torchreid deep-person-reid

Drawn features of Market-1501's numbers (seeds 1 and 2). `from_features` ranks all queries, with Eq. 4 in it; the others
rank `--few` of them from a finished matrix, scaled up. All take turns within each round. CPU seconds, medians. It fails
unless CMC and mAP of those queries agree to 1e-6 with the first way's. Without the build the Cython row is left out.
Expected: torchreid's Python takes ten times `from_features`, its Cython more than `of_matrix`.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from evaluation import draw
from machine import report

from vpmsearch.equations import visibility_weighted_distance
from vpmsearch.evaluation.labelled import LabelledFeatures
from vpmsearch.evaluation.metrics import evaluate_rank
from vpmsearch.evaluation.ranked import rank

Theirs = Callable[..., tuple[np.ndarray[Any, Any], float]]


def loaded(name: str, path: Path) -> ModuleType:
    """A module by its file: torchreid's package imports much that is not needed here."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def theirs(checkout: Path) -> dict[str, Theirs]:
    """The ways in which torchreid ranks."""
    folder = checkout / "torchreid" / "metrics"
    ways: dict[str, Theirs] = {"python": loaded("rank", folder / "rank.py").eval_market1501}
    for built in sorted((folder / "rank_cylib").glob("rank_cy.*.so")):
        ways["cython"] = loaded("rank_cy", built).evaluate_cy
    return ways


def ours_of_matrix(distances: np.ndarray[Any, Any], *labels: Any) -> tuple[np.ndarray[Any, Any], float]:
    """Our ranking of a finished matrix, called as theirs."""
    found = evaluate_rank(distances, *labels[:-1])
    return found.cmc, found.mean_ap


def matrix(query: LabelledFeatures, gallery: LabelledFeatures) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Eq. 4, every distance, (Q, G)."""
    among = torch.from_numpy(gallery.features.embeddings), torch.from_numpy(gallery.features.visibility)
    rows = []
    for start in range(0, len(query.pids), 32):
        part = query.features[start : start + 32]
        asked = torch.from_numpy(part.embeddings), torch.from_numpy(part.visibility)
        rows.append(visibility_weighted_distance(*asked, *among).numpy())
    return np.concatenate(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--torchreid", type=Path, required=True, help="a checkout")
    parser.add_argument("--queries", type=int, default=3368)
    parser.add_argument("--gallery", type=int, default=15_913)
    parser.add_argument("--few", type=int, default=200, help="queries that are ranked from a matrix")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path)
    given = parser.parse_args()
    query, gallery = draw(given.queries, 1), draw(given.gallery, 2)
    few = LabelledFeatures(query.features[: given.few], query.pids[: given.few], query.camids[: given.few])
    distances = matrix(few, gallery)
    labels = few.pids, gallery.pids, few.camids, gallery.camids
    ways = {"of_matrix": ours_of_matrix} | {f"torchreid_{name}": way for name, way in theirs(given.torchreid).items()}
    times: dict[str, list[float]] = {name: [] for name in ("from_features", *ways)}
    differences: dict[str, float] = {}
    same = rank(few, gallery, min_visibility=0).per_query().means()
    for _ in range(given.rounds):
        start = time.process_time()
        rank(query, gallery, min_visibility=0).per_query()
        times["from_features"].append(time.process_time() - start)
        for name, way in ways.items():
            start = time.process_time()
            cmc, mean_ap = way(distances, *labels, 10)
            times[name].append((time.process_time() - start) * given.queries / given.few)
            differences[name] = float(
                max(np.abs(np.asarray(cmc)[:10] - same.cmc[:10]).max(), abs(mean_ap - same.mean_ap))
            )
    assert max(differences.values()) < 1e-6, differences
    cpu = {name: statistics.median(values) for name, values in times.items()}
    rows = [
        {
            "way": name,
            "cpu_s": cpu[name],
            "times_of_matrix": cpu[name] / cpu["of_matrix"],
            "differs": differences.get(name),
        }
        for name in times
    ]
    report(rows, given.output, seed=1)


if __name__ == "__main__":
    main()
