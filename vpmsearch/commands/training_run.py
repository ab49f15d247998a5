"""A training run as a command shows it: its progress, what it measures after each epoch, its loss curves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vpmsearch.commands.terminal import progress, say
from vpmsearch.commands.training_data import check_held_out, write_held_out
from vpmsearch.words import number_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vpmsearch.data.datasets import ReidDataset
    from vpmsearch.model.vpm import Vpm
    from vpmsearch.training.log import LossRow
    from vpmsearch.training.trainer import Trainer


def run_training(trainer: Trainer, *, resume: bool = False, held_out: Sequence[ReidDataset] = ()) -> None:
    """Train with a progress bar, write down who is held out, and draw the loss curves at the end."""
    from functools import partial
    from time import monotonic

    from vpmsearch.errors import ImageError, TrainingError, VpmsearchError

    steps, since = 0, monotonic()

    def on_step(row: LossRow) -> None:
        nonlocal steps
        steps += 1
        advance(1, f"epoch {row.epoch + 1} loss {row.loss:.3f}")

    def on_epoch(epoch: int, model: Vpm) -> None:
        nonlocal steps, since
        size = trainer.settings.pids_per_batch * trainer.settings.images_per_pid * trainer.data.settings.views
        say(f"epoch {epoch + 1}: {steps * size / (monotonic() - since):.1f} images a second")
        for each in held_out:
            try:
                found = _measure(trainer, each)
            except VpmsearchError as error:  # the training is not worse for it
                found = f"not measured: {error}"
            say(f"epoch {epoch + 1}: {each.name}: {found}")
        steps, since = 0, monotonic()

    files = trainer.files
    if files.go_on(resume=resume):
        check_held_out(files.held_out, held_out)
    if held_out:
        people = sum(len({image.pid for image in each.query}) for each in held_out)
        say(f"held out: {number_of(people, 'identity')}, written to {files.held_out} with the first weights")
    # Not before there are weights for it: until then it says who was held out of the weights that are there.
    write = partial(write_held_out, files.held_out, held_out)
    with progress("training", trainer.steps_left(resume=resume)) as advance:
        try:
            trainer.run(resume=resume, on_step=on_step, on_save=write, on_epoch=on_epoch)
        except ImageError as error:  # found out when its turn came, perhaps after hours
            raise TrainingError(
                f"{error}; put a sound image there and go on with --resume, or start anew without it"
            ) from error
    _draw_curves(trainer)


def _draw_curves(trainer: Trainer) -> None:
    """Draw the losses of the run; those that its settings give no weight are left out."""
    from dataclasses import asdict

    from vpmsearch.report.curves import loss_curves
    from vpmsearch.training.log import read_log

    settings = trainer.settings
    weights = {"loss_consistency": settings.consistency_weight, "loss_memory": settings.memory_weight}
    unused = [name for name, weight in weights.items() if not weight]
    rows = [{k: v for k, v in asdict(row).items() if k not in unused} for row in read_log(trainer.files.log)]
    say(f"loss curves: {loss_curves(rows, trainer.files.curves, title=str(trainer.files.weights.name))}")


def _measure(trainer: Trainer, held_out: ReidDataset) -> str:
    """Rank-1 and mAP on the held-out identities, whole and half, and how far a half is from its whole."""
    from dataclasses import replace

    from vpmsearch.evaluation.labels import labels_of, protocol_of
    from vpmsearch.evaluation.protocols import evaluate_model
    from vpmsearch.evaluation.shift import whole_to_cut
    from vpmsearch.model.extraction import Extractor
    from vpmsearch.model.weights import read_weights

    extractor = Extractor(read_weights(trainer.files.weights), trainer.device)
    labels = labels_of(held_out, replace(protocol_of(held_out), by_track=False))
    rows = evaluate_model(extractor, held_out.query, held_out.gallery, gammas=(1.0, 0.5), labels=labels)
    figures = [f"γ {r.gamma}: rank-1 {r.metrics.cmc[0]:.3f} mAP {r.metrics.mean_ap:.3f}" for r in rows]
    shift = whole_to_cut(extractor, held_out.query, gamma=0.5)
    return ", ".join([*figures, f"‖f(cut) − f(whole)‖ {shift:.3f}"])
