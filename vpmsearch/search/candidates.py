"""The default search: candidates from the region indexes, as deep as it takes, compared by Eq. 4.

A list costs its scan whatever is taken of it, so `LIST_DEPTH` neighbours are fetched at once and compared in doubling
prefixes until the bound of `vpmsearch.search.bound` closes; only then is it fetched deeper.
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from vpmsearch.search.bound import Float64, VisibilityGroups, certain_distance
from vpmsearch.search.exact import NOTHING, Distances, Found
from vpmsearch.store import Snapshot
from vpmsearch.system.parallel import map_ahead
from vpmsearch.types import Bool, Float32, Int64, RegionFeatures

FIRST_DEPTH = 50
"""k' at first, doubled until the bound closes."""
LIST_DEPTH = 400
"""Neighbours that are asked of an index at first."""
SETTLED_FROM = 200
"""k' from which an answer that a doubling has not changed is taken where lists are approximate and prove nothing."""
CLOSE_BELOW = 256
"""So few images that the bound leaves open are compared instead of going deeper."""
BOUND_AT_MOST = 8192
"""Images that are bounded one by one; were it more, going deeper is the better way to close the bound."""


@dataclass
class Timer:
    """Milliseconds by stage."""

    stages: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time what happens within."""
        start = time.perf_counter()
        yield
        self.add(name, 1e3 * (time.perf_counter() - start))

    def add(self, name: str, milliseconds: float) -> None:
        """Count time towards a stage."""
        self.stages[name] = self.stages.get(name, 0.0) + milliseconds


@dataclass
class Answer:
    """What is known of the answer to one query: features of one image, visibility 0 where it does not count.

    best: rows and distances, nearest first. compared: rows, ascending. depth: k' so far. closed: by the bound, no image
    but those compared can be as near as the last of `best`. proved: and no list that the bound rests on is approximate.
    settled: the lists are approximate, and going deeper has changed nothing. short: a list ended before it had named
    all that it can name, so the lists say nothing about the other images and only comparing all of them helps.
    """

    query: RegionFeatures
    timer: Timer = field(default_factory=Timer)
    best: Found = NOTHING
    compared: Int64 = field(default_factory=lambda: np.zeros(0, np.int64))
    depth: int = 0
    closed: bool = False
    proved: bool = False
    settled: bool = False
    short: bool = False

    @property
    def done(self) -> bool:
        """Whether deeper lists would change nothing."""
        return self.closed or self.settled or self.short


@dataclass(frozen=True)
class RegionList:
    """The images that one region's index names for one query.

    rows, distances: (m,), nearest first. whole: it names every image that it can, as counted: those that may be found
    and show the region. A list that is shorter than what was asked for need not be whole, as a server's index may give
    up early. exact: it names exactly the nearest.
    """

    rows: Int64
    distances: Float32
    whole: bool
    exact: bool


@dataclass(frozen=True)
class Scope:
    """What one call wants: k images of those allowed (N,), of all where None; k' at most."""

    k: int
    allowed: Bool | None
    deepest: int


class Lists(Protocol):
    """Where one search's lists and distances come from. Rows are int64 that ascend with the image id."""

    def lists(self, queries: RegionFeatures, count: int) -> list[dict[int, RegionList]]:
        """For each query the `count` nearest images that may be found, in each region that it shows."""

    def nearest(self, query: RegionFeatures, rows: Int64, k: int, known: Found) -> Found:
        """The k nearest by Eq. 4 of `rows` (ascending) and of what is `known`."""

    def within(self, query: RegionFeatures, tau: Float64, limit: float) -> Int64 | None:
        """Rows, ascending, that no list may name and that may be as near as `limit`; None where they are too many.

        tau: (p,) the least distance of an image that a region's list does not name.
        """


def deepen(source: Lists, queries: RegionFeatures, scope: Scope) -> list[Answer]:
    """An answer to each query, in order."""
    answers = [Answer(queries[row : row + 1]) for row in range(len(queries))]
    fetch, waiting = min(max(LIST_DEPTH, 2 * scope.k), scope.deepest), answers
    while waiting:
        start = time.perf_counter()
        lists = source.lists(RegionFeatures.concatenate([answer.query for answer in waiting]), fetch)
        each_ms = 1e3 * (time.perf_counter() - start) / len(waiting)
        for answer, found in zip(waiting, lists, strict=True):
            answer.timer.add("candidates", each_ms)
            _compare_lists(source, answer, found, fetch, scope.k)
        waiting = [answer for answer in waiting if not answer.done]
        if fetch >= scope.deepest:
            break
        fetch = min(4 * fetch, scope.deepest)
    return answers


def _compare_lists(source: Lists, answer: Answer, lists: dict[int, RegionList], fetched: int, k: int) -> None:
    """Compare what the lists name, deeper and deeper, until the bound closes or the lists end."""
    answer.short = any(len(found.rows) < fetched and not found.whole for found in lists.values())
    if answer.short:
        return
    depth = min(max(FIRST_DEPTH, 2 * k, 2 * answer.depth), fetched)
    while True:
        before = answer.best[0]
        named = [found.rows[:depth] for found in lists.values()]
        _compare(source, answer, np.unique(np.concatenate([np.zeros(0, np.int64), *named])), k)
        answer.depth = depth
        # Where a list is whole and named to its end, no other image shows its region.
        cut = {region: found for region, found in lists.items() if len(found.rows) > depth or not found.whole}
        exact = all(found.exact for found in cut.values())
        answer.closed = _close(source, answer, cut, k)
        answer.proved = answer.closed and exact
        unchanged = len(before) == k and np.array_equal(before, answer.best[0])
        answer.settled = unchanged and not exact and depth >= SETTLED_FROM
        if answer.done or depth >= fetched:
            return
        depth = min(2 * depth, fetched)


def _compare(source: Lists, answer: Answer, rows: Int64, k: int) -> None:
    with answer.timer.stage("re-rank"):
        new = np.setdiff1d(rows, answer.compared, assume_unique=True)
        answer.best = source.nearest(answer.query, new, k, answer.best)
        answer.compared = np.union1d(answer.compared, new)


def _close(source: Lists, answer: Answer, cut: dict[int, RegionList], k: int) -> bool:
    """Whether no image but those compared can be as near as the k-th; compares the last few that can."""
    with answer.timer.stage("bound"):
        query = answer.query
        tau = np.full(query.num_regions, np.inf)
        for region, found in cut.items():
            norm = float(np.linalg.norm(query.embeddings[0, region].astype(np.float64)))
            tau[region] = certain_distance(found.distances[answer.depth - 1], norm, query.embedding_dim)
        best = answer.best[1]
        rows = source.within(query, tau, float(best[-1]) if len(best) == k else np.inf)
        if rows is None:
            return False
        left = np.setdiff1d(rows, answer.compared, assume_unique=True)
    if len(left) > CLOSE_BELOW:
        return False
    _compare(source, answer, left, k)
    return True


class RegionLists:
    """Searches the region indexes of a snapshot. Safe for several threads."""

    def __init__(self, snapshot: Snapshot, distances: Distances) -> None:
        self._snapshot = snapshot
        self._distances = distances

    @functools.cached_property
    def _groups(self) -> VisibilityGroups:
        return VisibilityGroups(self._distances.visibility)

    def search(self, queries: RegionFeatures, scope: Scope) -> list[Answer]:
        """An answer to each query, in order."""
        return deepen(_SnapshotLists(self._snapshot, self._distances, self._groups, scope.allowed), queries, scope)


class _SnapshotLists:
    """The lists of a snapshot, for one search among the images allowed (N,), all where None."""

    def __init__(
        self, snapshot: Snapshot, distances: Distances, groups: VisibilityGroups, allowed: Bool | None
    ) -> None:
        self._snapshot, self._groups, self._allowed = snapshot, groups, allowed
        self._selection = None if allowed is None else snapshot.allow(allowed)
        self._holding = None if allowed is None else groups.holding(allowed)
        self.nearest = distances.nearest

    def lists(self, queries: RegionFeatures, count: int) -> list[dict[int, RegionList]]:
        shown = [region for region in range(queries.num_regions) if (queries.visibility[:, region] > 0).any()]

        def search(region: int) -> tuple[Int64, list[Found]]:
            seeing = np.flatnonzero(queries.visibility[:, region] > 0)
            asked = queries.embeddings[seeing, region]
            return seeing, self._snapshot.search_region(region, asked, count, self._selection)

        found: list[dict[int, RegionList]] = [{} for _ in range(len(queries))]
        # One query keeps one core busy a region; many FAISS spreads over all cores by itself.
        workers = min(os.cpu_count() or 1, len(shown)) if len(queries) == 1 and len(shown) > 1 else 0
        hits = map_ahead(search, shown, workers=workers, ahead=max(len(shown), 1))
        for region, (seeing, pairs) in zip(shown, hits, strict=True):
            exact = self._snapshot.exact_lists(region)
            for query, (rows, distances) in zip(seeing.tolist(), pairs, strict=True):
                # `search_region` promises all there are where there are fewer than asked for.
                found[query][region] = RegionList(rows, distances, len(rows) < count, exact)
        return found

    def within(self, query: RegionFeatures, tau: Float64, limit: float) -> Int64 | None:
        rows = self._groups.within(query.visibility[0], tau, limit, BOUND_AT_MOST, self._holding)
        return rows if rows is None or self._allowed is None else rows[self._allowed[rows]]
