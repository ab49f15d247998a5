"""Metrics of rankings: CMC, mAP in both common forms, mINP. NumPy only.

Market-1501's protocol: junk (pid −1) and images with the query's pid and camid are left out of the query's ranking.
Distractors (pid 0, which no query has) stay. The remaining images with the query's pid are relevant. A query without
relevant images is not counted. With n relevant images, the k-th of them at rank r_k (from 1):

    CMC rank-k       share of queries with r_1 ≤ k
    AP               Σ_k (k / r_k) / n
    AP, trapezoid    Σ_k ((k−1) / (r_k − 1) + k / r_k) / 2n, the first term 1 where r_k = 1: the official
                     evaluation of Market-1501 (Zheng et al., ICCV 2015)
    INP              n / r_n (Ye et al., TPAMI 2021)

An infinite distance means "no result" (Eq. 4 of two images that share no region). A relevant image at an infinite
distance is never retrieved: it is a miss in the CMC, adds 0 to the AP although n counts it, and makes the INP 0. Equal
distances rank in the order of the gallery.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vpmsearch.data.labelled import JUNK_PID
from vpmsearch.errors import DataError, FeatureError
from vpmsearch.words import number_of

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

_BLOCK_ELEMENTS = 2**22  # distances ranked at a time: about 100 MB of working memory


@dataclass(frozen=True)
class RankMetrics:
    """Means over the valid queries, all in 0-1.

    cmc: (max_rank,), cmc[k − 1] is rank-k. Beyond the size of the gallery it keeps its last value.
    """

    cmc: Float64
    mean_ap: float
    mean_ap_trapezoid: float
    mean_inp: float
    num_valid_queries: int


@dataclass(frozen=True)
class QueryMetrics:
    """The metrics of each query, (Q,) each, for confidence intervals; NaN where the query is not valid.

    first_hit_rank: from 1; infinite if nothing relevant is retrieved. It is (Q, R) if a protocol draws the gallery R
        times; the others are then means over the draws.
    """

    ap: Float64
    ap_trapezoid: Float64
    inp: Float64
    first_hit_rank: Float64

    @property
    def valid(self) -> NDArray[np.bool_]:
        """(Q,), whether the query has relevant images in the gallery."""
        return ~np.isnan(self.ap)

    def hits(self, k: int) -> Float64:
        """(Q,), 1 if a relevant image is among the first k, else 0. The mean is rank-k of the CMC."""
        hit = self.first_hit_rank.reshape(len(self.ap), -1) <= k  # (Q, R), R = 1 where nothing is drawn
        return np.where(self.valid, hit.mean(axis=1), np.nan)

    def means(self, max_rank: int = 50) -> RankMetrics:
        """The means over the valid queries.

        Raises:
            DataError: there is no valid query.
        """
        valid = self.valid
        count = int(valid.sum())
        if count == 0:
            raise DataError(
                f"none of {number_of(len(valid), 'query')} has a relevant image in the gallery (the same pid from "
                "another camera); are query and gallery of one data set?"
            )
        # (valid queries,) or (valid queries, R) ranks -> (max_rank,) how many lie at or below each rank
        ranks = np.sort(self.first_hit_rank[valid], axis=None)
        hits = np.searchsorted(ranks, np.arange(1, max_rank + 1), side="right")
        return RankMetrics(
            cmc=hits / len(ranks),
            mean_ap=float(self.ap[valid].mean()),
            mean_ap_trapezoid=float(self.ap_trapezoid[valid].mean()),
            mean_inp=float(self.inp[valid].mean()),
            num_valid_queries=count,
        )


def evaluate_rank(
    distmat: ArrayLike,
    query_pids: ArrayLike,
    gallery_pids: ArrayLike,
    query_camids: ArrayLike,
    gallery_camids: ArrayLike,
    max_rank: int = 50,
) -> RankMetrics:
    """Evaluate the rankings of a matrix of distances.

    Args:
        distmat: (Q, G) distances; smaller is nearer, inf is "no result".
        query_pids: (Q,) whole numbers.
        gallery_pids: (G,) whole numbers; −1 is junk, 0 a distractor.
        query_camids: (Q,) whole numbers.
        gallery_camids: (G,) whole numbers.
        max_rank: length of the CMC.

    Raises:
        FeatureError: a distance is NaN, or their shape is not (Q, G).
        DataError: labels have a wrong type or number, or no query has a relevant image in the gallery.
    """
    accumulator = RankAccumulator(gallery_pids, gallery_camids, max_rank)
    distances = np.asarray(distmat)
    query_pids, query_camids = _label_pair("query", query_pids, query_camids)
    _check_distances(distances, len(query_pids), accumulator.gallery_size)
    rows = max(1, _BLOCK_ELEMENTS // max(1, accumulator.gallery_size))
    for start in range(0, len(distances), rows):
        block = slice(start, start + rows)
        accumulator.update(distances[block], query_pids[block], query_camids[block])
    return accumulator.result()


class RankAccumulator:
    """`evaluate_rank` for blocks of queries, so that no (Q, G) matrix is needed.

    Args:
        gallery_pids: (G,) whole numbers; −1 is junk, 0 a distractor.
        gallery_camids: (G,) whole numbers, or (G, m) keys. An image of the query's pid that shares a key with the query
            is left out (see `shares_key`).
        max_rank: length of the CMC, at least 1.

    Raises:
        DataError: labels have a wrong type or number.
    """

    def __init__(self, gallery_pids: ArrayLike, gallery_camids: ArrayLike, max_rank: int = 50) -> None:
        pids, camids = _label_pair("gallery", gallery_pids, gallery_camids)
        if max_rank < 1:
            raise DataError(f"max_rank must be at least 1, got {max_rank}")
        self.gallery_size = len(pids)
        self._max_rank = int(max_rank)
        self._kept = np.flatnonzero(pids != JUNK_PID)
        self._pids, self._camids = pids[self._kept], camids[self._kept]
        self._blocks: list[QueryMetrics] = []

    def update(self, distmat: ArrayLike, query_pids: ArrayLike, query_camids: ArrayLike) -> None:
        """Add a block of queries: distances (B, G), pids (B,) and camids (B,).

        Raises:
            FeatureError: a distance is NaN, or their shape is not (B, G).
            DataError: labels have a wrong type or number.
        """
        pids, camids = _label_pair("query", query_pids, query_camids)
        distances = np.asarray(distmat)
        _check_distances(distances, len(pids), self.gallery_size)
        if len(self._kept) < self.gallery_size:
            distances = distances[:, self._kept]
        same_pid = pids[:, None] == self._pids  # (B, kept)
        own = same_pid & shares_key(camids, self._camids)
        self.add(_block_metrics(np.where(own, np.inf, distances), same_pid & ~own))

    def add(self, block: QueryMetrics) -> None:
        """Add a block of queries whose metrics are known."""
        self._blocks.append(block)

    def per_query(self) -> QueryMetrics:
        """The metrics of every query so far, in the order of the updates."""
        names = ("ap", "ap_trapezoid", "inp", "first_hit_rank")
        none = np.empty(0)
        return QueryMetrics(
            **{name: np.concatenate([none, *(getattr(block, name) for block in self._blocks)]) for name in names}
        )

    def result(self) -> RankMetrics:
        """The means over the valid queries so far.

        Raises:
            DataError: there is no valid query.
        """
        return self.per_query().means(self._max_rank)


def _block_metrics(distances: NDArray[np.floating], relevant: NDArray[np.bool_]) -> QueryMetrics:
    """The metrics of B queries.

    Args:
        distances: (B, G), inf for no result and for images left out of the ranking. Both come last, behind everything
            that is retrieved, so their rank does not matter.
        relevant: (B, G).
    """
    retrieved = relevant & (distances != np.inf)
    # (hits,) of all queries one after the other, by rank within a query
    ranks = [_ranks(row, np.flatnonzero(hits)) for row, hits in zip(distances, retrieved, strict=True)]
    return query_metrics(np.concatenate([np.empty(0), *ranks]), retrieved.sum(axis=1), relevant.sum(axis=1))


def query_metrics(ranks: ArrayLike, num_hits: Int64, num_relevant: Int64) -> QueryMetrics:
    """The metrics of B queries from the ranks of their relevant images.

    Args:
        ranks: (hits,), r_k from 1 of all relevant images that are retrieved, query after query, ascending in each.
        num_hits: (B,), how many of the ranks belong to each query. num_relevant: (B,), its relevant images.
    """
    rank = np.asarray(ranks, dtype=np.float64)
    num_queries = len(num_hits)
    query = np.repeat(np.arange(num_queries), num_hits)
    begin = np.cumsum(num_hits) - num_hits  # (B,)
    hit = np.arange(1, len(query) + 1) - begin[query]  # the k of r_k
    precision = hit / rank
    before = np.where(rank == 1, 1.0, (hit - 1) / np.maximum(rank - 1, 1))

    def mean_over_relevant(values: Float64) -> Float64:
        sums = np.bincount(query, weights=values, minlength=num_queries)
        return np.where(num_relevant > 0, sums / np.maximum(num_relevant, 1), np.nan)

    first_hit_rank = np.where(num_relevant > 0, np.inf, np.nan)
    last_hit_rank = np.full(num_queries, np.inf)
    some = num_hits > 0
    first_hit_rank[some] = rank[begin[some]]
    complete = some & (num_hits == num_relevant)
    last_hit_rank[complete] = rank[(begin + num_hits - 1)[complete]]
    return QueryMetrics(
        ap=mean_over_relevant(precision),
        ap_trapezoid=mean_over_relevant((before + precision) / 2),
        inp=np.where(num_relevant > 0, num_relevant / last_hit_rank, np.nan),
        first_hit_rank=first_hit_rank,
    )


def _ranks(distances: NDArray[np.floating], columns: Int64) -> Float64:
    """Ranks from 1, ascending, of some columns of one query's distances (G,). Equal distances rank by column."""
    if len(columns) == 0:
        return np.empty(0)
    # Sorting values is several times faster than a stable argsort, and gives the ranks unless there is a tie.
    ordered = np.sort(distances)
    wanted = np.sort(distances[columns])
    rank = np.searchsorted(ordered, wanted, side="left")
    if (np.searchsorted(ordered, wanted, side="right") - rank > 1).any():
        place = np.empty(len(distances), dtype=np.int64)
        place[np.argsort(distances, kind="stable")] = np.arange(len(distances))
        rank = np.sort(place[columns])
    return rank.astype(np.float64) + 1


def shares_key(query: Int64, gallery: Int64) -> NDArray[np.bool_]:
    """(B, G), which images share a camera, or one of several keys (any equal column).

    Args:
        query: (B,) or (B, m). gallery: (G,) or (G, m).
    """
    if query.ndim == 1:
        same: NDArray[np.bool_] = query[:, None] == gallery
        return same
    shared = np.zeros((len(query), len(gallery)), dtype=bool)
    for column in range(query.shape[1]):
        shared |= query[:, column, None] == gallery[:, column]
    return shared


def _label_pair(side: str, pids: ArrayLike, camids: ArrayLike) -> tuple[Int64, Int64]:
    pair = _labels(f"{side}_pids", pids), _labels(f"{side}_camids", camids, columns=True)
    if len(pair[0]) != len(pair[1]):
        raise DataError(f"{len(pair[0])} {side}_pids but {len(pair[1])} {side}_camids; give one each an image")
    return pair


def _labels(name: str, values: ArrayLike, *, columns: bool = False) -> Int64:
    labels = np.asarray(values)
    if labels.ndim not in ((1, 2) if columns else (1,)) or (
        labels.size and not np.issubdtype(labels.dtype, np.integer)
    ):
        raise DataError(f"{name} must be a list of whole numbers, got {labels.dtype} of shape {labels.shape}")
    return labels.astype(np.int64)


def _check_distances(distances: NDArray[np.generic], num_queries: int, gallery_size: int) -> None:
    if distances.shape != (num_queries, gallery_size):
        raise FeatureError(
            f"distances must be (queries, gallery) = ({num_queries}, {gallery_size}), got {distances.shape}"
        )
    if not np.issubdtype(distances.dtype, np.floating) and not np.issubdtype(distances.dtype, np.integer):
        raise FeatureError(f"distances must be numbers, got {distances.dtype}")
    if np.isnan(distances).any():
        row, column = np.argwhere(np.isnan(distances))[0]
        raise FeatureError(f"the distance of query {row} and gallery image {column} is NaN; the features are damaged")
