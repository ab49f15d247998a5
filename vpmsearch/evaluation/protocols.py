"""Evaluate a model on a data set: queries cut to area ratio γ against a holistic gallery (paper Table 1).

No (Q, G) matrix is held: see `vpmsearch.evaluation.ranking`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import TypedDict

import numpy as np
import torch

from vpmsearch.data.crops import CropBox, region_labels, sample_crop
from vpmsearch.data.datasets import LabelledImage
from vpmsearch.data.images import content_hash, printable
from vpmsearch.data.poor import AS_IT_IS, check_photos
from vpmsearch.errors import DataError
from vpmsearch.evaluation.labels import Labels, TrackFeatures, by_track
from vpmsearch.evaluation.matching import ImageMatcher, check_matcher
from vpmsearch.evaluation.metrics import QueryMetrics
from vpmsearch.evaluation.ranked import (
    LabelledFeatures,
    pair_errors,
    rank,
    rank_expanded,
    rank_matched,
    rank_matched_single_shot,
    rank_reciprocal,
    rank_single_shot,
)
from vpmsearch.evaluation.rows import Evaluation, Gain, Ranking, Weighting
from vpmsearch.evaluation.single_shot import ShotDraws
from vpmsearch.evaluation.verification import check_levels
from vpmsearch.indexing.indexer import stored_path
from vpmsearch.model.extraction import Extractor, Request
from vpmsearch.store import GalleryView
from vpmsearch.types import Float32, Int64, RegionFeatures

__all__ = [
    "LabelledFeatures",
    "evaluate_model",
    "extract_labelled",
    "indexed_gallery",
    "pair_errors",
    "queries_to_see",
    "query_crops",
    "rank",
    "rank_single_shot",
    "visible_set_f1",
]

CANDIDATES = 50
"""Images that an older matcher orders anew."""


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
    labels: Labels | None = None,
    photo: str = AS_IT_IS,
) -> LabelledFeatures:
    """Features of labelled images, or of a crop of each.

    Args:
        labels: of the images under a protocol; None are their pids and camids. photo: see `vpmsearch.data.poor.POOR`.

    Raises:
        DataError: an image has no pid or camid, cannot be read, or there are none. Figures over a part of a data set
            could not be compared with anybody's, so nothing is left out silently.
    """
    pids, camids = _labels(images) if labels is None else (labels.pids, labels.keys)
    requests = [Request(i, image.path, boxes[i] if boxes else None, photo) for i, image in enumerate(images)]
    parts, contents = [], list[str]()
    for batch in extractor.extract(requests):
        if batch.rejected:
            bad = batch.rejected[0]
            raise DataError(f"{printable(bad.path)}: {bad.reason}; mend or remove it, then evaluate again")
        parts.append(batch.features)
        contents += [seen.content_hash for seen in batch.seen]
        on_progress(len(batch.features))
    return LabelledFeatures(RegionFeatures.concatenate(parts), pids, camids, np.array(contents, dtype=np.str_))


def indexed_gallery(
    snapshot: GalleryView, gallery: Sequence[LabelledImage], labels: Labels | None = None
) -> LabelledFeatures:
    """A data set's gallery, its features taken from an index so that the images need not be seen again.

    An image is found by its path or, under another path, by its content.

    Args:
        labels: of the gallery under a protocol; None are its pids and camids.

    Raises:
        DataError: an image of the gallery is not in the index, or has no pid or camid.
    """
    records = snapshot.records_of(snapshot.image_ids)
    row_of = {record.path: row for row, record in enumerate(records)}
    rows = np.array([row_of.get(stored_path(image.path), -1) for image in gallery], dtype=np.int64)
    if (rows < 0).any():
        row_of_content = {record.content_hash: row for row, record in enumerate(records) if record.content_hash}
        for row in np.flatnonzero(rows < 0).tolist():
            rows[row] = row_of_content.get(content_hash(gallery[row].path), -1)
    if (rows < 0).any():
        missing = gallery[int(np.flatnonzero(rows < 0)[0])].path
        raise DataError(
            f"{int((rows < 0).sum())} of the gallery's {len(gallery)} images are not in the index (such as "
            f"{printable(missing)}); index the data set first, or evaluate without --index"
        )
    pids, camids = _labels(gallery) if labels is None else (labels.pids, labels.keys)
    contents = np.array([records[row].content_hash for row in rows.tolist()], dtype=np.str_)
    return LabelledFeatures(snapshot.features_of(snapshot.image_ids[rows]), pids, camids, contents)


def _labels(images: Sequence[LabelledImage]) -> tuple[Int64, Int64]:
    """The pids and camids (n,) of images.

    Raises:
        DataError: an image has none, or a word, whose number depends on the other images; or there are no images.
    """
    if not images:
        raise DataError("there is nothing to evaluate: no images")
    unlabelled = next((image for image in images if image.pid is None or image.camid is None), None)
    if unlabelled is not None:
        raise DataError(f"{printable(unlabelled.path)} has no pid or no camid; evaluation needs both for every image")
    word = next((label for image in images for label in (image.pid, image.camid) if isinstance(label, str)), None)
    if word is not None:
        raise DataError(f"the label {word!r} is a word; give the labels of query and gallery together, by labels_of")
    pids = np.array([image.pid for image in images], dtype=np.int64)
    camids = np.array([image.camid for image in images], dtype=np.int64)
    return pids, camids


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
    _check_ways(ranking, draws, isinstance(gallery, LabelledFeatures))
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
    with _matcher(ranking, extractor, query, gallery_images) as image_matcher:
        ranked = _Way(extractor, seen_gallery, threshold, shots, ranking, image_matcher)
        for gamma, plan in plans.items():
            known: dict[tuple[CropBox | None, ...], dict[Weighting, QueryMetrics]] = {}
            for crop, seen in _seen_crops(extractor, query, plan, on_progress, asked_by, photo):
                f1 = visible_set_f1(
                    seen.features.visibility, plan[crop], extractor.model.grid, extractor.map_size, threshold
                )
                seen_query = seen if asked_by is None else by_track(seen, asked_by, track_features)
                # What two strategies cut alike, as whole queries are, is ranked once.
                boxes = tuple(plan[crop])
                if boxes not in known:
                    known[boxes] = {weighting: ranked(seen_query, boxes, weighting) for weighting in weightings}
                for weighting, per_query in known[boxes].items():
                    metrics, gain = per_query.means(), None
                    if weighting == "visibility" and "uniform" in known[boxes]:
                        gain = Gain.of(per_query, known[boxes]["uniform"])
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
                        boxes=tuple(boxes[row] for row in first.tolist()),
                        draws=draws,
                        fnmr=pair_errors(
                            seen_query,
                            seen_gallery,
                            fmr,
                            min_visibility=threshold,
                            weighting=weighting,
                            device=extractor.torch_device,
                        )
                        if fmr
                        else {},
                        ranking=ranking,
                        photo=photo,
                    )


def _matcher(
    ranking: Ranking, extractor: Extractor, query: Sequence[LabelledImage], gallery: Sequence[LabelledImage]
) -> AbstractContextManager[ImageMatcher | None]:
    if ranking.matcher is None:
        return nullcontext()
    return ImageMatcher(ranking.matcher, extractor, query, gallery)


class _How(TypedDict):
    """What all ways to rank are told."""

    min_visibility: float
    weighting: Weighting
    device: torch.device


@dataclass(frozen=True)
class _Way:
    """The way to rank that `evaluate_model` was asked for; see there. shots: the drawn galleries, if any."""

    extractor: Extractor
    gallery: LabelledFeatures
    min_visibility: float
    shots: ShotDraws | None
    ranking: Ranking
    matcher: ImageMatcher | None

    def __call__(self, query: LabelledFeatures, boxes: Sequence[CropBox | None], weighting: Weighting) -> QueryMetrics:
        """The metrics of the queries, cut to `boxes`."""
        sides = (query, self.gallery)
        how = _How(min_visibility=self.min_visibility, weighting=weighting, device=self.extractor.torch_device)
        if self.matcher is not None:
            match, candidates = partial(self.matcher, boxes), self.ranking.candidates
            if self.shots is None:
                return rank_matched(*sides, match, candidates=candidates, **how)
            return rank_matched_single_shot(*sides, match, self.shots, candidates=candidates, **how)
        if self.ranking.reciprocal:
            return rank_reciprocal(*sides, own_camera=self.ranking.own_camera, **how)
        if self.ranking.expand is not None:
            return rank_expanded(*sides, self.ranking.expand, own_camera=self.ranking.own_camera, **how)
        if self.shots is None:
            return rank(*sides, **how).per_query()
        return rank_single_shot(*sides, self.shots, **how)


def _check_ways(ranking: Ranking, draws: int | None, seen_already: bool) -> None:
    """Refuse ways to rank that do not go together.

    Raises:
        DataError: they do not, or there is no such matcher, or no neighbour to expand by.
    """
    matcher, reciprocal, expand = ranking.matcher, ranking.reciprocal, ranking.expand
    if matcher is not None:
        check_matcher(matcher)
        if seen_already:
            raise DataError("a matcher needs the images of the gallery: leave --index away")
    if ranking.own_camera and not reciprocal and expand is None:
        raise DataError("images of the own camera can help with --expand or --reciprocal only: leave --own-camera away")
    if reciprocal and (matcher is not None or draws is not None):
        raise DataError("neighbours in common rank all of the gallery: leave --matcher and --single-shot away")
    if expand is not None:
        if expand < 1:
            raise DataError(f"a query is averaged with at least one neighbour, not {expand}")
        if matcher is not None or reciprocal or draws is not None:
            raise DataError(
                "queries averaged with their nearest are ranked by Eq. 4 against all of the gallery: leave --matcher, "
                "--reciprocal and --single-shot away"
            )


def _seen_crops(
    extractor: Extractor,
    query: Sequence[LabelledImage],
    plan: Mapping[str, Sequence[CropBox | None]],
    on_progress: Callable[[int], None],
    labels: Labels | None,
    photo: str = AS_IT_IS,
) -> Iterator[tuple[str, LabelledFeatures]]:
    """The queries as each strategy cuts them; what several cut alike is seen once, whole queries for instance."""
    row_of: dict[tuple[int, CropBox | None], int] = {}
    for boxes in plan.values():
        for position, box in enumerate(boxes):
            row_of.setdefault((position, box), len(row_of))
    positions = [i for i, _ in row_of]
    told = None if labels is None else labels.rows(np.array(positions))
    seen = extract_labelled(
        extractor, [query[i] for i in positions], [box for _, box in row_of], on_progress, told, photo
    )
    for crop, cut in plan.items():
        rows = np.array([row_of[position, box] for position, box in enumerate(cut)])
        yield crop, seen[rows]


def queries_to_see(count: int, gammas: Sequence[float], crops: Sequence[str], seed: int) -> int:
    """How many crops of `count` queries `evaluate_model` sees, for a progress bar."""
    plans = ([query_crops(count, crop, gamma, seed) for crop in crops] for gamma in gammas)
    return sum(len({(i, box) for boxes in plan for i, box in enumerate(boxes)}) for plan in plans)
