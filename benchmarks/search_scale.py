"""The default search at 10k, 100k and 1M images × 6 × 256, beside what else could be done, in one run.

    python benchmarks/search_scale.py --images 10000 100000 1000000 --json

The galleries are those of reid_like.py (`--gallery`); embeddings are stored as float16. Each way of searching runs in a
process of its own over the same index and queries, whole and half bodies in turn:
- ours: `SearchEngine.search`, k = 10; recall@10 is against exact Eq. 4
- exact: `SearchEngine.search(exact=True)`
- read: one pass over float32 embeddings (measured on up to 1 GiB of them, and scaled)
- matrices (up to 16k images): distance matrices of all queries by region, weighted and summed, as BPBReID's code does
- concatenated (up to 100k): one FAISS index over the regions put one after the other, which knows no visibility
Beside each wall-clock figure stands the processor time of the process (…cpu…, all its threads together): on a machine
that does other work only that compares. `load` is the machine's load average when a row began.
Expected on two CPU cores at 1M: recall@10 ≥ 0.99, p50 ≤ 20 ms, p99 ≤ 100 ms, RssAnon ≤ 4 GiB. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from reid_like import DIM, GALLERIES, REGIONS, People

from vpmsearch.types import ImageRecord, ModelInfo, RegionFeatures

COMMIT = 8**6  # images a commit: the segments that merging makes of smaller ones
WARM = 20
BATCH = 256
MATRICES_UP_TO, CONCATENATED_UP_TO = 16_384, 100_000


@dataclass
class Clock:
    """Seconds of what was timed, on the wall and of the processor."""

    wall: float = 0.0
    cpu: float = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Time what happens within."""
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        self.wall += time.perf_counter() - wall
        self.cpu += time.process_time() - cpu


def milliseconds(clocks: list[Clock], prefix: str = "") -> dict[str, float]:
    """The median and the 99th of 100."""
    wall, cpu = [1e3 * clock.wall for clock in clocks], [1e3 * clock.cpu for clock in clocks]
    return {
        f"{prefix}p50_ms": statistics.median(wall),
        f"{prefix}p99_ms": float(np.percentile(wall, 99)),
        f"{prefix}p50_cpu_ms": statistics.median(cpu),
        f"{prefix}p99_cpu_ms": float(np.percentile(cpu, 99)),
    }


def build(people: People, folder: Path) -> dict[str, float]:
    """Write the index: seconds without those of drawing the images, and the most memory that was held."""
    from vpmsearch.store import GalleryStore

    drawing, everything = Clock(), Clock()
    info = ModelInfo((REGIONS, 1), DIM, "benchmark")
    store = GalleryStore.create(folder, info, embedding_dtype="float16")
    with everything.running(), store, store.writer() as writer:
        first, blocks = 0, people.blocks()
        while True:
            with drawing.running():
                block = next(blocks, None)
            if block is None:
                break
            pids, features = block
            writer.add([ImageRecord(f"{first + i}.jpg", pid=int(pid)) for i, pid in enumerate(pids)], features)
            first += len(pids)
            if writer.pending >= COMMIT:
                writer.commit()
                print(f"{first} of {people.images} committed", file=sys.stderr)
        writer.commit()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    seconds, cpu = everything.wall - drawing.wall, everything.cpu - drawing.cpu
    return {"build_s": seconds, "build_cpu_s": cpu, "build_peak_gib": peak}


def memory() -> dict[str, float]:
    """Memory of this process in GiB."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
    kinds = {"rss_anon_gib": "RssAnon", "rss_file_gib": "RssFile"}
    return {name: int(lines[key].split()[0]) / 2**20 for name, key in kinds.items()}


def search(people: People, queries: int, folder: Path, exact: bool) -> dict[str, Any]:
    """One path, single queries and, for ours, a batch of 256."""
    from vpmsearch.search.engine import SearchEngine
    from vpmsearch.store import GalleryStore

    asked = people.queries(queries + WARM)
    with GalleryStore.open(folder) as store:
        engine = SearchEngine(store)
        for row in range(queries, queries + (2 if exact else WARM)):
            engine.search(asked[row : row + 1], exact=exact)
        results, clocks = [], []
        for row in range(queries):
            clocks.append(Clock())
            with clocks[-1].running():
                results += engine.search(asked[row : row + 1], exact=exact)
        out: dict[str, Any] = {
            "found": [[match.image_id for match in result.matches] for result in results],
            "depth": statistics.median(result.depth for result in results),
            "candidates": statistics.median(result.candidates for result in results),
            "closed": statistics.mean(result.bound_closed for result in results),
            "complete": statistics.mean(result.complete for result in results),
            "stages": {
                stage: statistics.median(result.timings_ms.get(stage, 0) for result in results)
                for stage in ("candidates", "re-rank", "bound", "explain", "scan")
            },
        }
        out |= milliseconds(clocks) | memory()
        batch, clock = people.queries(BATCH), Clock()
        with clock.running():
            engine.search(batch, exact=exact)
    return out | {"batch_ms": 1e3 * clock.wall / BATCH, "batch_cpu_ms": 1e3 * clock.cpu / BATCH}


def read_ms(images: int) -> dict[str, float]:
    """One pass over the float32 embeddings of so many images."""
    rows = min(images, 2**30 // (REGIONS * DIM * 4))
    array = np.ones((rows, REGIONS * DIM), np.float32)
    array.sum()
    clocks = [Clock() for _ in range(5)]
    for clock in clocks:
        with clock.running():
            array.max()  # as fast as memory, which a sum in pairs is not
    found = milliseconds(clocks)
    return {"read_ms": found["p50_ms"] * images / rows, "read_cpu_ms": found["p50_cpu_ms"] * images / rows}


def by_matrices(asked: RegionFeatures, gallery: RegionFeatures) -> np.ndarray:
    """The 10 nearest of all queries by matrices of all pairs (p, Q, G), as in BPBReID's distance.py."""
    import torch

    q, g = (torch.from_numpy(side.embeddings).transpose(0, 1) for side in (asked, gallery))  # (n, p, d) -> (p, n, d)
    q_seen, g_seen = (torch.from_numpy(side.visibility) for side in (asked, gallery))
    dot = torch.matmul(q, g.transpose(2, 1))
    squares = q.square().sum(-1).unsqueeze(2) - 2 * dot + g.square().sum(-1).unsqueeze(1)
    distances = squares.relu().sqrt()
    weights = q_seen.T.unsqueeze(2) * g_seen.T.unsqueeze(1)
    distmat = (distances * weights).sum(0) / weights.sum(0)
    return distmat.numpy().argsort(axis=1)[:, :10]


def matrices(people: People, queries: int) -> dict[str, float]:
    """Milliseconds a query of `by_matrices`."""
    gallery = RegionFeatures.concatenate([features for _, features in people.blocks()])
    asked, clock = people.queries(queries), Clock()
    with clock.running():
        by_matrices(asked, gallery)
    return {"matrices_ms": 1e3 * clock.wall / queries, "matrices_cpu_ms": 1e3 * clock.cpu / queries}


def concatenated(people: People, queries: int) -> dict[str, Any]:
    """One index over the concatenated regions."""
    import faiss

    gallery = np.concatenate([features.embeddings.reshape(len(pids), -1) for pids, features in people.blocks()])
    index = faiss.index_factory(gallery.shape[1], "Flat" if people.images < 50_000 else "IVF1024,SQ8")
    index.train(gallery[: 1024 * 50])
    index.add(gallery)
    asked, found, clocks = people.queries(queries).embeddings.reshape(queries, -1), [], []
    if people.images >= 50_000:
        index.nprobe = 64
    for row in range(queries):
        clocks.append(Clock())
        with clocks[-1].running():
            found.append((index.search(asked[row : row + 1], 10)[1][0] + 1).tolist())
    return {"found": found} | milliseconds(clocks)


def recall(found: list[list[int]], exact: list[list[int]]) -> float:
    return statistics.mean(len(set(a) & set(b)) / max(len(b), 1) for a, b in zip(found, exact, strict=True))


def in_own_process(task: str, gallery: str, images: int, queries: int, folder: Path) -> dict[str, Any]:
    command = [sys.executable, __file__, "--task", task, "--gallery", gallery, "--images", str(images)]
    command += ["--queries", str(queries), "--folder", str(folder)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def measure(gallery: str, images: int, queries: int, exact_queries: int, folder: Path) -> dict[str, Any]:
    """One size of gallery."""
    load = os.getloadavg()[0]
    unbuilt = {"build_s": None, "build_cpu_s": None, "build_peak_gib": None}
    built = unbuilt if folder.exists() else in_own_process("build", gallery, images, queries, folder)
    ours = in_own_process("ours", gallery, images, queries, folder)
    exact = in_own_process("exact", gallery, images, exact_queries, folder)
    row: dict[str, Any] = {
        "gallery": gallery,
        "images": images,
        "load": load,
        "recall_at_10": recall(ours["found"][:exact_queries], exact["found"]),
        "p50_ms": ours["p50_ms"],
        "p99_ms": ours["p99_ms"],
        "exact_p50_ms": exact["p50_ms"],
        **read_ms(images),
        "p50_cpu_ms": ours["p50_cpu_ms"],
        "p99_cpu_ms": ours["p99_cpu_ms"],
        "exact_p50_cpu_ms": exact["p50_cpu_ms"],
        **built,
        "rss_anon_gib": ours["rss_anon_gib"],
        "rss_file_gib": ours["rss_file_gib"],
        "batch_ms": ours["batch_ms"],
        "batch_cpu_ms": ours["batch_cpu_ms"],
        "exact_batch_cpu_ms": exact["batch_cpu_ms"],
    }
    row |= {name: ours[name] for name in ("depth", "candidates", "closed", "complete", "stages")}
    none = {"matrices_ms": None, "matrices_cpu_ms": None}
    row |= in_own_process("matrices", gallery, images, BATCH, folder) if images <= MATRICES_UP_TO else none
    other: dict[str, Any] = {}
    if images <= CONCATENATED_UP_TO:
        other = in_own_process("concatenated", gallery, images, exact_queries, folder)
    row |= {f"concatenated_{name}": other.get(name) for name in ("p50_ms", "p50_cpu_ms")}
    return row | {"concatenated_recall": recall(other["found"], exact["found"]) if other else None}


def run_task(task: str, gallery: str, images: int, queries: int, folder: Path) -> dict[str, Any]:
    people = GALLERIES[gallery](images)
    if task == "build":
        return build(people, folder)
    if task == "matrices":
        return matrices(people, queries)
    if task == "concatenated":
        return concatenated(people, queries)
    return search(people, queries, folder, exact=task == "exact")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--gallery", choices=list(GALLERIES), default="reid_like")
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--exact-queries", type=int, default=50, help="of them, searched exactly, for the recall")
    parser.add_argument("--folder", type=Path, help="keep the indexes here, and use those that are there")
    parser.add_argument("--json", action="store_true", help="the last line is JSON in any case")
    parser.add_argument("--output", type=Path)
    parser.add_argument(
        "--task", choices=["build", "ours", "exact", "matrices", "concatenated"], help=argparse.SUPPRESS
    )
    args = parser.parse_args()
    if args.task:
        print(json.dumps(run_task(args.task, args.gallery, args.images[0], args.queries, args.folder)))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        rows = []
        for images in args.images:
            place = folder / args.gallery / str(images)
            rows.append(measure(args.gallery, images, args.queries, min(args.exact_queries, args.queries), place))
            print(json.dumps(rows[-1]), file=sys.stderr)
    from machine import report  # not above: an older tree builds an index with `build` and has no such module

    report(rows, args.output)


if __name__ == "__main__":
    main()
