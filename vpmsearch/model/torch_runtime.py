"""A model run by torch: on a GPU, and on a CPU if there is no exported model."""

from __future__ import annotations

import ctypes
import sys
from functools import cached_property

import torch
from torch import Tensor

from vpmsearch.model.device import Device
from vpmsearch.model.runtime import Pixels, Sight
from vpmsearch.model.weights import LoadedWeights
from vpmsearch.types import RegionFeatures

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # of glibc's malloc.h


def torch_device(device: Device | torch.device) -> torch.device:
    """The same device as a torch device."""
    return torch.device(str(device))


class TorchRuntime:
    """A model on a device, in float32 on a CPU and in half precision on a GPU.

    Args:
        weights: of the model. device: where it runs.

    Raises:
        WeightsError: the weights are damaged.
    """

    name = "torch"

    def __init__(self, weights: LoadedWeights, device: Device | torch.device) -> None:
        self.device = torch_device(device)
        if self.device.type == "cpu":
            _keep_freed_memory()
        self.weights = weights
        self.model = weights.model.to(self.device).to(memory_format=torch.channels_last)
        config = weights.config
        self._mean = torch.tensor(config.mean, device=self.device).view(1, 3, 1, 1) * 255
        self._std = torch.tensor(config.std, device=self.device).view(1, 3, 1, 1) * 255

    @cached_property
    def map_size(self) -> tuple[int, int]:
        """(h, w) of T."""
        with torch.inference_mode():
            blank = torch.zeros(1, 3, *self.weights.config.input_size, device=self.device)
            height, width = self.model.backbone(blank).shape[2:]
        return int(height), int(width)

    def features(self, pixels: Pixels) -> RegionFeatures:
        """Visibility (B, p) and embeddings (B, p, d)."""
        with torch.inference_mode(), self._half():
            output = self.model(self._normalised(pixels))
        return RegionFeatures(output.visibility.float().cpu().numpy(), output.embeddings.float().cpu().numpy())

    def see(self, pixels: Pixels) -> Sight:
        """Features, and where the regions are; in float32 also on a GPU."""
        with torch.inference_mode():
            output = self.model(self._normalised(pixels))
        seen = (output.visibility, output.embeddings, output.probabilities)
        return Sight(*(value.float().cpu().numpy() for value in seen))

    def maps(self, pixels: Pixels) -> Tensor:
        """The feature maps (B, d, h, w) that the model pools into regions: T reduced to d channels, float32."""
        with torch.inference_mode(), self._half():
            maps: Tensor = self.model.reduction(self.model.backbone(self._normalised(pixels)))
        return maps.float()

    def _half(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.float16, enabled=self.device.type == "cuda")

    def _normalised(self, pixels: Pixels) -> Tensor:
        """(B, H, W, 3) uint8 -> (B, 3, H, W) float, in the channels-last memory order that the pixels have."""
        images = torch.from_numpy(pixels).to(self.device, non_blocking=True).permute(0, 3, 1, 2)
        return (images.float() - self._mean) / self._std


def _keep_freed_memory() -> None:
    """Make malloc keep freed feature maps for the next layer, instead of giving them back to the kernel.

    By default every large tensor is a new mapping, whose pages must be zeroed first. OSNet at 256×128 in batches of 64
    ran at 19 images a second that way and at 42 with this, on two cores. Only glibc has this setting.
    """
    if not sys.platform.startswith("linux"):
        return
    try:
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
    except (OSError, AttributeError):  # another C library: slower, not wrong
        return
