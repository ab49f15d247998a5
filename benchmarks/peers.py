"""Our default search beside what a competent user would write by hand, at equal recall, in one run.

    OMP_NUM_THREADS=1 python benchmarks/peers.py --images 20000 100000 --folder indexes/scale

By hand: one index per region over the images that show it, k' neighbours of each region that the query shows, then
Eq. 4 of their union in NumPy over float32 embeddings in memory. The indexes are FAISS's IVF-Flat (2 √n lists) and HNSW
(M 32), and usearch's HNSW (float16, its defaults). Each is searched with several settings (lists looked through, or the
breadth of the walk). Of these the table keeps the cheapest with recall@10 ≥ 0.99 against exact Eq. 4, or else the one
with the best recall.

Queries are those of reid_like.py, whole and half bodies in turn. All ways answer each query in turn, on one thread,
and `process_time` is taken: medians in milliseconds. Ours is the default search of an index with float16 embeddings
(made in `--folder`/GALLERY/IMAGES, if it is not there), once before its codes are made (`lists`), once with them.
The last line is JSON.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from machine import report
from reid_like import GALLERIES, People
from search_scale import build

from vpmsearch.search.engine import SearchEngine
from vpmsearch.store import GalleryStore
from vpmsearch.types import RegionFeatures

K = 10
WANTED = 0.99
Answer = Callable[[RegionFeatures], set[int]]
Neighbours = Callable[[int, np.ndarray, int], np.ndarray]  # region, embedding (d,), k' -> rows


@dataclass
class Way:
    """One way to search. cpu: milliseconds of each query. found: rows of the answers."""

    name: str
    setting: str
    answer: Answer
    build_cpu_s: float
    cpu: list[float] = field(default_factory=list)
    found: list[set[int]] = field(default_factory=list)

    def ask(self, query: RegionFeatures) -> None:
        """Answer one query."""
        start = time.process_time()
        found = self.answer(query)
        self.cpu.append(1e3 * (time.process_time() - start))
        self.found.append(found)

    def row(self, right: list[set[int]]) -> dict[str, Any]:
        """What the table says of it."""
        shares = [len(found & near) / len(near) for found, near in zip(self.found, right, strict=True)]
        return {
            "way": self.name,
            "setting": self.setting,
            "recall_at_10": statistics.mean(shares),
            "cpu_ms": statistics.median(self.cpu),
            "cpu_ms_p90": float(np.percentile(self.cpu, 90)),
            "build_cpu_s": self.build_cpu_s,
        }


class ByHand:
    """A gallery in memory, with visibility 0 where it does not count."""

    def __init__(self, features: RegionFeatures, least: float) -> None:
        self.embeddings = features.embeddings
        self.visibility = np.where(features.visibility >= least, features.visibility, 0).astype(np.float32)
        self.least = least
        self.shown = [np.flatnonzero(region) for region in (self.visibility > 0).T]

    def way(self, name: str, setting: str, neighbours: Neighbours, depth: int, build_cpu_s: float) -> Way:
        """K' of each region, then Eq. 4."""

        def answer(query: RegionFeatures) -> set[int]:
            visible = np.where(query.visibility[0] >= self.least, query.visibility[0], 0)
            lists = [
                self.shown[region][neighbours(region, query.embeddings[0, region], depth)]
                for region in np.flatnonzero(visible).tolist()
            ]
            rows = np.unique(np.concatenate(lists))
            weights = self.visibility[rows] * visible
            distances = np.linalg.norm(self.embeddings[rows] - query.embeddings[0], axis=2)
            distances = (weights * distances).sum(axis=1) / weights.sum(axis=1)
            return set(rows[np.argsort(distances)[:K]].tolist())

        return Way(f"{name}, k' {depth}", setting, answer, build_cpu_s)


def ivf_flat(gallery: ByHand) -> list[Way]:
    """FAISS's inverted lists."""
    start, indexes = time.process_time(), []
    for region, rows in enumerate(gallery.shown):
        vectors = np.ascontiguousarray(gallery.embeddings[rows, region])
        lists = int(2 * len(rows) ** 0.5)
        quantizer = faiss.IndexFlatL2(vectors.shape[1])
        index = faiss.IndexIVFFlat(quantizer, vectors.shape[1], lists)
        index.train(vectors[np.random.default_rng(0).permutation(len(vectors))[: 50 * lists]])
        index.add(vectors)
        indexes.append((quantizer, index))
    spent = time.process_time() - start

    def with_probes(probes: int) -> Neighbours:
        setting = faiss.SearchParametersIVF(nprobe=probes)

        def neighbours(region: int, embedding: np.ndarray, depth: int) -> np.ndarray:
            found = indexes[region][1].search(embedding[None], depth, params=setting)[1][0]
            return found[found >= 0]

        return neighbours

    return [
        gallery.way("FAISS IVF-Flat", f"{probes} lists", with_probes(probes), depth, spent)
        for depth in (200, 400)
        for probes in (2, 4, 8, 16, 32, 64)
    ]


def hnsw(gallery: ByHand) -> list[Way]:
    """FAISS's graphs."""
    start, indexes = time.process_time(), []
    for region, rows in enumerate(gallery.shown):
        index = faiss.IndexHNSWFlat(gallery.embeddings.shape[2], 32)
        index.add(np.ascontiguousarray(gallery.embeddings[rows, region]))
        indexes.append(index)
    spent = time.process_time() - start

    def with_breadth(breadth: int) -> Neighbours:
        setting = faiss.SearchParametersHNSW(efSearch=breadth)

        def neighbours(region: int, embedding: np.ndarray, depth: int) -> np.ndarray:
            found = indexes[region].search(embedding[None], depth, params=setting)[1][0]
            return found[found >= 0]

        return neighbours

    return [
        gallery.way("FAISS HNSW", f"efSearch {breadth}", with_breadth(breadth), depth, spent)
        for depth in (200, 400)
        for breadth in (depth, 2 * depth)
    ]


def usearch(gallery: ByHand) -> list[Way]:
    """Usearch's graphs, if it is installed."""
    try:
        from usearch.index import Index
    except ModuleNotFoundError:
        print("usearch is not installed: pip install usearch", file=sys.stderr)
        return []
    start, indexes = time.process_time(), []
    for region, rows in enumerate(gallery.shown):
        index = Index(ndim=gallery.embeddings.shape[2], metric="l2sq", dtype="f16")
        index.add(np.arange(len(rows)), np.ascontiguousarray(gallery.embeddings[rows, region]), threads=1)
        indexes.append(index)
    spent = time.process_time() - start

    def neighbours(region: int, embedding: np.ndarray, depth: int) -> np.ndarray:
        keys: np.ndarray = indexes[region].search(embedding, depth, threads=1).keys
        return keys.astype(np.int64)

    # Its breadth is at least the number of neighbours asked for.
    return [gallery.way("usearch", "its defaults", neighbours, depth, spent) for depth in (200, 400)]


PEERS: dict[str, Callable[[ByHand], list[Way]]] = {"ivf-flat": ivf_flat, "hnsw": hnsw, "usearch": usearch}


def ours(store: GalleryStore) -> tuple[list[Way], Way]:
    """The default search by lists and with codes; and the exact one."""
    lists, coded, ids = SearchEngine(store), SearchEngine(store), store.snapshot.image_ids
    start = time.process_time()
    made = [scan.prepare() for scan in (coded._view.estimates, coded._view.scan) if scan is not None]
    spent = time.process_time() - start
    if not all(made):
        print("the codes of vpmsearch were not made: pip install 'vpmsearch[scan]'", file=sys.stderr)
    lists._effort.numbers = lists._effort.searches = -(10**15)  # so that it never makes codes

    def by(engine: SearchEngine, exact: bool) -> Answer:
        def answer(query: RegionFeatures) -> set[int]:
            matches = engine.search(query, k=K, exact=exact)[0].matches
            return set(np.searchsorted(ids, [match.image_id for match in matches]).tolist())

        return answer

    ways = [Way("ours, lists", "", by(lists, False), 0.0), Way("ours", "", by(coded, False), spent)]
    return ways, Way("ours, exact", "", by(coded, True), spent)


def kept(ways: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of the settings of each way: the cheapest that finds enough, else the one that finds most."""
    best: dict[str, dict[str, Any]] = {}
    for row in ways:
        enough = row["recall_at_10"] >= WANTED
        order = (not enough, row["cpu_ms"] if enough else -row["recall_at_10"])
        if row["way"] not in best or order < best[row["way"]]["order"]:
            best[row["way"]] = row | {"order": order}
    return [{key: value for key, value in row.items() if key != "order"} for row in best.values()]


def measure(people: People, folder: Path, peers: list[str], queries: int) -> list[dict[str, Any]]:
    """All ways on one gallery."""
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        build(people, folder)
    features = RegionFeatures.concatenate([block for _, block in people.blocks()])
    asked = people.queries(queries + 5)
    with GalleryStore.open(folder) as store:
        gallery = ByHand(features, store.snapshot.model_info.min_visibility)
        ways, exact = ours(store)
        for peer in peers:
            ways += PEERS[peer](gallery)
            print(f"{peer} built", file=sys.stderr)
        for row in range(queries + 5):
            for way in (exact, *ways):
                way.ask(asked[row : row + 1])
    for way in (exact, *ways):  # the first five are not counted
        way.cpu, way.found = way.cpu[5:], way.found[5:]
    return [exact.row(exact.found), *kept([way.row(exact.found) for way in ways])]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gallery", nargs="+", choices=list(GALLERIES), default=list(GALLERIES))
    parser.add_argument("--images", type=int, nargs="+", default=[20_000])
    parser.add_argument("--peers", nargs="*", choices=list(PEERS), default=list(PEERS))
    parser.add_argument("--queries", type=int, default=50)
    parser.add_argument("--folder", type=Path, help="keep the indexes here, and use those that are there")
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    faiss.omp_set_num_threads(1)
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        for gallery in args.gallery:
            for images in args.images:
                folder = (args.folder or Path(temporary)) / gallery / str(images)
                found = measure(GALLERIES[gallery](images), folder, args.peers, args.queries)
                rows += [{"gallery": gallery, "images": images} | row for row in found]
    report(rows, args.output)


if __name__ == "__main__":
    main()
