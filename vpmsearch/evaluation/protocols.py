"""Evaluates a model on a data set: queries cut to area ratio γ against a holistic gallery (paper Table 1).

It needs no (Q, G) matrix, see `vpmsearch.evaluation.ranking`.
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
"""How many images an older matcher reorders for each query."""


def visible_set_f1(
    visibility: Float32, boxes: Sequence[CropBox | None], grid: tuple[int, int], map_size: tuple[int, int], least: float
) -> float:
    """F1 of the model's visible sets over all regions of all images.

    A region is truly visible if it covers a share of T of at least `least`.

    Args:
        visibility: (n, p), the model's. boxes: n crops; None is the whole image. grid: (m, k) with m·k = p.
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
    """Evaluate a model with queries cut to each γ. The gallery stays holistic; its features are computed once.

    Args:
        extractor: the model. query, gallery: with pids and camids. The gallery may be given as features.
        gammas: area ratios in (0, 1]. crops: strategies, see `vpmsearch.data.crops.STRATEGIES`.
        weightings: there is a row for each. seed: of the crops and draws.
        min_visibility: None is the default of an index, 1/(2p).
        draws: rank this many drawn galleries with one image for each identity, instead of the whole gallery.
        fmr: false-match rates at which the FNMR is measured, over pairs with the whole gallery, always by plain Eq. 4.
        matcher: reorders the nearest `candidates` of each query, see `vpmsearch.evaluation.matching`. It needs the
            images of the gallery. candidates: None is every image that counts, also those that share no region with
            the query: the matcher alone ranks.
        reciprocal: rank by common neighbours, see `vpmsearch.evaluation.reciprocal`.
        expand: average each query with this many of its nearest images, see `vpmsearch.evaluation.expansion`.
        own_camera: whether, in the last two, images of the query's person from the query's camera may help. Images with
            the query's content never help.
        labels: of queries and gallery under a protocol, see `vpmsearch.evaluation.labels`; None: pids and camids. If
            the gallery is given as features, these must have the same labels. track_features: the features of a
            tracklet, if the protocol ranks tracklets.
        photo: how the queries' photographs are degraded before they are cut, see `vpmsearch.data.poor.POOR`.
        on_progress: called with the number of images computed since the last call: the gallery, then the queries for
            each γ.

    Yields:
        A row for each γ, crop and weighting, as soon as it is known.

    Raises:
        DataError: γ, crop or an image cannot be used. ModelError: min_visibility outside [0, 1).
    """
    # Check before the long work.
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
                # If two strategies give the same crops (whole queries at γ = 1), they are ranked once.
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
    """The gain by visibility over "uniform"; None if that was not measured."""
    return Gain.of(known["visibility"], known["uniform"]) if "uniform" in known else None
