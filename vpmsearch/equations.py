"""Equations 1-7 of "Perceive Where to Focus" (Sun et al., CVPR 2019) as pure functions of torch tensors.

No state, no I/O. Any float dtype and device; half precision is computed in float32, and tensors are handed back in
their own dtype (the losses, scalars, stay float32: a sum over pixels can leave the range of float16).
Axes: B images, p regions, c channels of the feature map T, h × w its pixels, d numbers an embedding, K identities,
Q queries, G gallery images.

How distances stay accurate: the usual ‖a‖² + ‖b‖² − 2ab loses every digit when two embeddings are nearly equal (24 %
off at a distance of 1e-3), so every distance here comes from differences. `torch.cdist` does that without building a
(Q, G, p, d) tensor once it is forbidden its matrix-product form; its gradient at distance 0 is 0, not NaN. It sums in
float32, one term after the other, which costs 1e-5 at d = 2048 when all rounding goes one way; so long embeddings are
taken in runs of `RUN` numbers whose squares are added in float64.
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
    """Half precision as float32, anything else as it is: sums of many small numbers need the digits."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def _full_precision(device: str) -> AbstractContextManager[None]:
    """Products are not rounded to half precision, mixed or not."""
    return torch.autocast(device, enabled=False) if torch.is_autocast_enabled(device) else nullcontext()


def region_probabilities(logits: Tensor) -> Tensor:
    """Eq. 1: P(R_i | g), to which region a pixel g of T belongs.

    Args:
        logits: (B, p, h, w), W_iᵀ g, what the 1×1 convolution of the region locator gives.

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

    The division comes first, so that nothing overflows and a region with C_i = 0 gives zeros, not NaN.

    Args:
        feature_map: (B, c, h, w), T.
        probabilities: (B, p, h, w) from Eq. 1.

    Returns:
        (B, p, c), finite.
    """
    p = _compute_dtype(probabilities).flatten(2)  # (B, p, h, w) -> (B, p, h·w)
    t = _compute_dtype(feature_map).flatten(2)  # (B, c, h, w) -> (B, c, h·w)
    visibility = p.sum(dim=2, keepdim=True)  # (B, p, 1)
    # Below the normal numbers 1 / C_i² is infinite and would turn gradients of 0 into NaN: C_i is a constant there.
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


def pair_distances(query: Tensor, gallery: Tensor) -> Tensor:
    """D_i of pairs of images, to the last bit those of `region_distances`.

    Args:
        query, gallery: (M, p, d), the two of each pair.

    Returns:
        (M, p).
    """
    return _cdist(query[:, :, None], gallery[:, :, None])[:, :, 0, 0]  # (M, p, 1, d) twice -> (M, p, 1, 1)


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
    coincide = total == 0  # the root has no gradient there; theirs is 0
    return torch.where(coincide, 0, torch.where(coincide, 1, total).sqrt()).to(a.dtype)


def visibility_weighted_distance(
    query: Tensor, query_visibility: Tensor, gallery: Tensor, gallery_visibility: Tensor
) -> Tensor:
    """Eq. 4: D = Σ_i C_i^q C_i^g D_i / Σ_i C_i^q C_i^g.

    One region at a time, so the largest tensors are (Q, G). Visibility in pixels or as a share gives the same
    distance: any factor cancels. Each pair's value depends on that pair alone, to the last bit, however the
    images are split into calls.

    Args:
        query: (…, Q, p, d). query_visibility: (…, Q, p), ≥ 0. gallery: (…, G, p, d). gallery_visibility: (…, G, p),
            ≥ 0; axes before those are batches, alike on both sides.

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
        # An unshared region may hold anything, infinity too: 0 × inf must not become NaN, here or going back.
        weighted = weighted + weight * torch.where(weight > 0, distance, 0)
    shared = total > 0
    return torch.where(shared, weighted / torch.where(shared, total, 1), torch.inf).to(query.dtype)


def listed_distance(query: Tensor, query_visibility: Tensor, gallery: Tensor, gallery_visibility: Tensor) -> Tensor:
    """Eq. 4 of each query with images of its own, to the last bit as `visibility_weighted_distance` has it.

    Args:
        query: (Q, p, d). query_visibility: (Q, p). gallery: (Q, m, p, d), m images for each query.
        gallery_visibility: (Q, m, p).

    Returns:
        (Q, m).
    """
    return visibility_weighted_distance(query[:, None], query_visibility[:, None], gallery, gallery_visibility)[:, 0]


def expansion_error(dim: int) -> float:
    """γ: ‖a‖² + ‖b‖² − 2ab, in float32 and any order, is within γ (‖a‖ + ‖b‖)² of ‖a − b‖².

    γ = n·u / (1 − n·u), n = d + a few operations, u = 2⁻²⁴ (Higham, "Accuracy and Stability", lemma 3.1).

    Args:
        dim: d.
    """
    steps = (dim + 8) * 2.0**-24
    return steps / (1 - steps)


def underflow_error(dim: int) -> float:
    """What squares lose, at most, where they are too small for float32: each of d is 0 instead of below 2⁻¹²⁶.

    It comes on top of `expansion_error`, which is relative: without it, images 1e-23 apart look equal.

    Args:
        dim: d.
    """
    return 4 * (dim + 8) * 2.0**-126  # ‖a‖², ‖b‖² and 2ab each; a processor may be told to flush denormal numbers


def _scaled(visibility: Tensor) -> Tensor:
    """(…, p) visibility over its largest value per image, float64: the factor cancels in Eq. 4.

    float64, as a region may be all but invisible in both images and still the only one they share: the product of two
    small float32 numbers is 0 in float32, never in float64. Only (Q, G) tensors pay for it, not the distances.
    """
    wide = visibility.double()
    largest = wide.detach().amax(dim=-1, keepdim=True) if wide.shape[-1] else wide.sum(dim=-1, keepdim=True)
    return wide / torch.where(largest > 0, largest, 1)


def region_label_loss(logits: Tensor, labels: Tensor, reduction: Literal["mean", "sum"] = "mean") -> Tensor:
    """Eq. 5, L_R: cross-entropy of the region locator against the region labels of a crop.

    Args:
        logits: (B, p, h, w) of the locator.
        labels: (B, h, w) int64 in [0, p), the region each pixel of T belongs to.
        reduction: over the pixels of one image: "sum" as the paper writes it, or "mean", which keeps L_R's size
            independent of the input's. The mean over B follows.

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
        logits: (B, p, K), one classifier a region.
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

    For each anchor the farthest image of its pid and the nearest of another, among images that share a region with
    it; then max(0, D^ap − D^an + margin).

    Args:
        embeddings: (B, p, d). pids: (B,). visible: (B, p) bool, the visible sets V.
        margin: α of Eq. 7; None is the soft margin log(1 + exp(D^ap − D^an)) (Hermans et al., 2017).

    Returns:
        A scalar, mean over anchors with a valid positive and negative; 0 that still back-propagates without any.
        Gradients are finite where embeddings coincide.
    """
    # What lies outside of V is not looked at, whatever it holds, and gets no gradient.
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
    """How far a cut image's regions are from the same regions of the image whole: ‖f_i − f_i'‖², scaled to length 1.

    Not in the paper, which leaves it to identities to bring whole and cut images together.

    Args:
        whole: (B, p, d), region features of whole images. cut: (B, p, d), of the same images cut.
        visible: (B, p) bool, the regions that both show.

    Returns:
        A scalar in [0, 4], mean over the regions of an image, then over images; without any region 0 that still
        back-propagates. Regions outside of `visible` give no gradient, whatever they hold.
    """
    # Replaced before they are scaled: 0 times the gradient of something not finite would be NaN.
    mask = visible[:, :, None]
    a, b = (F.normalize(torch.where(mask, _compute_dtype(view), 0), dim=2) for view in (whole, cut))
    squared = (a - b).square().sum(dim=2)  # (B, p); 0 outside of `visible`
    per_image = squared.sum(dim=1) / visible.sum(dim=1).clamp(min=1)
    return per_image.sum() / max(len(visible), 1)


def neighbour_loss(distances: Tensor, positive: Tensor, negative: Tensor, temperature: float) -> Tensor:
    """How unlikely the right neighbours are, when a neighbour j is drawn with probability ∝ exp(−D_j / temperature).

    Mean of −log P(j) over an image's positives, then over images (Khosla et al., 2020, "out" form, on distances). Not
    in the paper.

    Args:
        distances: (B, N), ≥ 0; `inf` where two images cannot be compared. positive, negative: (B, N) bool, apart; what
            is neither is left out. temperature: > 0, in units of the distance.

    Returns:
        A scalar ≥ 0, mean over the images with a positive and a negative within reach; 0 that still back-propagates
        without any. What is left out or out of reach gives no gradient. NaN where a distance that counts is NaN.
    """
    wide = _compute_dtype(distances)
    reachable = wide != torch.inf
    positive, negative = positive & reachable, negative & reachable
    counted = positive | negative
    # Replaced before anything is computed: 0 times the gradient of something not finite would be NaN.
    wide = torch.where(counted, wide, 0)
    valid = positive.any(dim=1) & negative.any(dim=1)
    if not valid.any():
        return wide.sum() * 0
    wide, positive, counted = wide[valid], positive[valid], counted[valid]
    nearest = wide.detach().masked_fill(~counted, torch.inf).amin(dim=1, keepdim=True)  # (B, 1)
    # P(j) is the same from any zero; from the nearest neighbour on, a small temperature costs no digits.
    scores = ((nearest - wide) / temperature).masked_fill(~counted, -torch.inf)
    surprise = -torch.log_softmax(scores, dim=1)  # (B, N), −log P(j)
    return (torch.where(positive, surprise, 0).sum(dim=1) / positive.sum(dim=1)).mean()
