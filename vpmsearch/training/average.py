"""A moving average of a model's weights, which jitters less than the weights of the last step do."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from vpmsearch.model.vpm import Vpm


class WeightAverage(AveragedModel):
    """θ' <- θ' + (1 - a)(θ - θ') after every step, with a = min(decay, (1 + n) / (10 + n)) after n steps before it.

    The second keeps the first steps, far from where a run ends, from staying in the average of a short run. What is no
    floating-point number, a count of batches, is taken over.

    Args:
        model: followed, by calls of `update_parameters`. decay: in [0, 1).
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
