"""Baselines that VPM is compared with: the same trunk with fixed regions, which are not searched for in the image."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vpmsearch.data.crops import CropBox, region_labels
from vpmsearch.errors import ModelError
from vpmsearch.model.trunks import Backbone
from vpmsearch.model.vpm import Vpm


class Stripes(Vpm):
    """T pooled over equal rectangles of the image. One rectangle gives a global feature, 6×1 give PCB's stripes.

    Source: Sun et al., *Beyond Part Models*, ECCV 2018. Every region is visible in every image, so Eq. 4 is the plain
    mean of D_i (up to rounding, where h is no multiple of the rows). PCB itself concatenates its stripes and compares
    the whole vector, √ΣD_i². Here it is compared by Eq. 4, as VPM and every other baseline are. Probabilities are 0 or
    1, visibility is the region's area, and logits are 0 or −∞, so there is no L_R.

    Args: as `Vpm`, without an occluder class.
    """

    def __init__(
        self,
        backbone: Backbone | str,
        num_regions: tuple[int, int] | int = (1, 1),
        embedding_dim: int | None = None,
        normalize_embeddings: bool = False,
        occluder_class: bool = False,
    ) -> None:
        if occluder_class:
            raise ModelError("stripes have no locator, so they have no occluder_class")
        super().__init__(backbone, num_regions, embedding_dim, normalize_embeddings)
        self.locator = nn.Identity()  # nothing to learn

    def locate(self, feature_map: Tensor) -> Tensor:
        """T (B, c, h, w) -> logits (B, p, h, w): 0 in a region's rectangle, −∞ elsewhere."""
        batch, _, height, width = feature_map.shape
        labels = torch.from_numpy(region_labels(CropBox(), self.grid, (height, width))).to(feature_map.device)
        # (h, w) -> (h, w, p) -> (p, h, w) -> (B, p, h, w)
        inside = F.one_hot(labels, self.num_regions).permute(2, 0, 1).to(feature_map.dtype)
        return torch.log(inside).expand(batch, -1, -1, -1)


ARCHITECTURES: dict[str, type[Vpm]] = {"vpm": Vpm, "stripes": Stripes}
"""Models by the name that a weights file gives."""
