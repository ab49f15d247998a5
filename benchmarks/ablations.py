"""What the ingredients of the preset `strong` are worth: the same short run without some of them.

    python benchmarks/ablations.py --data Market-1501-v15.09.15 --runs runs/ablations

Every run starts from the trunk in the package with three stages frozen and L_R weighted by 1, sees the same images in
the same order (seed 0) for `--epochs`, and is measured on identities held out of the training split, queries whole and
cut. The trunk has probably seen these identities: the figures compare ingredients and say nothing of accuracy. A run
that is there already is not made again, and one that was stopped goes on. Each row says what doing without
costs, with an interval paired over queries; it knows nothing of another seed.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from machine import report

from vpmsearch.data.datasets import ReidDataset, hold_out, read_dataset
from vpmsearch.evaluation.protocols import evaluate_model
from vpmsearch.evaluation.rows import Evaluation, Gain
from vpmsearch.model.device import choose_device
from vpmsearch.model.extraction import Extractor
from vpmsearch.model.torch_runtime import torch_device
from vpmsearch.model.weights import read_weights
from vpmsearch.training.presets import get_preset
from vpmsearch.training.settings import TrainSettings
from vpmsearch.training.trainer import Trainer

SHORT = {"freeze_stages": 3, "region_loss_weight": 1.0}
"""For a run of an epoch or two. With more of L_R it learns regions, and is far worse at people: see "L_R ten times"."""
ABLATIONS: dict[str, dict[str, Any]] = {
    "strong, short": {},
    "the paper's γ and crops": {"gamma": (0.5, 1.0), "crops": ("bilateral",)},
    "without the gallery memory": {"memory_weight": 0.0},
    # As many people a step as before, each in four images cut at random instead of two whole and the same two cut.
    "without memory and whole views": {
        "memory_weight": 0.0,
        "consistency_weight": 0.0,
        "images_per_pid": 4,
    },
    "L_R ten times": {"region_loss_weight": 10.0},
}


def settings(name: str, epochs: int) -> TrainSettings:
    """The preset `strong`, short, less one ingredient."""
    return get_preset("strong", **(SHORT | {"epochs": epochs} | ABLATIONS[name]))


def trained(name: str, data: ReidDataset, runs: Path, epochs: int) -> Path:
    """The weights of a run, made where they are missing."""
    output = runs / f"{list(ABLATIONS).index(name)}" / "vpm.safetensors"
    trainer = Trainer(
        settings(name, epochs), data.train, dataset=data.name, output=output, device=torch_device(choose_device("auto"))
    )
    total = trainer.steps_left(resume=False)

    def on_step(row: Any) -> None:
        if row.step % 20 == 0:
            print(f"{name}: step {row.step} of {total}, loss {row.loss:.2f}", flush=True)

    return trainer.run(resume=True, on_step=on_step)


def measured(weights: Path, held_out: ReidDataset, gammas: list[float]) -> list[Evaluation]:
    """Held-out queries whole and cut, among the held-out gallery."""
    extractor = Extractor(read_weights(weights), choose_device("auto"))
    return list(evaluate_model(extractor, held_out.query, held_out.gallery, gammas=gammas))


def compared(name: str, rows: list[Evaluation], base: list[Evaluation]) -> list[dict[str, Any]]:
    """Beside the run that lacks nothing."""
    found = []
    for row, full in zip(rows, base, strict=True):
        change = Gain.of(row.per_query, full.per_query)
        found.append(
            {"run": name, "gamma": row.gamma, "rank1": float(row.metrics.cmc[0]), "map": row.metrics.mean_ap}
            | {"visible_f1": row.visible_f1, "queries": row.queries, "gallery": row.gallery}
            | {"rank1_change": change.rank1, "rank1_change_interval": list(change.rank1_interval)}
            | {"map_change": change.mean_ap, "map_change_interval": list(change.mean_ap_interval)}
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--dataset", default="market1501")
    parser.add_argument("--runs", type=Path, default=Path("runs/ablations"))
    parser.add_argument("--hold-out", type=float, default=0.4, help="share of the training identities to measure on")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--gamma", type=float, nargs="+", default=[1.0, 0.7, 0.5])
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    data, held_out = hold_out(read_dataset(arguments.dataset, arguments.data), arguments.hold_out, 0)
    data = replace(data, name=f"{data.name}, {1 - arguments.hold_out:.0%} of identities")
    rows: list[dict[str, Any]] = []
    base: list[Evaluation] = []
    for name in ABLATIONS:
        weights = trained(name, data, arguments.runs, arguments.epochs)
        evaluated = measured(weights, held_out, arguments.gamma)
        base = base or evaluated
        rows += compared(name, evaluated, base)
        report(rows, arguments.output)  # after each, as the next may take an hour


if __name__ == "__main__":
    main()
