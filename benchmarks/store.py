"""A gallery of a million committed images: what opening, counting and adding cost, and what lies on the disk.

    python benchmarks/store.py
    python benchmarks/store.py --images 100000 --profile profiles/

Two indexes, of `--small` and of `--images` synthetic images, are built by commits of 50,000, then commits of 1,000 are
added to each in turn. A commit after which the index has no segment more was one that merged. Expected on two idle CPU
cores, for a million images: open_s <= 1, stats_s <= 1, ratio (without merges) <= 1.5, disk (bytes of the index over
those of its raw embeddings and FAISS files) <= 1.15, catalog_bytes (of SQLite, an image, less twice the mean length of
a path) <= 220.
"""

from __future__ import annotations

import argparse
import cProfile
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from machine import report

from vpmsearch.store import GalleryStore
from vpmsearch.types import ImageRecord, ModelInfo, RegionFeatures

REGIONS, COMMIT, ADDED = 6, 50_000, 1_000


def seconds(act: Callable[[], Any], profile: Path | None = None) -> float:
    """How long something takes; with a profile it takes longer."""
    profiler = cProfile.Profile() if profile is not None else None
    start = time.perf_counter()
    if profiler is None:
        act()
        return time.perf_counter() - start
    profiler.runcall(act)
    profiler.dump_stats(profile)
    return time.perf_counter() - start


def images(start: int, count: int, dim: int) -> tuple[list[ImageRecord], RegionFeatures]:
    """Images `start` and following: half bodies and whole ones, 20 an identity, hashes as long as real ones."""
    rng = np.random.default_rng(start)
    visibility = np.full((count, REGIONS), 1 / REGIONS, np.float32)
    visibility[rng.random(count) < 0.5] = np.array([0.32, 0.32, 0.32, 0.02, 0.01, 0.01], np.float32)
    hashes = [rng.bytes(32).hex() for _ in range(count)]
    records = [ImageRecord(path(i), content, i // 20, i % 6, None, 64, 128) for i, content in enumerate(hashes, start)]
    return records, RegionFeatures(visibility, rng.standard_normal((count, REGIONS, dim), dtype=np.float32))


def path(number: int) -> str:
    """As long as those of Market-1501."""
    return f"gallery/{number // 1000:04}/{number:07}_c{number % 6}s1_00.jpg"


def build(folder: Path, count: int, dim: int, dtype: str) -> GalleryStore:
    """An index of `count` images in commits of 50,000."""
    store = GalleryStore.create(folder, ModelInfo((REGIONS, 1), dim, "benchmark"), embedding_dtype=dtype)
    for start in range(0, count, COMMIT):
        with store.writer() as writer:
            writer.add(*images(start, min(COMMIT, count - start), dim))
            writer.commit()
    return store


def add(store: GalleryStore, start: int, dim: int) -> tuple[float, bool]:
    """Seconds to add 1,000 images, and whether segments were merged."""
    before = store.stats().segments
    records, features = images(start, ADDED, dim)

    def commit() -> None:
        with store.writer() as writer:
            writer.add(records, features)
            writer.commit()

    took = seconds(commit)
    return took, store.stats().segments <= before


def additions(
    small: GalleryStore, large: GalleryStore, sizes: tuple[int, int], rounds: int, dim: int
) -> dict[str, Any]:
    """Commits of 1,000 side by side: medians of those that merged nothing, means of all."""
    taken = [
        [add(store, size + number * ADDED, dim) for store, size in zip((small, large), sizes, strict=True)]
        for number in range(rounds)
    ]
    by_store = list(zip(*taken, strict=True))
    plain = [statistics.median([took for took, merged in each if not merged] or [np.nan]) for each in by_store]
    every = [statistics.mean(took for took, _ in each) for each in by_store]
    return {
        "add_small_s": plain[0],
        "add_s": plain[1],
        "ratio": plain[1] / plain[0],
        "add_small_with_merges_s": every[0],
        "add_with_merges_s": every[1],
        "ratio_with_merges": every[1] / every[0],
        "merges_small": sum(merged for _, merged in by_store[0]),
        "merges": sum(merged for _, merged in by_store[1]),
    }


def sizes_on_disk(store: GalleryStore, count: int, dim: int) -> dict[str, Any]:
    """Bytes against the embeddings and FAISS files alone, and of SQLite an image."""
    found = store.stats().bytes_on_disk
    raw = count * REGIONS * dim * np.dtype(store.embedding_dtype).itemsize
    lengths = statistics.mean(len(path(i)) for i in range(0, count, 997))
    return {
        "disk": found["total"] / (raw + found["region_indexes"]),
        "catalog_bytes": found["catalog"] / count - 2 * lengths,
        "bytes": found["total"],
    }


def measure(folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Both indexes, one row."""
    start = time.perf_counter()
    build(folder / "large", args.images, args.dim, args.dtype).close()
    opened: list[GalleryStore] = []
    profiles = [None if args.profile is None else args.profile / f"{name}.prof" for name in ("open", "stats")]
    row: dict[str, Any] = {"images": args.images, "dim": args.dim, "dtype": args.dtype}
    row["build_s"] = time.perf_counter() - start
    row["open_s"] = seconds(lambda: opened.append(GalleryStore.open(folder / "large")), profiles[0])
    row["stats_s"] = seconds(opened[0].stats, profiles[1])
    row |= sizes_on_disk(opened[0], args.images, args.dim)
    with opened[0] as large, build(folder / "small", args.small, args.dim, args.dtype) as small:
        row |= additions(small, large, (args.small, args.images), args.rounds, args.dim)
        with large.writer() as writer:
            writer.remove([1])
            writer.commit()
        row["refresh_s"] = seconds(lambda: large.snapshot)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--small", type=int, default=10_000)
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--dtype", choices=("float16", "float32"), default="float16")
    parser.add_argument("--rounds", type=int, default=20, help="commits of 1,000 images added to each index")
    parser.add_argument("--folder", type=Path, help="where the indexes are built; default: the system's place")
    parser.add_argument("--profile", type=Path, help="a folder for cProfile's files of opening and counting")
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    if args.profile is not None:
        args.profile.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        row = measure(Path(folder), args)
    report([row], args.output)


if __name__ == "__main__":
    main()
