"""Trains VPM (paper section 3.3 and 4.1): images of a TrainingSet go through the model into Eq. 8.

This module is the run itself: its epochs, when it writes which file, and how it resumes. `vpmsearch.training.parts`
builds the parts of a run, `vpmsearch.training.step` takes a step.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vpmsearch.data.datasets import LabelledImage
from vpmsearch.data.training_set import Batch, TrainingSet
from vpmsearch.errors import ModelError, TrainingError
from vpmsearch.model.vpm import Vpm, VpmOutput
from vpmsearch.model.weights import WeightsConfig, first_not_finite, save_weights
from vpmsearch.system.parallel import map_ahead
from vpmsearch.training import parts
from vpmsearch.training.average import WeightAverage
from vpmsearch.training.checkpoint import Progress, load_checkpoint, progress_of, save_checkpoint
from vpmsearch.training.compiled import CompiledForward
from vpmsearch.training.learning import LearningPart, one_thread_an_operation
from vpmsearch.training.log import LossRow, TrainingFiles, read_log, write_log
from vpmsearch.training.losses import RegionClassifiers
from vpmsearch.training.means import start_from_means
from vpmsearch.training.optimizer import build_optimizer, set_learning_rate
from vpmsearch.training.precision import has_bfloat16
from vpmsearch.training.ranks import ranks_here, synchronised
from vpmsearch.training.settings import TrainSettings
from vpmsearch.training.start import start
from vpmsearch.training.step import TrainingStep
from vpmsearch.types import Int64

CHECKPOINT_SECONDS = 600.0
"""Time between two checkpoints within an epoch. On a CPU an epoch may take longer than the machine stays on."""


class Trainer:
    """One training run.

    Args:
        settings: all that decides the run, except the data.
        images: the training split; every image has a pid. domains: the number of each image's data set, if there are
            several (`vpmsearch.data.mixture`).
        dataset: its name, for the weights' metadata.
        output: the weights file; checkpoint and log are written beside it.
        device: where the model runs; in mixed precision on CUDA.
        workers: threads that cut crops; with 0 the caller cuts them between steps.
        half: store the weights as float16.
        compiled: compile the model's forward pass. frozen_runtime: runs the frozen stages, "torch" or "openvino".
        sync_norm: batch normalisation over the batch of all processes that train together (`training.ranks`); needs
            GPUs.
        resume: begin with the weights of the checkpoint, if there is one, for a `run` that resumes. The first weights
            of the settings are not read then; they may be gone.

    Attributes:
        kept_classifiers: whether the run starts with the identity classifiers of a checkpoint.
        anew: the layers that have another shape in the first weights, and start anew.
        half_precision: whether the trunk computes in bfloat16: if the settings ask for it and the device has it.

    Raises:
        DataError: too few identities, or an image without a pid. ModelError: settings or initial weights do not fit.
        TrainingError: the checkpoint to start from is damaged, or to resume from of another run.
    """

    def __init__(
        self,
        settings: TrainSettings,
        images: Sequence[LabelledImage],
        *,
        dataset: str,
        output: Path,
        device: torch.device,
        workers: int = 2,
        half: bool = False,
        compiled: bool = False,
        sync_norm: bool = False,
        domains: Sequence[int] | None = None,
        frozen_runtime: str = "torch",
        resume: bool = False,
    ) -> None:
        torch.manual_seed(settings.seed)
        self.ranks = ranks_here()
        self.settings, self.dataset_name, self.device = settings, dataset, device
        self.files, self.workers, self.half = TrainingFiles(output), workers, half
        self.model = parts.build_model(settings)
        self.data = TrainingSet(images, parts.crop_settings(settings, self.model))
        self.classifiers = RegionClassifiers(
            settings.classifier, self.model.num_regions, self.model.embedding_dim, self.data.num_classes
        )
        self.kept_classifiers, self.anew = start(self.model, self.classifiers, self._init(resume), self.data_digest)
        if sync_norm and self.ranks.size > 1:
            synchronised(self.model, device)
            synchronised(self.classifiers, device)
        self.model.to(device).to(memory_format=torch.channels_last)
        self.classifiers.to(device)
        self.memory = parts.build_memory(settings, self.data, self.model)
        self.average = WeightAverage(self.model, settings.average_decay) if settings.average_decay else None
        extra = {"memory": self.memory, "average": self.average}
        self.module = nn.ModuleDict({"model": self.model, "classifiers": self.classifiers})
        self.module.update({name: part.to(device) for name, part in extra.items() if part is not None})
        self.optimizer = build_optimizer(settings, self.model, self.classifiers)
        self.sampler = parts.build_sampler(settings, self.data, domains)
        self._normalised = parts.PixelNormaliser(settings.backbone, device)
        self.half_precision = settings.bfloat16 and has_bfloat16(device)
        self._frozen = parts.build_frozen(
            settings, self.model, device, frozen_runtime, compiled=compiled, half=self.half_precision
        )
        self._learning: LearningPart | None = None
        self._on_save: Callable[[], None] = lambda: None  # what `run` is given
        if self._frozen is not None:
            self._learning = LearningPart(self.model.backbone, half=self.half_precision, threads=max(workers, 1))
        if problem := self.weights_config().problem():  # nobody could read what it writes
            raise ModelError(f"these settings fit no weights file: {problem}")
        self._step = TrainingStep(
            settings,
            self.model,
            self.classifiers,
            memory=self.memory,
            average=self.average,
            optimizer=self.optimizer,
            forward=CompiledForward(self.model) if compiled else self.model,
            learning=self._learning,
            normalised=self._normalised,
            ranks=self.ranks,
            views=self.data.settings.views,
            device=device,
            half=self.half_precision,
        )

    def _init(self, resume: bool) -> str:
        """What the model starts from: the checkpoint for a run that goes on from it, else what the settings name."""
        if not self.files.go_on(resume=resume):
            return self.settings.init
        progress_of(self.files.checkpoint, self._run_identity())
        return str(self.files.checkpoint)

    def steps_left(self, *, resume: bool) -> int:
        """The number of steps of the whole run; with `resume`, of those after the checkpoint.

        Raises:
            TrainingError: the checkpoint is of another run.
        """
        progress = Progress(0, 0, {})
        if self.files.go_on(resume=resume):
            progress = progress_of(self.files.checkpoint, self._run_identity())
        epochs = range(progress.epochs, self.settings.epochs)
        return max(sum(len(self._order(epoch)) for epoch in epochs) - progress.within, 0)

    def _order(self, epoch: int) -> list[Int64]:
        """The batches of an epoch, up to the end of the run."""
        order = self.sampler.epoch(epoch)
        if self.settings.steps is None:
            return order
        before = sum(len(self.sampler.epoch(earlier)) for earlier in range(epoch))
        return order[: max(self.settings.steps - before, 0)]

    @property
    def result(self) -> Vpm:
        """The model that is written and evaluated: the averaged one, if there is one."""
        return self.model if self.average is None else self.average.module

    def run(
        self,
        *,
        resume: bool = False,
        on_step: Callable[[LossRow], None] = lambda row: None,
        on_save: Callable[[], None] = lambda: None,
        on_epoch: Callable[[int, Vpm], None] = lambda epoch, model: None,
    ) -> Path:
        """Train to the end. Weights and log are written after each epoch, the checkpoint also within long epochs.

        Args:
            resume: continue from the checkpoint, if there is one. The losses are those of an uninterrupted run.
            on_step, on_epoch: called after each; in on_epoch the model is in evaluation mode.
            on_save: called before files of this run take the place of those that are there.

        Raises:
            TrainingError: a loss is not finite (the last checkpoint is kept), or the checkpoint is of another run.
        """
        self.files.check()
        self._on_save = on_save
        progress = Progress(0, 0, self._run_identity())
        if self.files.go_on(resume=resume):
            progress = load_checkpoint(self.files.checkpoint, self.module, self.optimizer, progress.run)
        elif self.settings.class_means and not self.kept_classifiers:
            self._start_from_means()
        self.ranks.check_alike(progress.steps, self.device)
        rows = self._logged(progress.steps)
        if self.ranks.first and progress.epochs >= self.settings.epochs and not self.files.weights.is_file():
            self._save(progress, rows)  # the run is finished, but its weights were removed
        for epoch in range(progress.epochs, self.settings.epochs):
            order = self._order(epoch)
            if not order:  # `steps` ended the run in an earlier epoch
                break
            progress = self._train_epoch(progress, order, rows, on_step)
            self._check_finite(epoch)
            self.module.eval()
            if self.ranks.first:
                self._save(progress, rows)
                on_epoch(epoch, self.result)
            self.ranks.wait()
        return self.files.weights

    def _start_from_means(self) -> None:
        """Set the classifiers from the model that the run starts from."""

        def see(pixels: np.ndarray[Any, np.dtype[np.uint8]]) -> VpmOutput:
            images = self._normalised(pixels)
            if self._frozen is None or self._learning is None:
                output: VpmOutput = self.model(images)
                return output
            features = self._learning.of_another(self.model.backbone, self._frozen(images))
            return self.model.see_regions(features)

        self.module.eval()
        with self._threads():
            start_from_means(self.classifiers, self.memory, self.data, see, self.settings.class_means, self.workers)

    def _train_epoch(
        self, progress: Progress, order: Sequence[Int64], rows: list[LossRow], on_step: Callable[[LossRow], None]
    ) -> Progress:
        """Take the remaining steps of an epoch, and write a checkpoint every `CHECKPOINT_SECONDS`.

        Args:
            order: the batches of the whole epoch. rows: the log; a row is added for each step. on_step: called after
                each step.

        Returns:
            How far the run is then.
        """
        epoch, begin, step, saved = progress.epochs, progress.within, progress.steps, time.monotonic()
        self.module.train()
        with self._threads():
            for index, batch in enumerate(self._batches(epoch, order, begin), start=begin):
                if self.ranks.first and index > begin and time.monotonic() - saved >= CHECKPOINT_SECONDS:
                    self._check_finite(epoch)
                    self._on_save()
                    self._save_checkpoint(Progress(epoch, step, progress.run, index), rows)
                    saved = time.monotonic()
                torch.manual_seed(self.settings.seed + step)  # also where a run goes on within an epoch
                set_learning_rate(self.optimizer, self.settings, epoch + index / len(order), step)
                row = self._step(batch, epoch, step)
                rows.append(row)
                on_step(row)
                step += 1
        if len(order) < len(self.sampler.epoch(epoch)):  # `steps` ends the run within the epoch; it may be raised later
            return Progress(epoch, step, progress.run, len(order))
        return Progress(epoch + 1, step, progress.run)

    def _threads(self) -> AbstractContextManager[None]:
        """Keep torch from starting threads for its operations if `LearningPart` has threads of its own."""
        return nullcontext() if self._learning is None else one_thread_an_operation()

    def _check_finite(self, epoch: int) -> None:
        """Check the weights before they replace the last good files: the loss does not show what its update did."""
        if bad := first_not_finite(self.module.state_dict()):
            raise TrainingError(
                f"{bad} is not finite in epoch {epoch}; lower the learning rate. The last checkpoint is kept"
            )

    def _batches(self, epoch: int, order: Sequence[Int64], begin: int) -> Iterator[tuple[Batch, list[Tensor] | None]]:
        """The batches of an epoch from number `begin` on, with the output of the frozen stages if they run apart."""
        requests = list(enumerate(order))[begin:]
        share = self.ranks.share(self.settings.pids_per_batch * self.settings.images_per_pid)

        def prepare(request: tuple[int, Int64]) -> tuple[Batch, list[Tensor] | None]:
            batch = self.data.batch(request[1], (self.settings.seed, epoch, request[0]), share)
            if self._frozen is None:
                return batch, None
            seen = [pixels for pixels in (batch.pixels, batch.low) if pixels is not None]
            return batch, [self._frozen(self._normalised(pixels)) for pixels in seen]

        return map_ahead(prepare, requests, workers=self.workers, ahead=2 * self.workers)

    def _save(self, progress: Progress, rows: list[LossRow]) -> None:
        self.module.eval()
        self._on_save()
        save_weights(
            self.files.weights, self.result, self.weights_config(), torch.float16 if self.half else torch.float32
        )
        self._save_checkpoint(progress, rows)  # last: when it is there, the other files are complete

    def _save_checkpoint(self, progress: Progress, rows: list[LossRow]) -> None:
        write_log(self.files.log, rows)
        save_checkpoint(self.files.checkpoint, self.module, self.optimizer, progress)

    def _logged(self, steps: int) -> list[LossRow]:
        """The log's rows for the steps up to the checkpoint."""
        return read_log(self.files.log)[:steps] if steps else []

    @cached_property
    def data_digest(self) -> str:
        """See `vpmsearch.training.parts.digest_of`."""
        return parts.digest_of(self.data)

    def _run_identity(self) -> dict[str, Any]:
        """What must be the same when a run is resumed."""
        return {"settings": self.settings.identity(), "data": self.data_digest}

    def weights_config(self) -> WeightsConfig:
        """The configuration that is written with this run's weights."""
        return parts.weights_config(self.settings, self.model, self.dataset_name, self.data.num_classes)
