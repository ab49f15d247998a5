"""One training step: the model sees a batch, Eq. 8 gives the losses, and the weights are updated."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vpmsearch.data.training_set import Batch
from vpmsearch.errors import TrainingError
from vpmsearch.model.vpm import Vpm, VpmOutput
from vpmsearch.training.average import WeightAverage
from vpmsearch.training.learning import LearningPart
from vpmsearch.training.log import LossRow
from vpmsearch.training.losses import LossTerms, RegionClassifiers, identity_rows, vpm_loss
from vpmsearch.training.memory import GalleryMemory
from vpmsearch.training.ranks import Ranks
from vpmsearch.training.settings import TrainSettings
from vpmsearch.training.style import mixed_styles


def joined(outputs: list[VpmOutput]) -> VpmOutput:
    """The outputs of a batch's images and its low images as one. Only the fields that the losses need are joined.

    The logits of low images are filled up with zeros to the rows of the others; their labels there are `IGNORED`.
    """
    if len(outputs) == 1:
        return outputs[0]
    first, low = outputs
    missing = first.locator_logits.shape[2] - low.locator_logits.shape[2]
    return replace(
        first,
        locator_logits=torch.cat([first.locator_logits, F.pad(low.locator_logits, (0, 0, 0, missing))]),
        visibility=torch.cat([first.visibility, low.visibility]),
        embeddings=torch.cat([first.embeddings, low.embeddings]),
    )


class TrainingStep:
    """Takes one step each time it is called.

    Args:
        settings: of the run. model, classifiers, memory, average: changed by the step.
        optimizer: of model and classifiers. forward: the model, or its compiled form. learning: runs the stages that
            learn; None if the model runs as a whole. normalised: turns pixels into the trunk's input. half: compute in
            bfloat16 also on a CPU.
        ranks: the processes that train together. views: how often each image is in a batch.
    """

    def __init__(
        self,
        settings: TrainSettings,
        model: Vpm,
        classifiers: RegionClassifiers,
        *,
        memory: GalleryMemory | None,
        average: WeightAverage | None,
        optimizer: torch.optim.Optimizer,
        forward: Callable[[Tensor], VpmOutput],
        learning: LearningPart | None,
        normalised: Callable[[np.ndarray[Any, np.dtype[np.uint8]]], Tensor],
        ranks: Ranks,
        views: int,
        device: torch.device,
        half: bool,
    ) -> None:
        self._settings, self._model, self._classifiers = settings, model, classifiers
        self._memory, self._average, self._optimizer = memory, average, optimizer
        self._forward, self._learning, self._normalised = forward, learning, normalised
        self._ranks, self._views, self._device, self._half = ranks, views, device, half
        learned = {"model": model, "classifiers": classifiers}
        self._parameters = nn.ModuleDict(learned)

    def __call__(self, prepared: tuple[Batch, list[Tensor] | None], epoch: int, step: int) -> LossRow:
        """Take a step.

        Args:
            prepared: this rank's share of a batch, and the output of the frozen stages if they ran apart: of `pixels`,
                and of `low` if there are any.
            epoch, step: their numbers, for the log.

        Raises:
            TrainingError: the loss is not finite. The weights are not changed.
        """
        terms = self._losses(*prepared)
        row = self._row(terms, epoch, step)
        if not math.isfinite(row.loss):
            found = ", ".join(f"{name} {value}" for name, value in asdict(row).items() if name.startswith("loss_"))
            raise TrainingError(
                f"the loss is not finite at epoch {epoch}, step {step} ({found}); "
                "lower the learning rate. The last checkpoint is kept"
            )
        self._update(terms.total)
        return row

    def _losses(self, batch: Batch, features: list[Tensor] | None) -> LossTerms:
        """The terms of Eq. 8 over the batch of all ranks."""
        output, logits, teacher = self._seen(batch, features)
        output = self._ranks.gathered_output(output, self._views)
        ranking = None
        if self._memory is not None:
            temperature = self._settings.memory_temperature
            ranking = self._memory.rank(output, self._whole(batch.indices), temperature, self._views)
        return vpm_loss(
            output,
            self._ranks.gathered(logits, self._views),
            self._whole(batch.labels),
            self._whole(batch.visible),
            self._whole(batch.targets),
            self._settings,
            ranking,
            None if teacher is None else self._ranks.gathered(teacher),
        )

    def _update(self, loss: Tensor) -> None:
        """Back-propagate the loss and update the weights."""
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if self._learning is not None:
            self._learning.backward()
        self._ranks.sum_gradients(self._parameters)
        if self._settings.gradient_clip is not None:
            nn.utils.clip_grad_norm_(self._parameters.parameters(), self._settings.gradient_clip)
        self._optimizer.step()
        if self._average is not None:
            self._average.update_parameters(self._model)

    def _seen(self, batch: Batch, features: list[Tensor] | None) -> tuple[VpmOutput, Tensor, Tensor | None]:
        """The model's output for a batch, the classifiers' logits, and the teacher's embeddings of the whole images.

        Args:
            features: the output of the frozen stages, if they ran apart.
        """
        counted = identity_rows(self._to_device(batch.visible), self._settings)
        share = self._settings.style_mixing
        if features is not None and self._learning is not None:
            styled = [mixed_styles(each, share) for each in features]
            output = joined([self._model.see_regions(self._learning.forward(each)) for each in styled])
            return output, self._classifiers(output.embeddings, counted), self._taught(features[0])
        images = [self._normalised(pixels) for pixels in (batch.pixels, batch.low) if pixels is not None]
        with self._mixed_precision():
            if share:
                outputs = [self._styled(each, share) for each in images]
            else:  # low images have many heights; each would be compiled anew, and torch gives up after eight
                outputs = [self._forward(images[0]), *map(self._model, images[1:])]
            output = joined(outputs)
            return output, self._classifiers(output.embeddings, counted), self._taught(images[0])

    def _styled(self, images: Tensor, share: float) -> VpmOutput:
        """The model's output, with styles mixed behind the frozen stages."""
        backbone = self._model.backbone
        features = mixed_styles(backbone.frozen_part(images), share)
        return self._model.see_regions(backbone.learning_part(features))

    @torch.no_grad()
    def _taught(self, seen: Tensor) -> Tensor | None:
        """Embeddings (n, p, d) of the whole images by the averaged model; None without a teacher.

        Args:
            seen: the batch's images, or the output of the frozen stages if they ran apart.
        """
        if not self._settings.teacher or self._average is None:
            return None
        stretched = self._views - self._settings.second_look  # `seen` holds no low images
        teacher, whole = self._average.module.eval(), seen.chunk(stretched)[0]
        if self._learning is not None:
            return teacher.see_regions(self._learning.of_another(teacher.backbone, whole)).embeddings
        output: VpmOutput = teacher(whole)
        return output.embeddings

    def _mixed_precision(self) -> torch.autocast:
        enabled = self._device.type == "cuda" or self._half
        return torch.autocast(self._device.type, torch.bfloat16, enabled=enabled)

    def _row(self, terms: LossTerms, epoch: int, step: int) -> LossRow:
        scalars = (terms.total, terms.region, terms.identity, terms.triplet, terms.consistency, terms.memory)
        values = torch.stack([term.float() for term in scalars]).tolist()  # one transfer from the device
        total, region, identity, triplet, consistency, memory = values
        lr = float(self._optimizer.param_groups[0]["lr"])
        return LossRow(epoch, step, total, region, identity, triplet, consistency, memory, lr)

    def _whole(self, own: np.ndarray[Any, Any]) -> Tensor:
        """An array of this rank's share -> the tensor of the whole batch."""
        return self._ranks.gathered(self._to_device(own), self._views)

    def _to_device(self, array: np.ndarray[Any, Any]) -> Tensor:
        return torch.from_numpy(array).to(self._device, non_blocking=True)
