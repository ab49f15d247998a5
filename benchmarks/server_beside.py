"""CPU of default searches of existing indexes, by one or several trees of this repository, asked in turns.

    python benchmarks/server_beside.py --images 100000 --ask now=.=postgresql+psycopg://…/gallery \
        --ask before=../old=postgresql+psycopg://…/gallery --ask folder=.=indexes/100000

Each `--ask` is NAME=TREE=INDEX. A process of its own imports `vpmsearch` from that tree and opens that index. The
indexes hold the gallery of `benchmarks/reid_like.py` in float16, as `benchmarks/server_store.py` builds it. Every query
goes to all processes in turns, in an order that changes. Reported is CPU time, since it means something on a machine
with other work: that of the client process, and that of the server's process behind its connection, which must run on
this machine. Recall is of the distances that the first index gives in an exact search.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from reid_like import GALLERIES

from vpmsearch.types import RegionFeatures

K = 10
Worker: TypeAlias = "subprocess.Popen[str]"


def queries(args: argparse.Namespace) -> RegionFeatures:
    """As the indexes store them."""
    made = GALLERIES[args.gallery](args.images, seed=args.seed).queries(args.queries)
    return RegionFeatures(made.visibility, made.embeddings.astype(np.float16).astype(np.float32))


def server_ms(pid: int | None) -> float:
    """CPU of a process on this machine so far."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e6 if pid else 0.0


@contextmanager
def opened(index: str) -> Iterator[tuple[Any, Any]]:
    """A store and its search. A folder is opened by the names that every tree has, however old."""
    if "://" not in index:
        from vpmsearch.search import SearchEngine
        from vpmsearch.store import GalleryStore

        with GalleryStore.open(Path(index)) as folder:
            yield folder, SearchEngine(folder)
        return
    from vpmsearch.search.open import searcher
    from vpmsearch.store.open import open_index

    with open_index(index) as store:
        yield store, searcher(store)


def work(args: argparse.Namespace) -> None:
    """Search as standard input says, `ROW EXACT` a line; answer a line of JSON each."""
    asked, options = queries(args), {"regions": args.regions} if args.regions else {}
    with opened(args.work) as (store, engine):
        pid = None
        server = getattr(store, "server", None)
        for line in sys.stdin:
            row, exact = map(int, line.split())
            if server is not None:
                pid = server.read(lambda cursor: cursor.execute("SELECT pg_backend_pid()").fetchone()[0])
            before, start, begun = server_ms(pid), time.process_time(), time.perf_counter()
            result = engine.search(asked[row : row + 1], K, bool(exact), **options)[0]
            answer = {
                "client": 1e3 * (time.process_time() - start),
                "wall": 1e3 * (time.perf_counter() - begun),
                "server": server_ms(pid) - before,
                "distances": [match.distance for match in result.matches],
                "depth": result.depth,
                "candidates": result.candidates,
            }
            print(json.dumps(answer), flush=True)


def ask(worker: Worker, row: int, exact: bool = False) -> dict[str, Any]:
    """One query of a process."""
    assert worker.stdin is not None
    assert worker.stdout is not None
    print(row, int(exact), file=worker.stdin, flush=True)
    answer: dict[str, Any] = json.loads(worker.stdout.readline())
    return answer


def recall(found: list[dict[str, Any]], exact: list[dict[str, Any]]) -> float:
    """Of the exact distances, up to rounding."""
    shares = [
        np.mean(np.array(ours["distances"]) <= right["distances"][-1] * (1 + 1e-5))
        for ours, right in zip(found, exact, strict=True)
    ]
    return float(np.mean(shares))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ask", action="append", default=[], metavar="NAME=TREE=INDEX")
    parser.add_argument("--images", type=int, required=True)
    parser.add_argument("--gallery", default="reid_like", choices=list(GALLERIES))
    parser.add_argument("--queries", type=int, default=50)
    parser.add_argument("--warm", type=int, default=8, help="queries before those that count")
    parser.add_argument("--exact", action="store_true", help="searches that compare every image")
    parser.add_argument("--regions", type=int, nargs="+", help="search by these alone")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--work", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.work:
        work(args)
        return
    from machine import report  # not for workers, whose tree may lack what it imports

    workers: dict[str, Worker] = {}
    for name, tree, index in (each.split("=", 2) for each in args.ask):
        command = [sys.executable, __file__, *sys.argv[1:], "--work", index]
        environment = os.environ | {"PYTHONPATH": str(Path(tree).resolve())}
        workers[name] = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
    exact = [ask(next(iter(workers.values())), row, True) for row in range(args.queries)]
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in workers}
    for row in [*range(args.warm), *range(args.queries)]:
        turn = row % len(workers)
        for name in [*workers][turn:] + [*workers][:turn]:
            found[name].append(ask(workers[name], row % args.queries, args.exact))
    rows = []
    for name, worker in workers.items():
        worker.stdin.close()  # type: ignore[union-attr]
        worker.wait()
        counted = found[name][args.warm :]
        rows.append(
            {
                "asked": name,
                "images": args.images,
                "client ms": float(np.median([one["client"] for one in counted])),
                "server ms": float(np.median([one["server"] for one in counted])),
                "both ms": float(np.median([one["client"] + one["server"] for one in counted])),
                "both p95": float(np.percentile([one["client"] + one["server"] for one in counted], 95)),
                "wall ms": float(np.median([one["wall"] for one in counted])),
                "recall@10": recall(counted, exact),
                "depth": float(np.median([one["depth"] for one in counted])),
                "candidates": float(np.median([one["candidates"] for one in counted])),
            }
        )
    report(rows, args.output, args.seed)


if __name__ == "__main__":
    main()
