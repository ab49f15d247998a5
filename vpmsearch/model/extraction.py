"""Images -> RegionFeatures, in batches, on CPU or GPU.

Threads read, decode and resize the images of the next batches while the model works on this one.
"""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vpmsearch.data.crops import CropBox
from vpmsearch.data.fragment import PixelBox
from vpmsearch.data.images import to_array
from vpmsearch.data.poor import AS_IT_IS, POOR
from vpmsearch.data.reading import Ahead, SceneReader
from vpmsearch.errors import FeatureError, ImageError
from vpmsearch.model.device import Device
from vpmsearch.model.runtime import Runtime, Sight
from vpmsearch.model.runtimes import choose_runtime
from vpmsearch.model.weights import LoadedWeights
from vpmsearch.system.parallel import map_ahead
from vpmsearch.types import RegionFeatures

if TYPE_CHECKING:
    import torch

    from vpmsearch.model.torch_runtime import TorchRuntime
    from vpmsearch.model.vpm import Vpm

Item = TypeVar("Item")
NOT_FINITE = "the model's output is not finite"


@dataclass(frozen=True)
class Request:
    """One image to see, or the part of it inside `box`; `position` is handed back with the answer.

    path: a file, or a part of one as `vpmsearch.data.fragment` writes it; many parts of one photograph or film are seen
    fastest one after another, of a film in the order of their times. photo: made poorer first, as
    `vpmsearch.data.poor.POOR` names it.
    """

    position: int
    path: Path
    box: CropBox | PixelBox | None = None
    photo: str = AS_IT_IS


@dataclass(frozen=True)
class Seen:
    """A file as it was read: hash of the bytes that were decoded, size in pixels before any resizing.

    spread: how far its colours lie apart, see `spread_of`.
    """

    position: int
    path: Path
    content_hash: str
    width: int
    height: int
    spread: float = 255.0


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
        runtime: what computes; by default torch on a GPU, and on the CPU the exported model where one is at hand.

    Raises:
        WeightsError: the weights are damaged.
    """

    def __init__(
        self,
        weights: LoadedWeights,
        device: Device | torch.device,
        *,
        batch_size: int | None = None,
        workers: int | None = None,
        runtime: Runtime | None = None,
    ) -> None:
        gpu = device.type == "cuda"
        self.weights, self.device = weights, device
        self.batch_size = batch_size or (256 if gpu else 32)
        self.workers = workers if workers is not None else (min(16, os.cpu_count() or 2) if gpu else 2)
        self.runtime = runtime or choose_runtime(weights, device)

    def __repr__(self) -> str:
        config = self.weights.config
        return f"<Extractor: {config.name}, trained on {config.dataset}, on {self.device}>"

    @cached_property
    def _torch(self) -> TorchRuntime:
        """The model by torch, for what only torch does."""
        from vpmsearch.model.torch_runtime import TorchRuntime

        return self.runtime if isinstance(self.runtime, TorchRuntime) else TorchRuntime(self.weights, self.device)

    @property
    def torch_device(self) -> torch.device:
        """Where it runs, as torch has it."""
        from vpmsearch.model.torch_runtime import torch_device

        return torch_device(self.device)

    @property
    def model(self) -> Vpm:
        """The torch module."""
        return self._torch.model

    @property
    def map_size(self) -> tuple[int, int]:
        """(h, w) of T."""
        return self._torch.map_size

    def extract(self, requests: Iterable[Request]) -> Iterator[ExtractedBatch]:
        """See many files, in order; what is wrong with one of them is in `rejected`, never an exception."""
        for loaded in self._loaded(requests):
            features = self._features(loaded.pixels)
            finite = np.isfinite(features.embeddings).all(axis=(1, 2)) & np.isfinite(features.visibility).all(axis=1)
            kept = np.flatnonzero(finite)
            seen = [loaded.seen[row] for row in kept]
            broken = [loaded.seen[row] for row in np.flatnonzero(~finite)]
            rejected = loaded.rejected + [Rejected(item.position, item.path, NOT_FINITE) for item in broken]
            yield ExtractedBatch(seen, features[kept], rejected)

    def extract_maps(self, requests: Iterable[Request]) -> Iterator[tuple[torch.Tensor, list[Rejected]]]:
        """See the feature maps of many files: (B, d, h, w) float32 of those that can be read, in order; and the others.

        What the model pools into regions: T, reduced to d channels where the model does that.
        """
        for loaded in self._loaded(requests):
            yield self._torch.maps(loaded.pixels), loaded.rejected

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

    def see(self, image: Image.Image) -> Sight:
        """The regions that the model sees in one image, and their features; B = 1."""
        array = to_array(image, self.weights.config.input_size)
        return self.runtime.see(array[None])

    def _features(self, pixels: NDArray[np.uint8]) -> RegionFeatures:
        """(B, H, W, 3) uint8 -> features; B may be 0."""
        if len(pixels) == 0:
            p, d = math.prod(self.weights.config.num_regions), self.weights.embedding_dim
            return RegionFeatures(np.zeros((0, p), np.float32), np.zeros((0, p, d), np.float32))
        return self.runtime.features(pixels)

    def _loaded(self, requests: Iterable[Request]) -> Iterator[_Loaded]:
        with SceneReader(self.workers + 1) as reader:
            # Films are decoded here, where requests come in order; threads would have them jump to and fro.
            ready = ((request, reader.ahead(request.path)) for request in requests)
            batches = _batched(ready, self.batch_size)
            load = functools.partial(self._load, reader)
            yield from map_ahead(load, batches, workers=self.workers, ahead=self.workers + 1)

    def _load(self, reader: SceneReader, requests: Sequence[tuple[Request, Ahead | None]]) -> _Loaded:
        height, width = self.weights.config.input_size
        seen, arrays, rejected = [], [], []
        for request, ahead in requests:
            try:
                # A crop needs all pixels of its part; a whole photograph may be decoded smaller.
                whole = request.box is None and request.photo == AS_IT_IS
                digest, image = reader.read(request.path, ahead, shrink_to=(height, width) if whole else None)
                full_width, full_height = image.info["full_size"]
                image = POOR[request.photo](image)
                box = request.box.pixels(image.width, image.height) if request.box else None
                arrays.append(to_array(image, (height, width), box))
            except ImageError as error:
                rejected.append(Rejected(request.position, request.path, error.reason))
                continue
            spread = spread_of(arrays[-1])
            seen.append(Seen(request.position, request.path, digest, full_width, full_height, spread))
        pixels = np.stack(arrays) if arrays else np.zeros((0, height, width, 3), np.uint8)
        return _Loaded(seen, pixels, rejected)


def spread_of(pixels: NDArray[np.uint8]) -> float:
    """How far the colours of a picture (H, W, 3) lie apart: the standard deviation of each channel, their mean."""
    return float(pixels[::4, ::4].astype(np.float32).std(axis=(0, 1)).mean())


def _batched(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
