"""Figures to choose weights by, on people that the default weights were not trained on; no test split is touched.

    python benchmarks/choosing.py a.safetensors b.safetensors --cuhk CUHK03_dataset --pku Person_Re-Identification/data

On the 100 people of CUHK03 that `train --hold-out 100 --hold-out-seed 0` keeps away, and on the PKU-Reid-like set:
rank-1, mAP and the F1 of visible sets for queries cut bilaterally and for poor whole ones, how far a cut's features
are from those of the whole image, and what an image costs. Weights that take a second look are measured with it and
without. Every file gives one row of JSON, or two. The tables of learning in docs/results.md are made of these.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from vpmsearch.data.datasets import LabelledImage, ReidDataset, hold_out, read_dataset
from vpmsearch.data.poor import AS_IT_IS
from vpmsearch.evaluation.features import extract_labelled, query_crops
from vpmsearch.evaluation.protocols import evaluate_model
from vpmsearch.evaluation.shift import whole_to_cut
from vpmsearch.model.device import choose_device
from vpmsearch.model.extraction import Extractor
from vpmsearch.model.openvino_runtime import computes_in
from vpmsearch.model.weights import LoadedWeights, or_shipped, read_weights

POOR = ("half-jpeg30", "grey")


def figures(
    extractor: Extractor, data: ReidDataset, gammas: list[float], photos: list[str]
) -> Iterator[tuple[str, Any]]:
    """Rank-1, mAP and F1 of each γ and each kind of photograph, and the shift of cuts."""
    for photo in [AS_IT_IS, *photos]:
        for row in evaluate_model(
            extractor, data.query, data.gallery, gammas=gammas if photo == AS_IT_IS else [1.0], photo=photo
        ):
            name = f"γ {row.gamma}" if photo == AS_IT_IS else photo
            values = (float(row.metrics.cmc[0]), float(row.metrics.mean_ap), float(row.visible_f1))
            yield name, [round(value, 4) for value in values]
    yield "shift", round(whole_to_cut(extractor, data.query, gamma=0.5), 4)
    yield "CPU ms an image, whole and γ 0.5", cost(extractor, data.query[:256])


def cost(extractor: Extractor, images: Sequence[LabelledImage], rounds: int = 3) -> list[float]:
    """CPU time of an image, reading and decoding included: whole, and cut to half. The medians of rounds in turns."""
    plans = [query_crops(len(images), "bilateral", gamma, seed=0) for gamma in (1.0, 0.5)]
    spent: list[list[float]] = [[], []]
    for _ in range(rounds + 1):
        for times, boxes in zip(spent, plans, strict=True):
            began = time.process_time()
            extract_labelled(extractor, images, boxes)
            times.append(1000 * (time.process_time() - began) / len(images))
    return [round(statistics.median(times[1:]), 2) for times in spent]  # the first round loads programs


def looks(weights: LoadedWeights) -> Iterator[tuple[str, LoadedWeights]]:
    """The weights as they are, and without the second look if they take one."""
    yield "as they are", weights
    if weights.config.second_look:
        yield "first look alone", replace(weights, config=replace(weights.config, second_look=False))


def main() -> None:
    """Print a row for each file and look."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", nargs="+", type=Path)
    parser.add_argument("--cuhk", type=Path, help="the folder of CUHK03_dataset")
    parser.add_argument("--pku", type=Path, help="the folder of the PKU-Reid-like set")
    parser.add_argument("--gamma", type=float, action="append")
    parser.add_argument("--photo", action="append", default=[], choices=POOR)
    given = parser.parse_args()
    sets = {}
    if given.cuhk:
        _, sets["cuhk03-held-out"] = hold_out(read_dataset("cuhk03", given.cuhk), 100, 0)
    if given.pku:
        sets["pku-reid"] = read_dataset("pku-reid", given.pku)
    half = computes_in("bfloat16")
    for path in given.weights:
        loaded = replace(read_weights(or_shipped(path)), precision="bfloat16" if half else "float32")
        for name, weights in looks(loaded):
            extractor = Extractor(weights, choose_device("cpu"))
            found = {
                key: dict(figures(extractor, data, given.gamma or [1.0, 0.7, 0.5], given.photo))
                for key, data in sets.items()
            }
            row = {"file": path.name, "fingerprint": loaded.fingerprint[:12], "looks": name, **found}
            print(json.dumps(row, ensure_ascii=False), flush=True)


if __name__ == "__main__":
    main()
