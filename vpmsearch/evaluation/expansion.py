"""Average query expansion (Chum et al., *Total Recall*, ICCV 2007) on Eq. 4.

A query is ranked, averaged with its K nearest gallery images, and ranked again. The mean of partial images is Eq. 2 and
3 over the pixels of all K + 1 images together, where j = 0 is the query itself:

    f_i = Σ_j C_i^j f_i^j / Σ_j C_i^j        C_i = Σ_j C_i^j / (K + 1)

So each image counts in a region by how much of the region it shows. A region that the query does not show is filled in
from its neighbours; its weight is the mean visibility over all K + 1 images. A neighbour is found by the regions that
it shares with the query. If it is somebody else, its other regions are wrong too. Half a person has more to lose by
that than a whole one.

α-QE (Radenović, Tolias, Chum, *Fine-tuning CNN Image Retrieval*, TPAMI 2018) weighs neighbours by a power of their
cosine similarity. Eq. 4 is a distance between embeddings of any length and has no such similarity. So here all K
neighbours count the same, and the mean is not scaled to a length.

Only images that may help the query can be neighbours, see `vpmsearch.evaluation.helpers`. Figures with expansion use
the whole gallery, so they are not comparable with those of single comparisons.
"""

from __future__ import annotations

import numpy as np

from vpmsearch.evaluation.helpers import Bars
from vpmsearch.evaluation.matchers import nearest_candidates
from vpmsearch.evaluation.ranking import StreamingRanker
from vpmsearch.types import Float32, Int64, RegionFeatures


def expanded_queries(
    query: RegionFeatures,
    query_weights: Float32,
    gallery: RegionFeatures,
    gallery_weights: Float32,
    ranker: StreamingRanker,
    neighbours: int,
    bars: Bars | None = None,
) -> RegionFeatures:
    """Each query averaged with its nearest images in the gallery.

    Args:
        query: Q images. query_weights: (Q, p), the visibility that counts. gallery, gallery_weights: the same of G.
        ranker: of that gallery. neighbours: K ≥ 1; fewer are used if fewer share a region with the query.
        bars: which images may not help which; None: all may help.

    Returns:
        Visibility (Q, p), already without what does not count, and embeddings (Q, p, d). Both are 0 in a region that no
        image shows.

    Raises:
        FeatureError: a region that counts is not finite.
    """
    visibility, embeddings = [query_weights[:0]], [query.embeddings[:0]]
    for some, distances in ranker.distances(query, query_weights):
        if bars is not None:
            distances[bars.of_queries(some)] = np.inf
        near = nearest_candidates(distances, neighbours)  # (B, k)
        weights = query_weights[some].astype(np.float64)  # (B, p), summed up
        total = _weighted(query.embeddings[some], query_weights[some])  # (B, p, d)
        for column in near.T:
            there = column >= 0
            found: Int64 = column[there]
            weights[there] += gallery_weights[found]
            total[there] += _weighted(gallery.embeddings[found], gallery_weights[found])
        mean = np.divide(total, weights[:, :, None], out=np.zeros_like(total), where=weights[:, :, None] > 0)
        visibility.append((weights / (1 + (near >= 0).sum(axis=1, keepdims=True))).astype(np.float32))
        embeddings.append(mean.astype(np.float32))
    return RegionFeatures(np.concatenate(visibility), np.concatenate(embeddings))


def _weighted(embeddings: Float32, weights: Float32) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """(B, p, d) times (B, p); 0 where a region does not count, even if its embedding is not finite."""
    wide = weights[:, :, None].astype(np.float64)
    return np.where(wide > 0, embeddings, 0) * wide
