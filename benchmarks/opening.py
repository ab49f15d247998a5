"""What it costs to open an index and to use its labels first, by this tree and by others, in turn.

    python benchmarks/opening.py now=.=indexes/default before=../old=indexes/copy --rounds 3

Each way is a name, a checkout and an index that it can open. Each round opens every index in a process of its own: CPU
seconds since the process began (imports included) until it is open, then of the first filter (half of the pids below
50,000) and of the first ten records, and the memory that is the process's own then (RssAnon). Medians of the rounds.
Expected for a million images: total_cpu_s no more than before labels were read into memory (501de1b).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parents[1]
HALF = tuple(range(0, 50_000, 2))


def once(index: Path) -> dict[str, float]:
    """Open an index in this process, with the tree that `vpmsearch` is imported from."""
    from vpmsearch.store import GalleryStore
    from vpmsearch.types import SearchFilter

    store = GalleryStore.open(index)
    view = store.snapshot
    moments = [time.process_time()]
    view.select(SearchFilter(pids=HALF))
    moments.append(time.process_time())
    view.records_of(view.image_ids[:10])
    moments.append(time.process_time())
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return {
        "images": len(view),
        "open_cpu_s": moments[0],
        "filter_cpu_s": moments[1] - moments[0],
        "records_cpu_s": moments[2] - moments[1],
        "total_cpu_s": moments[2],
        "rss_anon_mib": int(lines["RssAnon"].split()[0]) / 1024,
    }


def asked(checkout: Path, index: Path) -> dict[str, float]:
    """`once` in a process of its own."""
    command = [sys.executable, str(Path(__file__).resolve()), "--task", str(index.resolve())]
    where = os.environ | {"PYTHONPATH": str(checkout.resolve()), "OMP_NUM_THREADS": "1"}
    found: dict[str, float] = json.loads(subprocess.run(command, env=where, check=True, stdout=subprocess.PIPE).stdout)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ways", nargs="*", metavar="NAME=CHECKOUT=INDEX")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--task", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.task is not None:
        print(json.dumps(once(args.task)))
        return
    ways = {name: (Path(checkout), Path(index)) for name, checkout, index in (way.split("=", 2) for way in args.ways)}
    found: dict[str, list[dict[str, float]]] = {name: [] for name in ways}
    for _ in range(args.rounds):
        for name, way in ways.items():
            found[name].append(asked(*way))
    medians: list[dict[str, Any]] = [
        {"way": name, **{key: statistics.median(each[key] for each in rounds) for key in rounds[0]}}
        for name, rounds in found.items()
    ]
    sys.path.insert(0, str(HERE / "benchmarks"))
    from machine import report  # not above: an older tree has not all that it needs

    report(medians, args.output)


if __name__ == "__main__":
    main()
