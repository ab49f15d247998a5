"""The default search at 10k, 100k and 1M images × 6 × 256, beside what else could be done, in one run.

    python benchmarks/search_scale.py --images 10000 100000 1000000 --json

The galleries are those of reid_like.py; embeddings are stored as float16. Each way of searching runs in a process of
its own over the same index and queries, whole and half bodies in turn:
- ours: `SearchEngine.search`, k = 10; recall@10 is against exact Eq. 4
- exact: `SearchEngine.search(exact=True)`
- read: one pass over float32 embeddings (measured on up to 1 GiB of them, and scaled)
- matrices (up to 16k images): distance matrices of all queries by region, weighted and summed, as BPBReID's code does
- concatenated (up to 100k): one FAISS index over the regions put one after the other, which knows no visibility
Expected on two CPU cores at 1M: recall@10 ≥ 0.99, p50 ≤ 20 ms, p99 ≤ 100 ms, RssAnon ≤ 4 GiB. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from machine import report
from reid_like import DIM, REGIONS, People

from vpmsearch.types import ImageRecord, ModelInfo

COMMITS = 8  # merged into one segment after the last
WARM = 20
MATRICES_UP_TO, CONCATENATED_UP_TO = 16_384, 100_000


def build(people: People, folder: Path) -> float:
    """Write the index; seconds, without those of drawing the images."""
    from vpmsearch.store import GalleryStore

    drawing = 0.0
    start = time.perf_counter()
    every = -(-people.images // COMMITS) if people.images > 200_000 else people.images
    info = ModelInfo((REGIONS, 1), DIM, "benchmark")
    with GalleryStore.create(folder, info, embedding_dtype="float16") as store, store.writer() as writer:
        first, blocks = 0, people.blocks()
        while True:
            before = time.perf_counter()
            block = next(blocks, None)
            drawing += time.perf_counter() - before
            if block is None:
                break
            pids, features = block
            writer.add([ImageRecord(f"{first + i}.jpg", pid=int(pid)) for i, pid in enumerate(pids)], features)
            first += len(pids)
            if writer.pending >= every:
                writer.commit()
        writer.commit()
    return time.perf_counter() - start - drawing


def memory() -> dict[str, float]:
    """Memory of this process in GiB."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
    kinds = {"rss_anon_gib": "RssAnon", "rss_file_gib": "RssFile"}
    return {name: int(lines[key].split()[0]) / 2**20 for name, key in kinds.items()}


def search(people: People, queries: int, folder: Path, exact: bool) -> dict[str, Any]:
    """One path, single queries and, for ours, a batch of 256."""
    from vpmsearch.search import SearchEngine
    from vpmsearch.store import GalleryStore

    asked = people.queries(queries + WARM)
    with GalleryStore.open(folder) as store:
        engine = SearchEngine(store)
        for row in range(queries, queries + (2 if exact else WARM)):
            engine.search(asked[row : row + 1], exact=exact)
        results, times = [], []
        for row in range(queries):
            start = time.perf_counter()
            results += engine.search(asked[row : row + 1], exact=exact)
            times.append(1e3 * (time.perf_counter() - start))
        out: dict[str, Any] = {
            "found": [[match.image_id for match in result.matches] for result in results],
            "p50_ms": statistics.median(times),
            "p99_ms": float(np.percentile(times, 99)),
            "depth": statistics.median(result.depth for result in results),
            "candidates": statistics.median(result.candidates for result in results),
            "closed": statistics.mean(result.bound_closed for result in results),
            "complete": statistics.mean(result.complete for result in results),
            "stages": {
                stage: statistics.median(result.timings_ms.get(stage, 0) for result in results)
                for stage in ("candidates", "re-rank", "bound", "explain", "scan")
            },
        }
        out |= memory()
        batch = people.queries(256)
        start = time.perf_counter()
        engine.search(batch, exact=exact)
        out["batch_ms_per_query"] = 1e3 * (time.perf_counter() - start) / 256
    return out


def read_ms(images: int) -> float:
    """One pass over the float32 embeddings of so many images."""
    rows = min(images, 2**30 // (REGIONS * DIM * 4))
    array = np.ones((rows, REGIONS * DIM), np.float32)
    array.sum()
    times = []
    for _ in range(5):
        start = time.perf_counter()
        array.max()  # as fast as memory, which a sum in pairs is not
        times.append(time.perf_counter() - start)
    return 1e3 * statistics.median(times) * images / rows


def matrices(people: People, queries: int) -> dict[str, float]:
    """All queries against all images by matrices (p, Q, G), as in BPBReID's distance.py: milliseconds a query."""
    import torch

    parts = [features for _, features in people.blocks()]
    gallery = torch.from_numpy(np.concatenate([part.embeddings for part in parts])).transpose(0, 1).contiguous()
    g_seen = torch.from_numpy(np.concatenate([part.visibility for part in parts]))
    asked = people.queries(queries)
    q, q_seen = torch.from_numpy(asked.embeddings).transpose(0, 1).contiguous(), torch.from_numpy(asked.visibility)
    start = time.perf_counter()
    dot = torch.matmul(q, gallery.transpose(2, 1))
    squares = q.square().sum(-1).unsqueeze(2) - 2 * dot + gallery.square().sum(-1).unsqueeze(1)
    distances = squares.relu().sqrt()
    weights = q_seen.T.unsqueeze(2) * g_seen.T.unsqueeze(1)
    distmat = (distances * weights).sum(0) / weights.sum(0)
    distmat.numpy().argsort(axis=1)[:, :10]
    seconds = time.perf_counter() - start
    return {"matrices_ms_per_query": 1e3 * seconds / queries} | memory()


def concatenated(people: People, queries: int) -> dict[str, Any]:
    """One index over the concatenated regions."""
    import faiss

    gallery = np.concatenate([features.embeddings.reshape(len(pids), -1) for pids, features in people.blocks()])
    index = faiss.index_factory(gallery.shape[1], "Flat" if people.images < 50_000 else "IVF1024,SQ8")
    index.train(gallery[: 1024 * 50])
    index.add(gallery)
    asked, found, times = people.queries(queries).embeddings.reshape(queries, -1), [], []
    if people.images >= 50_000:
        index.nprobe = 64
    for row in range(queries):
        start = time.perf_counter()
        found.append((index.search(asked[row : row + 1], 10)[1][0] + 1).tolist())
        times.append(1e3 * (time.perf_counter() - start))
    return {"found": found, "p50_ms": statistics.median(times)}


def recall(found: list[list[int]], exact: list[list[int]]) -> float:
    return statistics.mean(len(set(a) & set(b)) / max(len(b), 1) for a, b in zip(found, exact, strict=True))


def in_own_process(task: str, images: int, queries: int, folder: Path) -> dict[str, Any]:
    command = [sys.executable, __file__, "--task", task, "--images", str(images), "--queries", str(queries)]
    done = subprocess.run([*command, "--folder", str(folder)], check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def measure(images: int, queries: int, exact_queries: int, folder: Path) -> dict[str, Any]:
    """One size of gallery."""
    people = People(images)
    built = in_own_process("build", images, queries, folder)["build_s"] if not folder.exists() else 0.0
    ours = in_own_process("ours", images, queries, folder)
    exact = in_own_process("exact", images, exact_queries, folder)
    row: dict[str, Any] = {
        "images": images,
        "recall_at_10": recall(ours["found"][:exact_queries], exact["found"]),
        "p50_ms": ours["p50_ms"],
        "p99_ms": ours["p99_ms"],
        "exact_p50_ms": exact["p50_ms"],
        "read_ms": read_ms(images),
        "build_s": built,
        "rss_anon_gib": ours["rss_anon_gib"],
        "rss_file_gib": ours["rss_file_gib"],
        "batch_ms": ours["batch_ms_per_query"],
        "exact_batch_ms": exact["batch_ms_per_query"],
        "depth": ours["depth"],
        "candidates": ours["candidates"],
        "closed": ours["closed"],
        "complete": ours["complete"],
    }
    row["stages"] = ours["stages"]
    small = people.images <= MATRICES_UP_TO
    row["matrices_ms"] = in_own_process("matrices", images, 256, folder)["matrices_ms_per_query"] if small else None
    if images <= CONCATENATED_UP_TO:
        other = in_own_process("concatenated", images, exact_queries, folder)
        row |= {"concatenated_p50_ms": other["p50_ms"], "concatenated_recall": recall(other["found"], exact["found"])}
    else:
        row |= {"concatenated_p50_ms": None, "concatenated_recall": None}
    return row


def run_task(task: str, images: int, queries: int, folder: Path) -> dict[str, Any]:
    people = People(images)
    if task == "build":
        return {"build_s": build(people, folder)}
    if task == "matrices":
        return matrices(people, queries)
    if task == "concatenated":
        return concatenated(people, queries)
    return search(people, queries, folder, exact=task == "exact")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="+", default=[10_000, 100_000])
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
        print(json.dumps(run_task(args.task, args.images[0], args.queries, args.folder)))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        rows = []
        for images in args.images:
            rows.append(measure(images, args.queries, min(args.exact_queries, args.queries), folder / str(images)))
            print(json.dumps(rows[-1]), file=sys.stderr)
    report(rows, args.output)


if __name__ == "__main__":
    main()
