"""The search of an index on a server: lists and Eq. 4 run in the server, depth and bound are as in a folder's search.

Each query has one REPEATABLE READ transaction, which is repeated as a whole if the connection is lost. One statement
names candidates and compares them by Eq. 4, a second one explains the matches. The candidates are compared again, with
more, only if the bound asks for deeper lists. Many exact queries share a transaction. It reads the embeddings once and
compares them in this process; in the server each query would read them again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np

from vpmsearch.errors import StoreDamagedError
from vpmsearch.search import candidates as depths
from vpmsearch.search.bound import Float64, boxes_within, images_within
from vpmsearch.search.candidates import Answer, RegionList, Scope, Timer, deepen
from vpmsearch.search.distances import NOTHING, Found
from vpmsearch.search.empty import why_empty
from vpmsearch.search.engine import SCAN_BATCH, SCAN_BELOW, counted_queries, distances_of, explained
from vpmsearch.search.queries import region_names
from vpmsearch.search.searcher import Regions, Searcher
from vpmsearch.store.postgres import statements
from vpmsearch.store.postgres.encoding import Vector
from vpmsearch.store.postgres.features import Layout
from vpmsearch.store.postgres.reading import RECORD, Reading, record_of
from vpmsearch.store.postgres.schema import lists_for
from vpmsearch.store.postgres.statements import Conditions, conditions
from vpmsearch.store.postgres.store import ServerStore
from vpmsearch.store.postgres.streaming import FeaturesMissingError, StreamedImages
from vpmsearch.store.postgres.verify import STRANGERS
from vpmsearch.store.postgres.view import ServerView
from vpmsearch.types import Int64, Match, RegionFeatures, SearchFilter, SearchResult

EF_LEAST, EF_MOST = 50, 1000
"""hnsw.ef_search: at least what good lists need, at most what pgvector allows. Iterative scans go deeper from there."""
PROBES_LEAST, PROBED = 32, 32
"""ivfflat searches at least the first number of lists, and at least one of every second number of them."""
PROBED_AMONG_EQUAL = 2
"""The same for lists that were built because many embeddings are equal."""
BOUND_AT_MOST = 2048
"""Images that are bounded one by one at most, as each crosses the network."""

_ATTEMPTS = 3
Read = TypeVar("Read")


class FeaturesOfNoImageError(StoreDamagedError):
    """There are features of an image that does not exist. On shards no foreign key prevents this."""


class ServerSearch(Searcher):
    """Answers queries from what is committed when they arrive.

    A result is `complete` if it comes from a scan, or from lists that no index of embeddings made approximate.

    Args:
        store: an open index on a server.
    """

    store: ServerStore

    def __init__(self, store: ServerStore) -> None:
        self.store = store
        self._view = store.snapshot

    @property
    def snapshot(self) -> ServerView:
        """What is searched."""
        return self._view

    def refresh(self) -> bool:
        """Look for new commits; True if there were any. Searches see them even without this."""
        self.store.refresh()
        before, self._view = self._view, self.store.snapshot
        return before.state != self._view.state

    def _results(
        self, query: RegionFeatures, k: int, exact: bool, filter: SearchFilter | None, candidates: int, regions: Regions
    ) -> list[SearchResult]:
        queries = counted_queries(self._view.model_info, self.store.path, query, k, regions)
        wanted, scope = filter or SearchFilter(), Scope(k, None, max(candidates, k))
        if exact and len(queries) >= SCAN_BATCH:
            return self._moment(lambda reading: self._compared(reading, queries, k, wanted))
        return [self._answer(queries[row : row + 1], scope, wanted, exact) for row in range(len(queries))]

    def _moment(self, work: Callable[[Reading], Read]) -> Read:
        """Run one transaction; again if a commit came between the moments that coordinator and shards show."""
        left = _ATTEMPTS
        while True:
            try:
                return self._view.read(work)
            except (FeaturesMissingError, FeaturesOfNoImageError):
                left -= 1
                if not left:
                    raise
                time.sleep(0.05)

    def _answer(self, query: RegionFeatures, scope: Scope, wanted: SearchFilter, exact: bool) -> SearchResult:
        def answer(reading: Reading) -> SearchResult:
            asked = _Query(self._view, reading, query, wanted)
            return asked.scanned(scope.k, exact=True) if exact else asked.answered(scope)

        return self._moment(answer)

    def _compared(self, reading: Reading, queries: RegionFeatures, k: int, wanted: SearchFilter) -> list[SearchResult]:
        """Compare every image with many queries, in this process."""
        start = time.perf_counter()
        images = StreamedImages(reading, wanted)
        found = distances_of(images, self.store, keep=False).scan(queries, k)
        each_ms = 1e3 * (time.perf_counter() - start) / len(queries)
        results = []
        for row, (rows, distances) in enumerate(found):
            asked = _Query(self._view, reading, queries[row : row + 1], wanted)
            results.append(asked.compared((images.image_ids[rows], distances), len(images), Timer({"scan": each_ms})))
        return results


class _Query:
    """One query in one transaction. It is the `Lists` that `deepen` takes; its rows are image ids."""

    def __init__(self, view: ServerView, reading: Reading, query: RegionFeatures, wanted: SearchFilter) -> None:
        self._view, self._reading, self._query, self._wanted = view, reading, query, wanted
        self._layout: Layout = reading.layout
        self._only: Conditions = conditions(wanted)
        self._shown: list[int] = np.flatnonzero(query.visibility[0] > 0).tolist()
        self._values: dict[str, Any] = {f"w{r}": float(query.visibility[0, r]) for r in self._shown}
        self._values |= {f"q{r}": Vector.of(query.embeddings[0, r]) for r in self._shown}
        self._compared: Found = NOTHING  # every image that the last lists name: ids, ascending, and distances

    @property
    def first(self) -> int:
        """An index of embeddings is asked for few neighbours: its time grows with their number. A scan's does not."""
        return depths.FIRST_DEPTH if self._layout.built else depths.LIST_DEPTH

    def answered(self, scope: Scope) -> SearchResult:
        """Search the lists as deep as needed. Compare every image if there are few, if the query is beyond the index's
        numbers, or if the lists missed too much.
        """
        few = max(SCAN_BELOW, scope.k)
        if not self._view.exceeds(self._reading, self._wanted, few) or not self._fits_index():
            return self.scanned(scope.k)
        answer: Answer = deepen(self, self._query, scope)[0]
        if answer.short or (len(answer.best[0]) < scope.k and not answer.proved):
            return self.scanned(scope.k, before=answer)
        result = SearchResult((), len(answer.compared), False, {}, answer.depth, answer.proved, answer.closed)
        return self._with_matches(result, answer.best, answer.timer)

    def _fits_index(self) -> bool:
        """Whether the index of embeddings takes the query: one of float16 refuses numbers beyond its range."""
        if not self._layout.built or self._layout.indexed == "vector":
            return True
        return bool((np.abs(self._query.embeddings[0, self._shown]) <= np.finfo(np.float16).max).all())

    def scanned(self, k: int, exact: bool = False, before: Answer | None = None) -> SearchResult:
        """Compare every image."""
        timer = before.timer if before is not None else Timer()
        with timer.stage("scan"):
            images = self._reading.count(self._wanted)
            best = self._nearest(k, self._only)
        depth = before.depth if before is not None else 0
        result = SearchResult((), images, exact, {}, depth, complete=True, bound_closed=True)
        return self._with_matches(result, best, timer)

    def compared(self, best: Found, images: int, timer: Timer) -> SearchResult:
        """The result of a comparison with every image that was made elsewhere."""
        result = SearchResult((), images, True, {}, 0, complete=True, bound_closed=True)
        return self._with_matches(result, best, timer)

    def lists(self, queries: RegionFeatures, count: int) -> list[dict[int, RegionList]]:
        """The nearest images in each region that the query shows.

        An index of embeddings may end a list early. pgvector stops after `hnsw.max_scan_tuples` entries, including
        those of removed images and of images that do not pass the filter.
        """
        if not self._shown:
            return [{}]
        self._set_depth(count)
        statement = statements.candidates(self._layout, self._shown, count, self._only)
        # A plan for any filter is none for this one. Without a filter all queries have the same plan.
        again = bool(self._layout.built) and not self._only.sql
        rows = np.array(self._reading.rows(statement, self._values | dict(self._only.values), again), np.float64)
        rows = rows.reshape(-1, 4)
        ids, first = np.unique(rows[:, 1].astype(np.int64), return_index=True)
        self._compared = (ids, rows[first, 3].astype(np.float32))
        found, exact = dict[int, RegionList](), not self._layout.built  # without an index the server sorts all images
        for region in self._shown:
            own = rows[rows[:, 0] == region, 1:3]
            own = own[np.lexsort((own[:, 0], own[:, 1]))]  # an iterative scan may return them a little out of order
            ids, distances = own[:, 0].astype(np.int64), own[:, 1].astype(np.float32)
            whole = len(ids) < count and (exact or self._names_all(region, len(ids)))
            found[region] = RegionList(ids, distances, whole, exact)
        return [found]

    def _names_all(self, region: int, listed: int) -> bool:
        """Whether at most `listed` images pass the filter and show a region."""
        statement = statements.listable(region, listed + 1, self._only)
        return bool(self._reading.rows(statement, dict(self._only.values))[0][0] <= listed)

    def _set_depth(self, count: int) -> None:
        """Set the parameters by which the server's index names `count` images; by default it would name only 40."""
        if self._layout.built == "hnsw":
            settings = {"hnsw.ef_search": min(max(count, EF_LEAST), EF_MOST), "hnsw.iterative_scan": "relaxed_order"}
        elif self._layout.built == "ivfflat":
            lists = lists_for(self._view.about(self._reading))
            # Lists replace a graph where many vectors are equal. A list that is not searched leaves out many at once.
            share = PROBED if self._view.stored_model.index_type == "ivf-flat" else PROBED_AMONG_EQUAL
            settings = {"ivfflat.probes": max(PROBES_LEAST, lists // share), "ivfflat.iterative_scan": "relaxed_order"}
        else:
            return
        chosen = ", ".join(f"set_config('{name}', '{value}', true)" for name, value in settings.items())
        self._reading.rows(f"SELECT {chosen}")

    def nearest(self, query: RegionFeatures, rows: Int64, k: int, known: Found) -> Found:
        """The nearest of some images by Eq. 4, computed in the server; those that the lists name are known already."""
        places = np.searchsorted(self._compared[0], rows)
        listed = np.isin(rows, self._compared[0], assume_unique=True)
        ids, distances = self._compared[0][places[listed]], self._compared[1][places[listed]]
        others = self._nearest(k, Conditions(), rows[~listed]) if not listed.all() else NOTHING
        ids, distances = np.concatenate([known[0], ids, others[0]]), np.concatenate([known[1], distances, others[1]])
        best = np.lexsort((ids, distances))[:k]
        return ids[best], distances[best]

    def _nearest(self, k: int, only: Conditions, among: Int64 | None = None) -> Found:
        if not self._shown:
            return NOTHING
        statement = statements.nearest(self._layout, self._shown, k, only, among=among is not None)
        values = self._values | dict(only.values) | ({} if among is None else {"ids": among.tolist()})
        found = self._reading.rows(statement, values)
        return (
            np.fromiter((row[0] for row in found), np.int64, len(found)),
            np.fromiter((row[1] for row in found), np.float32, len(found)),
        )

    def within(self, query: RegionFeatures, tau: Float64, limit: float) -> Int64 | None:
        """Images that may be in no list and as near as the limit, found by their cells of visibility."""
        cells = self._view.cells(self._reading)
        if cells is None:
            return None
        weights = query.visibility[0]
        reached = np.flatnonzero(boxes_within(cells.low, cells.high, weights, tau, limit))
        if len(reached) == 0:
            return np.zeros(0, np.int64)
        # As bytes (b): psycopg spends milliseconds on thousands of cells as text.
        values = dict(self._only.values) | {"cells": [cells.found[i] for i in reached.tolist()]}
        where = self._only.where("i.cell = ANY(%(cells)b)")
        rows = self._reading.rows(f"SELECT i.id, i.visibility FROM image i{where} LIMIT {BOUND_AT_MOST + 1}", values)
        if len(rows) > BOUND_AT_MOST:
            return None
        visibility = np.array([row[1] for row in rows], np.float32).reshape(len(rows), query.num_regions)
        counted = np.where(self._view.model_info.visible(visibility), visibility, np.float32(0))
        ids = np.fromiter((row[0] for row in rows), np.int64, len(rows))
        return np.sort(ids[images_within(counted, weights, tau, limit)])

    def _with_matches(self, result: SearchResult, best: Found, timer: Timer) -> SearchResult:
        with timer.stage("explain"):
            matches = self._explained(best)
            empty = None if matches else why_empty(self._reading, self._query, self._wanted)
        return replace(result, matches=matches, timings_ms=timer.stages, empty=empty)

    def _explained(self, best: Found) -> tuple[Match, ...]:
        ids, distances = best
        if len(ids) == 0:
            return ()
        place = {image_id: row for row, image_id in enumerate(ids.tolist())}
        p = self._query.num_regions
        by_region, weights = np.zeros((len(ids), p), np.float32), np.zeros((len(ids), p))
        statement = statements.details(self._layout, self._shown, RECORD)
        records = {}
        for found in self._reading.rows(statement, self._values | {"ids": list(place)}, again=True):
            split = 2 * len(self._shown)
            shown = [region for at, region in enumerate(self._shown) if found[2 * at] is not None]
            visibilities, apart = ([each for each in found[at:split:2] if each is not None] for at in (0, 1))
            image_id, *record = found[split:]
            row = place[image_id]
            by_region[row, shown] = apart
            weights[row, shown] = np.array(visibilities) * [self._values[f"w{region}"] for region in shown]
            records[image_id] = record_of(record)
        if strangers := place.keys() - records.keys():
            where = self._reading.server.place
            text = f"{where} has features of image {min(strangers)} and not the image; {STRANGERS}"
            raise FeaturesOfNoImageError(text)
        names = region_names(self._view.model_info.num_regions)
        return tuple(explained(ids, [records[image_id] for image_id in place], distances, by_region, weights, names))
