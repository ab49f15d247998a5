"""Tiny weights and pictures, for tests that need a model but not what it knows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from vpmsearch.model.vpm import Vpm
from vpmsearch.model.weights import WeightsConfig, save_weights

INPUT_SIZE = (64, 32)
EMBEDDING_DIM = 16


def write_weights(
    path: Path,
    *,
    seed: int = 0,
    grid: tuple[int, int] = (6, 1),
    dataset: str = "random numbers",
    backbone: str = "resnet8",
    occluder_class: bool = False,
) -> Path:
    """Random weights whose locator is sure of itself, so that images differ in which regions they show."""
    torch.manual_seed(seed)
    model = Vpm(backbone, grid, EMBEDDING_DIM, occluder_class=occluder_class).eval()
    with torch.no_grad():
        model.locator.weight.mul_(20)
    config = WeightsConfig(
        backbone=backbone,
        num_regions=grid,
        embedding_dim=EMBEDDING_DIM,
        normalize_embeddings=False,
        input_size=INPUT_SIZE,
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        name=f"tiny-{seed}",
        dataset=dataset,
        num_classes=2,
        occluder_class=occluder_class,
    )
    save_weights(path, model, config)
    return path


def picture(seed: int, width: int = 32, height: int = 64) -> Image.Image:
    """Coloured blocks with a little noise; another for each seed."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, 200, (8, 4, 3)).astype(np.uint8)
    pixels = np.asarray(Image.fromarray(blocks).resize((width, height), Image.Resampling.NEAREST))
    return Image.fromarray(pixels + rng.integers(0, 50, pixels.shape, dtype=np.uint8))


def write_pictures(folder: Path, count: int, *, first: int = 0) -> list[Path]:
    """PNG files 000.png, 001.png … of `picture(first)`, `picture(first + 1)` …"""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{seed:03}.png" for seed in range(first, first + count)]
    for seed, path in enumerate(paths, start=first):
        picture(seed).save(path)
    return paths
