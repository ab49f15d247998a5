"""A trunk of two convolutions, for tests of what stands around a trunk: builds, trains and saves in milliseconds."""

from __future__ import annotations

from torch import nn

from vpmsearch.model.trunks import Backbone


class TinyTrunk(nn.Module):
    """(B, 3, H, W) -> T (B, 12, H / 16, W / 16)."""

    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 8, 4, stride=4, bias=False), nn.BatchNorm2d(8)
        self.conv2, self.bn2 = nn.Conv2d(8, 12, 4, stride=4, bias=False), nn.BatchNorm2d(12)

    def forward(self, images):
        x = self.bn1(self.conv1(images)).relu()
        return self.bn2(self.conv2(x)).relu()


def tiny_backbone():
    """As `vpmsearch.model.trunks.BACKBONES` has them; the `tiny` fixture puts it there."""
    trunk = TinyTrunk()
    return Backbone("tiny", trunk, 12, 16, [(trunk.conv1, trunk.bn1), (trunk.conv2, trunk.bn2)])
