"""Evaluate a model on a data set: queries cut to area ratio γ against a holistic gallery (paper Table 1).

No (Q, G) matrix is held: distances are ranked block by block of queries.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch

from vpmsearch.data.crops import CropBox, sample_crop
from vpmsearch.data.datasets import LabelledImage
from vpmsearch.data.images import printable
from vpmsearch.equations import visibility_weighted_distance
from vpmsearch.errors import DataError
from vpmsearch.evaluation.metrics import RankAccumulator, RankMetrics
from vpmsearch.extraction import Extractor, Request
from vpmsearch.indexer import stored_path
from vpmsearch.store import Snapshot
from vpmsearch.types import Float32, Int64, RegionFeatures

Weighting = Literal["visibility", "uniform"]
"""How the regions count: "visibility" is Eq. 4; "uniform" lets all regions count equally (MVPM-1 of Table 3)."""

QUERY_BLOCK = 64


@dataclass(frozen=True)
class LabelledFeatures:
    """Features of n images with their pids and camids, (n,) each."""

    features: RegionFeatures
    pids: Int64
    camids: Int64


@dataclass(frozen=True)
class Evaluation:
    """One row of results: the protocol, its metrics (0-1), and how many images it rests on."""

    gamma: float
    crop: str
    weighting: Weighting
    metrics: RankMetrics
    queries: int
    gallery: int

    def to_json(self) -> dict[str, float | int | str]:
        """The row as `evaluate --json` prints it: CMC, mAP in both forms and mINP as fractions."""
        cmc = self.metrics.cmc
        return {
            "gamma": self.gamma,
            "crop": self.crop,
            "weighting": self.weighting,
            **{f"rank{k}": float(cmc[k - 1]) for k in (1, 3, 5, 10)},
            "map": self.metrics.mean_ap,
            "map_trapezoid": self.metrics.mean_ap_trapezoid,
            "minp": self.metrics.mean_inp,
            "queries": self.queries,
            "gallery": self.gallery,
        }


def query_crops(count: int, strategy: str, gamma: float, seed: int) -> list[CropBox | None]:
    """The crop of each query, decided by (seed, position) alone; None is the whole image.

    Raises:
        DataError: an unknown strategy or γ outside (0, 1].
    """
    boxes = [sample_crop(strategy, gamma, np.random.default_rng([seed, position])) for position in range(count)]
    return [None if gamma == 1 else box for box in boxes]


def extract_labelled(
    extractor: Extractor,
    images: Sequence[LabelledImage],
    boxes: Sequence[CropBox | None] | None = None,
    on_progress: Callable[[int], None] = lambda images: None,
) -> LabelledFeatures:
    """Features of labelled images, or of a crop of each.

    Raises:
        DataError: an image has no pid or camid, cannot be read, or there are none. Figures over a part of a data set
            could not be compared with anybody's, so nothing is left out silently.
    """
    pids, camids = _labels(images)
    requests = [Request(i, image.path, boxes[i] if boxes else None) for i, image in enumerate(images)]
    parts = []
    for batch in extractor.extract(requests):
        if batch.rejected:
            bad = batch.rejected[0]
            raise DataError(f"{printable(bad.path)}: {bad.reason}; mend or remove it, then evaluate again")
        parts.append(batch.features)
        on_progress(len(batch.features))
    return LabelledFeatures(RegionFeatures.concatenate(parts), pids, camids)


def indexed_gallery(snapshot: Snapshot, gallery: Sequence[LabelledImage]) -> LabelledFeatures:
    """A data set's gallery, its features taken from an index so that the images need not be seen again.

    Raises:
        DataError: an image of the gallery is not in the index, or has no pid or camid.
    """
    row_of = {record.path: row for row, record in enumerate(snapshot.records(np.arange(len(snapshot))))}
    rows = np.array([row_of.get(stored_path(image.path), -1) for image in gallery], dtype=np.int64)
    if (rows < 0).any():
        missing = gallery[int(np.flatnonzero(rows < 0)[0])].path
        raise DataError(
            f"{int((rows < 0).sum())} of the gallery's {len(gallery)} images are not in the index (such as "
            f"{printable(missing)}); index the data set first, or evaluate without --index"
        )
    pids, camids = _labels(gallery)
    return LabelledFeatures(RegionFeatures(snapshot.visibility[rows], snapshot.embeddings(rows)), pids, camids)


def _labels(images: Sequence[LabelledImage]) -> tuple[Int64, Int64]:
    """The pids and camids (n,) of images.

    Raises:
        DataError: an image has none, or there are no images.
    """
    if not images:
        raise DataError("there is nothing to evaluate: no images")
    unlabelled = next((image for image in images if image.pid is None or image.camid is None), None)
    if unlabelled is not None:
        raise DataError(f"{printable(unlabelled.path)} has no pid or no camid; evaluation needs both for every image")
    pids = np.array([image.pid for image in images], dtype=np.int64)
    camids = np.array([image.camid for image in images], dtype=np.int64)
    return pids, camids


def rank(
    query: LabelledFeatures,
    gallery: LabelledFeatures,
    *,
    min_visibility: float,
    weighting: Weighting = "visibility",
    device: torch.device | None = None,
) -> RankMetrics:
    """Metrics of Eq. 4's rankings, all queries against all of the gallery.

    Args:
        query: Q images. gallery: G images.
        min_visibility: a smaller visibility counts as 0, as in a search; 0 is the paper to the letter.
        weighting: "uniform" lets all regions count equally, whatever is visible.
        device: where the distances are computed.
    """
    device = device or torch.device("cpu")
    accumulator = RankAccumulator(gallery.pids, gallery.camids)
    g_weights = torch.from_numpy(_weights(gallery.features, min_visibility, weighting)).to(device)
    g_embeddings = torch.from_numpy(gallery.features.embeddings).to(device)
    for block in _blocks(len(query.pids)):
        part = query.features[block]
        q_weights = torch.from_numpy(_weights(part, min_visibility, weighting)).to(device)
        q_embeddings = torch.from_numpy(part.embeddings).to(device)
        distances = visibility_weighted_distance(q_embeddings, q_weights, g_embeddings, g_weights)
        accumulator.update(distances.cpu().numpy(), query.pids[block], query.camids[block])
    return accumulator.result()


def _weights(features: RegionFeatures, min_visibility: float, weighting: Weighting) -> Float32:
    """(n, p): the visibility that counts."""
    if weighting == "uniform":
        return np.ones_like(features.visibility)
    return np.where(features.visibility >= min_visibility, features.visibility, np.float32(0))


def _blocks(count: int) -> Iterator[slice]:
    return (slice(start, start + QUERY_BLOCK) for start in range(0, count, QUERY_BLOCK))


def evaluate_model(
    extractor: Extractor,
    query: Sequence[LabelledImage],
    gallery: Sequence[LabelledImage] | LabelledFeatures,
    *,
    gammas: Sequence[float] = (1.0,),
    crop: str = "bilateral",
    weightings: Sequence[Weighting] = ("visibility",),
    seed: int = 0,
    min_visibility: float | None = None,
    on_progress: Callable[[int], None] = lambda images: None,
) -> Iterator[Evaluation]:
    """Evaluate a model with queries cut to each γ; the gallery stays holistic and is seen once.

    Args:
        extractor: the model. query, gallery: with pids and camids; a gallery may have been seen already.
        gammas: area ratios in (0, 1]. crop: strategy, see `vpmsearch.data.crops.STRATEGIES`.
        weightings: a row for each. seed: of the crops.
        min_visibility: None is the default of an index, 1/(2p).
        on_progress: told how many more images have been seen, of the gallery and of the queries for each γ.

    Yields:
        A row for each γ and weighting, as soon as it is known.

    Raises:
        DataError: γ, crop or an image cannot be used. ModelError: min_visibility outside [0, 1).
    """
    crops = {gamma: query_crops(len(query), crop, gamma, seed) for gamma in gammas}  # refuse before the long work
    threshold = replace(extractor.weights.info, min_visibility=min_visibility).threshold  # None: of its regions
    if isinstance(gallery, LabelledFeatures):
        seen_gallery = gallery
    else:
        seen_gallery = extract_labelled(extractor, gallery, on_progress=on_progress)
    for gamma, boxes in crops.items():
        seen_query = extract_labelled(extractor, query, boxes, on_progress)
        for weighting in weightings:
            metrics = rank(
                seen_query, seen_gallery, min_visibility=threshold, weighting=weighting, device=extractor.device
            )
            yield Evaluation(gamma, crop, weighting, metrics, metrics.num_valid_queries, len(seen_gallery.pids))
