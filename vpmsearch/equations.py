"""Equations 1-7 of "Perceive Where to Focus" (Sun et al., CVPR 2019) as pure functions of torch tensors.

The functions keep no state and do no I/O. They take tensors of any float dtype on any device. Half precision is
computed in float32; the result has the dtype of the input. Losses stay float32, because a sum over pixels can leave the
range of float16. A search on a CPU takes Eq. 4 from `vpmsearch.eq4`, which is NumPy.

Axes: B images, p regions, c channels of the feature map T, h × w its pixels, d numbers an embedding, K identities,
Q queries, G gallery images.

How distances stay accurate: the usual ‖a‖² + ‖b‖² − 2ab loses every digit when two embeddings are nearly equal (24 %
off at a distance of 1e-3), so every distance here comes from differences. `torch.cdist` takes differences when its
matrix-product form is switched off. It builds no (Q, G, p, d) tensor, and its gradient at distance 0 is 0, not NaN. It
sums in float32, one term after the other; when all rounding goes one way, that costs 1e-5 at d = 2048. Long embeddings
are therefore split into runs of `RUN` numbers, and the squared distances of the runs are added in float64.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

RUN = 512
"""Numbers of an embedding over which a distance is summed in float32."""


def _compute_dtype(tensor: Tensor) -> Tensor:
    """Half precision becomes float32, because sums of many small numbers need the digits; the rest stays as it is."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def _full_precision(device: str) -> AbstractContextManager[None]:
    """Switch autocast off, so that products are not rounded to half precision."""
    return torch.autocast(device, enabled=False) if torch.is_autocast_enabled(device) else nullcontext()


def region_probabilities(logits: Tensor) -> Tensor:
    """Eq. 1: P(R_i | g), the probability that a pixel g of T belongs to region i.

    Args:
        logits: (B, p, h, w), W_iᵀ g, the output of the region locator's 1×1 convolution.

    Returns:
        (B, p, h, w) in [0, 1]; sums to 1 over p at every pixel.
    """
    return torch.softmax(logits, dim=1)


def region_visibility(probabilities: Tensor) -> Tensor:
    """Eq. 2: C_i = Σ_g P(R_i | g), how many pixels of T a region covers.

    Args:
        probabilities: (B, p, h, w) from Eq. 1.

    Returns:
        (B, p) in [0, h·w]; sums to h·w over p.
    """
    return _compute_dtype(probabilities).sum(dim=(2, 3)).to(probabilities.dtype)


def region_embeddings(feature_map: Tensor, probabilities: Tensor) -> Tensor:
    """Eq. 3: f_i = Σ_g P(R_i | g) g / C_i, the mean of T's pixels weighted by their probability.

    The weights are divided by C_i before the sum. So nothing overflows, and a region with C_i = 0 gives zeros, not NaN.

    Args:
        feature_map: (B, c, h, w), T.
        probabilities: (B, p, h, w) from Eq. 1.

    Returns:
        (B, p, c), finite.
    """
    p = _compute_dtype(probabilities).flatten(2)  # (B, p, h, w) -> (B, p, h·w)
    t = _compute_dtype(feature_map).flatten(2)  # (B, c, h, w) -> (B, c, h·w)
    visibility = p.sum(dim=2, keepdim=True)  # (B, p, 1)
    # For a denormal C_i, 1 / C_i² is infinite and would turn gradients of 0 into NaN. C_i counts as a constant there.
    divisor = torch.where(visibility > torch.finfo(p.dtype).tiny, visibility, visibility.detach())
    weights = p / torch.where(visibility > 0, divisor, 1)
    with _full_precision(p.device.type):
        return torch.bmm(weights, t.transpose(1, 2)).to(feature_map.dtype)


def region_distances(query: Tensor, gallery: Tensor) -> Tensor:
    """D_i = ‖f_i^q − f_i^g‖ for every pair of images and every region (the distances inside Eq. 4 and 7).

    Args:
        query: (Q, p, d). gallery: (G, p, d).

    Returns:
        (Q, G, p), Euclidean, ≥ 0.
    """
    distances = _cdist(query.transpose(0, 1), gallery.transpose(0, 1))  # (p, Q, d), (p, G, d) -> (p, Q, G)
    return distances.permute(1, 2, 0)  # (p, Q, G) -> (Q, G, p)


def _cdist(a: Tensor, b: Tensor) -> Tensor:
    """Euclidean distances of (…, Q, d) and (…, G, d) from differences: (…, Q, G)."""
    runs = zip(torch.split(_compute_dtype(a), RUN, dim=-1), torch.split(_compute_dtype(b), RUN, dim=-1), strict=True)
    distances = (torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist") for x, y in runs)
    total = next(distances)
    if a.shape[-1] <= RUN:
        return total.to(a.dtype)
    total = total.double().square()
    for distance in distances:
        total = total + distance.double().square()
    coincide = total == 0  # the root has no gradient at 0; we give 0
    return torch.where(coincide, 0, torch.where(coincide, 1, total).sqrt()).to(a.dtype)


def visibility_weighted_distance(
    query: Tensor, query_visibility: Tensor, gallery: Tensor, gallery_visibility: Tensor
) -> Tensor:
    """Eq. 4: D = Σ_i C_i^q C_i^g D_i / Σ_i C_i^q C_i^g.

    Regions are taken one at a time, so the largest tensors are (Q, G). Visibility may be in pixels or a share: any
    factor cancels. The value of a pair depends on that pair alone, to the last bit, however images are split into
    calls.

    Args:
        query: (…, Q, p, d). query_visibility: (…, Q, p), ≥ 0. gallery: (…, G, p, d). gallery_visibility: (…, G, p),
            ≥ 0. The leading axes are batches, the same on both sides.

    Returns:
        (…, Q, G), ≥ 0; `inf` where no region is shared (all weights are 0), never NaN.
    """
    q_weights, g_weights = _scaled(query_visibility), _scaled(gallery_visibility)
    shape = (*query.shape[:-2], gallery.shape[-3])
    total, weighted = q_weights.new_zeros(shape), q_weights.new_zeros(shape)
    for region in range(query.shape[-2]):
        weight = q_weights[..., :, None, region] * g_weights[..., None, :, region]  # (Q, 1) × (1, G) -> (Q, G)
        distance = _cdist(_compute_dtype(query[..., region, :]), _compute_dtype(gallery[..., region, :]))  # (Q, G)
        total = total + weight
        # A region that is not shared may hold infinity: 0 × inf must not become NaN, neither here nor in the gradient.
        weighted = weighted + weight * torch.where(weight > 0, distance, 0)
    shared = total > 0
    return torch.where(shared, weighted / torch.where(shared, total, 1), torch.inf).to(query.dtype)


def listed_distance(query: Tensor, query_visibility: Tensor, gallery: Tensor, gallery_visibility: Tensor) -> Tensor:
    """Eq. 4 between each query and its own list of images; equal to `visibility_weighted_distance` to the last bit.

    Args:
        query: (Q, p, d). query_visibility: (Q, p). gallery: (Q, m, p, d), m images for each query.
        gallery_visibility: (Q, m, p).

    Returns:
        (Q, m).
    """
    return visibility_weighted_distance(query[:, None], query_visibility[:, None], gallery, gallery_visibility)[:, 0]


def _scaled(visibility: Tensor) -> Tensor:
    """(…, p) visibility divided by the image's largest value, in float64. The factor cancels in Eq. 4.

    The only region that two images share may be nearly invisible in both. The product of two small float32 numbers can
    be 0 in float32, but never in float64. Only the (Q, G) weights are float64, not the distances.
    """
    wide = visibility.double()
    largest = wide.detach().amax(dim=-1, keepdim=True) if wide.shape[-1] else wide.sum(dim=-1, keepdim=True)
    return wide / torch.where(largest > 0, largest, 1)


def region_label_loss(logits: Tensor, labels: Tensor, reduction: Literal["mean", "sum"] = "mean") -> Tensor:
    """Eq. 5, L_R: cross-entropy of the region locator against the region labels of a crop.

    Args:
        logits: (B, p, h, w) of the locator.
        labels: (B, h, w) int64 in [0, p), the region each pixel of T belongs to. (With an occluder class p counts it.)
        reduction: over the pixels of one image. "sum" is the paper's; with "mean", L_R does not grow with the size of
            the input. The mean over B follows.

    Returns:
        A scalar.
    """
    if reduction not in ("mean", "sum"):
        raise ValueError(f'reduction must be "mean" or "sum", got {reduction!r}')
    if logits.shape[0] == 0:
        return _compute_dtype(logits).sum()  # an empty batch: 0 that still back-propagates
    losses = F.cross_entropy(_compute_dtype(logits), labels.long(), reduction="none").flatten(1)  # (B, h·w)
    return (losses.mean(dim=1) if reduction == "mean" else losses.sum(dim=1)).mean()


def visible_identity_loss(logits: Tensor, targets: Tensor, visible: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Eq. 6, L_ID: identity cross-entropy, summed over the regions that the crop shows, mean over images.

    Args:
        logits: (B, p, K), from one classifier for each region.
        targets: (B,) int64 in [0, K).
        visible: (B, p) bool, the visible set V.
        label_smoothing: share of the target spread over all identities; 0 is the paper.

    Returns:
        A scalar. Regions outside V give no gradient, whatever their logits hold.
    """
    batch, regions, identities = logits.shape
    if batch == 0 or regions == 0:
        return _compute_dtype(logits).sum()
    flat = visible.reshape(batch * regions)  # (B, p) -> (B·p,)
    chosen = _compute_dtype(logits).reshape(batch * regions, identities)[flat]  # (visible pairs, K)
    wanted = targets.long().repeat_interleave(regions)[flat]
    return F.cross_entropy(chosen, wanted, reduction="sum", label_smoothing=label_smoothing) / batch


def region_selective_triplet_loss(
    embeddings: Tensor, pids: Tensor, visible: Tensor, margin: float | None = 1.0
) -> Tensor:
    """Eq. 7, L_tri: batch-hard triplet loss on the mean D_i over the regions visible in both images.

    The positive of an anchor is the farthest image of its pid, the negative the nearest image of another pid. Both are
    chosen among the images that share a region with the anchor. The loss is max(0, D^ap − D^an + margin).

    Args:
        embeddings: (B, p, d). pids: (B,). visible: (B, p) bool, the visible sets V.
        margin: α of Eq. 7; None is the soft margin log(1 + exp(D^ap − D^an)) (Hermans et al., 2017).

    Returns:
        A scalar, the mean over the anchors that have a positive and a negative. Without such an anchor it is 0, and
        still back-propagates. Gradients are finite where embeddings coincide.
    """
    # Regions outside V are replaced by 0: whatever they hold has no effect, and they get no gradient.
    wide = torch.where(visible[:, :, None], _compute_dtype(embeddings), 0)
    shared = visible[:, None, :] & visible[None, :, :]  # (B, B, p)
    count = shared.sum(dim=2)  # (B, B), |V ∩ V|
    distances = torch.where(shared, region_distances(wide, wide), 0).sum(dim=2) / count.clamp(min=1)
    same = pids[:, None] == pids[None, :]
    itself = torch.eye(len(pids), dtype=torch.bool, device=pids.device)
    positive = same & ~itself & (count > 0)
    negative = ~same & (count > 0)
    valid = positive.any(dim=1) & negative.any(dim=1)
    if not valid.any():
        return wide.sum() * 0
    hardest_positive = distances.masked_fill(~positive, -torch.inf)[valid].amax(dim=1)
    hardest_negative = distances.masked_fill(~negative, torch.inf)[valid].amin(dim=1)
    gap = hardest_positive - hardest_negative
    return (F.softplus(gap) if margin is None else F.relu(gap + margin)).mean()


def view_consistency_loss(whole: Tensor, cut: Tensor, visible: Tensor) -> Tensor:
    """Squared distance between a region of a cut image and the same region of the whole image.

    ‖f_i − f_i'‖², both scaled to length 1. This loss is not in the paper; there only the identity losses bring whole
    and cut images together.

    Args:
        whole: (B, p, d), region features of whole images. cut: (B, p, d), of the same images after the cut.
        visible: (B, p) bool, the regions that both show.

    Returns:
        A scalar in [0, 4]: the mean over the regions of an image, then over images. Without any region it is 0, and
        still back-propagates. Regions outside `visible` give no gradient, whatever they hold.
    """
    # Hidden regions become 0 before the scaling: 0 times a gradient that is not finite would be NaN.
    mask = visible[:, :, None]
    a, b = (F.normalize(torch.where(mask, _compute_dtype(view), 0), dim=2) for view in (whole, cut))
    squared = (a - b).square().sum(dim=2)  # (B, p); 0 outside of `visible`
    per_image = squared.sum(dim=1) / visible.sum(dim=1).clamp(min=1)
    return per_image.sum() / max(len(visible), 1)


def neighbour_loss(distances: Tensor, positive: Tensor, negative: Tensor, temperature: float) -> Tensor:
    """Supervised contrastive loss on distances: P(j) ∝ exp(−D_j / temperature) is the chance to draw neighbour j.

    The loss is the mean of −log P(j) over an image's positives, then over images (Khosla et al., 2020, "out" form, with
    distances in place of similarities). It is not in the paper.

    Args:
        distances: (B, N), ≥ 0; `inf` where two images cannot be compared. positive, negative: (B, N) bool, disjoint; a
            pair in neither is left out. temperature: > 0, in units of the distance.

    Returns:
        A scalar ≥ 0, the mean over the images that have a positive and a negative at a finite distance. Without such an
        image it is 0, and still back-propagates. Pairs that are left out or at `inf` give no gradient. The loss is NaN
        where a distance that counts is NaN.
    """
    wide = _compute_dtype(distances)
    reachable = wide != torch.inf
    positive, negative = positive & reachable, negative & reachable
    counted = positive | negative
    # Pairs that do not count become 0 before anything is computed: 0 times a gradient that is not finite would be NaN.
    wide = torch.where(counted, wide, 0)
    valid = positive.any(dim=1) & negative.any(dim=1)
    if not valid.any():
        return wide.sum() * 0
    wide, positive, counted = wide[valid], positive[valid], counted[valid]
    nearest = wide.detach().masked_fill(~counted, torch.inf).amin(dim=1, keepdim=True)  # (B, 1)
    # Subtracting a constant from all distances leaves P(j) as it is. With the nearest one, exp cannot overflow or lose
    # its digits at a small temperature.
    scores = ((nearest - wide) / temperature).masked_fill(~counted, -torch.inf)
    surprise = -torch.log_softmax(scores, dim=1)  # (B, N), −log P(j)
    return (torch.where(positive, surprise, 0).sum(dim=1) / positive.sum(dim=1)).mean()
