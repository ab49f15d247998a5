"""Many equal images, blank frames or copies: an index finds the others all the same, in a folder and on a server."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from vpmsearch.evaluation.searching import recall, share_of_equals
from vpmsearch.search.open import searcher
from vpmsearch.store import Gallery
from vpmsearch.store.intake import MANY_EQUAL, are_many
from vpmsearch.store.open import create_index
from vpmsearch.store.place import Place
from vpmsearch.types import ImageRecord, ModelInfo, RegionFeatures

P, D = 2, 16
PLACES = ["folder", pytest.param("server", marks=pytest.mark.postgres)]


def people(n: int, identities: int, seed: int = 0) -> RegionFeatures:
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(identities, P, D))
    embeddings = centres[rng.integers(0, identities, n)] + 0.5 * rng.normal(size=(n, P, D))
    return RegionFeatures(rng.dirichlet(np.full(P, 12.0), n).astype(np.float32), embeddings.astype(np.float32))


def with_copies(features: RegionFeatures, share: float) -> RegionFeatures:
    """The features, a share of them those of one blank frame, which is near the middle of all."""
    blank = np.random.default_rng(5).random(len(features)) < share
    embeddings = np.where(blank[:, None, None], np.float32(0.1), features.embeddings)
    return RegionFeatures(np.where(blank[:, None], np.float32(1 / P), features.visibility), embeddings)


def fill(store: Gallery, features: RegionFeatures, first: int = 0, step: int = 5000) -> None:
    with store.writer() as writer:
        for start in range(0, len(features), step):
            part = features[start : start + step]
            writer.add([ImageRecord(f"/g/{first + start + i}.jpg") for i in range(len(part))], part)
            writer.commit()


def types(store: Gallery) -> set[str]:
    return {kind for kinds in store.stats().region_index_types for kind in kinds}


def found(store: Gallery, queries: RegionFeatures) -> float:
    engine = searcher(store)
    return recall(engine.search(queries, 10), engine.search(queries, 10, exact=True))


@pytest.fixture
def where(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """A folder, or a server whose planner takes an index for few images too."""
    if request.param == "folder":
        return Place(str(tmp_path / "index"))
    place: Place = request.getfixturevalue("new_place")()
    return Place(place.text.replace("options=", "options=-cenable_seqscan%3Doff%20-cenable_sort%3Doff%20"))


@pytest.mark.parametrize("where", PLACES, indirect=True)
def test_a_graph_is_avoided_where_many_images_are_equal(where, monkeypatch):
    monkeypatch.setattr("vpmsearch.search.engine.SCAN_BELOW", 0)
    monkeypatch.setattr("vpmsearch.search.server.SCAN_BELOW", 0)
    with create_index(where, ModelInfo((P, 1), D, "w", min_visibility=0), index_type="hnsw") as store:
        fill(store, with_copies(people(2500, 60), 0.5))
        assert types(store) == {"ivf-flat"}
        assert found(store, people(20, 60, seed=1)) >= 0.99
        assert share_of_equals(store.snapshot) == pytest.approx(0.5, abs=0.05)


@pytest.mark.postgres
@pytest.mark.parametrize("where", PLACES[1:], indirect=True)
def test_a_graph_goes_when_equal_images_come(where, monkeypatch, caplog):
    monkeypatch.setattr("vpmsearch.search.server.SCAN_BELOW", 0)
    queries = people(10, 30, seed=1)
    with create_index(where, ModelInfo((P, 1), D, "w", min_visibility=0), index_type="hnsw") as store:
        fill(store, people(800, 30))
        assert types(store) == {"hnsw"}
        with caplog.at_level(logging.WARNING):
            fill(store, with_copies(people(700, 30, seed=2), 0.7), first=800)
        assert types(store) == {"ivf-flat"}
        assert "embeddings are equal" in caplog.text
        assert found(store, queries) >= 0.99
        fill(store, people(20, 30, seed=3), first=1500)
        assert types(store) == {"ivf-flat"}  # once gone it does not come back
        assert store.verify().ok


@pytest.mark.slow
@pytest.mark.parametrize("where", ["folder", pytest.param("server", marks=pytest.mark.postgres)], indirect=True)
@pytest.mark.parametrize("kind", ["hnsw", "auto"])
def test_half_of_a_large_gallery_is_equal(where, kind):
    with create_index(where, ModelInfo((P, 1), D, "w", min_visibility=0), index_type=kind) as store:
        fill(store, with_copies(people(45_000, 1000), 0.5))
        assert "hnsw" not in types(store)
        assert found(store, people(100, 1000, seed=1)) >= 0.99


def test_how_many_are_many():
    assert not are_many(MANY_EQUAL, 1000, 1000)
    assert are_many(MANY_EQUAL + 1, 1000, 1000)
    assert are_many(3, 1000, 10**6)
    assert not are_many(2, 1000, 10**6)  # two of a sample may be chance
    assert not are_many(0, 0, 0)
