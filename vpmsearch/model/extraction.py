"""Images -> RegionFeatures, in batches, on CPU or GPU.

While the model works on one batch, threads read, decode and resize the images of the next ones.
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
from vpmsearch.model.second_look import SecondLook
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
    """An image whose features are wanted, or the part of it inside `box`.

    position: comes back with the answer. path: a file, or a part of one as `vpmsearch.data.fragment` writes it. Parts
    of one photograph or film are fastest when they follow each other, those of a film in the order of their times.
    photo: how the image is degraded first, a name in `vpmsearch.data.poor.POOR`.
    """

    position: int
    path: Path
    box: CropBox | PixelBox | None = None
    photo: str = AS_IT_IS


@dataclass(frozen=True)
class Seen:
    """A file that was read. content_hash: of the bytes that were decoded. width, height: pixels before any resizing.

    spread: how much its colours vary, see `spread_of`.
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
    """One batch. features: one row for each of `seen`. rejected: the files of the batch that could not be used."""

    seen: list[Seen]
    features: RegionFeatures
    rejected: list[Rejected]


@dataclass(frozen=True)
class _Loaded:
    seen: list[Seen]
    pixels: NDArray[np.uint8]  # (B, H, W, 3)
    rejected: list[Rejected]


class Extractor:
    """Turns image files into features with a model on a device.

    Args:
        weights: of the model. device: where it runs; see `vpmsearch.model.device.choose_device`.
        batch_size: images in a batch; None is 32 on the CPU (larger batches only cost memory) and 256 on a GPU.
        workers: threads that decode; None is 2 on the CPU, and the number of cores but at most 16 on a GPU.
        runtime: computes the features; None is what `vpmsearch.model.runtimes.choose_runtime` takes.

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
        self._eyes = self.runtime
        if weights.config.second_look:
            self._eyes = SecondLook(self.runtime, weights.config, half=gpu)

    def __repr__(self) -> str:
        config = self.weights.config
        return f"<Extractor: {config.name}, trained on {config.dataset}, on {self.device}>"

    @cached_property
    def _torch(self) -> TorchRuntime:
        """The model in torch, for the few things that no other runtime can do."""
        from vpmsearch.model.torch_runtime import TorchRuntime

        return self.runtime if isinstance(self.runtime, TorchRuntime) else TorchRuntime(self.weights, self.device)

    @property
    def torch_device(self) -> torch.device:
        """Where it runs, as a torch device."""
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
        """Features of many files, in order. A file that cannot be used is in `rejected` and raises no exception."""
        for loaded in self._loaded(requests):
            features = self._features(loaded.pixels)
            finite = np.isfinite(features.embeddings).all(axis=(1, 2)) & np.isfinite(features.visibility).all(axis=1)
            kept = np.flatnonzero(finite)
            seen = [loaded.seen[row] for row in kept]
            broken = [loaded.seen[row] for row in np.flatnonzero(~finite)]
            rejected = loaded.rejected + [Rejected(item.position, item.path, NOT_FINITE) for item in broken]
            yield ExtractedBatch(seen, features[kept], rejected)

    def extract_maps(self, requests: Iterable[Request]) -> Iterator[tuple[torch.Tensor, list[Rejected]]]:
        """Feature maps of many files, in order: (B, d, h, w) float32 of those that can be read, and the rejected ones.

        A feature map is what the model pools into regions: T, reduced to d channels where the model does that.
        """
        for loaded in self._loaded(requests):
            yield self._torch.maps(loaded.pixels), loaded.rejected

    def extract_images(self, images: Sequence[Image.Image]) -> RegionFeatures:
        """Features of images in memory: visibility (n, p), embeddings (n, p, d).

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
        """Features of one image, and where the model sees the regions; B = 1."""
        array = to_array(image, self.weights.config.input_size)
        return self._eyes.see(array[None])

    def _features(self, pixels: NDArray[np.uint8]) -> RegionFeatures:
        """(B, H, W, 3) uint8 -> features; B may be 0."""
        if len(pixels) == 0:
            p, d = math.prod(self.weights.config.num_regions), self.weights.embedding_dim
            return RegionFeatures(np.zeros((0, p), np.float32), np.zeros((0, p, d), np.float32))
        return self._eyes.features(pixels)

    def _loaded(self, requests: Iterable[Request]) -> Iterator[_Loaded]:
        with SceneReader(self.workers + 1) as reader:
            # Films are decoded here, in the order of the requests. In the threads they would jump back and forth.
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
    """How much the colours of a picture (H, W, 3) vary: the standard deviation of each channel, averaged."""
    return float(pixels[::4, ::4].astype(np.float32).std(axis=(0, 1)).mean())


def _batched(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
