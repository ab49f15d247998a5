"""How long one `vpmsearch query` takes, from the shell and back, on a gallery of 16k images.

    python benchmarks/query_command.py --rounds 5

The gallery has random features, the weights are those of the package and the picture is one of docs/images; a real
index is as quick. Beside it, in turn, `import torch` alone, which no query can do without. Medians of wall-clock and of
processor seconds; `times` is their ratio by processor time.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from machine import report

from vpmsearch.model.weights import PRETRAINED, read_weights
from vpmsearch.store import GalleryStore
from vpmsearch.types import ImageRecord, RegionFeatures

PICTURE = Path(__file__).parent.parent / "docs" / "images" / "panel.jpg"
BLOCK = 4096


def make_index(folder: Path, images: int) -> None:
    info = read_weights(PRETRAINED).info
    rng = np.random.default_rng(0)
    with GalleryStore.create(folder, info) as store, store.writer() as writer:
        for start in range(0, images, BLOCK):
            n = min(BLOCK, images - start)
            embeddings = rng.standard_normal((n, info.p, info.embedding_dim), dtype=np.float32)
            embeddings /= np.linalg.norm(embeddings, axis=2, keepdims=True)
            visibility = rng.dirichlet(np.full(info.p, 20.0), n).astype(np.float32)
            writer.add(
                [ImageRecord(f"{i}.jpg") for i in range(start, start + n)], RegionFeatures(visibility, embeddings)
            )
            writer.commit()


def seconds(command: list[str]) -> tuple[float, float]:
    """Wall-clock and processor time of a process."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.perf_counter() - start, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=16_384)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--index", type=Path, help="made here unless it is there")
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        index = args.index or Path(temporary) / "index"
        if not index.exists():
            make_index(index, args.images)
        query = [sys.executable, "-m", "vpmsearch", "query", str(PICTURE), "--index", str(index), "--json"]
        commands = {"query": query, "torch": [sys.executable, "-c", "import torch"]}
        taken: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
        for _ in range(args.rounds):
            for name, command in commands.items():
                taken[name].append(seconds(command))
    row: dict[str, Any] = {"images": args.images, "load": os.getloadavg()[0]}
    for name, pairs in taken.items():
        wall, cpu = zip(*pairs, strict=True)
        row |= {f"{name}_s": statistics.median(wall), f"{name}_cpu_s": statistics.median(cpu)}
    report([row | {"times": row["query_cpu_s"] / row["torch_cpu_s"]}], args.output)


if __name__ == "__main__":
    main()
