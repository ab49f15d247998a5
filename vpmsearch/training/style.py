"""Mixes the styles of a batch's images, so that what is learnt does not depend on one camera's light and colours.

MixStyle (Zhou et al., "Domain Generalization with MixStyle", ICLR 2021). Mean and spread of a channel over an image say
how a camera sees, and less whom it sees. It is not in the paper.
"""

from __future__ import annotations

import torch
from torch import Tensor

ALPHA = 0.1
"""Of Beta(α, α), from which the share of an image's own style is drawn: mostly near 0 or near 1, as in MixStyle."""
_SMALL = 1e-6


def mixed_styles(features: Tensor, share: float) -> Tensor:
    """Give some images of a batch a mean and spread of their channels between their own and another image's.

    The statistics get no gradient. Random numbers are torch's, of the CPU.

    Args:
        features: (B, c, h, w), of any dtype. share: of the images that are changed, in [0, 1].

    Returns:
        (B, c, h, w), of the same dtype and memory format.
    """
    count = len(features)
    if not share or count < 2:
        return features
    own = torch.distributions.Beta(ALPHA, ALPHA).sample((count,))
    own = torch.where(torch.rand(count) < share, own, 1.0).to(features.device, torch.float32)[:, None, None, None]
    other = torch.randperm(count).to(features.device)
    wide = features.detach().float()
    mean = wide.mean(dim=(2, 3), keepdim=True)  # (B, c, 1, 1)
    spread = (wide.var(dim=(2, 3), keepdim=True, correction=0) + _SMALL).sqrt()
    new_mean, new_spread = torch.lerp(mean[other], mean, own), torch.lerp(spread[other], spread, own)
    factor = new_spread / spread
    changed = features.float() * factor + (new_mean - mean * factor)
    return torch.where(own < 1, changed, features.float()).to(features.dtype)
