"""Runs with the tiny trunk, and what they report."""

from __future__ import annotations

import torch

from vpmsearch.training.trainer import Trainer


def trainer(settings, images, folder, name="vpm"):
    output = folder / f"{name}.safetensors"
    return Trainer(settings, images, dataset="drawn", output=output, device=torch.device("cpu"), workers=0)


def run(trainer, **options):
    rows = []
    trainer.run(on_step=rows.append, **options)
    return rows
