"""DSR and SFR of the paper's Table 2: the distance is how badly a gallery image's pixels of T rebuild the query's.

Every pixel x of the query's feature map is written as a combination of the pixels Y of the gallery image's map. The
distance is the mean squared residual:

    W = argmin ‖X − YW‖² + β‖W‖²        D = ‖X − YW‖² / N

"dsr" (He et al., *Deep Spatial Feature Reconstruction*, CVPR 2018) uses T's pixels. "sfr" (He et al., *Recognizing
Partial Biometric Patterns*, 2018) uses a pyramid: means over windows of 1, 2 and 3 pixels, each mean counts as a pixel.
DSR makes W sparse by ‖W‖₁. Here both use ‖W‖², which SFR introduced for speed and which has a closed form. Pixels are
scaled to length 1, so D is in [0, 1]. Both papers train a network of their own. Here DSR and SFR use the trunk of the
evaluated model, and only reorder the candidates that Eq. 4 found.

With P = Y(YᵀY + βI)⁻¹Yᵀ (pixels are columns) the residual of x is (I − P)x. So D = tr(C) − ⟨2P − P², C⟩ with
C = XXᵀ/N: a pair costs one inner product of d × d matrices, and the expensive work is done once for each image.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from vpmsearch.types import Int64

WINDOWS = {"dsr": (1,), "sfr": (1, 2, 3)}
"""Matcher -> sides of its windows, in pixels of T."""
RIDGE = 1e-3
"""β, as in SFR."""


def spatial_features(feature_map: Tensor, windows: Sequence[int]) -> Tensor:
    """Means over all square windows of a feature map with stride 1, each scaled to length 1.

    Args:
        feature_map: (n, d, h, w). windows: sides in pixels; windows larger than the map are left out.

    Returns:
        (n, N, d); a mean of 0 stays 0.
    """
    height, width = feature_map.shape[2:]
    parts = [
        F.avg_pool2d(feature_map, side, stride=1).flatten(2)  # (n, d, h', w') -> (n, d, h'·w')
        for side in windows
        if side <= min(height, width)
    ]
    return F.normalize(torch.cat(parts, dim=2).transpose(1, 2), dim=2)


def second_moments(pixels: Tensor) -> Tensor:
    """C = XXᵀ/N of images: pixels (n, N, d) -> (n, d, d)."""
    moments: Tensor = pixels.transpose(1, 2) @ pixels / pixels.shape[1]
    return moments


def reconstructor(gallery: Tensor, ridge: float = RIDGE) -> Tensor:
    """2P − P² of a gallery image, see the module's docstring.

    Args:
        gallery: (M, d), pixels of length 1. ridge: β > 0.

    Returns:
        (d, d), in the dtype of `gallery`; computed in float64.
    """
    pixels = gallery.double()
    gram = pixels @ pixels.T + ridge * torch.eye(len(pixels), dtype=torch.float64, device=pixels.device)
    solved = torch.linalg.solve(gram, pixels)  # (M, d); P = YᵀS, here with pixels as rows
    found: Tensor = pixels.T @ (2 * solved - (solved @ pixels.T) @ solved)  # no product of d × d matrices
    return found.to(gallery.dtype)


def reconstruction_distances(moments: Tensor, image: Tensor) -> Tensor:
    """D of Q queries to one gallery image.

    Args:
        moments: (Q, d, d), C of the queries. image: (d, d), its `reconstructor`.

    Returns:
        (Q,) in [0, 1]; the error in float32 is about 1e-6.
    """
    size = moments.diagonal(dim1=1, dim2=2).sum(dim=1)  # (Q,), 1 unless some pixels are 0
    distances: Tensor = (size - moments.flatten(1) @ image.flatten()).clamp(min=0)
    return distances


def candidate_distances(
    moments: Tensor, candidates: Int64, gallery: Iterable[tuple[int, Tensor]], ridge: float = RIDGE
) -> NDArray[np.float64]:
    """D of each query to its candidates.

    Args:
        moments: (Q, d, d), C of the queries. candidates: (Q, k) numbers of gallery images, −1 for none; repetitions are
            allowed.
        gallery: number and pixels (M, d) of each image that is a candidate of some query.

    Returns:
        (Q, k) float64; inf where there is no candidate.
    """
    found = np.full(candidates.shape, np.inf)
    rows, places = np.nonzero(candidates >= 0)
    order = np.argsort(candidates[rows, places], kind="stable")
    rows, places = rows[order], places[order]
    numbers = candidates[rows, places]
    for number, pixels in gallery:
        some = slice(np.searchsorted(numbers, number), np.searchsorted(numbers, number, side="right"))
        # Each query is computed once, even if it names the image several times. If all queries do, nothing is copied.
        asking, again = np.unique(rows[some], return_inverse=True)
        everybody = len(asking) == len(moments)
        asked = moments if everybody else moments[torch.from_numpy(asking).to(moments.device)]
        distances = reconstruction_distances(asked, reconstructor(pixels, ridge))
        found[rows[some], places[some]] = distances.cpu().numpy()[again]
    return found


def nearest_candidates(distances: NDArray[np.float64], count: int) -> Int64:
    """The nearest gallery images of each query: distances (B, G) -> columns (B, min(count, G)), −1 where infinite."""
    count = min(count, distances.shape[1])
    columns = np.argsort(distances, axis=1, kind="stable")[:, :count]
    return np.where(np.isfinite(np.take_along_axis(distances, columns, axis=1)), columns, -1)


def reordered(distances: NDArray[np.float64], candidates: Int64, matched: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distances (B, G) that rank the candidates (B, k) by `matched` (B, k), and the other images behind them as before.

    Ties keep the order of the candidates. Eq. 4 is at least 0, so candidates get distances below 0.
    """
    result = distances.copy()
    for row, (columns, values) in enumerate(zip(candidates, matched, strict=True)):
        there = columns >= 0
        order = np.argsort(values[there], kind="stable")
        result[row, columns[there][order]] = np.arange(len(order)) - len(order)
    return result
