"""Can one trust "match"? And what does a second photograph add? Both through an index, as a user has it.

    python benchmarks/open_set.py --data Market-1501-v15.09.15                          # the test split: a final figure
    python benchmarks/open_set.py --data Market-1501-v15.09.15 --hold-out 60 --distractors 200   # training identities

Open set: half of the query identities are left out of the gallery, which is then calibrated on itself, as `vpmsearch
calibrate` does. Queries, whole and cut to their upper and lower half, of those left out (absent) and of the others
(present); as in the data set's protocol, images of the query's own person and camera do not count. A false match is an
absent person's query whose answer is "match"; found is a present person's whose answer is "match" and whose nearest
image is theirs. At a calibrated 5 % the rate of false matches should be 3-7 %.

Two shots: rank-1 of the upper half, the lower half, and both together (`vpmsearch query --together`), with the whole
gallery: once halves of one photograph, once of two by the same camera (the second from the gallery, where it does not
count for that query). The margin is over the better of the halves, with its 95 % interval over queries.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from machine import report

from vpmsearch.data.crops import CropBox
from vpmsearch.data.datasets import JUNK_PID, LabelledImage, ReidDataset, hold_out, read_dataset
from vpmsearch.evaluation.features import extract_labelled, indexed_gallery
from vpmsearch.evaluation.intervals import DIFFERENCE, mean_interval
from vpmsearch.evaluation.labelled import LabelledFeatures
from vpmsearch.evaluation.ranked import rank
from vpmsearch.indexing.indexer import index_gallery
from vpmsearch.model.device import choose_device
from vpmsearch.model.extraction import Extractor
from vpmsearch.model.weights import find_weights, read_weights
from vpmsearch.search.calibration import calibrate
from vpmsearch.search.distances import QUERY_ROWS
from vpmsearch.search.engine import SearchEngine
from vpmsearch.search.queries import together
from vpmsearch.search.verdict import MATCH, UNSURE, Calibration
from vpmsearch.store import GalleryStore
from vpmsearch.types import Match, RegionFeatures

UPPER, LOWER = CropBox(bottom=0.5), CropBox(top=0.5)
OWN = 64  # ranks looked at for the first image that counts, and eight times as many where there is none


def data_of(args: argparse.Namespace) -> ReidDataset:
    """The test split; or held-out training identities, with others of that split as distractors."""
    dataset = read_dataset(args.dataset, args.data)
    if not args.hold_out:
        return replace(dataset, gallery=tuple(image for image in dataset.gallery if image.pid != JUNK_PID))
    rest, held_out = hold_out(dataset, args.hold_out, args.seed)
    chosen = np.random.default_rng(args.seed).permutation(len(rest.train))[: args.distractors]
    others = tuple(replace(rest.train[i], pid=0) for i in chosen)
    return replace(held_out, gallery=(*held_out.gallery, *others))


def see(extractor: Extractor, images: Sequence[LabelledImage], box: CropBox | None) -> LabelledFeatures:
    return extract_labelled(extractor, images, None if box is None else [box] * len(images))


def merged(first: LabelledFeatures, second: LabelledFeatures) -> LabelledFeatures:
    """Of each query both photographs as one."""
    pairs = [
        together(RegionFeatures.concatenate([first.features[i : i + 1], second.features[i : i + 1]]))[0]
        for i in range(len(first.pids))
    ]
    return replace(first, features=RegionFeatures.concatenate(pairs))


def two_shots(
    extractor: Extractor, images: ReidDataset, gallery: LabelledFeatures, halves: dict[str, LabelledFeatures]
) -> list[dict[str, Any]]:
    """Rank-1 of halves alone and together."""
    by_camera: dict[tuple[int | None, int | None], list[LabelledImage]] = defaultdict(list)
    for image in images.gallery:
        by_camera[image.pid, image.camid].append(image)
    seconds = [by_camera.get((image.pid, image.camid), []) for image in images.query]
    paired = [i for i, others in enumerate(seconds) if others]
    rows = [_shot("one photograph", gallery, halves["upper half"], halves["lower half"], extractor)]
    if paired:
        upper = halves["upper half"]
        upper = LabelledFeatures(upper.features[paired], upper.pids[paired], upper.camids[paired])
        lower = see(extractor, [seconds[i][0] for i in paired], LOWER)
        rows.append(_shot("two photographs", gallery, upper, lower, extractor))
    return rows


def _shot(
    name: str, gallery: LabelledFeatures, upper: LabelledFeatures, lower: LabelledFeatures, extractor: Extractor
) -> dict[str, Any]:
    least = extractor.weights.info.threshold
    first = {
        kind: rank(query, gallery, min_visibility=least, device=extractor.torch_device).per_query().hits(1)
        for kind, query in {"upper": upper, "lower": lower, "both": merged(upper, lower)}.items()
    }
    rank1 = {kind: float(np.nanmean(hits)) for kind, hits in first.items()}
    better = max(("upper", "lower"), key=rank1.__getitem__)
    low, high = mean_interval(first["both"] - first[better], bounds=DIFFERENCE)
    count = int((~np.isnan(first["both"])).sum())
    return {"halves of": name, "queries": count} | rank1 | {
        "margin": rank1["both"] - rank1[better], "low": low, "high": high,
    }  # fmt: skip


@dataclass(frozen=True)
class Verdicts:
    """Of one kind of query: absent (n,) and present (m,) people's verdicts, and whether the nearest image is theirs."""

    absent: list[str]
    present: list[str]
    right: list[bool]

    def row(self, name: str) -> dict[str, Any]:
        """Shares."""
        false = np.array([verdict == MATCH for verdict in self.absent], np.float64)
        found = [v == MATCH and right for v, right in zip(self.present, self.right, strict=True)]
        perhaps = [v in (MATCH, UNSURE) and right for v, right in zip(self.present, self.right, strict=True)]
        low, high = mean_interval(false)
        return {
            "query": name, "absent": len(self.absent), "false match": float(false.mean()), "low": low, "high": high,
            "present": len(self.present), "found": float(np.mean(found)), "found or unsure": float(np.mean(perhaps)),
            "rank1": float(np.mean(self.right)),
        }  # fmt: skip


def judge(engine: SearchEngine, known: Calibration, query: LabelledFeatures, absent: set[int]) -> Verdicts:
    """What is answered to each query, images of its own person and camera left out."""
    visible = engine.snapshot.model_info.visible(query.features.visibility).sum(axis=1).tolist()
    found = Verdicts([], [], [])
    for start in range(0, len(query.pids), QUERY_ROWS):
        some = range(start, min(start + QUERY_ROWS, len(query.pids)))
        for i, match in zip(some, _first_that_count(engine, query, list(some)), strict=True):
            pid, verdict = int(query.pids[i]), known.verdict(visible[i], None if match is None else match.distance)
            if pid in absent:
                found.absent.append(verdict)
            else:
                found.present.append(verdict)
                found.right.append(match is not None and match.pid == pid)
    return found


def _first_that_count(engine: SearchEngine, query: LabelledFeatures, rows: list[int]) -> list[Match | None]:
    first: dict[int, Match | None] = dict.fromkeys(rows)
    waiting, k = rows, OWN
    while waiting:
        results = engine.search(query.features[waiting], min(k, len(engine.snapshot)), exact=True)
        left = []
        for i, result in zip(waiting, results, strict=True):
            own = (int(query.pids[i]), int(query.camids[i]))
            first[i] = next((m for m in result.matches if (m.pid, m.camid) != own), None)
            if first[i] is None and len(result.matches) == k:
                left.append(i)
        waiting, k = left, 8 * k
    return [first[i] for i in rows]


def open_set(
    store: GalleryStore, extractor: Extractor, queries: dict[str, LabelledFeatures], args: argparse.Namespace
) -> list[dict[str, Any]]:
    """Leave identities out, calibrate on what remains, search for both."""
    pids = np.unique(next(iter(queries.values())).pids)
    rng = np.random.default_rng(args.seed)
    absent = {int(pid) for pid in rng.permutation(pids)[: round(args.leave_out * len(pids))]}
    with store.writer() as writer:
        writer.remove(store.find(pids=sorted(absent)))
        writer.commit()
    store.refresh()
    engine = SearchEngine(store)
    known = calibrate(engine, extractor, probes=args.probes, seed=args.seed)
    verdicts = {name: judge(engine, known, query, absent) for name, query in queries.items()}
    everything = Verdicts(
        [v for each in verdicts.values() for v in each.absent],
        [v for each in verdicts.values() for v in each.present],
        [right for each in verdicts.values() for right in each.right],
    )
    rows = [each.row(name) for name, each in (verdicts | {"all": everything}).items()]
    return [row | {"gallery": len(store.snapshot)} for row in rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--dataset", default="market1501")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--leave-out", type=float, default=0.5, help="of the query identities")
    parser.add_argument("--probes", type=int, default=400, help="images to calibrate with")
    parser.add_argument("--hold-out", type=int, default=0, help="so many training identities, not the test split")
    parser.add_argument("--distractors", type=int, default=3000, help="with --hold-out: other training images")
    parser.add_argument("--queries", type=int, help="so many queries at most; default: all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, help="of the open set's JSON; the other's gets -two-shots in its name")
    args = parser.parse_args()
    images = data_of(args)
    if args.queries is not None:
        chosen = np.random.default_rng(args.seed).permutation(len(images.query))[: args.queries]
        images = replace(images, query=tuple(images.query[i] for i in sorted(chosen)))
    device = choose_device(args.device)
    extractor = Extractor(read_weights(find_weights(args.weights)), device)
    with (
        tempfile.TemporaryDirectory() as folder,
        GalleryStore.create(Path(folder) / "index", extractor.weights.info) as store,
    ):
        index_gallery(store, extractor, images.gallery)
        store.refresh()
        queries = {
            name: see(extractor, images.query, box)
            for name, box in (("whole", None), ("upper half", UPPER), ("lower half", LOWER))
        }
        shots = two_shots(extractor, images, indexed_gallery(store.snapshot, images.gallery), queries)
        rows = open_set(store, extractor, queries, args)
    report(rows, args.output, args.seed)
    report(shots, args.output and args.output.with_stem(f"{args.output.stem}-two-shots"), args.seed)


if __name__ == "__main__":
    main()
