"""Are verdicts right where nobody has labelled anything? Labels are taken away, and used to count what was answered.

    python benchmarks/verdicts.py --data Market-1501-v15.09.15 --people 200           # the test split: a final figure
    python benchmarks/verdicts.py --data Market-1501-v15.09.15 --split train --people 200
    python benchmarks/verdicts.py --drawn folder --people 110                         # drawn pedestrians

Of so many identities 2 to `--most` images each are indexed, without pids and with or without cameras; the index is
calibrated as `vpmsearch calibrate` does. Searched for are one more image of each identity (present) and of as many
others (absent), whole and cut to their upper and lower half. Counted are

    missed        of right rank-1 answers those that are called "no match": at most 10 % is promised
    false match   of absent people those that are called "match": at most 5 % is promised
    found, left   of right rank-1 answers those called "match", of absent people those called "no match"

once with all images of the gallery (any) and once, as in the data set's protocol, without those of the query's own
person and camera (other). `--pairs` answers so many pairs from the labels, as a person would.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from machine import report

from vpmsearch.data.crops import CropBox
from vpmsearch.data.datasets import LabelledImage, read_dataset
from vpmsearch.data.drawn_dataset import write_drawn_dataset
from vpmsearch.data.synthetic import DrawnSettings
from vpmsearch.evaluation.intervals import mean_interval
from vpmsearch.indexing.indexer import index_gallery
from vpmsearch.model.device import choose_device
from vpmsearch.model.extraction import ExtractedBatch, Extractor, Request
from vpmsearch.model.weights import find_weights, read_weights
from vpmsearch.search.calibration import calibrate
from vpmsearch.search.engine import SearchEngine
from vpmsearch.search.pairs import Answers, choose_pairs
from vpmsearch.search.verdict import MATCH, NO_MATCH, Calibration
from vpmsearch.store import GalleryStore
from vpmsearch.types import RegionFeatures

BOXES = {"whole": None, "upper half": CropBox(bottom=0.5), "lower half": CropBox(top=0.5)}


class Remembering:
    """An extractor that sees every part of every image once."""

    def __init__(self, extractor: Extractor) -> None:
        self._extractor, self._known = extractor, dict[tuple[Path, CropBox | None], ExtractedBatch]()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._extractor, name)

    def extract(self, requests: Iterable[Request]) -> Iterator[ExtractedBatch]:
        """As `Extractor.extract`, one request a batch."""
        wanted = list(requests)
        new = [r for r in wanted if (r.path, r.box) not in self._known]
        for batch in self._extractor.extract(replace(r, position=i) for i, r in enumerate(new)):
            for row, seen in enumerate(batch.seen):
                request = new[seen.position]
                one = ExtractedBatch([seen], batch.features[row : row + 1], [])
                self._known[request.path, request.box] = one
        for request in wanted:
            one = self._known[request.path, request.box]
            yield replace(one, seen=[replace(one.seen[0], position=request.position)])


def chosen(images: Sequence[LabelledImage], args: argparse.Namespace) -> tuple[list[LabelledImage], ...]:
    """(gallery, queries of present people, queries of absent people)."""
    rng = np.random.default_rng(args.seed)
    by_pid: dict[int, list[LabelledImage]] = defaultdict(list)
    for image in images:
        if image.pid is not None and image.pid > 0:
            by_pid[image.pid].append(image)
    able = [pid for pid in sorted(by_pid) if len(by_pid[pid]) > 2]
    people = [able[row] for row in rng.permutation(len(able))[: 2 * args.people]]
    gallery, present, absent = [], [], []
    for place, pid in enumerate(people):
        query, *rest = (by_pid[pid][row] for row in rng.permutation(len(by_pid[pid])))
        if place < len(people) // 2:
            present.append(query)
            gallery += rest[: rng.integers(2, args.most + 1)]
        else:
            absent.append(query)
    return gallery, present, absent


def judged(
    engine: SearchEngine,
    known: Calibration,
    features: RegionFeatures,
    queries: Sequence[LabelledImage],
    label: dict[str, LabelledImage],
    other_camera: bool,
) -> list[tuple[bool, str]]:
    """For each query whether its nearest image is of the same person, and the verdict."""
    visible = engine.snapshot.model_info.visible(features.visibility).sum(axis=1).tolist()
    found = []
    for image, shown, result in zip(queries, visible, engine.search(features, 100, exact=True), strict=True):
        own = (image.pid, image.camid)
        matches = [m for m in result.matches if not other_camera or (label[m.path].pid, label[m.path].camid) != own]
        best = matches[0]
        found.append((label[best.path].pid == image.pid, known.verdict(shown, best.distance)))
    return found


def share(hits: Iterable[bool]) -> str:
    values = np.array(list(hits), np.float64)
    if not len(values):
        return "-"
    low, high = mean_interval(values)
    return f"{100 * values.mean():.1f} ({100 * low:.1f}-{100 * high:.1f})"


def answers_of(engine: SearchEngine, label: dict[str, LabelledImage], count: int, seed: int) -> Answers:
    """What a person would say who knows everybody."""
    snapshot = engine.snapshot
    records = snapshot.records_of(snapshot.image_ids)
    pid = {i: label[r.path].pid for i, r in zip(snapshot.image_ids.tolist(), records, strict=True)}
    pairs = choose_pairs(engine, count, seed)
    same = {(min(pair), max(pair)): pid[pair[0]] == pid[pair[1]] for pair in pairs}
    return Answers(same, tuple(dict.fromkeys(first for first, _ in pairs)))


def measured(
    extractor: Any,
    gallery: Sequence[LabelledImage],
    queries: Sequence[Sequence[LabelledImage]],
    args: argparse.Namespace,
) -> list[dict[str, Any]]:
    rows = []
    features = {
        name: [
            RegionFeatures.concatenate(
                [b.features for b in extractor.extract(Request(i, q.path, box) for i, q in enumerate(some))]
            )
            for some in queries
        ]
        for name, box in BOXES.items()
    }
    label = {str(image.path): image for image in gallery}
    for cameras in (False, True):
        shown = [replace(image, pid=None, camid=image.camid if cameras else None) for image in gallery]
        with (
            tempfile.TemporaryDirectory() as folder,
            GalleryStore.create(Path(folder) / "index", extractor.weights.info) as store,
        ):
            index_gallery(store, extractor, shown)
            store.refresh()
            engine = SearchEngine(store)
            for pairs in (0, args.pairs) if args.pairs else (0,):
                answers = answers_of(engine, label, pairs, args.seed) if pairs else None
                began = time.process_time()
                known = calibrate(engine, extractor, probes=args.probes, seed=args.seed, answers=answers)
                seconds = time.process_time() - began
                for name, (present, absent) in features.items():
                    for other in (False, True):
                        here = judged(engine, known, present, queries[0], label, other)
                        gone = judged(engine, known, absent, queries[1], label, False)
                        right = [verdict for same, verdict in here if same]
                        rows.append(
                            {
                                "cameras": "known" if cameras else "unknown",
                                "basis": known.basis,
                                "query": name,
                                "rank 1 of": "other" if other else "any",
                                "images": known.images,
                                "rank1": share(same for same, _ in here),
                                "missed": share(v == NO_MATCH for v in right),
                                "found": share(v == MATCH for v in right),
                                "false match": share(v == MATCH for _, v in gone),
                                "left": share(v == NO_MATCH for _, v in gone),
                                "CPU s": round(seconds, 1),
                            }
                        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="a data set")
    parser.add_argument("--dataset", default="market1501")
    parser.add_argument("--split", choices=("test", "train"), default="test")
    parser.add_argument("--drawn", type=Path, help="draw pedestrians into this folder instead")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--people", type=int, default=200)
    parser.add_argument("--most", type=int, default=20, help="images of one person")
    parser.add_argument("--probes", type=int, default=400)
    parser.add_argument("--pairs", type=int, default=150, help="pairs that are answered; 0: none")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    if args.drawn is not None:
        drawn = DrawnSettings(identities=2 * args.people, cameras=4, shots=2, height=128, width=64, seed=args.seed)
        few = replace(drawn, identities=2, seed=args.seed + 1)
        args.data, args.split = write_drawn_dataset(args.drawn, train=drawn, test=few, distractors=0, junk=0), "train"
    elif args.data is None:
        parser.error("give --data or --drawn")
    dataset = read_dataset(args.dataset, args.data)
    images = dataset.train if args.split == "train" else (*dataset.query, *dataset.gallery)
    gallery, present, absent = chosen(images, args)
    extractor = Remembering(Extractor(read_weights(find_weights(args.weights)), choose_device(args.device)))
    report(measured(extractor, gallery, (present, absent), args), args.output, args.seed)


if __name__ == "__main__":
    main()
