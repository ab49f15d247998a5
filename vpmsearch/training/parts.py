"""Builds the parts of a trainer from the settings and the data."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vpmsearch.data.sampler import IdentitySampler, MixtureSampler
from vpmsearch.data.training_set import CropSettings, TrainingSet
from vpmsearch.errors import TrainingError
from vpmsearch.model.baselines import ARCHITECTURES
from vpmsearch.model.initial import normalisation
from vpmsearch.model.vpm import Vpm
from vpmsearch.model.weights import WeightsConfig
from vpmsearch.system.revision import source_revision
from vpmsearch.training.frozen import FrozenPart
from vpmsearch.training.memory import GalleryMemory
from vpmsearch.training.settings import TrainSettings


class PixelNormaliser:
    """Pixels (B, 3, H, W) uint8 -> the trunk's input, float on the device."""

    def __init__(self, backbone: str, device: torch.device) -> None:
        norm = normalisation(backbone)
        self._device = device
        self._mean = torch.tensor(norm.mean, device=device).view(1, 3, 1, 1) * 255
        self._std = torch.tensor(norm.std, device=device).view(1, 3, 1, 1) * 255

    def __call__(self, pixels: np.ndarray[Any, np.dtype[np.uint8]]) -> Tensor:
        """See the class."""
        images = torch.from_numpy(pixels).to(self._device, non_blocking=True).float()
        return ((images - self._mean) / self._std).contiguous(memory_format=torch.channels_last)


def build_model(settings: TrainSettings) -> Vpm:
    """The model to be trained, with random weights."""
    model = ARCHITECTURES[settings.architecture](
        settings.backbone,
        settings.num_regions,
        settings.embedding_dim,
        settings.normalize_embeddings,
        settings.occluder_class,
    )
    model.backbone.freeze(settings.freeze_stages)
    model.detach_locator = settings.detach_locator
    return model


def crop_settings(settings: TrainSettings, model: Vpm) -> CropSettings:
    """How training samples are cut; the size of T is measured by running the trunk once."""
    height, width = settings.input_size
    with torch.no_grad():
        model.eval()
        map_size = model.backbone(torch.zeros(1, 3, height, width)).shape[2:]
    return CropSettings(
        input_size=settings.input_size,
        map_size=(int(map_size[0]), int(map_size[1])),
        grid=model.grid,
        strategies=settings.crops,
        gamma=settings.gamma,
        flip=settings.flip,
        shift=settings.shift,
        two_views=settings.consistency_weight > 0,
        color_jitter=settings.color_jitter,
        erase=settings.erase,
        cuts=settings.cuts,
        whole_share=settings.whole_share,
        box_jitter=settings.box_jitter,
        degrade=settings.degrade,
        grey=settings.grey,
        occlude=settings.occlude,
        occluder_class=settings.occluder_class,
        second_look=settings.second_look,
    )


def build_frozen(
    settings: TrainSettings, model: Vpm, device: torch.device, runtime: str, *, compiled: bool, half: bool
) -> FrozenPart | None:
    """Runs the frozen stages ahead of the steps. None if the model runs as a whole: on a GPU, or compiled.

    Args:
        half: compute in bfloat16.

    Raises:
        TrainingError: `runtime` cannot run them here, or styles are mixed in a compiled model.
    """
    if compiled and settings.style_mixing:
        raise TrainingError("style_mixing runs the model in two parts, which are not compiled; leave --compile away")
    apart = device.type == "cpu" and model.backbone.splits and not compiled
    if not apart or not (settings.bfloat16 or runtime != "torch"):
        if runtime != "torch":
            raise TrainingError(
                f"--frozen-runtime {runtime} runs the frozen stages of osnet on a CPU, and not with --compile; "
                "leave it away"
            )
        return None
    return FrozenPart(model.backbone, runtime, settings.input_size, half=half)


def build_sampler(
    settings: TrainSettings, data: TrainingSet, domains: Sequence[int] | None
) -> IdentitySampler | MixtureSampler:
    """The sampler that puts batches together.

    Args:
        domains: the number of each image's data set; None if there is only one.
    """
    targets = data.targets.tolist()
    camids = data.camids.tolist() if settings.across_cameras else None
    sizes = settings.pids_per_batch, settings.images_per_pid, settings.seed
    if domains is None or len(set(domains)) == 1:
        return IdentitySampler(targets, *sizes, camids)
    return MixtureSampler(targets, domains, *sizes, mixing=settings.domains, camids=camids)


def build_memory(settings: TrainSettings, data: TrainingSet, model: Vpm) -> GalleryMemory | None:
    """The memory that batches are ranked against, if the settings ask for one."""
    if not settings.memory_weight:
        return None
    return GalleryMemory(data.targets, data.camids, model.num_regions, model.embedding_dim)


def digest_of(data: TrainingSet) -> str:
    """SHA-256 of the images' names and identities, in hex. Runs with the same digest train on the same images."""
    pairs = zip(data.images, data.targets, strict=True)
    names = "\n".join(f"{image.path.name}\t{target}" for image, target in pairs)
    return hashlib.sha256(names.encode(errors="surrogateescape")).hexdigest()


def weights_config(settings: TrainSettings, model: Vpm, dataset: str, num_classes: int) -> WeightsConfig:
    """The configuration that is written with the weights of a run.

    Args:
        dataset: its name. num_classes: identities trained on.
    """
    norm = normalisation(settings.backbone)
    return WeightsConfig(
        backbone=settings.backbone,
        num_regions=model.grid,
        embedding_dim=settings.embedding_dim,
        normalize_embeddings=settings.normalize_embeddings,
        input_size=settings.input_size,
        mean=norm.mean,
        std=norm.std,
        name=f"{settings.architecture}-{settings.backbone}-{settings.preset}",
        dataset=dataset,
        num_classes=num_classes,
        # Files go to strangers. Where the first weights lay on this machine is not theirs to know; the name is.
        training=settings.to_json() | {"init": Path(settings.init).name},
        source_revision=source_revision(),
        architecture=settings.architecture,
        occluder_class=settings.occluder_class,
        second_look=settings.second_look,
    )
