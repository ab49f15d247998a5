"""`vpmsearch reproduce`: trains and measures the systems of the paper's tables and figures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vpmsearch.commands import checks, options
from vpmsearch.commands.show import draw_regions
from vpmsearch.commands.terminal import answer, answer_json, command, progress, say
from vpmsearch.words import number_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vpmsearch.data.datasets import ReidDataset
    from vpmsearch.evaluation.experiments import Experiment, Source
    from vpmsearch.evaluation.reproduce import Measured, Reproduction, Verdict
    from vpmsearch.training.trainer import Trainer

TITLES = {"rank1": "rank-1", "rank3": "rank-3", "rank5": "rank-5", "rank10": "rank-10", "map": "mAP"}
SHOWN_IMAGES = 8


def register(app: typer.Typer) -> None:
    """Add the command."""
    again = "the same command goes on where it was"
    command(app, example="vpmsearch reproduce table1 --data Market-1501-v15.09.15", again=again)(reproduce)


def reproduce(
    experiment: Annotated[str, typer.Argument(help="table1, table1-duke, table2, table3, fig4 or fig5.")],
    data: Annotated[Path, typer.Option(help="Root of the data set to train on; its test split is measured on.")],
    dataset: Annotated[str, typer.Option(help="Its layout: market1501, msmt17, folder or csv.")] = "market1501",
    partial_reid: Annotated[
        Path | None, typer.Option(help="Root of Partial-REID, for table2.", show_default=False)
    ] = None,
    partial_ilids: Annotated[
        Path | None, typer.Option(help="Root of Partial-iLIDS, for table2 and table3.", show_default=False)
    ] = None,
    output: Annotated[
        Path, typer.Option(help="Folder for weights, measurements, the table as CSV and the picture.")
    ] = Path("runs/reproduce"),
    preset: Annotated[str, typer.Option(help="How to train: light (a CPU), fast, strong, paper or small.")] = "light",
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Change any setting of the preset (repeatable)."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of training, crops and draws.")] = 0,
    json: options.Json = False,
    device: options.Device = "auto",
) -> None:
    """Train what a table or figure of the paper needs, measure it, and print the paper's figures beside ours.

    Run it again to go on where it was stopped: what is trained or measured is not done twice. Figures depend on the
    preset; the paper's are of ResNet-50 at full size on Market-1501 (table1-duke: DukeMTMC-reID). The paper's
    orderings are tested query by query (those of its figures, where it has them; else of its text): one holds, does not
    hold, or is undecided where the 95 % interval of the difference in rank-1 includes 0.
    """
    from dataclasses import replace

    from vpmsearch.data.datasets import check_layout, read_dataset
    from vpmsearch.evaluation.experiments import get_experiment
    from vpmsearch.evaluation.reproduce import Reproduction, verdicts
    from vpmsearch.model.device import choose_device
    from vpmsearch.model.torch_runtime import torch_device
    from vpmsearch.training.presets import changed, get_preset

    with checks.usage("EXPERIMENT"):
        wanted = get_experiment(experiment)
    with checks.usage("--preset"):
        preset_settings = get_preset(preset)
    with checks.usage("--set"):
        settings = replace(changed(preset_settings, setting or ()), seed=seed)
    with checks.usage("--dataset"):
        check_layout(dataset)
    partial: dict[Source, ReidDataset] = {}
    if partial_reid is not None:
        partial["partial-reid"] = read_dataset("partial-reid", partial_reid)
    if partial_ilids is not None:
        partial["partial-ilids"] = read_dataset("partial-ilids", partial_ilids)
    holistic = read_dataset(dataset, data)
    _say_what_is_left_out(wanted, partial)
    run = Reproduction(
        settings, holistic, partial, output, device=torch_device(choose_device(device)), train=_train, watch=progress
    )
    measured = sorted(run.run(wanted), key=lambda found: wanted.rows.index(found.row))
    outcomes = verdicts(wanted, measured)
    rows = [_row(found, wanted.columns) for found in measured]
    _save(rows, output / f"{wanted.name}.csv")
    if json:
        answer_json({"experiment": wanted.name, "rows": rows, "orderings": [_outcome(found) for found in outcomes]})
    else:
        for line in _table(wanted, measured, outcomes):
            answer(line)
    _draw(wanted, measured, run, holistic, output)


def _say_what_is_left_out(experiment: Experiment, partial: dict[Source, ReidDataset]) -> None:
    """Rows without their data set are missing in the table: tell why, or that nothing is left."""
    from vpmsearch.errors import DataError

    needed = dict.fromkeys(row.source for row in experiment.rows if row.source != "holistic")
    lost = [source for source in needed if source not in partial]
    if lost and all(row.source in lost for row in experiment.rows):
        raise DataError(f"{experiment.name} needs {' or '.join(f'--{source} DIR' for source in lost)}")
    for source in lost:
        say(f"without --{source} DIR the rows of {source} are left out")


def _train(name: str, trainer: Trainer) -> None:
    total = trainer.steps_left(resume=True)
    say(f"{name}: {number_of(trainer.settings.epochs, 'epoch')}, {number_of(len(trainer.data.images), 'image')}")
    with progress(f"training {name}", total) as advance:
        trainer.run(resume=True, on_step=lambda row: advance(1, f"epoch {row.epoch + 1} loss {row.loss:.3f}"))


def _row(found: Measured, columns: Sequence[str]) -> dict[str, Any]:
    """A row as it is saved: ours, the paper's and the difference, as fractions."""
    row, values = found.row, found.values
    flat: dict[str, Any] = {"label": row.label, "system": row.system, "matcher": row.matcher, "source": row.source,
                            "gamma": row.gamma, "weighting": row.weighting, "queries": values["queries"]}  # fmt: skip
    for name in columns:
        paper = row.paper.get(name)
        flat |= {name: values[name], f"{name}_paper": paper}
        flat[f"{name}_difference"] = None if paper is None else round(values[name] - paper, 6)
    low, high = values["rank1_interval"]
    return flat | {"rank1_low": low, "rank1_high": high, "revision": found.revision}


def _outcome(found: Verdict) -> dict[str, Any]:
    return {
        "better": found.better, "worse": found.worse, "source": found.source, "gamma": found.gamma,
        "outcome": found.outcome, "rank1_gain": found.difference.rank1,
        "rank1_gain_interval": list(found.difference.rank1_interval),
    }  # fmt: skip


def _save(rows: Sequence[dict[str, Any]], path: Path) -> None:
    import csv

    from vpmsearch.errors import DataError
    from vpmsearch.system.atomic import replacing

    try:
        with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror or error}; choose another --output") from error
    say(f"table: {path}")


def _table(experiment: Experiment, measured: Sequence[Measured], outcomes: Sequence[Verdict]) -> list[str]:
    """In percent: ours, and the paper's in brackets."""
    columns = experiment.columns
    head = "".join(f"  {TITLES[name]:>14s}" for name in columns)
    lines = [f"{experiment.title}; %, the paper's in brackets", f"{'':16s}  {'queries':13s}  gamma{head}"]
    for found in measured:
        row = found.row
        cells = "".join(f"  {_cell(found.values[name], row.paper.get(name)):>14s}" for name in columns)
        lines.append(f"{row.label:16s}  {row.source:13s}  {row.gamma:5.2f}{cells}")
    for system in dict.fromkeys(found.row.system for found in measured if found.row.matcher):
        matched = dict.fromkeys(
            found.row.label for found in measured if found.row.matcher and found.row.system == system
        )
        lines.append(f"{', '.join(matched)}: on the maps of {system}; the paper's figures are of other features")
    for one in outcomes:
        low, high = one.difference.rank1_interval
        lines.append(
            f"{one.better} above {one.worse} on {one.source}, gamma {one.gamma:g}: {one.outcome} "
            f"(rank-1 {100 * one.difference.rank1:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}])"
        )
    return lines


def _cell(ours: float, paper: float | None) -> str:
    mine = f"{100 * ours:.1f}"
    return mine if paper is None else f"{mine} ({100 * paper:.1f})"


def _draw(
    experiment: Experiment, measured: Sequence[Measured], run: Reproduction, holistic: ReidDataset, output: Path
) -> None:
    path = output / f"{experiment.name}.png"
    if experiment.picture == "curve":
        from vpmsearch.report.curves import robustness_curve

        curves: dict[str, list[tuple[float, float]]] = {}
        for found in measured:
            curves.setdefault(found.row.label, []).append((found.row.gamma, found.values["rank1"]))
        say(f"picture: {robustness_curve(curves, path, title=experiment.title)}")
    elif experiment.picture == "regions":
        for number, image in enumerate(holistic.query[:: max(1, len(holistic.query) // SHOWN_IMAGES)][:SHOWN_IMAGES]):
            written = _regions(run.weights(experiment.systems[0]), image.path, path.with_stem(f"{path.stem}-{number}"))
            say(f"picture: {written}")


def _regions(weights: Path, image: Path, path: Path) -> Path:
    """What a model sees in an image, as `vpmsearch show` draws it."""
    import torch

    from vpmsearch.data.images import load_image
    from vpmsearch.model.extraction import Extractor
    from vpmsearch.model.weights import read_weights

    return draw_regions(Extractor(read_weights(weights), torch.device("cpu")), load_image(image), path)
