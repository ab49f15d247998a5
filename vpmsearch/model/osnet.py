"""OSNet x1.0 with linear context transform, up to its last feature map.

Source: Zhou et al., "Omni-Scale Feature Learning for Person Re-Identification", ICCV 2019. The second block of each
stage has the gate of Ruan et al., "Linear Context Transform Block", AAAI 2020. The published weights have batch
normalisation folded into the convolutions, so there is none here: keep learning rates small and early stages frozen.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

NORM_GROUPS = 16
"""Groups of channels over which the linear context gate normalises its means."""


class Unit(nn.Module):
    """A light 3×3 convolution: pointwise 1×1, depthwise 3×3, ReLU. (B, c, h, w) -> (B, c, h, w)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.pointwise = nn.Conv2d(channels, channels, 1, bias=False)
        self.depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, c, h, w) -> (B, c, h, w)."""
        return F.relu(self.depthwise(self.pointwise(x)), inplace=True)


class SqueezeGate(nn.Module):
    """Gate of a stage's first block: the sigmoid of two layers on the channel means, a factor for each channel."""

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, channels // reduction, 1)
        self.fc2 = nn.Conv2d(channels // reduction, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, c, h, w) -> (B, c, 1, 1) in (0, 1)."""
        means = x.mean(dim=(2, 3), keepdim=True)
        return torch.sigmoid(self.fc2(F.relu(self.fc1(means))))


class LinearContextGate(nn.Module):
    """Gate of a stage's second block: channel means, normalised in groups, an affine map of each, then a sigmoid."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(channels))
        self.bias = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """(B, c, h, w) -> (B, c, 1, 1) in (0, 1)."""
        batch, channels = x.shape[:2]
        means = x.mean(dim=(2, 3)).view(
            batch, NORM_GROUPS, channels // NORM_GROUPS
        )  # (B, c) -> (B, groups, c / groups)
        normal = F.layer_norm(means, means.shape[2:], eps=1e-5).view(batch, channels)
        return torch.sigmoid(normal * self.weight + self.bias)[:, :, None, None]


class Block(nn.Module):
    """Four streams of 1 to 4 units for four scales. One gate, shared by all, weighs their channels before the sum."""

    def __init__(self, channels_in: int, channels_out: int, gate: type[SqueezeGate] | type[LinearContextGate]) -> None:
        super().__init__()
        middle = channels_out // 4
        self.reduce = nn.Conv2d(channels_in, middle, 1)
        self.stream1 = _stream(middle, 1)
        self.stream2 = _stream(middle, 2)
        self.stream3 = _stream(middle, 3)
        self.stream4 = _stream(middle, 4)
        self.gate = gate(middle)
        self.expand = nn.Conv2d(middle, channels_out, 1)
        self.shortcut = nn.Conv2d(channels_in, channels_out, 1) if channels_in != channels_out else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels_in, h, w) -> (B, channels_out, h, w)."""
        reduced = F.relu(self.reduce(x), inplace=True)
        outputs = [stream(reduced) for stream in (self.stream1, self.stream2, self.stream3, self.stream4)]
        summed = sum(output * self.gate(output) for output in outputs)
        return F.relu(self.expand(summed) + self.shortcut(x), inplace=True)


def _stream(channels: int, units: int) -> nn.Sequential:
    return nn.Sequential(*(Unit(channels) for _ in range(units)))


def _stage(channels_in: int, channels_out: int) -> nn.Sequential:
    first = Block(channels_in, channels_out, SqueezeGate)
    second = Block(channels_out, channels_out, LinearContextGate)
    return nn.Sequential(OrderedDict(block0=first, block1=second))


class OSNet(nn.Module):
    """The trunk: normalised images (B, 3, H, W) -> T (B, 512, ⌊⌈H/4⌉/4⌋, ⌊⌈W/4⌉/4⌋), after a ReLU, so ≥ 0."""

    def __init__(self) -> None:
        super().__init__()
        self.input_norm = nn.InstanceNorm2d(3, affine=True)
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.norm1 = nn.InstanceNorm2d(64, affine=True)
        self.stage2 = _stage(64, 256)
        self.transition2 = nn.Conv2d(256, 256, 1)
        self.stage3 = _stage(256, 384)
        self.transition3 = nn.Conv2d(384, 384, 1)
        self.stage4 = _stage(384, 512)
        self.conv5 = nn.Conv2d(512, 512, 1)

    def stages(self) -> list[tuple[nn.Module, ...]]:
        """The modules of the four stages, from the input on, as `Backbone.freeze` counts them."""
        return [
            (self.input_norm, self.conv1, self.norm1),
            (self.stage2, self.transition2),
            (self.stage3, self.transition3),
            (self.stage4, self.conv5),
        ]

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> T (B, 512, h, w), at stride 16."""
        return self.run_stages(images, 0, 4)

    def run_stages(self, x: Tensor, first: int, last: int) -> Tensor:
        """Run the stages `first` to `last` − 1, counted from 0.

        No layer here looks at the batch, not even in training: the output of an image depends on that image alone.

        Args:
            x: the output of stage `first` − 1, or images (B, 3, H, W) for 0.
        """
        steps = (self._run_stem, self._run_stage2, self._run_stage3, self._run_stage4)
        for step in steps[first:last]:
            x = step(x)
        return x

    def _run_stem(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm1(self.conv1(self.input_norm(x))), inplace=True)
        return F.max_pool2d(x, 3, stride=2, padding=1)

    def _run_stage2(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(F.relu(self.transition2(self.stage2(x)), inplace=True), 2)

    def _run_stage3(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(F.relu(self.transition3(self.stage3(x)), inplace=True), 2)

    def _run_stage4(self, x: Tensor) -> Tensor:
        return F.relu(self.conv5(self.stage4(x)), inplace=True)
