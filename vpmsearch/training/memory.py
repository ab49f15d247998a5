"""A memory of the whole training gallery. A batch is ranked against all of it, and not only against itself.

It is a cross-batch memory (Wang et al., CVPR 2020) with a neighbourhood loss (Wu et al., ECCV 2018) on Eq. 4. This is
what a search does with a cut query and a gallery of whole images. It is not in the paper.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vpmsearch.equations import neighbour_loss
from vpmsearch.errors import ModelError
from vpmsearch.model.vpm import VpmOutput
from vpmsearch.types import Int64

MAX_BYTES = 128 << 20
"""Most bytes of embeddings in the memory: every checkpoint holds them, and every batch is compared with all of them."""


class GalleryMemory(nn.Module):
    """The latest region features of N whole images. An image that no batch has had yet is in no ranking.

    The features are buffers, so that a checkpoint holds them and a resumed run continues exactly. Embeddings are kept
    as float16.

    Args:
        targets: (N,) identity classes. camids: (N,) cameras. num_regions: p. embedding_dim: d.

    Raises:
        ModelError: N·p·d numbers take more than `MAX_BYTES`.
    """

    targets: Tensor
    camids: Tensor
    embeddings: Tensor
    visibility: Tensor

    def __init__(self, targets: Int64, camids: Int64, num_regions: int, embedding_dim: int) -> None:
        super().__init__()
        count = len(targets)
        if (size := 2 * count * num_regions * embedding_dim) > MAX_BYTES:
            raise ModelError(
                f"memory_weight: to remember {count} images of {num_regions} × {embedding_dim} numbers takes "
                f"{size >> 20} MiB of at most {MAX_BYTES >> 20}; train with a smaller embedding_dim, or without it"
            )
        self.register_buffer("targets", torch.tensor(targets), persistent=False)
        self.register_buffer("camids", torch.tensor(camids), persistent=False)
        self.register_buffer("embeddings", torch.zeros(count, num_regions, embedding_dim, dtype=torch.float16))
        self.register_buffer("visibility", torch.zeros(count, num_regions))  # 0: shares no region with any query

    def rank(self, output: VpmOutput, indices: Tensor, temperature: float, views: int = 2) -> Tensor:
        """The loss of ranking the memory by Eq. 4 for each image of a batch. Then the batch's whole images are stored.

        As in evaluation, images of the same pid from the same camera do not count, and a region below the default
        min_visibility is not visible. Only the embeddings get gradients: no visibility shall grow to make a neighbour
        more likely.

        Args:
            output: for B images: the first B / views are whole, the rest are the same images cut. indices: (B,), their
                positions among the N. temperature: see `neighbour_loss`. views: how often each image is in the batch.
        """
        visibility = _shown(output.visibility.detach().float())
        distances = self._distances(output.embeddings.float(), visibility)
        same = self.targets[indices, None] == self.targets[None, :]  # (B, N)
        same_camera = self.camids[indices, None] == self.camids[None, :]
        loss = neighbour_loss(distances, same & ~same_camera, ~same, temperature)
        whole = len(indices) // views
        self.remember(indices[:whole], output.embeddings[:whole].detach(), visibility[:whole])
        return loss

    def _distances(self, query: Tensor, query_visibility: Tensor) -> Tensor:
        """Eq. 4 as (B, N), less exact than `visibility_weighted_distance` but in a tenth of the time."""
        total = query_visibility @ self.visibility.T  # (B, p) × (p, N)
        weighted = torch.zeros_like(total)
        for region in range(query.shape[1]):
            a, b = query[:, region], self.embeddings[:, region].to(query.dtype)
            squared = a.square().sum(dim=1)[:, None] + b.square().sum(dim=1)[None, :] - 2 * a @ b.T
            weight = query_visibility[:, region, None] * self.visibility[None, :, region]
            weighted = weighted + weight * squared.clamp(min=1e-4).sqrt()  # the root of 0 has an infinite gradient
        return torch.where(total > 0, weighted / torch.where(total > 0, total, 1), torch.inf)

    def remember(self, indices: Tensor, embeddings: Tensor, visibility: Tensor) -> None:
        """Replace the stored features of some images. If an image comes twice, the later one counts on every device.

        Args:
            indices: (n,) positions among the N. embeddings: (n, p, d). visibility: (n, p); a region below the default
                min_visibility is stored as not visible.
        """
        again = (indices[:, None] == indices[None, :]).triu(diagonal=1).any(dim=1)
        indices, embeddings, visibility = indices[~again], embeddings[~again], visibility[~again]
        # f_i may have any length. Numbers beyond float16's range become the largest one, so the image is far, not inf.
        largest = torch.finfo(self.embeddings.dtype).max
        self.embeddings[indices] = embeddings.clamp(-largest, largest).to(self.embeddings.dtype)
        self.visibility[indices] = _shown(visibility)


def _shown(visibility: Tensor) -> Tensor:
    """Visibility (n, p) with 0 for regions below the default min_visibility."""
    return torch.where(visibility >= 1 / (2 * visibility.shape[1]), visibility, 0)
