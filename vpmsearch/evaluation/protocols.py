"""Evaluate a model on a data set: queries cut to area ratio γ against a holistic gallery (paper Table 1).

No (Q, G) matrix is held: distances are ranked block by block of queries.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from vpmsearch.data.crops import CropBox, region_labels, sample_crop
from vpmsearch.data.datasets import LabelledImage
from vpmsearch.data.images import printable
from vpmsearch.equations import visibility_weighted_distance
from vpmsearch.errors import DataError
from vpmsearch.evaluation.metrics import RankAccumulator
from vpmsearch.evaluation.rows import Evaluation, Gain, Weighting
from vpmsearch.extraction import Extractor, Request
from vpmsearch.indexer import stored_path
from vpmsearch.store import GalleryView
from vpmsearch.types import Float32, Int64, RegionFeatures

QUERY_BLOCK = 64


@dataclass(frozen=True)
class LabelledFeatures:
    """Features of n images with their pids and camids, (n,) each."""

    features: RegionFeatures
    pids: Int64
    camids: Int64


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


def indexed_gallery(snapshot: GalleryView, gallery: Sequence[LabelledImage]) -> LabelledFeatures:
    """A data set's gallery, its features taken from an index so that the images need not be seen again.

    Raises:
        DataError: an image of the gallery is not in the index, or has no pid or camid.
    """
    records = snapshot.records_of(snapshot.image_ids)
    id_of = {record.path: image_id for record, image_id in zip(records, snapshot.image_ids.tolist(), strict=True)}
    ids = np.array([id_of.get(stored_path(image.path), -1) for image in gallery], dtype=np.int64)
    if (ids < 0).any():
        missing = gallery[int(np.flatnonzero(ids < 0)[0])].path
        raise DataError(
            f"{int((ids < 0).sum())} of the gallery's {len(gallery)} images are not in the index (such as "
            f"{printable(missing)}); index the data set first, or evaluate without --index"
        )
    pids, camids = _labels(gallery)
    return LabelledFeatures(snapshot.features_of(ids), pids, camids)


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
) -> RankAccumulator:
    """Rank all of the gallery for every query by Eq. 4; the accumulator has the metrics.

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
    return accumulator


def _weights(features: RegionFeatures, min_visibility: float, weighting: Weighting) -> Float32:
    """(n, p): the visibility that counts."""
    if weighting == "uniform":
        return np.ones_like(features.visibility)
    return np.where(features.visibility >= min_visibility, features.visibility, np.float32(0))


def visible_set_f1(
    visibility: Float32, boxes: Sequence[CropBox | None], grid: tuple[int, int], map_size: tuple[int, int], least: float
) -> float:
    """F1 over all regions of all images: a region is truly visible where its share of T is at least `least`.

    Args:
        visibility: (n, p), as the model says. boxes: n crops; None is the whole image. grid: (m, k) with m·k = p.
        map_size: (h, w) of T. least: `min_visibility`; a share of 0 is never visible.

    Returns:
        2·TP / (2·TP + FP + FN) in [0, 1].
    """
    p = grid[0] * grid[1]
    labels = (region_labels(box or CropBox(), grid, map_size) for box in boxes)
    share = np.array([np.bincount(label.ravel(), minlength=p) / label.size for label in labels]).reshape(-1, p)
    true, seen = (share >= least) & (share > 0), (visibility >= least) & (visibility > 0)
    return float(2 * (true & seen).sum() / max(true.sum() + seen.sum(), 1))


def _blocks(count: int) -> Iterator[slice]:
    return (slice(start, start + QUERY_BLOCK) for start in range(0, count, QUERY_BLOCK))


def evaluate_model(
    extractor: Extractor,
    query: Sequence[LabelledImage],
    gallery: Sequence[LabelledImage] | LabelledFeatures,
    *,
    gammas: Sequence[float] = (1.0,),
    crops: Sequence[str] = ("bilateral",),
    weightings: Sequence[Weighting] = ("visibility",),
    seed: int = 0,
    min_visibility: float | None = None,
    on_progress: Callable[[int], None] = lambda images: None,
) -> Iterator[Evaluation]:
    """Evaluate a model with queries cut to each γ; the gallery stays holistic and is seen once.

    Args:
        extractor: the model. query, gallery: with pids and camids; a gallery may have been seen already.
        gammas: area ratios in (0, 1]. crops: strategies, see `vpmsearch.data.crops.STRATEGIES`.
        weightings: a row for each. seed: of the crops.
        min_visibility: None is the default of an index, 1/(2p).
        on_progress: told how many more images have been seen, of the gallery and of the queries for each γ.

    Yields:
        A row for each γ, crop and weighting, as soon as it is known. What two strategies cut alike is seen once.

    Raises:
        DataError: γ, crop or an image cannot be used. ModelError: min_visibility outside [0, 1).
    """
    # Refuse before the long work.
    plans = {gamma: {crop: query_crops(len(query), crop, gamma, seed) for crop in crops} for gamma in gammas}
    threshold = replace(extractor.weights.info, min_visibility=min_visibility).threshold  # None: of its regions
    if isinstance(gallery, LabelledFeatures):
        seen_gallery = gallery
    else:
        seen_gallery = extract_labelled(extractor, gallery, on_progress=on_progress)
    for gamma, plan in plans.items():
        for crop, seen_query in _seen_crops(extractor, query, plan, on_progress):
            f1 = visible_set_f1(
                seen_query.features.visibility, plan[crop], extractor.model.grid, extractor.map_size, threshold
            )
            ranked = {
                weighting: rank(
                    seen_query, seen_gallery, min_visibility=threshold, weighting=weighting, device=extractor.device
                )
                for weighting in weightings
            }
            for weighting, accumulator in ranked.items():
                metrics, per_query = accumulator.result(), accumulator.per_query()
                gain = None
                if weighting == "visibility" and "uniform" in ranked:
                    gain = Gain.of(per_query, ranked["uniform"].per_query())
                yield Evaluation(
                    gamma,
                    crop,
                    weighting,
                    metrics,
                    per_query,
                    f1,
                    queries=metrics.num_valid_queries,
                    gallery=len(seen_gallery.pids),
                    gain=gain,
                )


def _seen_crops(
    extractor: Extractor,
    query: Sequence[LabelledImage],
    plan: Mapping[str, Sequence[CropBox | None]],
    on_progress: Callable[[int], None],
) -> Iterator[tuple[str, LabelledFeatures]]:
    """The queries as each strategy cuts them; what several cut alike is seen once, whole queries for instance."""
    row_of: dict[tuple[int, CropBox | None], int] = {}
    for boxes in plan.values():
        for position, box in enumerate(boxes):
            row_of.setdefault((position, box), len(row_of))
    seen = extract_labelled(extractor, [query[i] for i, _ in row_of], [box for _, box in row_of], on_progress)
    for crop, boxes in plan.items():
        rows = np.array([row_of[position, box] for position, box in enumerate(boxes)])
        yield crop, LabelledFeatures(seen.features[rows], seen.pids[rows], seen.camids[rows])


def queries_to_see(count: int, gammas: Sequence[float], crops: Sequence[str], seed: int) -> int:
    """How many crops of `count` queries `evaluate_model` sees, for a progress bar."""
    plans = ([query_crops(count, crop, gamma, seed) for crop in crops] for gamma in gammas)
    return sum(len({(i, box) for boxes in plan for i, box in enumerate(boxes)}) for plan in plans)
