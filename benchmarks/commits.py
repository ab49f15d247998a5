"""Commits by time: what a kill of `vpmsearch index` costs, and what the commits cost.

    python benchmarks/commits.py --gallery Market-1501-v15.09.15/bounding_box_test --kills 5

Kills one run of the same gallery after another, each some time (at random) after its first batch, and looks at what the
index holds: the work lost is the time from the start of the first batch that is not in it to the kill. Then one run to
the end of `--images`: how much of its time, by the processor's clock and by the wall's, went into commits and merges.

Expected: no kill costs more than 20 s, each run gets on, and commits take at most 2 % of the time.
"""

from __future__ import annotations

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

from machine import report

from vpmsearch.data.datasets import read_gallery
from vpmsearch.indexing.indexer import index_gallery
from vpmsearch.model.device import choose_device
from vpmsearch.model.extraction import Extractor
from vpmsearch.model.weights import find_weights, read_weights
from vpmsearch.store import GalleryStore, verify

_CHILD = """
import sys, time
from vpmsearch.commands import app
from vpmsearch.indexing.run import GalleryRun
take = GalleryRun.take
def told(run, batch):
    print(time.monotonic(), len(batch.seen), flush=True)  # embedded; next it is taken, and committed if that is due
    take(run, batch)
GalleryRun.take = told
app(sys.argv[1:])
"""


def kill_one(gallery: Path, index: Path, weights: Path, after: float) -> dict[str, Any]:
    """Start a run, kill it some seconds after its first batch; what it had seen, and what of that is there."""
    before = held(index)
    command = [
        sys.executable,
        "-c",
        _CHILD,
        "index",
        gallery,
        "--index",
        index,
        "--weights",
        weights,
        "--device",
        "cpu",
    ]
    batches: list[tuple[float, int]] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as child:
        assert child.stdout is not None
        started, first = time.monotonic(), child.stdout.readline()
        time.sleep(after)
        child.send_signal(signal.SIGKILL)
        killed = time.monotonic()
        lines = [first, *child.stdout]
    for line in lines:
        moment, count = line.split()
        batches.append((float(moment), int(count)))
    kept = held(index) - before
    # A batch begins when the one before is done; the first one, when the child began to see: about a batch earlier.
    gaps = [b[0] - a[0] for a, b in pairwise(batches)]
    begun = [batches[0][0] - (min(gaps) if gaps else 0.0), *(moment for moment, _ in batches)]
    seen, lost = 0, killed - begun[-1]
    for start, (_, count) in zip(begun, batches, strict=False):
        seen += count
        if seen > kept:
            lost = killed - start
            break
    return {
        "seconds_to_first_batch": batches[0][0] - started,
        "killed_after_s": killed - batches[0][0],
        "seen": sum(count for _, count in batches),
        "kept": kept,
        "lost_s": lost,
        "longest_batch_s": max(gaps, default=0.0),
        "sound": verify(index).ok,
    }


def held(index: Path) -> int:
    """Images in an index; 0 where there is none."""
    if not (index / "catalog.sqlite3").exists():
        return 0
    with GalleryStore.open(index) as store:
        return len(store.snapshot)


def cost(gallery: Path, weights: Path, images: int) -> dict[str, Any]:
    """One run: time of all of it and of its commits, merges included, by both clocks."""
    extractor = Extractor(read_weights(weights), choose_device("cpu"))
    listed = read_gallery("folder", gallery)[:images]
    spent = {"cpu": 0.0, "wall": 0.0, "commits": 0.0}
    with tempfile.TemporaryDirectory() as folder:
        store = GalleryStore.create(f"{folder}/index", extractor.weights.info)
        real = store.writer

        def writer(**options: Any) -> Any:
            made = real(**options)
            commit = made.commit

            def timed() -> None:
                cpu, wall, pending = time.process_time(), time.perf_counter(), made.pending
                commit()
                spent["cpu"] += time.process_time() - cpu
                spent["wall"] += time.perf_counter() - wall
                spent["commits"] += bool(pending)

            made.commit = timed
            return made

        store.writer = writer  # type: ignore[method-assign]
        cpu, wall = time.process_time(), time.perf_counter()
        with store:
            index_gallery(store, extractor, listed)
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return {
        "images": len(listed),
        "commits": int(spent["commits"]),
        "cpu_s": cpu,
        "wall_s": wall,
        "commits_share_of_cpu": spent["cpu"] / cpu,
        "commits_share_of_wall": spent["wall"] / wall,
    }


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--gallery", type=Path, required=True)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--images", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    weights, draw = find_weights(options.weights), random.Random(options.seed)
    kills = []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(options.kills):
            kills.append(kill_one(options.gallery, Path(folder) / "index", weights, draw.uniform(15, 55)))
            print({key: round(value, 2) for key, value in kills[-1].items()}, flush=True)
    spent = cost(options.gallery, weights, options.images)
    most = max((kill["lost_s"] for kill in kills), default=0.0)
    report([{"most_lost_s": most, **spent, "kills": kills}], options.output, seed=options.seed)


if __name__ == "__main__":
    main()
