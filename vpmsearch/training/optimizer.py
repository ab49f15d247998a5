"""The optimizer of a run and its learning rates."""

from __future__ import annotations

import math

import torch
from torch import nn

from vpmsearch.model.vpm import Vpm
from vpmsearch.training.settings import TrainSettings


def build_optimizer(settings: TrainSettings, model: Vpm, classifiers: nn.Module) -> torch.optim.Optimizer:
    """The optimizer: new layers learn at `learning_rate`, the trunk's free stages at `trunk_learning_rate`.

    The locator is one of the new layers, unless the settings give it a rate of its own.
    """
    locator = [*model.locator.parameters()]
    new = [*model.reduction.parameters(), *classifiers.parameters()]
    trunk = [parameter for parameter in model.backbone.parameters() if parameter.requires_grad]
    if not settings.locator_learning_rate:
        new, locator = [*locator, *new], []
    groups = [
        {"params": new, "lr": settings.learning_rate},
        {"params": trunk, "lr": settings.trunk_learning_rate},
        {"params": locator, "lr": settings.locator_learning_rate},
    ]
    groups = [group | {"base_lr": group["lr"]} for group in groups if group["params"]]  # all may be frozen
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(groups, weight_decay=settings.weight_decay)
    return torch.optim.SGD(
        groups, lr=settings.learning_rate, momentum=settings.momentum, weight_decay=settings.weight_decay
    )


def set_learning_rate(optimizer: torch.optim.Optimizer, settings: TrainSettings, epochs_done: float, step: int) -> None:
    """Set the learning rate of every group. The schedule goes by epochs, whose steps differ; the warm-up by steps."""
    if settings.schedule == "step":
        factor = 0.1 if epochs_done >= settings.step_epoch else 1.0
    else:
        done = epochs_done / settings.epochs if settings.steps is None else min(step / settings.steps, 1.0)
        factor = 0.5 * (1 + math.cos(math.pi * done))
    if settings.warmup_steps:
        factor *= min((step + 1) / settings.warmup_steps, 1.0)
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * factor
