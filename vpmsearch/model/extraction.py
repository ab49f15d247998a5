"""Images -> RegionFeatures, in batches, on CPU or GPU.

Threads read, decode and resize the images of the next batches while the model works on this one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from vpmsearch.data.crops import CropBox
from vpmsearch.data.images import read_image, to_array
from vpmsearch.data.poor import AS_IT_IS, POOR
from vpmsearch.errors import FeatureError, ImageError
from vpmsearch.model.vpm import VpmOutput
from vpmsearch.model.weights import LoadedWeights
from vpmsearch.system.parallel import map_ahead
from vpmsearch.types import RegionFeatures

Item = TypeVar("Item")
NOT_FINITE = "the model's output is not finite"


@dataclass(frozen=True)
class Request:
    """One image to see, or the part of it inside `box`; `position` is handed back with the answer.

    photo: made poorer first, as `vpmsearch.data.poor.POOR` names it.
    """

    position: int
    path: Path
    box: CropBox | None = None
    photo: str = AS_IT_IS


@dataclass(frozen=True)
class Seen:
    """A file as it was read: hash of the bytes that were decoded, size in pixels before any resizing."""

    position: int
    path: Path
    content_hash: str
    width: int
    height: int


@dataclass(frozen=True)
class Rejected:
    """A file that could not be used, and why."""

    position: int
    path: Path
    reason: str


@dataclass(frozen=True)
class ExtractedBatch:
    """Features of `seen`, row by row, and the files of the same batch that were rejected."""

    seen: list[Seen]
    features: RegionFeatures
    rejected: list[Rejected]


@dataclass(frozen=True)
class _Loaded:
    seen: list[Seen]
    pixels: NDArray[np.uint8]  # (B, H, W, 3)
    rejected: list[Rejected]


class Extractor:
    """A model on a device, fed with files.

    Args:
        weights: of the model. device: where it runs; see `vpmsearch.model.device.choose_device`.
        batch_size: images a batch; None is 32 on the CPU (larger ones only cost memory) and 256 on a GPU.
        workers: threads that decode; None is two, or as many as there are cores up to 16 for a GPU.
        runtime: what computes features in place of torch, on the CPU: (B, H, W, 3) uint8 RGB -> (B, p) and (B, p, d).
    """

    def __init__(
        self,
        weights: LoadedWeights,
        device: torch.device,
        *,
        batch_size: int | None = None,
        workers: int | None = None,
        runtime: Callable[[NDArray[np.uint8]], RegionFeatures] | None = None,
    ) -> None:
        gpu = device.type == "cuda"
        self.weights, self.device = weights, device
        self.batch_size = batch_size or (256 if gpu else 32)
        self.workers = workers if workers is not None else (min(16, os.cpu_count() or 2) if gpu else 2)
        self._run = runtime or self._by_torch
        self.model = weights.model.to(device).to(memory_format=torch.channels_last)
        config = weights.config
        self._mean = torch.tensor(config.mean, device=device).view(1, 3, 1, 1) * 255
        self._std = torch.tensor(config.std, device=device).view(1, 3, 1, 1) * 255

    def __repr__(self) -> str:
        config = self.weights.config
        return f"<Extractor: {config.name}, trained on {config.dataset}, on {self.device}>"

    @cached_property
    def map_size(self) -> tuple[int, int]:
        """(h, w) of T."""
        with torch.inference_mode():
            blank = torch.zeros(1, 3, *self.weights.config.input_size, device=self.device)
            height, width = self.model.backbone(blank).shape[2:]
        return int(height), int(width)

    def extract(self, requests: Iterable[Request]) -> Iterator[ExtractedBatch]:
        """See many files, in order; what is wrong with one of them is in `rejected`, never an exception."""
        batches = _batched(requests, self.batch_size)
        for loaded in map_ahead(self._load, batches, workers=self.workers, ahead=self.workers + 1):
            features = self._features(loaded.pixels)
            finite = np.isfinite(features.embeddings).all(axis=(1, 2)) & np.isfinite(features.visibility).all(axis=1)
            kept = np.flatnonzero(finite)
            seen = [loaded.seen[row] for row in kept]
            broken = [loaded.seen[row] for row in np.flatnonzero(~finite)]
            rejected = loaded.rejected + [Rejected(item.position, item.path, NOT_FINITE) for item in broken]
            yield ExtractedBatch(seen, features[kept], rejected)

    def extract_maps(self, requests: Iterable[Request]) -> Iterator[tuple[Tensor, list[Rejected]]]:
        """See the feature maps of many files: (B, d, h, w) float32 of those that can be read, in order; and the others.

        What the model pools into regions: T, reduced to d channels where the model does that.
        """
        batches = _batched(requests, self.batch_size)
        half = self.device.type == "cuda"
        for loaded in map_ahead(self._load, batches, workers=self.workers, ahead=self.workers + 1):
            with torch.inference_mode(), torch.autocast(self.device.type, torch.float16, enabled=half):
                maps = self.model.reduction(self.model.backbone(self._normalised(loaded.pixels)))
            yield maps.float(), loaded.rejected

    def extract_images(self, images: Sequence[Image.Image]) -> RegionFeatures:
        """See images already in memory: (n, p) visibility and (n, p, d) embeddings.

        Raises:
            FeatureError: the model's output is not finite.
        """
        size = self.weights.config.input_size
        arrays = [to_array(image, size) for image in images]
        parts = [self._features(np.stack(batch)) for batch in _batched(arrays, self.batch_size)]
        features = RegionFeatures.concatenate(parts) if parts else self._features(np.zeros((0, *size, 3), np.uint8))
        try:
            features.check_finite()
        except FeatureError as error:
            raise FeatureError(f"{self.weights.path}: {NOT_FINITE}; the weights are damaged") from error
        return features

    def see(self, image: Image.Image) -> VpmOutput:
        """The model's whole output for one image, on the CPU; axes as in `VpmOutput` with B = 1."""
        array = to_array(image, self.weights.config.input_size)
        with torch.inference_mode():
            output = self.model(self._normalised(array[None]))
        return VpmOutput(**{name: value.float().cpu() for name, value in vars(output).items()})

    def _features(self, pixels: NDArray[np.uint8]) -> RegionFeatures:
        """(B, H, W, 3) uint8 -> features; B may be 0."""
        if len(pixels) == 0:
            p, d = self.model.num_regions, self.model.embedding_dim
            return RegionFeatures(np.zeros((0, p), np.float32), np.zeros((0, p, d), np.float32))
        return self._run(pixels)

    def _by_torch(self, pixels: NDArray[np.uint8]) -> RegionFeatures:
        half = self.device.type == "cuda"
        with torch.inference_mode(), torch.autocast(self.device.type, torch.float16, enabled=half):
            output = self.model(self._normalised(pixels))
        return RegionFeatures(output.visibility.float().cpu().numpy(), output.embeddings.float().cpu().numpy())

    def _normalised(self, pixels: NDArray[np.uint8]) -> torch.Tensor:
        """(B, H, W, 3) uint8 -> (B, 3, H, W) float in channels-last memory, which is how the pixels lie already."""
        images = torch.from_numpy(pixels).to(self.device, non_blocking=True).permute(0, 3, 1, 2)
        return (images.float() - self._mean) / self._std

    def _load(self, requests: Sequence[Request]) -> _Loaded:
        height, width = self.weights.config.input_size
        seen, arrays, rejected = [], [], []
        for request in requests:
            try:
                # A crop needs all pixels of its part; a whole photograph may be decoded smaller.
                whole = request.box is None and request.photo == AS_IT_IS
                digest, image = read_image(request.path, shrink_to=(height, width) if whole else None)
                full_width, full_height = image.info["full_size"]
                image = POOR[request.photo](image)
                box = request.box.pixels(image.width, image.height) if request.box else None
                arrays.append(to_array(image, (height, width), box))
            except ImageError as error:
                rejected.append(Rejected(request.position, request.path, error.reason))
                continue
            seen.append(Seen(request.position, request.path, digest, full_width, full_height))
        pixels = np.stack(arrays) if arrays else np.zeros((0, height, width, 3), np.uint8)
        return _Loaded(seen, pixels, rejected)


def _batched(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
