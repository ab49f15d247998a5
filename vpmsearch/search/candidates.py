"""The default search: takes candidates from the region indexes, as many as needed, and compares them by Eq. 4.

Lists are compared in prefixes of doubling length, until the bound of `vpmsearch.search.bound` closes. If it does not,
longer lists are fetched. How many neighbours are fetched first depends on where lists come from (`Lists.first`). Where
a list costs a scan, however short it is, `LIST_DEPTH` are fetched at once.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from vpmsearch.search.bound import Float64, Grouped, VisibilityGroups, certain_distance, largest_group
from vpmsearch.search.distances import NOTHING, Distances, Found, counting
from vpmsearch.store import Snapshot
from vpmsearch.system.parallel import spread
from vpmsearch.types import Bool, Float32, Int64, RegionFeatures

FIRST_DEPTH = 50
"""The first k'. It is doubled until the bound closes."""
LIST_DEPTH = 400
"""Neighbours that an index is asked for first, where a short list costs as much as a long one."""
SETTLED_FROM = 200
"""Approximate lists prove nothing. From this k' on an answer is final if a doubling has not changed it."""
CLOSE_BELOW = 256
"""If the bound leaves at most so many images open, they are compared and no list is fetched deeper."""
BOUND_AT_MOST = 8192
"""Images that are bounded one by one at most. Beyond that, deeper lists close the bound faster."""


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
        """Add time to a stage."""
        self.stages[name] = self.stages.get(name, 0.0) + milliseconds


@dataclass
class Answer:
    """What is known of the answer to one query.

    query: features of one image, visibility 0 where it does not count. best: rows and distances, nearest first.
    compared: rows, ascending. depth: k' so far. closed: the bound says that no other image than those compared can be
    as near as the last of `best`. proved: closed, and no list that the bound rests on is approximate. settled: the
    lists are approximate, and going deeper has changed nothing. short: a list ended before it had named all that it
    can name. The lists then say nothing about the other images, and only comparing all images helps.
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

    rows, distances: (m,), nearest first. whole: the list names every image that may be found and shows the region, by
    count. A list shorter than asked for need not be whole, as a server's index may stop early. exact: the list names
    exactly the nearest images.
    """

    rows: Int64
    distances: Float32
    whole: bool
    exact: bool


@dataclass(frozen=True)
class Scope:
    """What one call asks for: k images among those allowed (N,), or among all if None; and the largest k'."""

    k: int
    allowed: Bool | None
    deepest: int


class Lists(Protocol):
    """Where one search's lists and distances come from. Rows are int64 that ascend with the image id."""

    @property
    def first(self) -> int:
        """How many neighbours each region is asked for first."""

    def lists(self, queries: RegionFeatures, count: int) -> list[dict[int, RegionList]]:
        """For each query and each region that it shows: the `count` nearest images that may be found."""

    def nearest(self, query: RegionFeatures, rows: Int64, k: int, known: Found) -> Found:
        """The k nearest by Eq. 4 among `rows` (ascending) and the images in `known`."""

    def within(self, query: RegionFeatures, tau: Float64, limit: float) -> Int64 | None:
        """Rows, ascending, of images that may be in no list and as near as `limit`; None if they are too many.

        tau: (p,) the least distance of an image that a region's list does not name.
        """


def deepen(source: Lists, queries: RegionFeatures, scope: Scope) -> list[Answer]:
    """An answer to each query, in order."""
    answers = [Answer(queries[row : row + 1]) for row in range(len(queries))]
    fetch, waiting = min(max(source.first, 2 * scope.k), scope.deepest), answers
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
        # If a list is whole and was compared to its end, no other image shows its region.
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
    """Whether no other image than those compared can be as near as the k-th. Compares the last few that can."""
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
    """Searches the region indexes of a snapshot. Safe for several threads.

    Args:
        before: the lists of an earlier snapshot. Groups of segments that it shares with this one are not made again.
    """

    def __init__(self, snapshot: Snapshot, distances: Distances, before: RegionLists | None = None) -> None:
        self._snapshot, self._distances = snapshot, distances
        # By segment id: the part of the index that groups were made of, and the groups.
        known = before._grouped.copy() if before is not None else {}  # another thread may add to it meanwhile
        self._grouped: dict[int, tuple[object, Grouped]] = {
            key: made for key, made in known.items() if key in snapshot.parts and snapshot.parts[key].files is made[0]
        }

    @functools.cached_property
    def _groups(self) -> VisibilityGroups:
        snapshot, segments = self._snapshot, list[tuple[Grouped, Int64]]()
        for key, part in snapshot.parts.items():
            if key not in self._grouped:
                counted = counting(snapshot.model_info, part.files.visibility)
                self._grouped[key] = (part.files, Grouped.of(counted, largest_group(len(snapshot))))
            segments.append((self._grouped[key][1], snapshot.rows_of_segment(key, len(part.labels))))
        return VisibilityGroups(self._distances.visibility, segments)

    def search(self, queries: RegionFeatures, scope: Scope) -> list[Answer]:
        """An answer to each query, in order."""
        return deepen(_SnapshotLists(self._snapshot, self._distances, self._groups, scope.allowed), queries, scope)


class _SnapshotLists:
    """The lists of a snapshot, for one search among the allowed images (N,), or among all if None."""

    def __init__(
        self, snapshot: Snapshot, distances: Distances, groups: VisibilityGroups, allowed: Bool | None
    ) -> None:
        self._snapshot, self._groups, self._allowed = snapshot, groups, allowed
        self._selection = None if allowed is None else snapshot.allow(allowed)
        self._holding = None if allowed is None else groups.holding(allowed)
        self.nearest = distances.nearest

    @property
    def first(self) -> int:
        return LIST_DEPTH  # a list costs a scan, however short it is

    def lists(self, queries: RegionFeatures, count: int) -> list[dict[int, RegionList]]:
        shown = [region for region in range(queries.num_regions) if (queries.visibility[:, region] > 0).any()]

        def search(region: int) -> tuple[Int64, list[Found]]:
            seeing = np.flatnonzero(queries.visibility[:, region] > 0)
            asked = queries.embeddings[seeing, region]
            return seeing, self._snapshot.search_region(region, asked, count, self._selection)

        found: list[dict[int, RegionList]] = [{} for _ in range(len(queries))]
        # FAISS spreads many queries over all cores by itself. A single query uses one core, so regions run in parallel.
        hits = spread(search, shown) if len(queries) == 1 else [search(region) for region in shown]
        for region, (seeing, pairs) in zip(shown, hits, strict=True):
            exact = self._snapshot.exact_lists(region)
            for query, (rows, distances) in zip(seeing.tolist(), pairs, strict=True):
                # If a region has fewer images than were asked for, `search_region` returns all of them.
                found[query][region] = RegionList(rows, distances, len(rows) < count, exact)
        return found

    def within(self, query: RegionFeatures, tau: Float64, limit: float) -> Int64 | None:
        rows = self._groups.within(query.visibility[0], tau, limit, BOUND_AT_MOST, self._holding)
        return rows if rows is None or self._allowed is None else rows[self._allowed[rows]]
