"""Lets identity classifiers start from the mean embeddings of their identities, in place of random numbers.

A model that already tells people apart needs no epoch to learn classifiers for new people: their mean embeddings are
good ones (weight imprinting, Qi et al., CVPR 2018). With random ones the first steps pull the embeddings of a good
model apart for nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from vpmsearch.data.training_set import TrainingSet
from vpmsearch.model.vpm import VpmOutput
from vpmsearch.system.parallel import map_ahead
from vpmsearch.training.losses import RegionClassifiers, VisibleNorm
from vpmsearch.training.memory import GalleryMemory
from vpmsearch.types import Int64

LOGITS = tuple(2.0**power for power in range(-2, 6))
"""What the logit of an image on its identity's mean may be. The better a model tells people apart, the higher."""
_BATCH = 32
_TRIED = 2048
"""Images that the logit is chosen by, at most."""


def some_of_each(targets: Int64, count: int) -> Int64:
    """Positions of up to `count` images of each class, spread evenly over those that the class has.

    Args:
        targets: (N,) class of each image. count: at least 1.

    Returns:
        Sorted positions.
    """
    order = np.argsort(targets, kind="stable")
    begins = np.flatnonzero(np.diff(targets[order], prepend=-1))
    groups = np.split(order, begins[1:])
    chosen = [group[np.unique(np.linspace(0, len(group) - 1, count).round().astype(np.int64))] for group in groups]
    return np.sort(np.concatenate(chosen))


@torch.no_grad()
def start_from_means(
    classifiers: RegionClassifiers,
    memory: GalleryMemory | None,
    data: TrainingSet,
    see: Callable[[NDArray[Any]], VpmOutput],
    count: int,
    workers: int,
) -> None:
    """Set the classifiers from whole images of each identity, and remember these images.

    Args:
        classifiers: of the kind "bnneck"; changed. memory: filled with the images; None if there is none.
        see: pixels (B, 3, H, W) uint8 -> output of the model, in evaluation mode. count: images of each identity.
        workers: threads that read images.
    """
    chosen = some_of_each(data.targets, count)
    parts = np.array_split(chosen, max(1, -(-len(chosen) // _BATCH)))
    seen: list[tuple[Tensor, Tensor]] = []
    for part, pixels in zip(parts, map_ahead(data.whole, parts, workers=workers, ahead=2 * workers), strict=True):
        output = see(pixels)
        found = output.embeddings.float(), output.visibility.float()
        if memory is not None:
            memory.remember(torch.from_numpy(part).to(found[0].device), *found)
        seen.append((found[0].cpu(), found[1].cpu()))
    embeddings, visibility = (torch.cat(each) for each in zip(*seen, strict=True))
    set_means(classifiers, embeddings, visibility, torch.from_numpy(data.targets[chosen]))


@torch.no_grad()
def set_means(classifiers: RegionClassifiers, embeddings: Tensor, visibility: Tensor, targets: Tensor) -> None:
    """Set classifiers and the statistics of their normalisation.

    The weights of a class in a region are the direction of its images' mean, after normalisation, where they show the
    region. A class that none shows there keeps its small random weights. How long the weights are is chosen for each
    region from `LOGITS`, by L_ID of the same images, each left out of its own mean.

    Args:
        classifiers: of the kind "bnneck"; changed. embeddings: (N, p, d). visibility: (N, p). targets: (N,).
    """
    assert isinstance(classifiers.neck, VisibleNorm)
    regions, numbers = embeddings.shape[1:]
    shown = visibility >= 1 / (2 * regions)  # (N, p), by the default min_visibility
    mask = shown[:, :, None].to(embeddings)
    total = mask.sum(dim=0).clamp(min=1)
    mean = (embeddings * mask).sum(dim=0) / total  # (p, d)
    var = ((embeddings - mean).square() * mask).sum(dim=0) / total
    normal = (embeddings - mean) * torch.rsqrt(var + classifiers.neck.eps) * mask
    sums = torch.zeros(classifiers.classify.shape[2], regions, numbers).index_add_(0, targets, normal)
    for region in range(regions):
        seen = shown[:, region]
        length = _length(normal[seen, region], sums[:, region], targets[seen])
        known = sums[:, region].any(dim=1)  # (K,)
        weights = length * F.normalize(sums[known, region], dim=1).T  # (d, K)
        classifiers.classify[region][:, known.to(classifiers.classify.device)] = weights.to(classifiers.classify)
    classifiers.neck.running_mean.copy_(mean.flatten())
    classifiers.neck.running_var.copy_(var.flatten())


def _length(normal: Tensor, sums: Tensor, targets: Tensor) -> float:
    """The length of a region's weights: half of that with which these whole images are told apart best.

    Args:
        normal: (n, d), normalised embeddings of the images that show the region. sums: (K, d), of each class.
            targets: (n,).
    """
    unit = 1 / math.sqrt(normal.shape[1])  # a normalised embedding is about √d long
    own = sums[targets] - normal  # each image left out of its own sum
    usable = own.norm(dim=1) > 1e-3 * normal.norm(dim=1)  # its class has another image
    tried = usable.nonzero().flatten()
    if not len(tried):
        return float(LOGITS[0] * unit)
    tried = tried[:: -(-len(tried) // _TRIED)]
    normal, targets = normal[tried], targets[tried]
    logits = normal @ F.normalize(sums, dim=1).T  # (n, K)
    logits[:, ~sums.any(dim=1)] = -torch.inf  # no image of these shows the region
    logits[torch.arange(len(tried)), targets] = (normal * F.normalize(own[tried], dim=1)).sum(dim=1)
    losses = [float(F.cross_entropy(logits * (logit * unit), targets)) for logit in LOGITS]
    # A step lower than the best: training cuts and changes its images, which brings them further from their means.
    return float(LOGITS[max(int(np.argmin(losses)) - 1, 0)] * unit)
