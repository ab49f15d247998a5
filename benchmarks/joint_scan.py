"""What searches of an index cost in processor time, of this tree and of another (`--before`), query by query in turn.

    OMP_NUM_THREADS=1 python benchmarks/joint_scan.py --images 20000 100000 --before ../old --folder indexes/both

The galleries are those of reid_like.py, `reid_like` and `mixture`, with their queries, whole and half bodies in turn.
The older tree builds an index (float16); a copy of it, whose files are links, is upgraded for this tree. Each tree has
a process of its own, which opens its index and makes its codes if it has any. Then both answer each query: by default,
filtered by half of the identities, exactly; and 64 queries at once. Milliseconds of `process_time` a query, medians.
`recall` is recall@10 of the default search against the exact one. `exact_alike` is the share of queries for which both
trees' exact searches find the same images. open_cpu_s, codes_cpu_s and rss_anon_gib are of opening (imports included),
of making codes (loading kernels included) and of the memory when all is done. The last line is JSON.
Expected, of 501de1b's: default ≤ 0.3 / 0.5 / 0.5 and exact ≤ 0.25 / 0.2 / 0.2 at 20,000 / 100,000 / 1,000,000, a batch
≤ 0.6 at 100,000; recall@10 ≥ 0.99 on both galleries; filtered over default ≤ 1.3.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from reid_like import GALLERIES
from search_scale import build, memory

from vpmsearch.store import GalleryStore
from vpmsearch.types import SearchFilter

BATCH = 64
HERE = Path(__file__).resolve().parent.parent
WAYS = ("default", "filtered", "exact")


def serve(gallery: str, images: int, folder: Path, codes: bool) -> None:
    """The process of one tree: answers lines of way and query with lines of milliseconds and images found."""
    try:
        from vpmsearch.search.engine import SearchEngine
    except ModuleNotFoundError:  # older trees
        from vpmsearch.search import SearchEngine
    start = time.process_time()
    people = GALLERIES[gallery](images)
    half = SearchFilter(pids=tuple(sorted({int(pid) for pid in people.pids()})[::2]))
    options: dict[str, dict[str, Any]] = {"default": {}, "filtered": {"filter": half}, "exact": {"exact": True}}
    options |= {"batch": {}, "exact_batch": {"exact": True}}
    drawn = time.process_time() - start
    with GalleryStore.open(folder) as store:
        engine = SearchEngine(store)
        opened = time.process_time() - drawn  # since the process began, as trees import their libraries at other times
        for scan in (getattr(engine._view, name, None) for name in ("scan", "estimates")):
            if scan is not None and codes:
                scan.prepare()
        if hasattr(engine, "_effort") and not codes:
            engine._effort.numbers = engine._effort.searches = -(10**15)  # so that it never makes codes
        asked = people.queries(BATCH)
        codes_cpu_s = time.process_time() - drawn - opened
        print(json.dumps({"open_cpu_s": opened, "codes_cpu_s": codes_cpu_s}), flush=True)
        for line in sys.stdin:
            way, row = json.loads(line)
            some = asked if way.endswith("batch") else asked[row % BATCH : row % BATCH + 1]
            start = time.process_time()
            results = engine.search(some, **options[way])
            spent = 1e3 * (time.process_time() - start) / len(some)
            found = [match.image_id for match in results[0].matches]
            print(json.dumps({"ms": spent, "found": found} | memory()), flush=True)


class Tree:
    """A running `serve`."""

    def __init__(self, checkout: Path, gallery: str, images: int, folder: Path, codes: bool) -> None:
        self._process = subprocess.Popen(
            task("serve", gallery, images, folder) + ([] if codes else ["--without-codes"]),
            env=os.environ | {"PYTHONPATH": str(checkout)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.row: dict[str, Any] = self._answer()
        self.taken: dict[str, list[float]] = {}
        self.found: dict[str, list[set[int]]] = {}

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            sys.exit("a tree's process ended; its error stands above")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def ask(self, way: str, row: int, count: bool = True) -> None:
        """Answer one query, or the batch; the first ones do not count."""
        assert self._process.stdin is not None
        print(json.dumps([way, row]), file=self._process.stdin, flush=True)
        answer = self._answer()
        self.row["rss_anon_gib"] = answer["rss_anon_gib"]
        if count:
            self.taken.setdefault(way, []).append(answer["ms"])
            self.found.setdefault(way, []).append(set(answer["found"]))

    def end(self) -> dict[str, Any]:
        """Stop it. What it has measured."""
        self._process.communicate()
        pairs = zip(self.found["default"], self.found["exact"], strict=True)
        recall = statistics.mean(len(found & right) / len(right) for found, right in pairs)
        return self.row | {way: statistics.median(taken) for way, taken in self.taken.items()} | {"recall": recall}


def task(name: str, gallery: str, images: int, folder: Path) -> list[str]:
    """This script as a process of one tree."""
    command = [sys.executable, str(Path(__file__).resolve()), "--task", name, "--gallery", gallery]
    return [*command, "--images", str(images), "--folder", str(folder)]


def make(gallery: str, images: int, folder: Path, checkouts: dict[str, Path]) -> None:
    """An index for each tree with the same files, as far as they are not there."""
    first = next(iter(checkouts))
    if not (folder / first).exists():
        folder.mkdir(parents=True, exist_ok=True)
        where = os.environ | {"PYTHONPATH": str(checkouts[first])}
        subprocess.run(task("build", gallery, images, folder / first), env=where, check=True)
    if not (folder / "now").exists():
        shutil.copytree(folder / first / "segments", folder / "now" / "segments", copy_function=os.link)
        for file in (folder / first).glob("catalog*"):
            shutil.copy2(file, folder / "now")
        upgrade = [sys.executable, "-m", "vpmsearch", "upgrade", "--index", str(folder / "now")]
        subprocess.run(upgrade, env=os.environ | {"PYTHONPATH": str(HERE)}, check=True)


def measure(
    gallery: str, images: int, folder: Path, checkouts: dict[str, Path], searches: int, codes: bool
) -> dict[str, Any]:
    """One gallery, by all trees."""
    make(gallery, images, folder, checkouts)
    load = os.getloadavg()[0]
    trees = {name: Tree(checkout, gallery, images, folder / name, codes) for name, checkout in checkouts.items()}
    for row in range(-2, searches):
        for way in WAYS:
            for tree in trees.values():
                tree.ask(way, row, row >= 0)
    for row in range(-1, max(3, searches // 16)):
        for way in ("batch", "exact_batch"):
            for tree in trees.values():
                tree.ask(way, row, row >= 0)
    exact = [tree.found["exact"] for tree in trees.values()]
    alike = statistics.mean(left == right for left, right in zip(exact[0], exact[-1], strict=True))
    found = {name: tree.end() for name, tree in trees.items()}
    row: dict[str, Any] = {"gallery": gallery, "images": images, "load": load, **found, "exact_alike": alike}
    if "before" in found:
        row["share"] = {way: found["now"][way] / found["before"][way] for way in (*WAYS, "batch", "exact_batch")}
    return row | {"filtered_over_default": found["now"]["filtered"] / found["now"]["default"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gallery", nargs="+", choices=list(GALLERIES), default=list(GALLERIES))
    parser.add_argument("--images", type=int, nargs="+", default=[20_000])
    parser.add_argument("--before", type=Path, help="another checkout, beside this one")
    parser.add_argument("--searches", type=int, default=40)
    parser.add_argument("--without-codes", action="store_true", help="as in the first searches of a process")
    parser.add_argument("--folder", type=Path, help="keep the indexes here, and use those that are there")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--task", choices=["build", "serve"], help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.task == "build":
        build(GALLERIES[args.gallery[0]](args.images[0]), args.folder)
        return
    if args.task == "serve":
        serve(args.gallery[0], args.images[0], args.folder, not args.without_codes)
        return
    checkouts = ({"before": args.before.resolve()} if args.before else {}) | {"now": HERE}
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        for images in args.images:
            for gallery in args.gallery:
                folder = (args.folder or Path(temporary)) / gallery / str(images)
                rows.append(measure(gallery, images, folder, checkouts, args.searches, not args.without_codes))
                print(json.dumps(rows[-1]), file=sys.stderr)
    from machine import report  # not above: an older tree has not all that this module needs

    report(rows, args.output)


if __name__ == "__main__":
    main()
