"""Evaluate a model on a data set: queries cut to area ratio γ against a holistic gallery (paper Table 1).

No (Q, G) matrix is held: see `vpmsearch.evaluation.ranking`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from vpmsearch.data.crops import CropBox, region_labels
from vpmsearch.data.datasets import LabelledImage
from vpmsearch.data.poor import AS_IT_IS, check_photos
from vpmsearch.errors import DataError
from vpmsearch.evaluation.features import extract_labelled, query_crops, seen_crops
from vpmsearch.evaluation.labelled import LabelledFeatures
from vpmsearch.evaluation.labels import Labels, TrackFeatures, by_track
from vpmsearch.evaluation.metrics import QueryMetrics
from vpmsearch.evaluation.rows import Evaluation, Gain, Ranking, Weighting
from vpmsearch.evaluation.single_shot import ShotDraws
from vpmsearch.evaluation.verification import check_levels
from vpmsearch.evaluation.ways import Way, check_ways, matcher_of
from vpmsearch.model.extraction import Extractor
from vpmsearch.types import Float32

CANDIDATES = 50
"""Images that an older matcher orders anew."""


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
    draws: int | None = None,
    fmr: Sequence[float] = (),
    matcher: str | None = None,
    candidates: int | None = CANDIDATES,
    reciprocal: bool = False,
    expand: int | None = None,
    own_camera: bool = False,
    labels: tuple[Labels, Labels] | None = None,
    track_features: TrackFeatures = "mean",
    photo: str = AS_IT_IS,
    on_progress: Callable[[int], None] = lambda images: None,
) -> Iterator[Evaluation]:
    """Evaluate a model with queries cut to each γ; the gallery stays holistic and is seen once.

    Args:
        extractor: the model. query, gallery: with pids and camids; a gallery may have been seen already.
        gammas: area ratios in (0, 1]. crops: strategies, see `vpmsearch.data.crops.STRATEGIES`.
        weightings: a row for each. seed: of the crops.
        min_visibility: None is the default of an index, 1/(2p).
        draws: rank that many galleries of one image an identity instead of all of it; the seed decides them too.
        fmr: false-match rates to give the FNMR of, over pairs with all of the gallery, always by plain Eq. 4.
        matcher: order the nearest `candidates` of each query anew, see `vpmsearch.evaluation.matching`; it sees the
            images of the gallery again. candidates: None is every image that counts, those too that show no region
            that the query shows: the matcher ranks alone.
        reciprocal: rank by neighbours in common, see `vpmsearch.evaluation.reciprocal`.
        expand: average each query with so many of its nearest, see `vpmsearch.evaluation.expansion`.
        own_camera: with either of the two, images of a query's person by its own camera may help it; else they may
            not. Equal content never does.
        labels: of queries and gallery under a protocol, see `vpmsearch.evaluation.labels`; None are pids and camids. A
            gallery that has been seen already must have been given the same. track_features: what stands for a
            tracklet, where the protocol ranks tracklets.
        photo: what the queries' photographs are made into before they are cut, see `vpmsearch.data.poor.POOR`.
        on_progress: told how many more images have been seen, of the gallery and of the queries for each γ.

    Yields:
        A row for each γ, crop and weighting, as soon as it is known. What two strategies cut alike is seen once.

    Raises:
        DataError: γ, crop or an image cannot be used. ModelError: min_visibility outside [0, 1).
    """
    # Refuse before the long work.
    check_photos([photo])
    plans = {gamma: {crop: query_crops(len(query), crop, gamma, seed) for crop in crops} for gamma in gammas}
    threshold = replace(extractor.weights.info, min_visibility=min_visibility).threshold  # None: of its regions
    check_levels(fmr)
    ranking = Ranking(matcher, candidates if matcher is not None else None, reciprocal, expand, own_camera)
    check_ways(ranking, draws, isinstance(gallery, LabelledFeatures))
    gallery_images: Sequence[LabelledImage] = ()
    if isinstance(gallery, LabelledFeatures):
        seen_gallery = gallery
    else:
        gallery_images = gallery
        seen_gallery = extract_labelled(extractor, gallery, None, on_progress, labels and labels[1])
    asked_by = None if labels is None else labels[0]
    distractors = None
    if labels is not None:
        seen_gallery = by_track(seen_gallery, labels[1], track_features)
        distractors = labels[1].ranked().distractors
    first = np.arange(len(query)) if asked_by is None else asked_by.first_of_tracks
    if matcher is not None and len(first) < len(query):
        raise DataError("a matcher compares images and not tracklets: leave --matcher away")
    shots = None if draws is None else ShotDraws(seen_gallery.pids, seen_gallery.camids, draws, seed, distractors)
    with matcher_of(ranking, extractor, query, gallery_images) as image_matcher:
        ranked = Way(extractor, seen_gallery, threshold, shots, ranking, image_matcher)
        for gamma, plan in plans.items():
            known: dict[tuple[CropBox | None, ...], dict[Weighting, QueryMetrics]] = {}
            for crop, seen in seen_crops(extractor, query, plan, on_progress, asked_by, photo):
                f1 = visible_set_f1(
                    seen.features.visibility, plan[crop], extractor.model.grid, extractor.map_size, threshold
                )
                seen_query = seen if asked_by is None else by_track(seen, asked_by, track_features)
                # What two strategies cut alike, as whole queries are, is ranked once.
                boxes = tuple(plan[crop])
                if boxes not in known:
                    known[boxes] = {weighting: ranked(seen_query, boxes, weighting) for weighting in weightings}
                for weighting, per_query in known[boxes].items():
                    metrics = per_query.means()
                    yield Evaluation(
                        gamma,
                        crop,
                        weighting,
                        metrics,
                        per_query,
                        f1,
                        queries=metrics.num_valid_queries,
                        gallery=len(seen_gallery.pids),
                        gain=_gain(known[boxes]) if weighting == "visibility" else None,
                        boxes=tuple(boxes[row] for row in first.tolist()),
                        draws=draws,
                        fnmr=ranked.fnmr(seen_query, fmr, weighting),
                        ranking=ranking,
                        photo=photo,
                    )


def _gain(known: Mapping[Weighting, QueryMetrics]) -> Gain | None:
    """What visibility adds, where the same queries were ranked without it too."""
    return Gain.of(known["visibility"], known["uniform"]) if "uniform" in known else None
