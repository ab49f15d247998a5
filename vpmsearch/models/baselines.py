"""What VPM is measured against: the same trunk, its regions cut by a ruler instead of found in the image."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vpmsearch.data.crops import CropBox, region_labels
from vpmsearch.equations import region_embeddings
from vpmsearch.models.backbones import Backbone, build_backbone
from vpmsearch.models.vpm import VpmOutput


class Stripes(nn.Module):
    """T pooled over equal rectangles of the image as given: one is a global feature, 6×1 are PCB's stripes.

    Sun et al., *Beyond Part Models*, ECCV 2018. It never says that a region is not there, so Eq. 4 is a plain mean.

    Args:
        backbone: a trunk, or its name in `vpmsearch.models.backbones.BACKBONES`.
        num_regions: the grid (m, n); p = m·n. normalize_embeddings: scale every f_i to length 1.
    """

    def __init__(
        self, backbone: Backbone | str, num_regions: tuple[int, int] = (1, 1), normalize_embeddings: bool = False
    ) -> None:
        super().__init__()
        self.backbone = build_backbone(backbone) if isinstance(backbone, str) else backbone
        self.grid = num_regions
        self.num_regions = num_regions[0] * num_regions[1]
        self.embedding_dim = self.backbone.channels
        self.normalize_embeddings = normalize_embeddings

    def forward(self, images: Tensor) -> VpmOutput:
        """(B, 3, H, W), normalised -> as `Vpm.forward`; probabilities are 0 or 1, visibility is each region's area."""
        feature_map = self.backbone(images)
        batch, _, height, width = feature_map.shape
        labels = torch.from_numpy(region_labels(CropBox(), self.grid, (height, width))).to(feature_map.device)
        # (h, w) -> (h, w, p) -> (p, h, w) -> (B, p, h, w)
        probabilities = F.one_hot(labels, self.num_regions).permute(2, 0, 1).to(feature_map.dtype)
        probabilities = probabilities.expand(batch, -1, -1, -1)
        embeddings = region_embeddings(feature_map, probabilities)
        if self.normalize_embeddings:
            embeddings = F.normalize(embeddings, dim=2)
        return VpmOutput(
            feature_map=feature_map,
            locator_logits=torch.log(probabilities),
            probabilities=probabilities,
            visibility=probabilities.mean(dim=(2, 3)),
            embeddings=embeddings,
        )
