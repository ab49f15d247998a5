"""Reads the real lists of MSMT17 and Occluded-DukeMTMC and a million names: counts, time and memory.

    python benchmarks/layout_lists.py --msmt17 DIR --occluded-duke DIR --names 1000000

DIR holds list_train.txt, list_val.txt, list_query.txt, list_gallery.txt, or train.list, query.list, gallery.list. No
image is needed: an empty file stands for each name. A million of them take minutes to make: `--scratch DIR`
keeps them for the next time. `--beside TREE` measures another checkout too, each way in turn with this one: on a busy
machine only such pairs can be compared. Backs the lines on lists in docs/results.md.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from vpmsearch.data.datasets import read_dataset
from vpmsearch.data.labelled import SPLITS

CHILD = """
import json, resource, sys, time
from vpmsearch.data.datasets import read_dataset, read_gallery
for _ in range(3):
    start = time.process_time()
    for _ in range(10**7): pass
    loop_s = time.process_time() - start
dataset, root, pattern, split = sys.argv[1:]
start = time.process_time()
if split:
    images = getattr(read_dataset(dataset, root, (split,), pattern=pattern), split)
else:
    images = read_gallery(dataset, root, pattern=pattern)
read_s, peak = time.process_time() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
start = time.process_time()
pids = {image.pid for image in images}
print(json.dumps({"names": len(images), "pids": len(pids), "read_cpu_s": round(read_s, 2),
                  "peak_gib": round(peak / 2**20, 3), "loop_of_1e7_s": round(loop_s, 2),
                  "every_image_cpu_s": round(time.process_time() - start, 2)}))
"""


def counts(name: str, root: Path) -> dict[str, object]:
    """Images and identities of each split, and the time of reading."""
    start = time.process_time()
    dataset = read_dataset(name, root)
    found: dict[str, object] = {"cpu_s": round(time.process_time() - start, 2)}
    for split in SPLITS:
        images = getattr(dataset, split)
        found[split] = {
            "images": len(images),
            "pids": len({i.pid for i in images}),
            "cameras": len({i.camid for i in images}),
        }
    return found


def msmt(lists: Path, root: Path) -> dict[str, object]:
    """Version 1's folders with an empty file for each name."""
    for name, folder in (("train", "train"), ("val", "train"), ("query", "test"), ("gallery", "test")):
        shutil.copy(lists / f"list_{name}.txt", root)
        _touch(root / folder, (line.split()[0] for line in (root / f"list_{name}.txt").read_text().splitlines()))
    return counts("msmt17", root)


def occluded_duke(lists: Path, root: Path) -> dict[str, object]:
    """The folders that the authors' script makes of DukeMTMC-reID."""
    names = {}
    for name, folder in (("train", "bounding_box_train"), ("query", "query"), ("gallery", "bounding_box_test")):
        names[name] = (lists / f"{name}.list").read_text().split()
        _touch(root / folder, names[name])
    both = set(names["query"]) & set(names["gallery"])
    return counts("occluded-dukemtmc", root) | {"queries_in_the_gallery": len(both)}


def million(root: Path, count: int, beside: Path | None) -> dict[str, dict[str, object]]:
    """As a Market-1501 folder, by pattern, and as a list; each in a process of its own, in this tree and in `beside`.

    loop_of_1e7_s tells how fast the machine was: an empty loop of 10 million turns, just before.
    """
    root = root / str(count)
    names = [f"{i % 5000:04d}_c{i % 6 + 1}s1_{i:07d}_00.jpg" for i in range(count)]
    if not (root / "list.csv").exists():
        _touch(root / "market" / "bounding_box_test", (f"{i // 1000:04d}/{name}" for i, name in enumerate(names)))
        lines = (
            f"{name},{int(name[:4])},{name[6]},2026-03-{i % 28 + 1:02d}T{i % 24:02d}:{i % 60:02d}:{i % 59:02d}Z,north\n"
            for i, name in enumerate(names)
        )
        (root / "list.csv").write_text("path,pid,camid,captured_at,site\n" + "".join(lines))
    ways = {
        "gallery by name": ("market1501", root / "market", "", ""),
        "gallery by pattern": ("folder", root / "market", "{pid}_c{camid}s{}", ""),
        "gallery by list": ("csv", root / "list.csv", "", ""),
        "data set by name": ("market1501", root / "market", "", "gallery"),
        "data set by list": ("csv", root / "list.csv", "", "train"),
    }
    found = {}
    for way, (dataset, place, pattern, split) in ways.items():
        command = [sys.executable, "-c", CHILD, dataset, str(place.resolve()), pattern, split]
        for name, tree in {way: Path(__file__).parents[1], f"{way}, beside": beside}.items():
            if tree is not None:
                run = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tree)  # its own package
                found[name] = json.loads(run.stdout)
    return found


def _touch(folder: Path, names: object) -> None:
    made: Counter[Path] = Counter()
    for name in names:  # type: ignore[attr-defined]
        path = folder / name
        if not made[path.parent]:
            path.parent.mkdir(parents=True, exist_ok=True)
        made[path.parent] += 1
        path.touch()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--msmt17", type=Path)
    parser.add_argument("--occluded-duke", type=Path)
    parser.add_argument("--names", type=int, default=0)
    parser.add_argument("--scratch", type=Path, help="Keep the names here.")
    parser.add_argument("--beside", type=Path, metavar="TREE", help="Another checkout to measure too.")
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    found: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as folder:
        for key, make, lists in (
            ("msmt17", msmt, args.msmt17),
            ("occluded-dukemtmc", occluded_duke, args.occluded_duke),
        ):
            if lists:
                (Path(folder) / key).mkdir()
                found[key] = make(lists, Path(folder) / key)
        if args.names:
            found["names"] = million(args.scratch or Path(folder), args.names, args.beside)
    print(json.dumps(found, indent=1))
    if args.output:
        args.output.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
