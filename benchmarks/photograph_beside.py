"""What a photograph costs in this tree and in another: indexing it from the shell, and asking `serve` with it.

    OMP_NUM_THREADS=1 python benchmarks/photograph_beside.py --before ../old

The photographs are drawn pedestrians, the weights the third version, which both trees have. Processor seconds. An image
indexed is the difference between an index of many and one of few, so neither imports nor starts are in it. A photograph
asked is what the server's process takes from the request to the answer, upload and crop included. The trees take turns;
medians of rounds. Trees choose their runtime by themselves; `openvino` is this tree's `--runtime openvino`.
"""

from __future__ import annotations

import argparse
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from extraction import drawn
from machine import report
from query_command import seconds
from serve_load import search

WEIGHTS = Path("vpmsearch/pretrained/vpm-osnet-market1501.safetensors")
TICKS = os.sysconf("SC_CLK_TCK")


def command(tree: Path, *words: str) -> tuple[list[str], dict[str, Any]]:
    """A command of a tree, and where it runs."""
    where = {"cwd": tree, "env": os.environ | {"PYTHONPATH": str(tree)}}
    return [sys.executable, str(tree / "cli.py"), *words], where


def index_seconds(tree: Path, gallery: Path, index: Path, runtime: list[str]) -> float:
    words, where = command(tree, "index", str(gallery), "--index", str(index), "--weights", str(tree / WEIGHTS))
    return seconds([*words, "--device", "cpu", *runtime], **where)[1]


@contextmanager
def server(tree: Path, index: Path) -> Iterator[tuple[str, int]]:
    """Its address and process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words, where = command(tree, "serve", "--index", str(index), "--port", str(port), "--rate", "6000")
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **where)
    try:
        url = f"http://127.0.0.1:{port}"
        for _ in range(600):
            try:
                urllib.request.urlopen(url, timeout=5).close()
                break
            except OSError:
                time.sleep(0.2)
        yield url, process.pid
    finally:
        process.terminate()
        process.wait()


def spent(pid: int) -> float:
    """Processor seconds of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def asked(url: str, pid: int, photographs: list[Path]) -> float:
    """Processor seconds of a photograph."""
    before = spent(pid)
    for photograph in photographs:
        if search(url, photograph)[0] < 0:
            raise SystemExit(f"{url} did not answer")
    return (spent(pid) - before) / len(photographs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, required=True, help="another checkout")
    parser.add_argument("--few", type=int, default=64)
    parser.add_argument("--many", type=int, default=320)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    now, before = Path(__file__).resolve().parent.parent, args.before.resolve()
    ways = {"before": (before, []), "now": (now, []), "openvino": (now, ["--runtime", "openvino"])}
    taken: dict[tuple[str, str], list[float]] = {}
    with tempfile.TemporaryDirectory() as temporary, ExitStack() as stack:
        folder = Path(temporary)
        for size, images in (("few", args.few), ("many", args.many)):
            (folder / size).mkdir()
            drawn(folder / size, images)
        for number in range(args.rounds):
            for way, (tree, runtime) in ways.items():
                few, many = (
                    index_seconds(tree, folder / size, folder / f"{way}-{size}-{number}", runtime)
                    for size in ("few", "many")
                )
                taken.setdefault(("index", way), []).append((many - few) / (args.many - args.few))
        photographs = sorted((folder / "many").glob("*.jpg"))
        running = {
            way: stack.enter_context(server(tree, folder / f"{way}-many-0"))
            for way, (tree, _) in ways.items()
            if way != "openvino"
        }
        for number in range(-1, args.rounds):  # the first round loads what is loaded once
            for way, (url, pid) in running.items():
                new = photographs[(number + 1) * 16 :][:16]  # a server remembers what it has seen
                cost = asked(url, pid, new)
                if number >= 0:
                    taken.setdefault(("serve", way), []).append(cost)
    median = {key: 1000 * statistics.median(each) for key, each in taken.items()}
    rows = [
        {"what": what, "way": way, "cpu_ms": ms, "share": ms / median[what, "before"], "load": os.getloadavg()[0]}
        for (what, way), ms in median.items()
    ]
    report(rows, args.output)


if __name__ == "__main__":
    main()
