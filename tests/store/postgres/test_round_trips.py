"""How a search asks a server: few statements, short lists first, parameters as bytes, plans that the server keeps."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from galleries import INFO, fill, make_features, make_records
from pgbouncer import PROGRAM, Pooler
from postgres_server import PostgresServer
from test_server import people

from vpmsearch.search.open import searcher
from vpmsearch.store.open import create_index, open_index
from vpmsearch.store.postgres.encoding import Vector
from vpmsearch.store.postgres.reading import Reading
from vpmsearch.store.postgres.store import ServerStore
from vpmsearch.store.values import StoredModel
from vpmsearch.types import ModelInfo, SearchFilter

pytest.importorskip("psycopg", reason="needs pip install 'vpmsearch[postgres]'")
pytestmark = pytest.mark.postgres
PREPARED = "SELECT count(*) FROM pg_prepared_statements"


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The statements of all readings from here on."""
    told: list[str] = []
    rows = Reading.rows

    def telling(self: Reading, statement: str, *args: Any, **options: Any) -> list[tuple[Any, ...]]:
        told.append(statement)
        return rows(self, statement, *args, **options)

    monkeypatch.setattr(Reading, "rows", telling)
    return told


def test_two_statements_search_lists_compare_and_explain(server_place, monkeypatch, statements):
    monkeypatch.setattr("vpmsearch.search.server.SCAN_BELOW", 0)
    monkeypatch.setattr("vpmsearch.search.candidates.FIRST_DEPTH", 100)
    with create_index(server_place, ModelInfo((6, 1), 16, "w"), index_type="hnsw") as store:
        fill(store, people(400, 16), make_records(400))
        engine = searcher(store)
        queries = people(8, 16, seed=1)
        exact = engine.search(queries, 2, True)
        engine.search(people(1, 16, seed=2), 2)  # the first one also asks for what stays: count and cells
        shallow = 0
        for row, right in enumerate(exact):
            statements.clear()
            found = engine.search(queries[row : row + 1], 2)[0]
            assert [m.image_id for m in found.matches] == [m.image_id for m in right.matches]
            assert [m.distance for m in found.matches] == [m.distance for m in right.matches]
            about_features = [text for text in statements if "image_feature" in text]
            assert "LIMIT 100)" in about_features[0]
            if found.depth == 100 and len(statements) == 4:  # the other two: the index's version, the server's depth
                assert len(about_features) == 2
                shallow += 1
        assert shallow, "most queries need no more than the first lists"


def test_a_filter_is_counted_each_time_and_no_filter_once_for_each_version(server_place, statements):
    with create_index(server_place, INFO) as store:
        fill(store, make_features(20), make_records(20))
        engine, query = searcher(store), make_features(1, seed=1)

        def counts(wanted: SearchFilter | None) -> int:
            statements.clear()
            assert engine.search(query, 3, filter=wanted)[0].matches
            return sum("AS counted" in text and "LIMIT" in text for text in statements)

        assert [counts(None), counts(None), counts(SearchFilter(path_prefix="/g"))] == [1, 0, 1]
        fill(store, make_features(2000, seed=2), make_records(2000, first=100))
        assert [counts(None), counts(None)] == [1, 0]
        assert searcher(store).search(query, 3)[0].depth, "it is known that there are many images now"


def test_vectors_reach_the_server_bit_by_bit(server_store: ServerStore):
    numbers = np.array([0.1, -1 / 3, 1e-38, 6e-45, 3.4e38, -0.0, 16777217], np.float32)
    found = server_store.server.read(
        lambda cursor: cursor.execute("SELECT %(q)s::vector::real[]", {"q": Vector.of(numbers)}).fetchone()
    )
    assert np.array(found[0], np.float32).tobytes() == numbers.tobytes()


def test_the_server_keeps_plans_of_searches(server_place, monkeypatch):
    monkeypatch.setattr("vpmsearch.search.server.SCAN_BELOW", 0)
    with create_index(server_place, INFO, index_type="hnsw") as store:
        fill(store, make_features(60), make_records(60))
        engine, queries = searcher(store), make_features(12, seed=1)
        for row in range(12):  # from the sixth execution on the server may take a plan for any value
            found, right = (engine.search(queries[row : row + 1], 60, exact)[0] for exact in (False, True))
            assert [(m.image_id, m.distance) for m in found.matches] == [
                (m.image_id, m.distance) for m in right.matches
            ]
        assert store.server.read(lambda cursor: cursor.execute(PREPARED).fetchone())[0] > 0


@pytest.mark.skipif(PROGRAM is None, reason="no pgbouncer")
def test_nothing_is_prepared_or_set_in_a_session_of_a_pooler(pooled_server: Pooler):
    """Its next client would find it there, and this one would not."""
    uri = pooled_server.uri(pooled_server.new_database())
    with create_index(uri, INFO) as store:
        fill(store, make_features(20), make_records(20))
        for _ in range(8):
            assert searcher(store).search(make_features(1, seed=1), 3)[0].matches
        assert store.server.read(lambda cursor: cursor.execute(PREPARED).fetchone())[0] == 0
        with store.server.write() as cursor:
            cursor.execute("SELECT setting = reset_val FROM pg_settings WHERE name IN ('jit', 'TimeZone')")
            assert cursor.fetchall() == [(True,), (True,)]


def test_a_reading_answers_several_threads():
    """One cursor has one result at a time. Until now a thread could get the rows of another one, or none."""

    class Cursor:
        asked: Any = None

        def execute(self, statement: str, values: Any = None, prepare: bool | None = None) -> None:
            self.asked = statement
            time.sleep(0.002)

        def fetchall(self) -> list[tuple[Any, ...]]:
            return [(1, "")] if "FROM model" in self.asked else [(self.asked,)]

    model: Any = StoredModel(INFO, "float32", "auto")
    server: Any = None
    cursor: Any = Cursor()
    reading = Reading(server, cursor, model, "index")
    together = threading.Barrier(4)

    def ask(number: int) -> list[tuple[Any, ...]]:
        together.wait(10)
        return reading.rows(f"SELECT {number}")

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(ask, range(4))) == [[(f"SELECT {number}",)] for number in range(4)]


def test_a_connection_that_the_server_ended_is_replaced(postgres_server: PostgresServer, server_place, monkeypatch):
    """At once where it lay idle; where it was just used, the read is tried again."""
    with create_index(server_place, INFO) as store:
        fill(store, make_features(20), make_records(20))
    end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'to be ended'"
    monkeypatch.setattr("vpmsearch.store.postgres.connection.FIRST_PAUSE", 0.01)
    tries: list[object] = []

    def ask(cursor: Any) -> None:
        tries.append(cursor)
        cursor.execute("SELECT 1")

    for idle, needed in ((0.0, 1), (60.0, 2)):
        monkeypatch.setattr("vpmsearch.store.postgres.connection.IDLE_SECONDS", idle)
        with open_index(str(server_place)) as store:
            store.server.read(
                lambda cursor: cursor.execute("SELECT set_config('application_name', 'to be ended', false)")
            )
            assert postgres_server.execute(end) == [(1,)]
            tries.clear()
            store.server.read(ask)
            assert len(tries) == needed
            assert searcher(store).search(make_features(1, seed=1), 3)[0].matches


@pytest.mark.parametrize("way", ["a transaction", "a writer"])
def test_a_write_never_begins_on_a_connection_that_the_server_ended(
    postgres_server: PostgresServer, server_place, monkeypatch, way: str
):
    """However short ago it was used: what was lost is not written a second time."""
    monkeypatch.setattr("vpmsearch.store.postgres.connection.IDLE_SECONDS", 60.0)
    end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'to be ended'"
    named = "SELECT set_config('application_name', 'to be ended', false)"
    with create_index(server_place, INFO) as store:
        fill(store, make_features(20), make_records(20))
        together = threading.Barrier(3)  # several at once, so that several lie in the pool
        with ThreadPoolExecutor(3) as readers:
            list(readers.map(lambda _: store.server.read(lambda c: (c.execute(named), together.wait(20))), range(3)))
        assert postgres_server.execute(end) == [(3,)]
        if way == "a transaction":
            with store.server.write() as cursor:
                cursor.execute("SELECT 1")
        else:
            with store.writer() as writer:
                writer.add(make_records(1, first=20), make_features(1, seed=2))
                writer.commit()
            assert len(store.snapshot) == 21
