"""Measures how far the features of a cut image are from those of the whole image. The larger, the harder is a search.

It needs no labels, so any photographs will do.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vpmsearch.data.datasets import LabelledImage
from vpmsearch.errors import DataError
from vpmsearch.evaluation.features import extract_labelled, query_crops
from vpmsearch.evaluation.labels import Labels
from vpmsearch.model.extraction import Extractor


def whole_to_cut(
    extractor: Extractor, images: Sequence[LabelledImage], *, gamma: float = 0.5, crop: str = "bilateral", seed: int = 0
) -> float:
    """‖f_i(cut) − f_i(whole)‖, the mean over the regions that both show, then over the images.

    Args:
        extractor: the model. images: their labels do not matter. gamma, crop, seed: of the cuts, as in
            `evaluate_model`.

    Returns:
        ≥ 0, in units of the embeddings; at most 2 if the embeddings have length 1.

    Raises:
        DataError: an image cannot be used, or no image shares a region with its cut.
    """
    boxes = query_crops(len(images), crop, gamma, seed)
    nobody = np.full(len(images), -1, dtype=np.int64)
    labels = Labels(nobody, nobody, np.zeros(len(images), dtype=bool))
    whole = extract_labelled(extractor, images, labels=labels).features
    cut = extract_labelled(extractor, images, boxes, labels=labels).features
    least = extractor.weights.info.threshold
    shared = (whole.visibility >= least) & (cut.visibility >= least)  # (n, p)
    distances = np.linalg.norm(whole.embeddings - cut.embeddings, axis=2)  # (n, p, d) -> (n, p)
    some = shared.any(axis=1)
    if not some.any():
        raise DataError("no image shares a region with its cut: the model sees none of them")
    per_image = (distances * shared).sum(axis=1)[some] / shared.sum(axis=1)[some]
    return float(per_image.mean())
