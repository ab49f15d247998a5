"""The Visibility-aware Part Model (paper section 3.1, Fig. 2)."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from vpmsearch.equations import region_embeddings, region_probabilities, region_visibility
from vpmsearch.errors import ModelError
from vpmsearch.model.trunks import Backbone, build_backbone


@dataclass(frozen=True)
class VpmOutput:
    """The output of VPM for B images: p regions, T of h × w pixels with c channels, embeddings of d numbers.

    feature_map: T (B, c, h, w), the trunk's output.
    locator_logits: (B, p, h, w), before the softmax of Eq. 1; with an occluder class (B, p + 1, h, w), the class last.
    probabilities: (B, p, h, w), Eq. 1. The sum over p is 1; with an occluder class at most 1.
    visibility: (B, p), Eq. 2 over h·w: in [0, 1]. The sum over p is 1; with an occluder class at most 1.
    embeddings: (B, p, d), Eq. 3; d is c, or `embedding_dim` where T is reduced first.
    """

    feature_map: Tensor
    locator_logits: Tensor
    probabilities: Tensor
    visibility: Tensor
    embeddings: Tensor


class Vpm(nn.Module):
    """Region locator and region feature extractor on top of a convolutional trunk.

    Args:
        backbone: a trunk, or its name in `vpmsearch.model.trunks.BACKBONES`.
        num_regions: the grid (m, n) on the image of a whole person; p = m·n regions, row-major. A number m is (m, 1).
        embedding_dim: None pools T itself, as the paper does. A number d reduces T to d channels first (a learned 1×1
            convolution and batch normalisation), so that an image takes p·d numbers.
        normalize_embeddings: scale every f_i to length 1. The paper does not say; by default they stay as pooled.
        occluder_class: the locator has one more class, for pixels of T that show an occluder and not the person. It is
            in the softmax of Eq. 1 and nowhere else: it has no visibility and no embedding. Not in the paper
            (docs/decisions/0023-occluder-class.md).

    Raises:
        ModelError: no such backbone, an empty grid or embedding_dim < 1.
    """

    def __init__(
        self,
        backbone: Backbone | str,
        num_regions: tuple[int, int] | int = (6, 1),
        embedding_dim: int | None = None,
        normalize_embeddings: bool = False,
        occluder_class: bool = False,
    ) -> None:
        super().__init__()
        self.backbone = build_backbone(backbone) if isinstance(backbone, str) else backbone
        self.grid = (num_regions, 1) if isinstance(num_regions, int) else (int(num_regions[0]), int(num_regions[1]))
        if min(self.grid) < 1:
            raise ModelError(f"num_regions needs at least one row and one column, got {self.grid}")
        if embedding_dim is not None and embedding_dim < 1:
            raise ModelError(f"embedding_dim must be at least 1, got {embedding_dim}")
        channels = self.backbone.channels
        self.num_regions = self.grid[0] * self.grid[1]
        self.embedding_dim = channels if embedding_dim is None else embedding_dim
        self.normalize_embeddings = normalize_embeddings
        self.occluder_class = occluder_class
        self.detach_locator = False
        """Whether the losses on embeddings give the locator no gradient. It matters in training only."""
        # W of Eq. 1. With an occluder class it has a bias, so that the class can start small (`model.initial`).
        classes = self.num_regions + occluder_class
        self.locator: nn.Module = nn.Conv2d(channels, classes, 1, bias=occluder_class)
        self.reduction: nn.Module = nn.Identity()
        if embedding_dim is not None:
            # It is linear, so reduce-then-pool equals pool-then-reduce, with d instead of c numbers for each pixel.
            self.reduction = nn.Sequential(
                nn.Conv2d(channels, embedding_dim, 1, bias=False), nn.BatchNorm2d(embedding_dim)
            )

    def locate(self, feature_map: Tensor) -> Tensor:
        """T (B, c, h, w) -> logits of Eq. 1: (B, p, h, w), with an occluder class (B, p + 1, h, w)."""
        logits: Tensor = self.locator(feature_map)
        return logits

    def forward(self, images: Tensor) -> VpmOutput:
        """Find p regions in B images and compute their embeddings.

        Args:
            images: (B, 3, H, W) float, normalised with the mean and std that the weights were trained with.
        """
        return self.see_regions(self.backbone(images))

    def see_regions(self, feature_map: Tensor) -> VpmOutput:
        """The output of `forward`, from the trunk's feature map T (B, c, h, w)."""
        logits = self.locate(feature_map)
        probabilities = region_probabilities(logits)
        if self.occluder_class:
            probabilities = probabilities[:, : self.num_regions]
        height, width = probabilities.shape[2:]
        weights = probabilities.detach() if self.detach_locator else probabilities
        embeddings = region_embeddings(self.reduction(feature_map), weights)
        if self.normalize_embeddings:
            embeddings = F.normalize(embeddings, dim=2)
        return VpmOutput(
            feature_map=feature_map,
            locator_logits=logits,
            probabilities=probabilities,
            visibility=region_visibility(probabilities) / (height * width),
            embeddings=embeddings,
        )
