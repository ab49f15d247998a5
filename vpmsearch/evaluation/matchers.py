"""DSR and SFR of the paper's Table 2: how well a query's pixels of T are rebuilt from a gallery image's.

Every pixel x of the query's feature map is written as a combination of the pixels Y of the gallery image's, and what
is left over is the distance:

    W = argmin ‖X − YW‖² + β‖W‖²        D = ‖X − YW‖² / N

"dsr" (He et al., *Deep Spatial Feature Reconstruction*, CVPR 2018) takes T's pixels as they are, "sfr" (He et al.,
*Recognizing Partial Biometric Patterns*, 2018) a pyramid: means over windows of 1, 2 and 3 pixels, every one a pixel.
DSR asks for a sparse W, by ‖W‖₁; here both have the square, which SFR brought in for speed and which has a closed
form. Pixels are scaled to length 1, so D is in [0, 1]. Both papers train a network of their own for it; here it is the
trunk of the model that is evaluated, and DSR and SFR only order the candidates that Eq. 4 found.

With YᵀY = UΛUᵀ (pixels are columns), D = 1 − ‖SX‖² / N with S = diag(√(λ + 2β) / (λ + β)) UᵀYᵀ, so that a pair costs
one product of matrices, and what is expensive is done once an image.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from vpmsearch.errors import DataError
from vpmsearch.types import Int64

WINDOWS = {"dsr": (1,), "sfr": (1, 2, 3)}
"""Sides, in pixels of T, of the windows whose means are the pixels, by the matcher's name."""
RIDGE = 1e-3
"""β, as in SFR."""


def check_matcher(name: str) -> None:
    """Refuse a matcher that there is not.

    Raises:
        DataError: it has no such name.
    """
    if name not in WINDOWS:
        raise DataError(f"unknown matcher {name!r}; choose one of {', '.join(WINDOWS)}")


def spatial_features(feature_map: Tensor, windows: Sequence[int]) -> Tensor:
    """Means over all square windows of a feature map, stride 1, each of length 1.

    Args:
        feature_map: (n, d, h, w). windows: sides in pixels; one that is larger than the map is left out.

    Returns:
        (n, N, d); a mean of zeros stays zeros.
    """
    height, width = feature_map.shape[2:]
    parts = [
        F.avg_pool2d(feature_map, side, stride=1).flatten(2)  # (n, d, h', w') -> (n, d, h'·w')
        for side in windows
        if side <= min(height, width)
    ]
    return F.normalize(torch.cat(parts, dim=2).transpose(1, 2), dim=2)


def reconstructors(gallery: Tensor, ridge: float = RIDGE) -> Tensor:
    """S of each gallery image: ‖Sx‖² is how much of ‖x‖² is rebuilt from its pixels.

    Args:
        gallery: (n, M, d), pixels of length 1. ridge: β > 0.

    Returns:
        (n, M, d), in the dtype given; computed in float64.
    """
    pixels = gallery.double()
    values, vectors = torch.linalg.eigh(pixels @ pixels.transpose(1, 2))  # (n, M), (n, M, M)
    values = values.clamp(min=0)
    scale = (values + 2 * ridge).sqrt() / (values + ridge)
    return (scale[:, :, None] * (vectors.transpose(1, 2) @ pixels)).to(gallery.dtype)


def reconstruction_distances(query: Tensor, reconstructor: Tensor) -> Tensor:
    """D of Q queries to one gallery image.

    Args:
        query: (Q, N, d), pixels of length 1 (or 0). reconstructor: (M, d), S of the image.

    Returns:
        (Q,), in [0, 1].
    """
    rebuilt = (query @ reconstructor.T).double().square().sum(dim=2)  # (Q, N, d) × (d, M) -> (Q, N)
    return (query.double().square().sum(dim=2) - rebuilt).clamp(min=0).mean(dim=1)


def candidate_distances(
    query: Tensor, candidates: Int64, gallery: Iterable[tuple[int, Tensor]], ridge: float = RIDGE
) -> NDArray[np.float64]:
    """D of each query to its candidates.

    Args:
        query: (Q, N, d) pixels of the queries. candidates: (Q, k) numbers of gallery images, −1 for none.
        gallery: each image that is anybody's candidate, by its number, with its pixels (M, d).

    Returns:
        (Q, k) float64; inf where there is none.
    """
    found = np.full(candidates.shape, np.inf)
    rows, places = np.nonzero(candidates >= 0)
    order = np.argsort(candidates[rows, places], kind="stable")
    rows, places = rows[order], places[order]
    numbers = candidates[rows, places]
    for number, pixels in gallery:
        some = slice(np.searchsorted(numbers, number), np.searchsorted(numbers, number, side="right"))
        asked = query[torch.from_numpy(rows[some]).to(query.device)]
        distances = reconstruction_distances(asked, reconstructors(pixels[None], ridge)[0])
        found[rows[some], places[some]] = distances.cpu().numpy()
    return found


def nearest_candidates(distances: NDArray[np.float64], count: int) -> Int64:
    """The nearest gallery images of each query: (B, G) distances -> (B, min(count, G)) columns, −1 where infinite."""
    count = min(count, distances.shape[1])
    columns = np.argsort(distances, axis=1, kind="stable")[:, :count]
    return np.where(np.isfinite(np.take_along_axis(distances, columns, axis=1)), columns, -1)


def reordered(distances: NDArray[np.float64], candidates: Int64, matched: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distances (B, G) that rank the candidates (B, k) by `matched` (B, k), and after them the rest as before."""
    result = distances.copy()
    for row, (columns, values) in enumerate(zip(candidates, matched, strict=True)):
        there = columns >= 0
        result[row, columns[there]] = values[there] - 2  # D is at most 1, Eq. 4 at least 0
    return result
