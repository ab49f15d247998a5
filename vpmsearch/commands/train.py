"""`vpmsearch train`: trains a model on one or several data sets, or on drawn pedestrians."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vpmsearch.commands import checks, data_options, options
from vpmsearch.commands.terminal import answer, command, say
from vpmsearch.commands.training_data import read_sets, split_sets
from vpmsearch.commands.training_run import run_training
from vpmsearch.commands.training_start import say_repeated, say_start

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vpmsearch.data.datasets import ReidDataset
    from vpmsearch.training.settings import TrainSettings


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(
        app,
        example="vpmsearch train --data Market-1501-v15.09.15 --output weights/vpm.safetensors",
        again="the same command with --resume goes on from the last checkpoint",
    )(train)


def train(
    data: Annotated[
        list[Path] | None,
        typer.Option(
            help="Root of a data set (repeatable: a run on several). Without it: pedestrians drawn for the purpose."
        ),
    ] = None,
    dataset: data_options.Datasets = None,
    pattern: options.Pattern = "",
    trial: Annotated[
        int | None,
        typer.Option(
            min=1, help="Train on the people of this trial that `evaluate --trial` leaves.", show_default=False
        ),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(help="paper, strong, anywhere, fast, light or small.", show_default="fast; small without --data"),
    ] = None,
    system: Annotated[
        str | None,
        typer.Option(
            help="One of the paper's other systems: baseline, pcb, no-triplet, mvpm-2, mvpm-3, mvpm-4, p2, p3, p4, p8, "
            "3x2 ….",
            show_default="vpm",
        ),
    ] = None,
    backbone: Annotated[
        str | None,
        typer.Option(
            help="resnet8, resnet18, resnet34, resnet50, mobilenet_v3_small, osnet.", show_default="by preset"
        ),
    ] = None,
    init: Annotated[
        str | None,
        typer.Option(
            help="imagenet, osnet, random, or a safetensors file: a trunk, weights, or a run's checkpoint. That "
            "brings its identity classifiers too if it is of the same images; optimizer and schedule are new.",
            show_default="by preset",
        ),
    ] = None,
    output: Annotated[Path, typer.Option(help="Weights file; log, curves and checkpoint go beside it.")] = Path(
        "weights/vpm.safetensors"
    ),
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the weights of another run.")] = False,
    num_regions: Annotated[
        str | None,  # not a tuple: Typer would want two arguments
        typer.Option(metavar="ROWSxCOLUMNS", help="Grid of regions.", show_default="6x1"),
    ] = None,
    embedding_dim: Annotated[
        int | None, typer.Option(min=0, help="Numbers a region; 0 takes the trunk's.", show_default="by preset")
    ] = None,
    crop: Annotated[
        list[str] | None,
        typer.Option(
            callback=checks.crops, help="Crop strategy (repeatable, one drawn an image).", show_default="by preset"
        ),
    ] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Change any setting of the preset (repeatable)."),
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the images.", show_default="by preset")] = None,
    steps: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="End after so many steps, rates falling to 0 by then. This and --epochs may be moved at --resume.",
            show_default="all epochs",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same losses on a CPU.")] = 0,
    hold_out: Annotated[
        list[float] | None,
        typer.Option(
            min=0,
            help="Training identities to set aside and measure on after each epoch: a share below 1, or a number; one "
            "for each --data.",
            show_default="0",
        ),
    ] = None,
    hold_out_seed: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Draws who is held out: keep it where a second run starts from the first with another --seed.",
            show_default="--seed",
        ),
    ] = None,
    half: Annotated[bool, typer.Option("--half", help="Store the weights as float16.")] = False,
    device: options.Device = "auto",
    compiled: Annotated[
        bool,
        typer.Option("--compile", help="Compile the model: a minute or two once, faster steps; needs a C++ compiler."),
    ] = False,
    frozen_runtime: Annotated[
        str,
        typer.Option(help="What runs the trunk's frozen stages: torch or openvino (needs vpmsearch[openvino])."),
    ] = "torch",
    sync_norm: Annotated[
        bool, typer.Option("--sync-norm", help="Under torchrun: normalise over the batch of all processes (GPUs).")
    ] = False,
) -> None:
    """Train VPM and write its weights.

    Several data sets train one model: --data A --dataset market1501 --data B --dataset cuhk03. Their people and cameras
    are kept apart, and each has an equal part in every batch (or, --set domains=separate, every batch is of one).

    Several GPUs train as one under `torchrun --nproc-per-node N -m vpmsearch train …`: a batch is shared by all, and
    its losses are those that one process would have of the whole batch.
    """
    from vpmsearch.data.mixture import mixed
    from vpmsearch.errors import ModelError, TrainingError
    from vpmsearch.model.device import choose_device
    from vpmsearch.model.torch_runtime import torch_device
    from vpmsearch.model.weights import DRAWN
    from vpmsearch.training.ranks import joined, local_device, several
    from vpmsearch.training.trainer import Trainer

    changes: dict[str, Any] = {"seed": seed, "epochs": epochs, "steps": steps, "init": init}
    if num_regions is not None:
        changes["num_regions"] = options.grid(num_regions)
    if crop:
        changes["crops"] = tuple(crop)
    if embedding_dim is not None:
        changes["embedding_dim"] = embedding_dim or None
    checks.check_words("--frozen-runtime", [frozen_runtime], ("torch", "openvino"))
    settings = _settings(preset or ("fast" if data else "small"), backbone, system or "vpm", changes, setting or ())
    chosen = local_device(torch_device(choose_device(device)))
    if data is None and several():
        raise TrainingError(
            "several processes would draw the same pedestrians at once: draw them by one, or give --data"
        )
    if output.suffix != ".safetensors":
        raise ModelError(f"--output {output}: weights are safetensors, so the name must end in .safetensors")
    if not overwrite:
        _check_unused(output, resume=resume)
    sets = read_sets(data or [], dataset or [], pattern, trial)
    sets, held_out = split_sets(sets, hold_out or [], settings.seed if hold_out_seed is None else hold_out_seed)
    mixture = mixed([each.train for each in sets])
    with joined(chosen) as ranks:
        trainer = Trainer(
            settings,
            mixture.images,
            dataset=_name_of(sets) if data else DRAWN,
            output=output,
            device=chosen,
            workers=options.default_workers(),
            half=half,
            compiled=compiled,
            sync_norm=sync_norm,
            domains=mixture.domains,
            frozen_runtime=frozen_runtime,
            resume=resume,
        )
        if not ranks.first:
            trainer.run(resume=resume)
            return
        continues = trainer.files.go_on(resume=resume)
        say_start(trainer, continues=continues)
        say_repeated(trainer, mixture.domains, [each.name for each in sets])
        if resume and not continues:
            say(f"nothing to resume: there is no {trainer.files.checkpoint}; starting from the beginning")
        run_training(trainer, resume=resume, held_out=held_out)
    answer(str(output))


def _name_of(sets: Sequence[ReidDataset]) -> str:
    """The data set name for the weights' metadata. Of very many sets the last names are left out."""
    from vpmsearch.model.weights_file import MAX_TEXT

    name = " + ".join(each.name for each in sets)
    return name if len(name) <= MAX_TEXT else f"{name[: MAX_TEXT - 1]}…"


def _check_unused(output: Path, *, resume: bool) -> None:
    """Refuse an output that holds a trained model, so that a forgotten --resume does not replace days of training."""
    from vpmsearch.errors import TrainingError
    from vpmsearch.training.log import TrainingFiles

    checkpoint = TrainingFiles(output).checkpoint
    if resume and checkpoint.exists():
        return
    for path in (output, checkpoint):
        if path.exists() and not path.is_dir():  # the run refuses a folder itself
            on = "it has no checkpoint to go on from" if resume else "go on with it by --resume"
            raise TrainingError(f"{path} is there already; {on}, replace it by --overwrite, or give another --output")


def _settings(
    preset: str, backbone: str | None, system: str, changes: dict[str, Any], assignments: Sequence[str]
) -> TrainSettings:
    """The preset's settings, changed by the options; --set has the last word.

    Args:
        changes: values of `TrainSettings` by name. None leaves a setting as it is, but an embedding_dim of None means
            the trunk's own.
    """
    from vpmsearch.model.trunks import BACKBONES
    from vpmsearch.training.presets import changed, get_preset
    from vpmsearch.training.systems import with_system

    checks.check_words("--backbone", [backbone] if backbone is not None else [], tuple(BACKBONES))
    with checks.usage("--preset"):
        settings = get_preset(preset)
    with checks.usage("--system"):
        settings = with_system(_with_backbone(settings, backbone), system)
    given = {key: value for key, value in changes.items() if value is not None or key == "embedding_dim"}
    with checks.usage(None):  # settings that do not fit together; the message names them
        settings = replace(settings, **given)
    with checks.usage("--set"):
        return changed(settings, assignments)


def _with_backbone(settings: TrainSettings, backbone: str | None) -> TrainSettings:
    """Another trunk than the preset's starts from its own ImageNet weights, nothing frozen."""
    if backbone is None or backbone == settings.backbone:
        return settings
    init = {"osnet": "osnet", "resnet8": "random"}.get(backbone, "imagenet")
    return replace(settings, backbone=backbone, init=init, freeze_stages=0)
