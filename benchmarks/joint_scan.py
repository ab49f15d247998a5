"""What searches of one index cost in processor time, of the tree that PYTHONPATH names: for two trees, run in turn.

    PYTHONPATH=. python benchmarks/joint_scan.py --index indexes/scale/20000 --images 20000
    PYTHONPATH=../old python benchmarks/joint_scan.py --index indexes/scale/20000 --images 20000 --searches 16 --warm 3

The index is one that search_scale.py made (`--folder indexes/scale`), with its queries, whole and half bodies in turn.
Milliseconds of `process_time` a query, medians: the default path, exact, 64 queries at once by both, and filtered by
half of the identities; recall@10 of the default path against exact. The first searches are left out, as an engine makes
its codes after some: flat indexes after 16 to 33, lists of 100,000 images after 127. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from reid_like import GALLERIES

try:
    from vpmsearch.search.engine import SearchEngine
except ModuleNotFoundError:  # older trees
    from vpmsearch.search import SearchEngine
from vpmsearch.store import GalleryStore
from vpmsearch.types import SearchFilter

BATCH = 64


def cpu_ms(search: Callable[[int], Any], count: int, warm: int, each: int = 1) -> float:
    """The median of so many calls, after some that do not count, over the queries of each."""
    for number in range(warm):
        search(number)
    taken = []
    for number in range(count):
        start = time.process_time()
        search(number)
        taken.append(time.process_time() - start)
    return 1e3 * statistics.median(taken) / each


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--index", type=Path, required=True)
    parser.add_argument("--images", type=int, required=True, help="of the gallery that it holds")
    parser.add_argument("--gallery", choices=list(GALLERIES), default="reid_like", help="how its images are drawn")
    parser.add_argument("--searches", type=int, default=40)
    parser.add_argument("--warm", type=int, default=20)
    args = parser.parse_args()
    people, batches = GALLERIES[args.gallery](args.images), max(2, args.searches // 16)
    asked = people.queries(200)
    half = SearchFilter(pids=tuple(sorted({int(pid) for pid in people.pids()})[::2]))
    with GalleryStore.open(args.index) as store:
        engine = SearchEngine(store)

        found: dict[bool, dict[int, set[int]]] = {False: {}, True: {}}

        def one(number: int, **options: Any) -> None:
            row = number % len(asked)
            matches = engine.search(asked[row : row + 1], **options)[0].matches
            if "filter" not in options and number < args.searches:  # the last ones are not those that warm up
                found["exact" in options][row] = {match.image_id for match in matches}

        row = {
            "gallery": args.gallery,
            "images": args.images,
            "default": cpu_ms(one, args.searches, args.warm),
            "exact": cpu_ms(lambda number: one(number, exact=True), args.searches, min(args.warm, 40)),
            "exact_batch": cpu_ms(lambda _: engine.search(asked[:BATCH], exact=True), batches, 0, BATCH),
            "batch": cpu_ms(lambda _: engine.search(asked[:BATCH]), batches, 0, BATCH),
            "filtered": cpu_ms(lambda number: one(number, filter=half), args.searches, 0),
        }
        row["recall_at_10"] = statistics.mean(
            len(found[False][asked_row] & right) / len(right) for asked_row, right in found[True].items()
        )
    print(json.dumps(row))


if __name__ == "__main__":
    main()
