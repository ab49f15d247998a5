"""A moving average of a model's weights. It jitters less than the weights of the last step."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from vpmsearch.model.vpm import Vpm


class WeightAverage(AveragedModel):
    """Exponential moving average: θ' is θ after the first step, and θ' <- θ' + (1 - a)(θ - θ') after every other.

    a = min(decay, (1 + n) / (10 + n)), where n counts the steps before. The second term is small at first, so the
    weights of the first steps soon leave the average, also in a short run. Buffers that are not floating-point (counts
    of batches) are copied.

    Args:
        model: its weights are averaged; call `update_parameters` after each step. decay: in [0, 1).
    """

    module: Vpm

    def __init__(self, model: Vpm, decay: float) -> None:
        def step(average: Tensor, now: Tensor, steps: Tensor | int) -> Tensor:
            if not average.is_floating_point():
                return now
            kept = torch.clamp((1 + torch.as_tensor(steps)) / (10 + torch.as_tensor(steps)), max=decay)
            return torch.lerp(average, now, (1 - kept).to(average))

        super().__init__(model, avg_fn=step, use_buffers=True)
        self.requires_grad_(False)
