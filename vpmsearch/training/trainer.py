"""Trains VPM (paper section 3.3 and 4.1): data flows from TrainingSet through the model into Eq. 8."""

from __future__ import annotations

import hashlib
import math
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vpmsearch.data.datasets import LabelledImage
from vpmsearch.data.sampler import IdentitySampler, MixtureSampler
from vpmsearch.data.training_set import Batch, CropSettings, TrainingSet
from vpmsearch.errors import TrainingError
from vpmsearch.model.baselines import ARCHITECTURES
from vpmsearch.model.initial import normalisation
from vpmsearch.model.vpm import Vpm, VpmOutput
from vpmsearch.model.weights import WeightsConfig, first_not_finite, save_weights
from vpmsearch.system.parallel import map_ahead
from vpmsearch.training.average import WeightAverage
from vpmsearch.training.checkpoint import Progress, load_checkpoint, read_progress, save_checkpoint
from vpmsearch.training.compiled import CompiledForward
from vpmsearch.training.frozen import FrozenPart
from vpmsearch.training.learning import LearningPart
from vpmsearch.training.log import LossRow, TrainingFiles, read_log, write_log
from vpmsearch.training.losses import LossTerms, RegionClassifiers, identity_rows, vpm_loss
from vpmsearch.training.memory import GalleryMemory
from vpmsearch.training.optimizer import build_optimizer, set_learning_rate
from vpmsearch.training.ranks import ranks_here, synchronised
from vpmsearch.training.settings import TrainSettings
from vpmsearch.training.start import start
from vpmsearch.types import Int64
from vpmsearch.version import VERSION

CHECKPOINT_SECONDS = 600.0
"""Between two checkpoints within an epoch, which on a CPU may take longer than its user's machine runs."""


class Trainer:
    """One training run.

    Args:
        settings: all that decides the run, data aside.
        images: the training split; every image with a pid. domains: of each image its data set's number, where there
            are several (`vpmsearch.data.mixture`).
        dataset: its name, for the weights' metadata.
        output: the weights file; checkpoint and log go beside it.
        device: where the model runs; mixed precision on CUDA.
        workers: threads that cut crops; 0 does it between steps.
        half: store the weights as float16.
        compiled: compile the model's forward pass. frozen_runtime: what runs the frozen stages, "torch" or "openvino".
        sync_norm: normalise over the batch of all processes where several train together (`training.ranks`); on GPUs.

    Attributes:
        kept_classifiers: whether the run starts with the identity classifiers of the checkpoint it starts from.

    Raises:
        DataError: too few identities, an image without a pid. ModelError: settings or initial weights that cannot be.
        TrainingError: the checkpoint to start from is damaged.
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
    ) -> None:
        torch.manual_seed(settings.seed)
        self.ranks = ranks_here()
        self.settings, self.dataset_name, self.device = settings, dataset, device
        self.files, self.workers, self.half = TrainingFiles(output), workers, half
        self.model = ARCHITECTURES[settings.architecture](
            settings.backbone, settings.num_regions, settings.embedding_dim, settings.normalize_embeddings
        )
        self.model.backbone.freeze(settings.freeze_stages)
        self.model.detach_locator = settings.detach_locator
        self.data = TrainingSet(images, self._crop_settings())
        self.classifiers = RegionClassifiers(
            settings.classifier, self.model.num_regions, self.model.embedding_dim, self.data.num_classes
        )
        self.kept_classifiers = start(self.model, self.classifiers, settings.init, self.data_digest)
        if sync_norm and self.ranks.size > 1:
            synchronised(self.model, device)
            synchronised(self.classifiers, device)
        self.model.to(device).to(memory_format=torch.channels_last)
        self.classifiers.to(device)
        self._forward = CompiledForward(self.model) if compiled else self.model
        self._frozen = self._build_frozen(frozen_runtime, compiled=compiled)
        self._learning: LearningPart | None = None
        if self._frozen is not None:
            half, threads = settings.bfloat16, max(workers, 1)
            self._learning = LearningPart(self.model.backbone, half=half, threads=threads)
        self.module = nn.ModuleDict({"model": self.model, "classifiers": self.classifiers})
        self.memory = self._build_memory()
        if self.memory is not None:
            self.module["memory"] = self.memory
        self.average = WeightAverage(self.model, settings.average_decay) if settings.average_decay else None
        if self.average is not None:
            self.module["average"] = self.average
        self.optimizer = build_optimizer(settings, self.model, self.classifiers)
        self.sampler = self._build_sampler(domains)
        norm = normalisation(settings.backbone)
        self._mean = torch.tensor(norm.mean, device=device).view(1, 3, 1, 1) * 255
        self._std = torch.tensor(norm.std, device=device).view(1, 3, 1, 1) * 255

    def steps_left(self, *, resume: bool) -> int:
        """Batches of all epochs, or of those that a checkpoint leaves."""
        found = read_progress(self.files.checkpoint) if resume and self.files.checkpoint.is_file() else None
        progress = found or Progress(0, 0, {})
        epochs = range(progress.epochs, self.settings.epochs)
        return max(sum(len(self._order(epoch)) for epoch in epochs) - progress.within, 0)

    def _order(self, epoch: int) -> list[Int64]:
        """The batches of an epoch, as far as the run goes."""
        order = self.sampler.epoch(epoch)
        if self.settings.steps is None:
            return order
        before = sum(len(self.sampler.epoch(earlier)) for earlier in range(epoch))
        return order[: max(self.settings.steps - before, 0)]

    @property
    def result(self) -> Vpm:
        """The model that is written and measured."""
        return self.model if self.average is None else self.average.module

    def run(
        self,
        *,
        resume: bool = False,
        on_step: Callable[[LossRow], None] = lambda row: None,
        on_epoch: Callable[[int, Vpm], None] = lambda epoch, model: None,
    ) -> Path:
        """Train to the end; checkpoint, weights and log are written after each epoch, the checkpoint in between too.

        Args:
            resume: go on from the checkpoint where there is one; the losses are those of an unbroken run.
            on_step, on_epoch: told of progress; the model is in evaluation mode in on_epoch.

        Raises:
            TrainingError: a loss is not finite (the last checkpoint is kept), or the checkpoint is of another run.
        """
        self._check_output()
        progress = Progress(0, 0, self._run_identity())
        if resume and self.files.checkpoint.is_file():
            progress = load_checkpoint(self.files.checkpoint, self.module, self.optimizer, progress.run)
        self.ranks.check_alike(progress.steps, self.device)
        rows = self._logged(progress.steps)
        step = progress.steps
        if self.ranks.first and progress.epochs >= self.settings.epochs and not self.files.weights.is_file():
            self._save(progress, rows)  # done already, and its weights taken away since
        saved = time.monotonic()
        for epoch in range(progress.epochs, self.settings.epochs):
            torch.manual_seed(self.settings.seed + epoch)
            self.module.train()
            order = self._order(epoch)
            if not order:  # the run ended in an earlier one
                break
            begin = progress.within if epoch == progress.epochs else 0
            for index, batch in enumerate(self._batches(epoch, order, begin), start=begin):
                if self.ranks.first and index > begin and time.monotonic() - saved >= CHECKPOINT_SECONDS:
                    self._check_finite(epoch)
                    self._save_checkpoint(Progress(epoch, step, progress.run, index), rows)
                    saved = time.monotonic()
                set_learning_rate(self.optimizer, self.settings, epoch + index / len(order), step)
                row = self._step(batch, epoch, step)
                rows.append(row)
                on_step(row)
                step += 1
            self._check_finite(epoch)
            self.module.eval()
            if self.ranks.first:
                ended = len(order) < len(self.sampler.epoch(epoch))  # within the epoch: the end may be moved later
                done = (
                    Progress(epoch, step, progress.run, len(order))
                    if ended
                    else Progress(epoch + 1, step, progress.run)
                )
                self._save(done, rows)
                on_epoch(epoch, self.result)
                saved = time.monotonic()
            self.ranks.wait()
        return self.files.weights

    def _check_finite(self, epoch: int) -> None:
        """The loss of the last step says nothing of what its update did: look before the last good files go."""
        if bad := first_not_finite(self.module.state_dict()):
            raise TrainingError(
                f"{bad} is not finite in epoch {epoch}; lower the learning rate. The last checkpoint is kept"
            )

    def _check_output(self) -> None:
        """Find out before an epoch's work, not after it, that nothing can be written.

        Raises:
            TrainingError: the weights' folder cannot be made or written.
        """
        try:
            self.files.weights.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.files.weights.parent):
                pass
        except OSError as error:
            raise TrainingError(f"cannot write to {self.files.weights.parent}: {error.strerror or error}") from error

    def _step(self, prepared: tuple[Batch, Tensor | None], epoch: int, step: int) -> LossRow:
        batch, features = prepared
        output, logits, teacher = self._seen(batch, features)
        output = self.ranks.gathered_output(output, self._views)
        ranking = None
        if self.memory is not None:
            ranking = self.memory.rank(
                output, self._whole(batch.indices), self.settings.memory_temperature, self._views
            )
        terms = vpm_loss(
            output,
            self.ranks.gathered(logits, self._views),
            self._whole(batch.labels),
            self._whole(batch.visible),
            self._whole(batch.targets),
            self.settings,
            ranking,
            None if teacher is None else self.ranks.gathered(teacher),
        )
        row = self._row(terms, epoch, step)
        if not math.isfinite(row.loss):
            found = ", ".join(f"{name} {value}" for name, value in asdict(row).items() if name.startswith("loss_"))
            raise TrainingError(
                f"the loss is not finite at epoch {epoch}, step {step} ({found}); "
                "lower the learning rate. The last checkpoint is kept"
            )
        self.optimizer.zero_grad(set_to_none=True)
        terms.total.backward()  # type: ignore[no-untyped-call]
        if self._learning is not None:
            self._learning.backward()
        self.ranks.sum_gradients(self.module)
        if self.settings.gradient_clip is not None:
            nn.utils.clip_grad_norm_(self.module.parameters(), self.settings.gradient_clip)
        self.optimizer.step()
        if self.average is not None:
            self.average.update_parameters(self.model)
        return row

    def _seen(self, batch: Batch, features: Tensor | None) -> tuple[VpmOutput, Tensor, Tensor | None]:
        """What the model sees in a batch, the logits of it, and what the teacher sees in the whole images.

        Args:
            features: what the frozen stages made of the batch, if they were run apart.
        """
        counted = identity_rows(self._to_device(batch.visible), self.settings)
        if features is not None and self._learning is not None:
            output = self.model.see_regions(self._learning.forward(features))
            return output, self.classifiers(output.embeddings, counted), self._taught(features)
        images = self._normalised(batch.pixels)
        with self._mixed_precision():
            output = self._forward(images)
            return output, self.classifiers(output.embeddings, counted), self._taught(images)

    @torch.no_grad()
    def _taught(self, seen: Tensor) -> Tensor | None:
        """Embeddings (n, p, d) of the whole images by the averaged model, if the settings ask for a teacher.

        Args:
            seen: the batch's images, or what the frozen stages made of them where those were run apart.
        """
        if not self.settings.teacher or self.average is None:
            return None
        teacher, whole = self.average.module.eval(), seen.chunk(self._views)[0]
        if self._learning is not None:
            return teacher.see_regions(self._learning.of_another(teacher.backbone, whole)).embeddings
        output: VpmOutput = teacher(whole)
        return output.embeddings

    def _mixed_precision(self) -> torch.autocast:
        enabled = self.device.type == "cuda" or self.settings.bfloat16
        return torch.autocast(self.device.type, torch.bfloat16, enabled=enabled)

    def _row(self, terms: LossTerms, epoch: int, step: int) -> LossRow:
        scalars = (terms.total, terms.region, terms.identity, terms.triplet, terms.consistency, terms.memory)
        values = torch.stack([term.float() for term in scalars]).tolist()  # one transfer from the device
        total, region, identity, triplet, consistency, memory = values
        lr = float(self.optimizer.param_groups[0]["lr"])
        return LossRow(epoch, step, total, region, identity, triplet, consistency, memory, lr)

    def _batches(self, epoch: int, order: Sequence[Int64], begin: int) -> Iterator[tuple[Batch, Tensor | None]]:
        """The batches of an epoch from number `begin` on, and what the frozen stages make of each if run apart."""
        requests = list(enumerate(order))[begin:]
        share = self.ranks.share(self.settings.pids_per_batch * self.settings.images_per_pid)

        def prepare(request: tuple[int, Int64]) -> tuple[Batch, Tensor | None]:
            batch = self.data.batch(request[1], (self.settings.seed, epoch, request[0]), share)
            return batch, self._frozen(self._normalised(batch.pixels)) if self._frozen else None

        return map_ahead(prepare, requests, workers=self.workers, ahead=2 * self.workers)

    def _normalised(self, pixels: np.ndarray[Any, np.dtype[np.uint8]]) -> Tensor:
        """(B, 3, H, W) uint8 -> float, on the device."""
        images = torch.from_numpy(pixels).to(self.device, non_blocking=True).float()
        return ((images - self._mean) / self._std).contiguous(memory_format=torch.channels_last)

    @property
    def _views(self) -> int:
        return self.data.settings.views

    def _whole(self, own: np.ndarray[Any, Any]) -> Tensor:
        """A part of this rank's share of the batch as that of the whole batch."""
        return self.ranks.gathered(self._to_device(own), self._views)

    def _to_device(self, array: np.ndarray[Any, Any]) -> Tensor:
        return torch.from_numpy(array).to(self.device, non_blocking=True)

    def _crop_settings(self) -> CropSettings:
        height, width = self.settings.input_size
        with torch.no_grad():
            self.model.eval()
            map_size = self.model.backbone(torch.zeros(1, 3, height, width)).shape[2:]
        return CropSettings(
            input_size=self.settings.input_size,
            map_size=(int(map_size[0]), int(map_size[1])),
            grid=self.model.grid,
            strategies=self.settings.crops,
            gamma=self.settings.gamma,
            flip=self.settings.flip,
            shift=self.settings.shift,
            two_views=self.settings.consistency_weight > 0,
            color_jitter=self.settings.color_jitter,
            erase=self.settings.erase,
            cuts=self.settings.cuts,
            whole_share=self.settings.whole_share,
            box_jitter=self.settings.box_jitter,
            degrade=self.settings.degrade,
            grey=self.settings.grey,
        )

    def _build_frozen(self, runtime: str, *, compiled: bool) -> FrozenPart | None:
        """What runs the frozen stages ahead of the steps. A GPU runs all at once, as a compiled model does."""
        apart = self.device.type == "cpu" and self.model.backbone.splits and not compiled
        if not apart or not (self.settings.bfloat16 or runtime != "torch"):
            if runtime != "torch":
                raise TrainingError(
                    f"--frozen-runtime {runtime} runs the frozen stages of osnet on a CPU, and not with --compile; "
                    "leave it away"
                )
            return None
        return FrozenPart(self.model.backbone, runtime, self.settings.input_size, half=self.settings.bfloat16)

    def _build_sampler(self, domains: Sequence[int] | None) -> IdentitySampler | MixtureSampler:
        settings, targets = self.settings, self.data.targets.tolist()
        camids = self.data.camids.tolist() if settings.across_cameras else None
        sizes = settings.pids_per_batch, settings.images_per_pid, settings.seed
        if domains is None or len(set(domains)) == 1:
            return IdentitySampler(targets, *sizes, camids)
        return MixtureSampler(targets, domains, *sizes, mixing=settings.domains, camids=camids)

    def _build_memory(self) -> GalleryMemory | None:
        if not self.settings.memory_weight:
            return None
        model, data = self.model, self.data
        return GalleryMemory(data.targets, data.camids, model.num_regions, model.embedding_dim).to(self.device)

    def _save(self, progress: Progress, rows: list[LossRow]) -> None:
        self.module.eval()
        save_weights(
            self.files.weights, self.result, self.weights_config(), torch.float16 if self.half else torch.float32
        )
        self._save_checkpoint(progress, rows)  # last: all before it is whole

    def _save_checkpoint(self, progress: Progress, rows: list[LossRow]) -> None:
        write_log(self.files.log, rows)
        save_checkpoint(self.files.checkpoint, self.module, self.optimizer, progress)

    def _logged(self, steps: int) -> list[LossRow]:
        """The rows of the steps that the checkpoint covers."""
        return read_log(self.files.log)[:steps] if steps else []

    @cached_property
    def data_digest(self) -> str:
        """Of the images' names and identities: two runs with the same one learn to tell the same people apart."""
        pairs = zip(self.data.images, self.data.targets, strict=True)
        names = "\n".join(f"{image.path.name}\t{target}" for image, target in pairs)
        return hashlib.sha256(names.encode(errors="surrogateescape")).hexdigest()

    def _run_identity(self) -> dict[str, Any]:
        """What must not change between a run and its resumption."""
        return {"settings": self.settings.identity(), "data": self.data_digest}

    def weights_config(self) -> WeightsConfig:
        """What goes with the weights this run writes."""
        norm = normalisation(self.settings.backbone)
        return WeightsConfig(
            backbone=self.settings.backbone,
            num_regions=self.model.grid,
            embedding_dim=self.settings.embedding_dim,
            normalize_embeddings=self.settings.normalize_embeddings,
            input_size=self.settings.input_size,
            mean=norm.mean,
            std=norm.std,
            name=f"{self.settings.architecture}-{self.settings.backbone}-{self.settings.preset}",
            dataset=self.dataset_name,
            num_classes=self.data.num_classes,
            training=self.settings.to_json(),
            source_revision=source_revision(),
            architecture=self.settings.architecture,
        )


def source_revision() -> str:
    """Version of vpmsearch, and its commit where it runs from a checkout."""
    checkout = Path(__file__).parents[2]
    if not (checkout / ".git").exists():  # installed: a repository further up is somebody else's
        return VERSION
    command = ["git", "-C", str(checkout), "describe", "--always", "--dirty"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return VERSION
    return f"{VERSION}+{found}"
