"""Ways to rank a labelled gallery for labelled queries: Eq. 4, drawn single-shot, an older matcher, and others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Required, TypedDict, Unpack

import numpy as np
import torch

from vpmsearch.data.labelled import JUNK_PID
from vpmsearch.equations import visibility_weighted_distance
from vpmsearch.evaluation.expansion import expanded_queries
from vpmsearch.evaluation.helpers import Bars
from vpmsearch.evaluation.labelled import LabelledFeatures
from vpmsearch.evaluation.matchers import nearest_candidates, reordered
from vpmsearch.evaluation.metrics import Float64, QueryMetrics, RankAccumulator, shares_key
from vpmsearch.evaluation.ranking import StreamingRanker
from vpmsearch.evaluation.reciprocal import ReciprocalRanker
from vpmsearch.evaluation.rows import Weighting
from vpmsearch.evaluation.single_shot import ShotDraws, shot_metrics
from vpmsearch.evaluation.verification import PairErrors
from vpmsearch.types import Float32, Int64, RegionFeatures

CPU = torch.device("cpu")


class How(TypedDict, total=False):
    """The settings that all ways to rank share.

    min_visibility: a smaller visibility counts as 0, as in a search; 0 is the paper to the letter.
    weighting: "uniform" gives all regions the same weight, whatever is visible.
    device: where the distances are computed; by default the CPU.
    """

    min_visibility: Required[float]
    weighting: Weighting
    device: torch.device


@dataclass(frozen=True)
class _Weighing:
    """`How` with its defaults, and the weights that follow from it."""

    min_visibility: float
    weighting: Weighting = "visibility"
    device: torch.device = CPU

    def weights(self, features: RegionFeatures) -> Float32:
        """(n, p), the visibility that counts."""
        if self.weighting == "uniform":
            return np.ones_like(features.visibility)
        return np.where(features.visibility >= self.min_visibility, features.visibility, np.float32(0))

    def ranker(self, gallery: LabelledFeatures) -> tuple[StreamingRanker, Int64]:
        """A ranker of the gallery without junk, and the rows of the gallery that it has."""
        kept = np.flatnonzero(gallery.pids != JUNK_PID)
        among = gallery.features if len(kept) == len(gallery.pids) else gallery.features[kept]
        ranker = StreamingRanker(among, self.weights(among), gallery.pids[kept], gallery.camids[kept], self.device)
        return ranker, kept


def rank(
    query: LabelledFeatures,
    gallery: LabelledFeatures,
    **how: Unpack[How],
) -> RankAccumulator:
    """Rank the whole gallery for every query by Eq. 4. The accumulator has the metrics.

    Args:
        query: Q images. gallery: G images.
        how: see `How`.

    Raises:
        FeatureError: a region that counts is not finite.
    """
    accumulator = RankAccumulator(gallery.pids, gallery.camids)
    weighing = _Weighing(**how)
    ranker, _ = weighing.ranker(gallery)
    weights = weighing.weights(query.features)
    for block in ranker.rank(query.features, weights, query.pids, query.camids):
        accumulator.add(block)
    return accumulator


def pair_errors(
    query: LabelledFeatures,
    gallery: LabelledFeatures,
    levels: Sequence[float],
    **how: Unpack[How],
) -> dict[float, float]:
    """False-match rate -> FNMR, see `vpmsearch.evaluation.verification`. Other arguments as in `rank`."""
    errors = PairErrors(levels, query.pids, gallery.pids)
    weighing = _Weighing(**how)
    ranker, kept = weighing.ranker(gallery)
    pids, camids = gallery.pids[kept], gallery.camids[kept]
    weights = weighing.weights(query.features)
    for some, distances in ranker.distances(query.features, weights):
        same = query.pids[some, None] == pids  # (B, kept)
        errors.update(distances, same & ~shares_key(query.camids[some], camids), ~same)
    return errors.fnmr()


def rank_single_shot(
    query: LabelledFeatures,
    gallery: LabelledFeatures,
    draws: ShotDraws,
    **how: Unpack[How],
) -> QueryMetrics:
    """Rank drawn galleries with one image of each identity by Eq. 4. Arguments as in `rank`; draws: of that gallery."""
    ranks = np.empty((len(query.pids), len(draws.drawn)))
    every = _shot_distances(query, gallery, draws, _Weighing(**how))
    for row, distances in enumerate(every):
        ranks[row] = draws.ranks(distances, int(query.pids[row]), query.camids[row])
    return shot_metrics(ranks)


def _shot_distances(
    query: LabelledFeatures,
    gallery: LabelledFeatures,
    draws: ShotDraws,
    weighing: _Weighing,
) -> Iterator[Float64]:
    """Eq. 4 of each query to the gallery, (G,); inf for images that no draw needs. Each step overwrites the array."""
    columns = draws.columns()
    among = gallery.features[columns]
    g_embeddings = torch.from_numpy(among.embeddings).to(weighing.device)
    g_weights = torch.from_numpy(weighing.weights(among)).to(weighing.device)
    q_weights = weighing.weights(query.features)
    distances = np.full(len(gallery.pids), np.inf)
    for row in range(len(query.pids)):
        one = slice(row, row + 1)
        q_embedding = torch.from_numpy(query.features.embeddings[one]).to(weighing.device)
        q_weight = torch.from_numpy(q_weights[one]).to(weighing.device)
        found = visibility_weighted_distance(q_embedding, q_weight, g_embeddings, g_weights)  # (1, columns)
        distances[columns] = found[0].cpu().numpy()
        yield distances


def rank_reciprocal(
    query: LabelledFeatures,
    gallery: LabelledFeatures,
    *,
    own_camera: bool = False,
    **how: Unpack[How],
) -> QueryMetrics:
    """Rank by k-reciprocal neighbours, see `vpmsearch.evaluation.reciprocal`.

    Args:
        own_camera: whether images of the query's person from the query's camera may help it. Others as in `rank`.
    """
    weighing = _Weighing(**how)
    among = gallery[np.flatnonzero(gallery.pids != JUNK_PID)]
    bars = Bars.of(query.labels, among.labels, own_camera=own_camera)
    features = RegionFeatures.concatenate([query.features, among.features])
    weights = weighing.weights(features)
    unlabelled = np.zeros(len(features), np.int64)  # neighbours are found without labels
    ranker = StreamingRanker(features, weights, unlabelled, unlabelled, weighing.device)
    accumulator = RankAccumulator(among.pids, among.camids)
    for some, distances in ReciprocalRanker(features, weights, len(query.pids), ranker, bars=bars).distances():
        accumulator.update(distances, query.pids[some], query.camids[some])
    return accumulator.per_query()


def rank_expanded(
    query: LabelledFeatures,
    gallery: LabelledFeatures,
    neighbours: int,
    *,
    own_camera: bool = False,
    **how: Unpack[How],
) -> QueryMetrics:
    """Average queries with their nearest images, then rank by Eq. 4, see `vpmsearch.evaluation.expansion`.

    Args:
        neighbours: how many gallery images a query is averaged with. own_camera: whether images of the query's person
            from the query's camera may be among them. Others as in `rank`.
    """
    weighing = _Weighing(**how)
    ranker, kept = weighing.ranker(gallery)
    among = gallery[kept]
    expanded = expanded_queries(
        query.features,
        weighing.weights(query.features),
        among.features,
        weighing.weights(among.features),
        ranker,
        neighbours,
        Bars.of(query.labels, among.labels, own_camera=own_camera),
    )
    accumulator = RankAccumulator(among.pids, among.camids)
    for block in ranker.rank(expanded, expanded.visibility, query.pids, query.camids):
        accumulator.add(block)
    return accumulator.per_query()


Match = Callable[[Int64], Float64]
"""An older matcher: candidates (R, Q, k) in R galleries, as rows of the gallery or −1 for none -> their distances, inf
where there is no candidate."""


def rank_matched(
    query: LabelledFeatures,
    gallery: LabelledFeatures,
    match: Match,
    *,
    candidates: int | None,
    **how: Unpack[How],
) -> QueryMetrics:
    """Rank by Eq. 4, then reorder the nearest images by an older matcher. The other images follow in Eq. 4's order.

    Args:
        match: see `Match`; it is called once, with R = 1.
        candidates: how many images are reordered for each query; images of its own identity and camera are left out.
            None is all others, also those that share no region with the query: the matcher alone ranks. Others as in
            `rank`.
    """
    weighing = _Weighing(**how)
    ranker, kept = weighing.ranker(gallery)
    pids, camids = gallery.pids[kept], gallery.camids[kept]
    weights = weighing.weights(query.features)

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
    **how: Unpack[How],
) -> QueryMetrics:
    """Reorder the nearest images of each drawn gallery. Arguments as in `rank_matched` and `rank_single_shot`."""
    asked = list(zip(query.pids.tolist(), query.camids, strict=True))
    most = max(map(len, draws.drawn))  # images of the largest gallery
    count = most if candidates is None else min(candidates, most)
    nearest = np.full((len(draws.drawn), len(asked), count), -1)
    for row, distances in enumerate(_shot_distances(query, gallery, draws, _Weighing(**how))):
        for draw, among in enumerate(draws.galleries(*asked[row])):
            near = distances[among] if candidates is not None else np.zeros(len(among))
            found = nearest_candidates(near[None], count)[0]
            nearest[draw, row, : len(found)] = np.append(among, -1)[found]
    matched = match(nearest)
    ranks = np.empty((len(asked), len(draws.drawn)))
    for row, distances in enumerate(_shot_distances(query, gallery, draws, _Weighing(**how))):
        every = reordered(np.tile(distances, (len(draws.drawn), 1)), nearest[:, row], matched[:, row])  # (R, G)
        ranks[row] = draws.ranks(every, *asked[row])
    return shot_metrics(ranks)
