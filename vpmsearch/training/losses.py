"""L = L_R + L_ID + L_tri (paper Eq. 8) and the identity classifiers, which are needed only to train."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vpmsearch.equations import (
    region_label_loss,
    region_selective_triplet_loss,
    view_consistency_loss,
    visible_identity_loss,
)
from vpmsearch.model.vpm import VpmOutput
from vpmsearch.training.presets import TrainSettings


class RegionClassifiers(nn.Module):
    """One identity classifier a region, IP_i of Eq. 6: (B, p, d) -> logits (B, p, K).

    "two-layer" is the paper's: a fully connected layer that reduces to 256 numbers, then one to K identities.
    "two-layer-bn" normalises in between over the batch, as PCB does (Sun et al., 2018).
    "bnneck" is batch normalisation and one layer without bias (Luo et al., 2019).
    """

    def __init__(self, kind: str, num_regions: int, embedding_dim: int, identities: int) -> None:
        super().__init__()
        reduced = embedding_dim if kind == "bnneck" else 256
        self.neck = None if kind == "two-layer" else nn.BatchNorm1d(num_regions * reduced)
        self.reduce = None if kind == "bnneck" else nn.Parameter(torch.empty(num_regions, embedding_dim, reduced))
        self.classify = nn.Parameter(torch.empty(num_regions, reduced, identities))
        if self.reduce is not None:
            nn.init.normal_(self.reduce, std=embedding_dim**-0.5)
        nn.init.normal_(self.classify, std=0.001)

    def forward(self, embeddings: Tensor) -> Tensor:
        """(B, p, d) -> (B, p, K)."""
        x = embeddings
        if self.reduce is not None:
            x = torch.einsum("bpd,pdr->bpr", x, self.reduce)
        if self.neck is not None:
            x = self.neck(x.flatten(1)).view_as(x)  # (B, p, r) -> (B, p·r) -> (B, p, r)
        return torch.einsum("bpr,prk->bpk", x, self.classify)


@dataclass(frozen=True)
class LossTerms:
    """The terms of Eq. 8, and two of our own that are 0 unless asked for; scalars. `total` is what is minimised."""

    region: Tensor
    identity: Tensor
    triplet: Tensor
    consistency: Tensor
    memory: Tensor
    total: Tensor


def vpm_loss(
    output: VpmOutput,
    logits: Tensor,
    labels: Tensor,
    visible: Tensor,
    pids: Tensor,
    settings: TrainSettings,
    memory: Tensor | None = None,
) -> LossTerms:
    """Eq. 8 for one batch, plus what the settings add to it.

    Args:
        output: of the model. logits: (B, p, K) of the classifiers. labels: (B, h, w) region labels of the crops.
        visible: (B, p) bool, their visible sets. pids: (B,) in [0, K). With a `consistency_weight` the second half
            of the batch shows the images of the first half again, cut.
        memory: what `GalleryMemory.rank` says of the batch.
    """
    every = torch.ones_like(visible)
    counted = visible if settings.identity_visibility else every
    identity = visible_identity_loss(logits, pids, counted, settings.label_smoothing)
    counted = visible if settings.triplet_visibility else every
    triplet = region_selective_triplet_loss(output.embeddings, pids, counted, settings.margin)
    total = identity + settings.triplet_weight * triplet
    region = torch.zeros_like(total)
    if settings.region_loss_weight:  # of stripes it would be infinite
        region = region_label_loss(output.locator_logits, labels, settings.region_loss_reduction)
        total = total + settings.region_loss_weight * region
    consistency = torch.zeros_like(total)
    if settings.consistency_weight:
        whole, cut = output.embeddings.chunk(2)
        shown = torch.stack(visible.chunk(2)).all(dim=0)  # 2 × (B/2, p) -> (B/2, p)
        consistency = view_consistency_loss(whole, cut, shown)
        total = total + settings.consistency_weight * consistency
    if memory is None:
        memory = torch.zeros_like(total)
    total = total + settings.memory_weight * memory
    return LossTerms(region, identity, triplet, consistency, memory, total)
