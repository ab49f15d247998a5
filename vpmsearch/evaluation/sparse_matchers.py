"""MTRC and AMC+SWM of the paper's Table 2: a query's pixels of T as sparse sums of its candidates' pixels.

The pixels of all k candidates are the columns of one dictionary D. Every pixel y of the query is coded once, so the
candidates compete. The distance of a candidate c is how badly its own columns, with their codes, rebuild the query:

    x = argmin ½‖y − Dx‖² + λ Σ_a (1 + s_a) |x_a|        D_c = mean over pixels of ‖y − D_c x_c‖²

"mtrc": sparse representation of local descriptors, each coded on its own, s = 0 (Liao, Jain, Li, *Partial Face
Recognition: Alignment-Free Approach*, TPAMI 2013; Table 2 calls its MKD with multi-task sparse representation MTRC).
As there, only the columns with the largest inner products code a pixel, here 64.

"amc-swm": an ambiguity-sensitive matching classifier and sliding window matching (Zheng et al., *Partial Person
Re-identification*, ICCV 2015). AMC makes it costly to use pixels that say little about the identity. s_a, in [0, 1],
measures how similar the other candidates' pixels are to column a: the mean over those images of their largest cosine
with it, among the nearest columns. SWM compares the layout: the query's map is pooled to windows of several sizes, each
window slides over the candidate's map, and the best place counts, as the mean of 1 − cosine over the window. The
distance is the sum of both.

The papers use descriptors made by hand (Gabor ternary patterns at keypoints; colour and texture of patches), and images
of their own sizes. Here both get the pixels of T of the evaluated model, scaled to length 1. Images are stretched to
the input size, and every gallery image is a class of its own. The ideas are from the papers. The formula of s, the
window sizes, λ and the weights of the sum are ours, and not tuned on any data.
"""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor

SPARSE = ("amc-swm", "mtrc")
PENALTY = 0.1
"""λ, for pixels of length 1."""
NEAREST = 64
"""How many columns code a pixel."""
STEPS, STIFFNESS, RELAXATION = 100, 0.5, 1.6
"""ADMM's number of steps, ρ and over-relaxation. With 64 columns of 64 or more numbers and cosines up to 0.9, the error
of distances is below 1e-3. With fewer numbers than columns, which no model here has, it would need more steps."""
AT_ONCE = 2**24
"""Most numbers in the intermediate tensor of `ambiguities`."""
SIDES = (0.5, 0.75, 1.0)
"""Heights and widths of SWM's windows, as shares of T's."""


def sparse_distances(name: str, query: Tensor, gallery: Tensor) -> Tensor:
    """Distances of one query to its candidates.

    Args:
        name: one of `SPARSE`. query: (d, h, w), its feature map. gallery: (k, d, h, w), pixels of length 1.

    Returns:
        (k,), ≥ 0. A candidate's distance depends on the other candidates. It does not depend on their order, unless
        columns of several are equally near a pixel at the cut-off of the nearest.
    """
    pixels = F.normalize(query.flatten(1).T, dim=1)  # (d, h, w) -> (h·w, d)
    columns = gallery.flatten(2).transpose(1, 2)  # (k, d, h, w) -> (k, h·w, d)
    if name == "mtrc":
        return coding_distances(pixels, columns)
    return coding_distances(pixels, columns, ambiguous=True) + window_distances(query, gallery)


def coding_distances(
    pixels: Tensor,
    images: Tensor,
    *,
    ambiguous: bool = False,
    penalty: float = PENALTY,
    nearest: int = NEAREST,
    steps: int = STEPS,
) -> Tensor:
    """D_c of k images that compete for one query.

    Args:
        pixels: (N, d) of the query. images: (k, M, d). Pixels of both have length 1, or are 0. ambiguous: whether s is
            used; otherwise it is 0. penalty: λ. nearest: how many columns code a pixel. steps: of `sparse_codes`.

    Returns:
        (k,). 1: the image rebuilds nothing. Values above 1 are possible, as other images' columns may compensate.
    """
    (k, m, d), n = images.shape, len(pixels)
    if not k:
        return pixels.new_zeros(0)
    columns = images.reshape(k * m, d)
    cosines = pixels @ columns.T  # (N, k·M)
    chosen = cosines.topk(min(nearest, k * m), dim=1).indices  # (N, T)
    products, owners, local = cosines.gather(1, chosen), chosen // m, columns[chosen]
    gram = local @ local.transpose(1, 2)  # (N, T, d) × (N, d, T)
    penalties = torch.full_like(products, penalty)
    if ambiguous:
        penalties *= 1 + ambiguities(gram, owners, k)
    codes = sparse_codes(gram, products, penalties, steps)
    own = owners[:, :, None] == owners[:, None, :]  # (N, T, T)
    # ‖y − D_c x_c‖² = ‖y‖² − Σ_a of c (2 yᵀa − (D_cᵀ D_c x_c)_a) x_a
    within = ((gram * own) @ codes[:, :, None])[:, :, 0]
    explained = torch.zeros_like(cosines).scatter_(1, chosen, (2 * products - within) * codes)
    gained = explained.reshape(n, k, m).sum(dim=(0, 2))
    distances: Tensor = ((pixels.square().sum() - gained) / n).clamp(min=0)
    return distances


def sparse_codes(gram: Tensor, products: Tensor, penalties: Tensor, steps: int = STEPS) -> Tensor:
    """The x with the least ½xᵀGx − bᵀx + Σ_a penalty_a |x_a|, for n problems at once, from x = 0.

    It uses ADMM with over-relaxation (Boyd et al., *Distributed Optimization and Statistical Learning*, 2011, section
    6.4). Pixels of deep features are very similar, which slows down gradient methods but not ADMM.

    Args:
        gram: (n, T, T), G. products: (n, T), b. penalties: (n, T), positive. steps: of ADMM.

    Returns:
        (n, T). Equal columns with equal penalties get equal numbers, up to rounding.
    """
    ridge = STIFFNESS * torch.eye(gram.shape[1], dtype=gram.dtype, device=gram.device)
    inverse = torch.linalg.inv(gram + ridge)  # (n, T, T), once for all steps
    codes, dual = torch.zeros_like(products), torch.zeros_like(products)
    for _ in range(steps):
        target = products + STIFFNESS * (codes - dual)
        smooth = (inverse @ target[:, :, None])[:, :, 0]
        moved = RELAXATION * smooth + (1 - RELAXATION) * codes + dual
        codes = moved.sign() * F.relu(moved.abs() - penalties / STIFFNESS)
        dual = moved - codes
    return codes


def ambiguities(gram: Tensor, owners: Tensor, count: int) -> Tensor:
    """s: how similar the other images' columns are to a column, among the columns that code the same pixel.

    Args:
        gram: (N, T, T), cosines. owners: (N, T), the image of each column, 0 to count − 1. count: images, k.

    Returns:
        (N, T) in [0, 1]. An image without any of these columns counts as 0; all is 0 if there is no other image.
    """
    n, t = owners.shape
    size = max(1, AT_ONCE // (t * count))
    parts = []
    for start in range(0, n, size):
        cosines, its = gram[start : start + size], owners[start : start + size]
        where = its[:, None, :].expand(-1, t, t)
        likest = gram.new_zeros(len(its), t, count).scatter_reduce(2, where, cosines.clamp(0, 1), "amax")
        likest.scatter_(2, its[:, :, None], 0)
        parts.append(likest.sum(dim=2) / max(count - 1, 1))
    return torch.cat(parts)


def window_distances(query: Tensor, gallery: Tensor) -> Tensor:
    """SWM: the mean of 1 − cosine between the query's pooled map and the most similar window of a gallery image's map.

    Args:
        query: (d, h, w), a feature map. gallery: (k, d, h', w'), pixels of length 1.

    Returns:
        (k,) in [0, 2]. Windows have each height and width of `SIDES`, at every place.
    """
    height, width = gallery.shape[2:]
    tall, wide = (sorted({max(1, round(share * side)) for share in SIDES}) for side in (height, width))
    likest = gallery.new_full((len(gallery),), -1)
    for size in itertools.product(tall, wide):
        window = F.normalize(F.adaptive_avg_pool2d(query, size), dim=0) / (size[0] * size[1])
        cosines = F.conv2d(gallery, window[None]).flatten(1)  # (k, d, h', w') -> (k, places)
        likest = torch.maximum(likest, cosines.amax(dim=1))
    return (1 - likest).clamp(min=0)
