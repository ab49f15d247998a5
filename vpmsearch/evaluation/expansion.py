"""Average query expansion (Chum et al., *Total Recall*, ICCV 2007) on Eq. 4: a query becomes the mean of its nearest.

A query is ranked, averaged with its K nearest gallery images, and ranked again. The mean for partial images is as if
the pixels of all K + 1 images were one image's (Eq. 2 and 3 over their union), j = 0 being the query itself:

    f_i = Σ_j C_i^j f_i^j / Σ_j C_i^j        C_i = Σ_j C_i^j / (K + 1)

So a region counts for an image as much as the image shows of it, and one that the query does not show is filled in from
those neighbours that do, with no more weight than the share of the images that show it. Neighbours are found by what
they share with the query; where they are of somebody else, their other regions are wrong too, and a half of a person
has more to lose by that than a whole one.

α-QE (Radenović, Tolias, Chum, *Fine-tuning CNN Image Retrieval*, TPAMI 2018) weighs neighbours by a power of their
cosine similarity. Eq. 4 is a distance of embeddings that need not have length 1 and has no such similarity, so all K
count alike here; nor is the mean scaled to a length.

Neighbours are the nearest gallery images that may help the query: see `vpmsearch.evaluation.helpers`. Figures with it
use the gallery and are not those of one comparison at a time.
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
    """Each query averaged with its nearest in the gallery.

    Args:
        query: Q images. query_weights: (Q, p), the visibility that counts. gallery, gallery_weights: the same of G.
        ranker: of that gallery. neighbours: K ≥ 1; where fewer share a region with the query, those.
        bars: who may not help whom; None: all may.

    Returns:
        (Q, p) and (Q, p, d); its visibility is all that counts. What no image shows is 0.

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
    """(B, p, d) times (B, p); 0 where a region does not count, whatever the embedding is."""
    wide = weights[:, :, None].astype(np.float64)
    return np.where(wide > 0, embeddings, 0) * wide
