"""L = L_R + L_ID + L_tri (paper Eq. 8), and the identity classifiers, which only training needs."""

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
from vpmsearch.training.settings import TrainSettings


class VisibleNorm(nn.Module):
    """Batch normalisation of each region over the images that show the region: (B, p, r) -> (B, p, r).

    Eq. 6 leaves out regions that an image does not show. With statistics over all images they would still change the
    result of the visible ones, and get a gradient from their loss. Tensors have the names of `nn.BatchNorm1d` over p·r
    numbers.

    Attributes:
        synchronised: whether the statistics are over the batch of all processes (`training.ranks`).
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(self, num_regions: int, numbers: int, momentum: float = 0.1, eps: float = 1e-5) -> None:
        super().__init__()
        self.momentum, self.eps, self.synchronised = momentum, eps, False
        self.weight = nn.Parameter(torch.ones(num_regions * numbers))
        self.bias = nn.Parameter(torch.zeros(num_regions * numbers))
        self.register_buffer("running_mean", torch.zeros(num_regions * numbers))
        self.register_buffer("running_var", torch.ones(num_regions * numbers))
        self.register_buffer("num_batches_tracked", torch.tensor(0))

    def forward(self, x: Tensor, counted: Tensor | None = None) -> Tensor:
        """Normalise x (B, p, r) with the statistics of the rows that `counted` (B, p) marks; None is all rows.

        A region that fewer than two rows mark is normalised with its running statistics.
        """
        batch, regions, numbers = x.shape
        mean, var = (each.view(regions, numbers) for each in (self.running_mean, self.running_var))
        if self.training:
            counted = torch.ones(batch, regions, dtype=torch.bool, device=x.device) if counted is None else counted
            mean, var = self._statistics(x, counted, mean, var)
        scaled = (x - mean) * torch.rsqrt(var + self.eps)  # (B, p, r) with (p, r)
        return scaled * self.weight.view(regions, numbers) + self.bias.view(regions, numbers)

    def _statistics(self, x: Tensor, counted: Tensor, old_mean: Tensor, old_var: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance (p, r) of the counted rows. Updates the running statistics."""
        mask = counted[:, :, None]
        wide = torch.where(mask, x.float(), 0)  # replaced, not multiplied: 0 times infinity is NaN
        count = self._summed(counted.sum(dim=0).to(wide))[:, None]  # (p, 1)
        mean = self._summed(wide.sum(dim=0)) / count.clamp(min=1)
        var = self._summed(torch.where(mask, (wide - mean).square(), 0).sum(dim=0)) / count.clamp(min=1)
        enough = count >= 2
        with torch.no_grad():
            unbiased = var * count / (count - 1).clamp(min=1)
            for old, new in ((old_mean, mean), (old_var, unbiased)):
                old.copy_(torch.where(enough, torch.lerp(old, new.to(old), self.momentum), old))
            self.num_batches_tracked += 1
        return torch.where(enough, mean, old_mean.clone()), torch.where(enough, var, old_var.clone())

    def _summed(self, own: Tensor) -> Tensor:
        """The sum over all processes if they normalise together, else the input."""
        if not self.synchronised:
            return own
        from torch.distributed.nn.functional import all_reduce

        total: Tensor = all_reduce(own)  # type: ignore[no-untyped-call]
        return total


class RegionClassifiers(nn.Module):
    """One identity classifier for each region, IP_i of Eq. 6: (B, p, d) -> logits (B, p, K).

    "two-layer" is the paper's: a fully connected layer to 256 numbers, then one to K identities.
    "two-layer-bn" has batch normalisation between the two, as PCB does (Sun et al., 2018).
    "bnneck" is batch normalisation and one layer without bias (Luo et al., 2019).
    """

    def __init__(self, kind: str, num_regions: int, embedding_dim: int, identities: int) -> None:
        super().__init__()
        reduced = embedding_dim if kind == "bnneck" else 256
        self.neck = None if kind == "two-layer" else VisibleNorm(num_regions, reduced)
        self.reduce = None if kind == "bnneck" else nn.Parameter(torch.empty(num_regions, embedding_dim, reduced))
        self.classify = nn.Parameter(torch.empty(num_regions, reduced, identities))
        if self.reduce is not None:
            nn.init.normal_(self.reduce, std=embedding_dim**-0.5)
        nn.init.normal_(self.classify, std=0.001)

    def forward(self, embeddings: Tensor, counted: Tensor | None = None) -> Tensor:
        """(B, p, d) -> (B, p, K).

        Args:
            embeddings: (B, p, d). counted: (B, p) bool, the regions in L_ID; the normalisation takes its statistics
                from them. None is all.
        """
        x = embeddings
        if self.reduce is not None:
            x = torch.einsum("bpd,pdr->bpr", x, self.reduce)
        if self.neck is not None:
            x = self.neck(x, counted)
        return torch.einsum("bpr,prk->bpk", x, self.classify)


@dataclass(frozen=True)
class LossTerms:
    """The terms of Eq. 8 as scalars, and two of our own that are 0 by default. `total` is minimised."""

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
    teacher: Tensor | None = None,
) -> LossTerms:
    """Eq. 8 for one batch, plus the terms that the settings add.

    With a `consistency_weight`, the first B / (1 + cuts) images of the batch are whole. The same images follow `cuts`
    times, cut.

    Args:
        output: of the model. logits: (B, p, K) of the classifiers. labels: (B, h, w) region labels of the crops.
        visible: (B, p) bool, their visible sets. pids: (B,) in [0, K).
        memory: the loss that `GalleryMemory.rank` returns for the batch; None is 0.
        teacher: embeddings (B / (1 + cuts), p, d) of the whole images by the teacher, without gradient. The cuts are
            pulled towards them. None: whole images and cuts are pulled towards each other.
    """
    every = torch.ones_like(visible)
    counted = identity_rows(visible, settings)
    identity = visible_identity_loss(logits, pids, counted, settings.label_smoothing)
    counted = visible if settings.triplet_visibility else every
    triplet = region_selective_triplet_loss(output.embeddings, pids, counted, settings.margin)
    total = identity + settings.triplet_weight * triplet
    region = torch.zeros_like(total)
    if settings.region_loss_weight:  # with the logits of stripes, 0 and −∞, it would be infinite
        region = region_label_loss(output.locator_logits, labels, settings.region_loss_reduction)
        total = total + settings.region_loss_weight * region
    consistency = torch.zeros_like(total)
    if settings.consistency_weight:
        consistency = _consistency(output.embeddings, visible, settings.cuts, teacher)
        total = total + settings.consistency_weight * consistency
    if memory is None:
        memory = torch.zeros_like(total)
    total = total + settings.memory_weight * memory
    return LossTerms(region, identity, triplet, consistency, memory, total)


def identity_rows(visible: Tensor, settings: TrainSettings) -> Tensor:
    """The regions (B, p) in L_ID, from the visible sets (B, p)."""
    return visible if settings.identity_visibility else torch.ones_like(visible)


def _consistency(embeddings: Tensor, visible: Tensor, cuts: int, teacher: Tensor | None) -> Tensor:
    """`view_consistency_loss` between each cut and the whole image, or the teacher's; mean over the cuts."""
    whole, *cut = embeddings.chunk(1 + cuts)
    seen_whole, *seen_cut = visible.chunk(1 + cuts)
    target = whole if teacher is None else teacher
    losses = [view_consistency_loss(target, view, seen_whole & seen) for view, seen in zip(cut, seen_cut, strict=True)]
    return torch.stack(losses).mean()
