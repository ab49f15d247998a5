"""The simplest re-identification there is, as an oracle: whose colours are most alike.

What it reaches on a data set says how much of the problem can be solved without learning.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def colour_histograms(images, *, bands: int = 1, bins: int = 8, mode: str = "RGB") -> NDArray[np.float64]:
    """Histograms of bins³ colours in each of `bands` bands, top to bottom, of PIL images: (n, bands, bins³), sums 1."""
    histograms = []
    for image in images:
        pixels = np.asarray(image.convert(mode)).astype(np.int64) * bins // 256  # (h, w, 3), 0 to bins - 1
        cells = (pixels[:, :, 0] * bins + pixels[:, :, 1]) * bins + pixels[:, :, 2]
        rows = [np.bincount(band.ravel(), minlength=bins**3) / band.size for band in np.array_split(cells, bands)]
        histograms.append(rows)
    return np.array(histograms, dtype=np.float64)


def histogram_distances(query, gallery, *, measure: str = "l1") -> NDArray[np.float64]:
    """(Q, bands, b) against (G, bands, b): mean over the bands of L1 or Hellinger (Bhattacharyya) distances, (Q, G)."""
    if measure == "bhattacharyya":
        bands = [np.sqrt(query[:, k]) @ np.sqrt(gallery[:, k]).T for k in range(query.shape[1])]  # (Q, G) each
        return np.mean([np.sqrt(np.maximum(0.0, 1.0 - band)) for band in bands], axis=0)
    return np.stack([np.abs(gallery - one).sum(axis=2).mean(axis=1) for one in query])


def rank1_across_cameras(distances, query_pids, gallery_pids, query_camids, gallery_camids) -> float:
    """Share of queries whose nearest gallery image is the same person, that person's images of its camera left out.

    For the gallery of other cameras only, give a distance of infinity to the images of the query's camera.
    """
    hits = []
    for i, row in enumerate(np.asarray(distances)):
        same_view = (gallery_pids == query_pids[i]) & (gallery_camids == query_camids[i])
        allowed = np.where(same_view | (gallery_pids == -1), np.inf, row)
        if (np.isfinite(allowed) & (gallery_pids == query_pids[i])).any():
            hits.append(gallery_pids[int(np.argmin(allowed))] == query_pids[i])
    return float(np.mean(hits))
