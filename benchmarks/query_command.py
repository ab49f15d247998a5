"""How long commands take from the shell and back: `query`, `stats` and `remove` of 16k images, `verify` of 256.

    python benchmarks/query_command.py --rounds 5 --before ../old

The gallery has random features, the weights are those of the package and the picture is one of docs/images. Features of
photographs have nearer neighbours than random ones, so a real index is quicker. Beside each command, in turn, the same
of another checkout (`--before`) on an index of its own, and `import torch` alone. Medians of processor seconds.
Modules are compiled once and kept, as pip does when it installs; a first run of each command is not counted.
"""

from __future__ import annotations

import argparse
import hashlib
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

import vpmsearch
from vpmsearch.store import GalleryStore
from vpmsearch.types import ImageRecord, ModelInfo, RegionFeatures

PICTURE = Path(__file__).resolve().parent.parent / "docs" / "images" / "panel.jpg"
BLOCK = 4096


def make_index(folder: Path, images: int) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    weights = next(Path(vpmsearch.__file__).parent.glob("pretrained/vpm-*.safetensors"))
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    info = ModelInfo((6, 1), 256, digest, weights=str(weights), input_size=(256, 128))
    rng = np.random.default_rng(0)
    with GalleryStore.create(folder, info) as store, store.writer() as writer:
        for start in range(0, images, BLOCK):
            n = min(BLOCK, images - start)
            embeddings = rng.standard_normal((n, info.p, info.embedding_dim), dtype=np.float32)
            embeddings /= np.linalg.norm(embeddings, axis=2, keepdims=True)
            visibility = rng.dirichlet(np.full(info.p, 20.0), n).astype(np.float32)
            records = [ImageRecord(str(Path(f"{i}.jpg").absolute())) for i in range(start, start + n)]
            writer.add(records, RegionFeatures(visibility, embeddings))
            writer.commit()


def seconds(command: list[str], **where: Any) -> tuple[float, float]:
    """Wall-clock and processor time of a process."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **where)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.perf_counter() - start, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def commands(checkout: Path, folder: Path) -> dict[str, list[str]]:
    """Each command of a checkout, on indexes below a folder."""
    large, small = str(folder / "large"), str(folder / "small")
    run = [sys.executable, str(checkout / "cli.py")]
    return {
        "query": [*run, "query", str(PICTURE), "--index", large, "--json"],
        "stats": [*run, "stats", "--index", large],
        "remove": [*run, "remove", "--index", large],  # and the name of an image, another one each time
        "verify": [*run, "verify", "--index", small],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=16_384)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--before", type=Path, help="another checkout, beside this one")
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    checkouts = {"now": Path(__file__).resolve().parent.parent} | (
        {"before": args.before.resolve()} if args.before else {}
    )
    taken: dict[tuple[str, str], list[float]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        os.environ["PYTHONPYCACHEPREFIX"] = str(Path(temporary) / "compiled")
        for name, checkout in checkouts.items():  # each makes its own: formats differ
            make = [
                sys.executable,
                str(Path(__file__).resolve()),
                "--make",
                str(Path(temporary) / name),
                str(args.images),
            ]
            subprocess.run(make, check=True, cwd=temporary, env=os.environ | {"PYTHONPATH": str(checkout)})
        for number in range(-1, args.rounds):  # the first round compiles modules and is dropped below
            taken.setdefault(("import torch", ""), []).append(seconds([sys.executable, "-c", "import torch"])[1])
            for name, checkout in checkouts.items():
                for what, command in commands(checkout, Path(temporary) / name).items():
                    gone = [f"{number + 1}.jpg"] if what == "remove" else []
                    where = {"cwd": temporary, "env": os.environ | {"PYTHONPATH": str(checkout)}}
                    taken.setdefault((what, name), []).append(seconds([*command, *gone], **where)[1])
    medians = {key: statistics.median(each[1:]) for key, each in taken.items()}
    rows: list[dict[str, Any]] = []
    for (what, name), cpu in medians.items():
        if name in ("", "now"):
            row = {
                "command": what,
                "images": args.images,
                "cpu_s": cpu,
                "rounds": args.rounds,
                "load": os.getloadavg()[0],
            }
            before = medians.get((what, "before"))
            rows.append(row | ({"before_cpu_s": before, "share": cpu / before} if before else {}))
    from machine import report  # not above: an old checkout makes its own index with this file and has no such module

    report(rows, args.output)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--make"]:
        make_index(Path(sys.argv[2]) / "large", int(sys.argv[3]))
        make_index(Path(sys.argv[2]) / "small", 256)
    else:
        main()
