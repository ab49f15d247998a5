"""A default search never gives fewer than k while k exist, and is called complete only where that is proved.

The same for every store and every type of index, with filters that let few or many pass, with removals before and after
the server's VACUUM. What is right is counted by a plain loop in float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pytest
from oracles import visibility_weighted_distance
from postgres_server import PostgresServer

from vpmsearch.search.open import searcher
from vpmsearch.search.searcher import Searcher
from vpmsearch.store import Gallery
from vpmsearch.store.open import create_index
from vpmsearch.store.place import Place
from vpmsearch.types import ImageRecord, ModelInfo, RegionFeatures, SearchFilter

TYPES = [
    *[("folder", kind) for kind in ("flat", "hnsw", "ivf-flat", "ivf-sq8", "ivf-pq", "ivf-pqfs")],
    *[pytest.param("server", kind, marks=pytest.mark.postgres) for kind in ("flat", "hnsw", "ivf-flat")],
]
SHARES = (0.0001, 0.001, 0.01, 0.1, 0.5, 1.0)
"""Of the images, those that a filter lets pass: camera i holds the share number i that are farthest from the query."""
K, P, D = 10, 2, 8
LIMITS = {"hnsw.max_scan_tuples": 100, "ivfflat.max_probes": 2, "enable_seqscan": "off", "enable_sort": "off"}
"""A server whose indexes give up early, and whose planner takes them for few images too."""


@dataclass(frozen=True)
class Ring:
    """Images around a query, in order of their distance: image i is the i-th nearest in both regions.

    An index of embeddings comes last to the images that a filter for the last of them leaves.
    """

    features: RegionFeatures
    query: RegionFeatures

    @classmethod
    def of(cls, n: int) -> Ring:
        rng = np.random.default_rng(0)
        directions = rng.normal(size=(n, P, D))
        directions /= np.linalg.norm(directions, axis=2, keepdims=True)
        visibility = rng.dirichlet(np.full(P, 30.0), n).astype(np.float32)
        embeddings = (directions * np.linspace(1, 3, n)[:, None, None]).astype(np.float32)
        query = RegionFeatures(np.full((1, P), 1 / P, np.float32), np.zeros((1, P, D), np.float32))
        return cls(RegionFeatures(visibility, embeddings), query)

    def camids(self) -> np.ndarray:
        """Camera i: the farthest `SHARES[i]` of the images that no smaller share has."""
        n = len(self.features)
        camids = np.full(n, len(SHARES) - 1)
        for number in reversed(range(len(SHARES))):
            camids[n - max(1, round(n * SHARES[number])) :] = number
        return camids


@contextmanager
def filled(place: Place, kind: str, ring: Ring, step: int = 5000) -> Iterator[tuple[Gallery, np.ndarray]]:
    """An index of the ring's images; and their ids."""
    camids, ids = ring.camids(), list[int]()
    with create_index(place, ModelInfo((P, 1), D, "w", min_visibility=0), index_type=kind) as store:
        with store.writer() as writer:
            for first in range(0, len(camids), step):
                rows = range(first, min(first + step, len(camids)))
                records = [ImageRecord(f"/g/{row}.jpg", camid=int(camids[row])) for row in rows]
                ids += writer.add(records, ring.features[rows.start : rows.stop])
                writer.commit()
        yield store, np.array(ids)


def check(engine: Searcher, ring: Ring, ids: np.ndarray, there: np.ndarray) -> None:
    """Search with every filter; `there`: (n,), which images have not been removed."""
    true = visibility_weighted_distance(
        ring.query.embeddings, ring.query.visibility, ring.features.embeddings, ring.features.visibility
    )[0]
    camids = ring.camids()
    for number in range(-1, len(SHARES)):
        wanted = SearchFilter() if number < 0 else SearchFilter(camids=tuple(range(number + 1)))
        passing = there & ((number < 0) | (camids <= number))
        order = sorted(zip(true[passing].tolist(), ids[passing].tolist(), strict=True))
        expected = order[:K]
        # In a large ring hundreds of images lie within a thousandth, which no approximate list tells apart.
        near = order[: K + len(passing) // 500][-1][0]
        for exact in (True, False):
            result = engine.search(ring.query, K, exact, filter=wanted)[0]
            found = [match.image_id for match in result.matches]
            case = f"exact {exact}, {passing.sum()} of {len(passing)} images pass: {len(found)} found"
            assert len(found) == len(expected), case
            assert set(found) <= set(ids[passing].tolist()), case
            if result.complete:
                assert [m.distance for m in result.matches] == pytest.approx([d for d, _ in expected], rel=1e-5), case
            assert result.complete or not exact
            missed = sum(match.distance > near * (1 + 1e-5) for match in result.matches)
            assert missed <= K // 2, case


def go_through(place: Place, kind: str, ring: Ring, vacuum: Callable[[], object]) -> None:
    """All of it, with all images, then without the nearest two thirds."""
    with filled(place, kind, ring) as (store, ids):
        there = np.ones(len(ids), np.bool_)
        check(searcher(store), ring, ids, there)
        there[: 2 * len(ids) // 3] = False
        with store.writer() as writer:
            assert writer.remove(ids[~there].tolist()) == (~there).sum()
            writer.commit()
        check(searcher(store), ring, ids, there)
        vacuum()
        check(searcher(store), ring, ids, there)


@pytest.fixture
def where(request: pytest.FixtureRequest, tmp_path) -> Callable[[str], tuple[Place, Callable[[], object]]]:
    """A place of a kind; and what takes removed images out of its indexes."""

    def make(engine: str) -> tuple[Place, Callable[[], object]]:
        if engine == "folder":
            return Place(str(tmp_path / "index")), lambda: None
        server: PostgresServer = request.getfixturevalue("postgres_server")
        place: Place = request.getfixturevalue("new_place")()
        schema = place.text.partition("search_path%3D")[2].partition("%2C")[0]
        tables = f"{schema}.image, {schema}.image_feature"
        return place, lambda: server.execute(f"VACUUM {tables}")

    return make


QUICK = [
    ("folder", "hnsw"),
    pytest.param("server", "hnsw", marks=pytest.mark.postgres),
    pytest.param("server", "ivf-flat", marks=pytest.mark.postgres),
]


@pytest.mark.parametrize(("engine", "kind"), QUICK)
def test_no_list_is_taken_for_whole_that_ended_early(where, monkeypatch, engine, kind):
    """A small gallery, and a server whose indexes give up after 100 entries rather than 20,000."""
    monkeypatch.setattr("vpmsearch.search.engine.SCAN_BELOW", 5)
    monkeypatch.setattr("vpmsearch.search.server.SCAN_BELOW", 5)
    monkeypatch.setattr("vpmsearch.search.candidates.LIST_DEPTH", 50)
    place, vacuum = where(engine)
    if engine == "server":
        limits = "options=" + "".join(f"-c{name}%3D{value}%20" for name, value in LIMITS.items())
        place = Place(place.text.replace("options=", limits))
    go_through(place, kind, Ring.of(600), vacuum)


@pytest.mark.slow
@pytest.mark.parametrize(("engine", "kind"), TYPES)
def test_no_list_is_taken_for_whole_that_ended_early_in_a_large_gallery(where, engine, kind):
    place, vacuum = where(engine)
    go_through(place, kind, Ring.of(45_000), vacuum)


def test_the_shares_are_what_they_say():
    camids = Ring.of(45_000).camids()
    assert [int((camids <= number).sum()) for number in range(len(SHARES))] == [4, 45, 450, 4500, 22_500, 45_000]
    assert math.isclose(SHARES[-1], 1)
