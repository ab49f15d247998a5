"""Ways to rank a gallery of labelled images for labelled queries: all of it, drawn single-shot, by an older matcher."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from vpmsearch.data.labelled import JUNK_PID
from vpmsearch.equations import visibility_weighted_distance
from vpmsearch.evaluation.expansion import expanded_queries
from vpmsearch.evaluation.helpers import Bars, Text
from vpmsearch.evaluation.matchers import nearest_candidates, reordered
from vpmsearch.evaluation.metrics import Float64, QueryMetrics, RankAccumulator, shares_key
from vpmsearch.evaluation.ranking import StreamingRanker
from vpmsearch.evaluation.reciprocal import ReciprocalRanker
from vpmsearch.evaluation.rows import Weighting
from vpmsearch.evaluation.single_shot import ShotDraws, shot_metrics
from vpmsearch.evaluation.verification import PairErrors
from vpmsearch.types import Float32, Int64, RegionFeatures


@dataclass(frozen=True)
class LabelledFeatures:
    """Features of n images with their pids (n,) and camids, (n,) or (n, m) keys (see `metrics.shares_key`).

    contents: (n,) content hashes of their files, "" where one is unknown; None where all are.
    """

    features: RegionFeatures
    pids: Int64
    camids: Int64
    contents: Text | None = None

    @property
    def labels(self) -> tuple[Int64, Int64, Text | None]:
        """(pids, camids, contents)."""
        return self.pids, self.camids, self.contents

    def __getitem__(self, rows: Int64) -> LabelledFeatures:
        contents = None if self.contents is None else self.contents[rows]
        return LabelledFeatures(self.features[rows], self.pids[rows], self.camids[rows], contents)


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

    Raises:
        FeatureError: a region that counts is not finite.
    """
    accumulator = RankAccumulator(gallery.pids, gallery.camids)
    ranker, _ = _ranker(gallery, min_visibility, weighting, device)
    weights = _weights(query.features, min_visibility, weighting)
    for block in ranker.rank(query.features, weights, query.pids, query.camids):
        accumulator.add(block)
    return accumulator


def _ranker(
    gallery: LabelledFeatures, min_visibility: float, weighting: Weighting, device: torch.device | None
) -> tuple[StreamingRanker, Int64]:
    """The gallery without junk, ready to rank; and the rows that it kept."""
    kept = np.flatnonzero(gallery.pids != JUNK_PID)
    among = gallery.features if len(kept) == len(gallery.pids) else gallery.features[kept]
    weights = _weights(among, min_visibility, weighting)
    device = device or torch.device("cpu")
    return StreamingRanker(among, weights, gallery.pids[kept], gallery.camids[kept], device), kept


def pair_errors(
    query: LabelledFeatures,
    gallery: LabelledFeatures,
    levels: Sequence[float],
    *,
    min_visibility: float,
    weighting: Weighting = "visibility",
    device: torch.device | None = None,
) -> dict[float, float]:
    """FNMR at false-match rates, see `vpmsearch.evaluation.verification`; other arguments as `rank`."""
    errors = PairErrors(levels, query.pids, gallery.pids)
    ranker, kept = _ranker(gallery, min_visibility, weighting, device)
    pids, camids = gallery.pids[kept], gallery.camids[kept]
    weights = _weights(query.features, min_visibility, weighting)
    for some, distances in ranker.distances(query.features, weights):
        same = query.pids[some, None] == pids  # (B, kept)
        errors.update(distances, same & ~shares_key(query.camids[some], camids), ~same)
    return errors.fnmr()


def rank_single_shot(
    query: LabelledFeatures,
    gallery: LabelledFeatures,
    draws: ShotDraws,
    *,
    min_visibility: float,
    weighting: Weighting = "visibility",
    device: torch.device | None = None,
) -> QueryMetrics:
    """Rank galleries of one image an identity by Eq. 4; arguments as `rank`, `draws` of that gallery."""
    ranks = np.empty((len(query.pids), len(draws.drawn)))
    every = _shot_distances(query, gallery, draws, min_visibility, weighting, device)
    for row, distances in enumerate(every):
        ranks[row] = draws.ranks(distances, int(query.pids[row]), query.camids[row])
    return shot_metrics(ranks)


def _shot_distances(
    query: LabelledFeatures,
    gallery: LabelledFeatures,
    draws: ShotDraws,
    min_visibility: float,
    weighting: Weighting,
    device: torch.device | None,
) -> Iterator[Float64]:
    """Eq. 4 of each query to the gallery, (G,); inf for images that no draw needs. The array is used again."""
    device = device or torch.device("cpu")
    columns = draws.columns()
    among = gallery.features[columns]
    g_embeddings = torch.from_numpy(among.embeddings).to(device)
    g_weights = torch.from_numpy(_weights(among, min_visibility, weighting)).to(device)
    q_weights = _weights(query.features, min_visibility, weighting)
    distances = np.full(len(gallery.pids), np.inf)
    for row in range(len(query.pids)):
        one = slice(row, row + 1)
        q_embedding = torch.from_numpy(query.features.embeddings[one]).to(device)
        q_weight = torch.from_numpy(q_weights[one]).to(device)
        found = visibility_weighted_distance(q_embedding, q_weight, g_embeddings, g_weights)  # (1, columns)
        distances[columns] = found[0].cpu().numpy()
        yield distances


def _weights(features: RegionFeatures, min_visibility: float, weighting: Weighting) -> Float32:
    """(n, p): the visibility that counts."""
    if weighting == "uniform":
        return np.ones_like(features.visibility)
    return np.where(features.visibility >= min_visibility, features.visibility, np.float32(0))


def rank_reciprocal(
    query: LabelledFeatures,
    gallery: LabelledFeatures,
    *,
    min_visibility: float,
    weighting: Weighting = "visibility",
    device: torch.device | None = None,
    own_camera: bool = False,
) -> QueryMetrics:
    """Rank by k-reciprocal neighbours, see `vpmsearch.evaluation.reciprocal`.

    Args:
        own_camera: images of a query's person by its own camera may help it. Others: as `rank`.
    """
    among = gallery[np.flatnonzero(gallery.pids != JUNK_PID)]
    bars = Bars.of(query.labels, among.labels, own_camera=own_camera)
    features = RegionFeatures.concatenate([query.features, among.features])
    weights = _weights(features, min_visibility, weighting)
    unlabelled = np.zeros(len(features), np.int64)  # neighbours are found without labels
    ranker = StreamingRanker(features, weights, unlabelled, unlabelled, device or torch.device("cpu"))
    accumulator = RankAccumulator(among.pids, among.camids)
    for some, distances in ReciprocalRanker(features, weights, len(query.pids), ranker, bars=bars).distances():
        accumulator.update(distances, query.pids[some], query.camids[some])
    return accumulator.per_query()


def rank_expanded(
    query: LabelledFeatures,
    gallery: LabelledFeatures,
    neighbours: int,
    *,
    min_visibility: float,
    weighting: Weighting = "visibility",
    device: torch.device | None = None,
    own_camera: bool = False,
) -> QueryMetrics:
    """Rank by Eq. 4 of queries averaged with their nearest, see `vpmsearch.evaluation.expansion`.

    Args:
        neighbours: gallery images that a query is averaged with. own_camera: images of a query's person by its own
            camera may be among them. Others: as `rank`.
    """
    ranker, kept = _ranker(gallery, min_visibility, weighting, device)
    among = gallery[kept]
    expanded = expanded_queries(
        query.features,
        _weights(query.features, min_visibility, weighting),
        among.features,
        _weights(among.features, min_visibility, weighting),
        ranker,
        neighbours,
        Bars.of(query.labels, among.labels, own_camera=own_camera),
    )
    accumulator = RankAccumulator(among.pids, among.camids)
    for block in ranker.rank(expanded, expanded.visibility, query.pids, query.camids):
        accumulator.add(block)
    return accumulator.per_query()


Match = Callable[[Int64], Float64]
"""Distances of candidates by an older matcher: (R, Q, k) rows of the gallery, −1 for none, in R galleries -> the same
shape, inf where there is none."""


def rank_matched(
    query: LabelledFeatures,
    gallery: LabelledFeatures,
    match: Match,
    *,
    candidates: int | None,
    min_visibility: float,
    weighting: Weighting = "visibility",
    device: torch.device | None = None,
) -> QueryMetrics:
    """Rank the nearest by Eq. 4 anew by an older matcher; the rest follows as it was.

    Args:
        match: see `Match`; asked once, with R = 1.
        candidates: how many a query, images of its own identity and camera left out. None is all others, by the
            matcher alone: those too that Eq. 4 cannot reach. Others: as `rank`.
    """
    ranker, kept = _ranker(gallery, min_visibility, weighting, device)
    pids, camids = gallery.pids[kept], gallery.camids[kept]
    weights = _weights(query.features, min_visibility, weighting)

    def blocks() -> Iterator[tuple[slice, Float64]]:
        for some, distances in ranker.distances(query.features, weights):
            own = (query.pids[some, None] == pids) & shares_key(query.camids[some], camids)
            yield some, np.where(own, np.inf, distances if candidates is not None else 0.0)

    count = len(kept) if candidates is None else min(candidates, len(kept))
    none = np.empty((0, count), np.int64)
    nearest = np.concatenate([none, *(nearest_candidates(distances, count) for _, distances in blocks())])
    rows = np.append(kept, -1)[nearest]  # −1 stays −1
    matched = match(rows[None])[0]
    accumulator = RankAccumulator(pids, camids)
    for some, distances in blocks():
        accumulator.update(reordered(distances, nearest[some], matched[some]), query.pids[some], query.camids[some])
    return accumulator.per_query()


def rank_matched_single_shot(
    query: LabelledFeatures,
    gallery: LabelledFeatures,
    match: Match,
    draws: ShotDraws,
    *,
    candidates: int | None,
    min_visibility: float,
    weighting: Weighting = "visibility",
    device: torch.device | None = None,
) -> QueryMetrics:
    """Rank the nearest of each drawn gallery anew; arguments as `rank_matched` and `rank_single_shot`."""
    asked = list(zip(query.pids.tolist(), query.camids, strict=True))
    most = max(map(len, draws.drawn))  # of a gallery
    count = most if candidates is None else min(candidates, most)
    nearest = np.full((len(draws.drawn), len(asked), count), -1)
    for row, distances in enumerate(_shot_distances(query, gallery, draws, min_visibility, weighting, device)):
        for draw, among in enumerate(draws.galleries(*asked[row])):
            near = distances[among] if candidates is not None else np.zeros(len(among))
            found = nearest_candidates(near[None], count)[0]
            nearest[draw, row, : len(found)] = np.append(among, -1)[found]
    matched = match(nearest)
    ranks = np.empty((len(asked), len(draws.drawn)))
    for row, distances in enumerate(_shot_distances(query, gallery, draws, min_visibility, weighting, device)):
        every = reordered(np.tile(distances, (len(draws.drawn), 1)), nearest[:, row], matched[:, row])  # (R, G)
        ranks[row] = draws.ranks(every, *asked[row])
    return shot_metrics(ranks)
