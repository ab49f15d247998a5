"""Many people asking one server at once: failures, and how long an answer takes.

    vpmsearch serve --index indexes/market --rate 6000 &
    python benchmarks/serve_load.py --photographs Market-1501-v15.09.15/query --searches 200 --at-once 200

All searches are sent at once, each with a photograph of its own; an answer's time counts from then, so it contains the
wait for those before it. What one answer takes when nobody else asks stands beside it.
"""

from __future__ import annotations

import argparse
import json
import time
import urllib.request
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from machine import report


def search(url: str, photograph: Path) -> tuple[int, float]:
    """Matches found (−1: it failed) and seconds."""
    boundary = uuid.uuid4().hex
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="photograph"; filename="q.jpg"\r\n\r\n'
    body = head.encode() + photograph.read_bytes() + f"\r\n--{boundary}--\r\n".encode()
    kind = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    start = time.perf_counter()
    try:
        with urllib.request.urlopen(urllib.request.Request(f"{url}/api/search", body, kind), timeout=300) as answer:
            found = len(json.load(answer)["matches"])
    except OSError as error:
        print(error)
        found = -1
    return found, time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--photographs", type=Path, required=True)
    parser.add_argument("--searches", type=int, default=200)
    parser.add_argument("--at-once", type=int, nargs="+", default=[1, 200])
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    files = sorted(args.photographs.glob("*.jpg"))[: args.searches]
    search(args.url, files[0])
    rows: list[dict[str, Any]] = []
    for at_once in args.at_once:
        start = time.perf_counter()
        with ThreadPoolExecutor(at_once) as pool:
            found = list(pool.map(lambda file: search(args.url, file), files))
        seconds = time.perf_counter() - start
        times = [1e3 * each for _, each in found]
        rows.append(
            {
                "at once": at_once,
                "searches": len(files),
                "failures": sum(matches < 0 for matches, _ in found),
                "p50 ms": float(np.percentile(times, 50)),
                "p95 ms": float(np.percentile(times, 95)),
                "searches a second": len(files) / seconds,
            }
        )
    report(rows, args.output)


if __name__ == "__main__":
    main()
