"""Convolutional trunks by name: images (B, 3, H, W) -> feature map T (B, c, h, w).

torchvision is imported only when a trunk of its own is built. It imports torch's compiler, which takes longer than a
query with OSNet.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from torch import Tensor, nn

from vpmsearch.errors import ModelError
from vpmsearch.model.osnet import OSNet

if TYPE_CHECKING:
    import torchvision.models as tv


class Backbone(nn.Module):
    """A trunk, and the facts about it that a model and its training need.

    Attributes:
        name: as in `BACKBONES`. channels: c of T. stride: S, input pixels per pixel of T in each direction.
    """

    def __init__(
        self, name: str, trunk: nn.Module, channels: int, stride: int, stages: Sequence[Sequence[nn.Module]]
    ) -> None:
        super().__init__()
        self.name, self.channels, self.stride = name, channels, stride
        self.trunk = trunk
        # By name, as a module may be replaced later, such as batch normalisation by its synchronised form.
        names = {module: name for name, module in trunk.named_modules()}
        self._names = tuple(tuple(names[module] for module in stage) for stage in stages)
        self._frozen = 0

    @property
    def num_stages(self) -> int:
        """How many stages there are to freeze."""
        return len(self._names)

    @property
    def _stages(self) -> list[list[nn.Module]]:
        return [[self.trunk.get_submodule(name) for name in stage] for stage in self._names]

    def freeze(self, stages: int) -> None:
        """Keep the first `stages` stages as they are: no gradients, normalisation statistics fixed.

        Raises:
            ModelError: there are not that many.
        """
        if not 0 <= stages <= self.num_stages:
            raise ModelError(f"{self.name} has {self.num_stages} stages; cannot freeze {stages}")
        self._frozen = stages
        for index, stage in enumerate(self._stages):
            for module in stage:
                module.requires_grad_(index >= stages)
        self.train(self.training)

    def train(self, mode: bool = True) -> Backbone:
        """Training mode for all but the frozen stages."""
        super().train(mode)
        for stage in self._stages[: self._frozen]:
            for module in stage:
                module.eval()
        return self

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W), normalised -> T (B, channels, h, w)."""
        return self.trunk(images)  # type: ignore[no-any-return]

    @property
    def splits(self) -> bool:
        """Whether `frozen_part` and `learning_part` can be run one after the other, a few images at a time."""
        return isinstance(self.trunk, OSNet) and self._frozen > 0

    def frozen_part(self, images: Tensor) -> Tensor:
        """The output of the frozen stages for images (B, 3, H, W). It is the same at every step of a training run.

        Raises:
            ModelError: the trunk does not split (see `splits`).
        """
        return self._splitting().run_stages(images, 0, self._frozen)

    def learning_part(self, x: Tensor) -> Tensor:
        """The output of `frozen_part` -> T (B, channels, h, w).

        Raises:
            ModelError: the trunk does not split (see `splits`).
        """
        return self._splitting().run_stages(x, self._frozen, self.num_stages)

    def _splitting(self) -> OSNet:
        if not self.splits or not isinstance(self.trunk, OSNet):
            raise ModelError(f"{self.name} with {self._frozen} frozen stages does not split into two parts")
        return self.trunk


class ResNetTrunk(nn.Module):
    """The convolutional layers of a torchvision ResNet under torchvision's names, last stride 1 (T at stride 16)."""

    def __init__(self, net: tv.ResNet) -> None:
        super().__init__()
        self.conv1, self.bn1, self.relu, self.maxpool = net.conv1, net.bn1, net.relu, net.maxpool
        self.layer1, self.layer2, self.layer3, self.layer4 = net.layer1, net.layer2, net.layer3, net.layer4
        first = self.layer4[0]
        # torchvision strides the 3×3 convolution: conv2 in a bottleneck, conv1 in a basic block.
        (first.conv2 if hasattr(first, "conv3") else first.conv1).stride = (1, 1)
        first.downsample[0].stride = (1, 1)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> T (B, c, H / 16, W / 16)."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))  # type: ignore[no-any-return]


def _resnet(name: str, build: Callable[[], tv.ResNet], channels: int) -> Backbone:
    trunk = ResNetTrunk(build())
    stages = [(trunk.conv1, trunk.bn1), (trunk.layer1,), (trunk.layer2,), (trunk.layer3,), (trunk.layer4,)]
    return Backbone(name, trunk, channels, 16, stages)


class ResNet8Trunk(nn.Module):
    """The first three stages of a ResNet with one basic block each, the last with stride 1: T at stride 8."""

    def __init__(self) -> None:
        super().__init__()
        net = _four_blocks()
        self.conv1, self.bn1, self.relu, self.maxpool = net.conv1, net.bn1, net.relu, net.maxpool
        self.layer1, self.layer2, self.layer3 = net.layer1, net.layer2, net.layer3
        self.layer3[0].conv1.stride = (1, 1)
        self.layer3[0].downsample[0].stride = (1, 1)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> T (B, 256, H / 8, W / 8)."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        return self.layer3(self.layer2(self.layer1(x)))  # type: ignore[no-any-return]


def _resnet8() -> Backbone:
    trunk = ResNet8Trunk()
    stages = [(trunk.conv1, trunk.bn1), (trunk.layer1,), (trunk.layer2,), (trunk.layer3,)]
    return Backbone("resnet8", trunk, 256, 8, stages)


def _four_blocks() -> tv.ResNet:
    """A ResNet with one basic block in each stage."""
    from torchvision.models.resnet import BasicBlock, ResNet

    return ResNet(BasicBlock, [1, 1, 1, 1])


def _published(name: str, channels: int) -> Backbone:
    import torchvision.models as tv

    return _resnet(name, lambda: tv.get_model(name, weights=None), channels)


def _mobilenet() -> Backbone:
    import torchvision.models as tv

    trunk = nn.Sequential()
    trunk.add_module("features", tv.mobilenet_v3_small(weights=None).features)
    features = trunk.get_submodule("features")
    strided = [m for m in features.modules() if isinstance(m, nn.Conv2d) and m.stride == (2, 2)]
    strided[-1].stride = (1, 1)  # last stride 1: T at stride 16
    blocks = list(features.children())
    return Backbone("mobilenet_v3_small", trunk, 576, 16, [blocks[:1], blocks[1:4], blocks[4:9], blocks[9:]])


def _osnet() -> Backbone:
    trunk = OSNet()
    return Backbone("osnet", trunk, 512, 16, trunk.stages())


BACKBONES: dict[str, Callable[[], Backbone]] = {
    "resnet8": _resnet8,
    "resnet10": lambda: _resnet("resnet10", _four_blocks, 512),
    "resnet18": lambda: _published("resnet18", 512),
    "resnet34": lambda: _published("resnet34", 512),
    "resnet50": lambda: _published("resnet50", 2048),
    "mobilenet_v3_small": _mobilenet,
    "osnet": _osnet,
}
"""Builders by name, with random weights. Last stride 1, so T is at stride 16 (resnet8: 8).

resnet8 is small enough to train from scratch on a CPU in a minute. mobilenet_v3_small is the lightest one with ImageNet
weights. osnet is the default.
"""


def build_backbone(name: str) -> Backbone:
    """A trunk by name, randomly initialised.

    Raises:
        ModelError: no backbone has that name.
    """
    if name not in BACKBONES:
        raise ModelError(f"unknown backbone {name!r}; choose one of {', '.join(BACKBONES)}")
    return BACKBONES[name]()
