"""Locks that end with the work, also behind PgBouncer, and options that a pooler does not take."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from galleries import INFO, fill, make_features, make_records
from pgbouncer import PROGRAM, Pooler, pooler
from postgres_server import PostgresServer

from vpmsearch.errors import StoreError
from vpmsearch.search.open import searcher
from vpmsearch.store.open import create_index, open_index
from vpmsearch.store.place import Place
from vpmsearch.store.postgres import held, indexes, schema

pytest.importorskip("psycopg", reason="needs pip install 'vpmsearch[postgres]'")
from vpmsearch.store.postgres.connection import Server, _options
from vpmsearch.store.postgres.problems import ConnectionLostError

pytestmark = pytest.mark.postgres
needs_pgbouncer = pytest.mark.skipif(PROGRAM is None, reason="no pgbouncer")
ADVISORY = "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database WHERE locktype = 'advisory'"


def until(condition: Callable[[], object]) -> None:
    """Wait for what takes a while; a minute at most."""
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "it never came to that"
        time.sleep(0.02)


@pytest.fixture
def pooled(pooled_server: Pooler) -> Pooler:
    return pooled_server


def locks(server: PostgresServer, database: str) -> int:
    return server.execute(f"{ADVISORY} AND d.datname = '{database}'")[0][0]


def test_writers_follow_one_another_through_a_pooler(pooled: Pooler, monkeypatch: pytest.MonkeyPatch):
    """At 501de1b the first kept its lock when it had left, and the second waited for ever."""
    monkeypatch.setattr(indexes, "BUILD_FROM", 10)
    database = pooled.new_database()
    features = make_features(40)
    done = threading.Event()

    def work() -> None:
        with create_index(pooled.uri(database), INFO) as store:
            for first in range(0, 40, 10):
                fill(store, features[first : first + 10], make_records(10, first))
                assert searcher(store).search(features[:1], 3)[0].matches
            with store.writer() as one, open_index(pooled.uri(database)) as other_store, other_store.writer() as other:
                other.remove(store.find()[:1])
                other.commit()
                assert one.remove(store.find()[:1]) == 1
                one.commit()
            assert len(store.live_files()) == 38
            assert store.verify().ok
        done.set()

    threading.Thread(target=work, daemon=True).start()
    assert done.wait(120)
    assert locks(pooled.server, database) == 0
    built = pooled.server.execute("SELECT built FROM model", database=database)
    assert built == [("hnsw",)], "the last to leave builds"


KILLED = """
import sys, time
sys.path[:0] = {path!r}
from galleries import INFO, make_features, make_records
from vpmsearch.store.open import open_index
with open_index(sys.argv[1]) as store, store.writer() as writer:
    writer.add(make_records(5, 100), make_features(5))
    print("open", flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize("kind", ["direct", "pooled"])
def test_a_lock_does_not_outlive_its_writer(pooled: Pooler, kind: str):
    database = pooled.new_database()
    uri = pooled.uri(database) if kind == "pooled" else pooled.server.uri(database=database)
    with create_index(uri, INFO) as store:
        fill(store, make_features(5))
        code = KILLED.format(path=[os.path.dirname(__file__)])  # noqa: PTH120
        writing = subprocess.Popen([sys.executable, "-c", code, uri], stdout=subprocess.PIPE, text=True)
        try:
            assert writing.stdout is not None
            assert writing.stdout.readline() == "open\n"
            assert locks(pooled.server, database) == 2  # shared with all writers, and its own
        finally:
            writing.send_signal(signal.SIGKILL)
            writing.communicate()
        until(lambda: locks(pooled.server, database) == 0)
        fill(store, make_features(5), make_records(5, 50))
        assert len(store.live_files()) == 10


@pytest.fixture
def two(server_place: Place) -> Iterator[tuple[Server, Server]]:
    """Two clients of a server."""
    first, second = Server(server_place), Server(server_place)
    yield first, second
    first.close()
    second.close()


def test_who_waits_says_for_whom(two: tuple[Server, Server], monkeypatch: pytest.MonkeyPatch, caplog):
    monkeypatch.setattr(held, "TELL_SECONDS", 0.1)
    monkeypatch.setattr(held, "AGAIN_SECONDS", 0.2)
    entered = threading.Event()

    def second() -> None:
        with two[1].held(4711):
            entered.set()

    waiting = threading.Thread(target=second)
    with caplog.at_level(logging.WARNING):
        with two[0].held(4711) as alone:
            assert alone.is_last()
            waiting.start()
            until(lambda: len(caplog.records) >= 2)
            assert not entered.is_set()
        waiting.join(60)
    assert entered.is_set()
    text = caplog.records[0].getMessage()
    assert "somebody who has the index to itself, as to build indexes" in text
    assert f"vpmsearch process {os.getpid()} on " in text
    assert "user postgres" in text
    assert "pg_terminate_backend(" in text


def test_whoever_creates_an_index_says_so_too(server_place: Place, two, monkeypatch: pytest.MonkeyPatch, caplog):
    monkeypatch.setattr(held, "TELL_SECONDS", 0.1)
    with two[0].write() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [schema.CREATING])
        making = threading.Thread(target=lambda: create_index(server_place, INFO).close())
        with caplog.at_level(logging.WARNING):
            making.start()
            until(lambda: "makes or upgrades an index" in caplog.text)
    making.join(60)
    with open_index(server_place) as store:
        assert len(store.snapshot) == 0


def test_of_two_that_leave_at_once_one_is_the_last(two: tuple[Server, Server]):
    with two[0].held(5) as first, two[1].held(5) as second:
        assert not first.is_last()
        assert second.is_last(), "the first has let go of it, though it has not left"
    with two[0].held(5) as again:
        assert again.is_last()


def test_the_lock_keeps_no_vacuum_from_its_work(two: tuple[Server, Server], postgres_server: PostgresServer):
    with two[0].held(6):
        rows = postgres_server.execute(
            "SELECT state, backend_xmin, backend_xid FROM pg_stat_activity WHERE application_name LIKE 'vpmsearch %'"
        )
    assert rows == [("idle in transaction", None, None)]


def test_a_server_with_a_limit_for_idle_transactions_leaves_the_lock_alone(server_place: Place, postgres_server):
    options = f"{server_place.text}%20-cidle_in_transaction_session_timeout%3D400"
    server = Server(Place(options))
    with server.held(7) as kept:
        time.sleep(1)
        with kept.write() as cursor:
            cursor.execute("SELECT 1")
    server.close()


def test_a_writer_that_has_lost_its_lock_commits_nothing(server_place: Place, postgres_server: PostgresServer):
    """As after a failover that a pooler hides: the connection answers, but by another server."""
    with create_index(server_place, INFO) as store:
        with store.writer() as writer:
            writer.add(make_records(3), make_features(3))
            postgres_server.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'vpmsearch %'"
            )
            until(lambda: not postgres_server.execute("SELECT 1 FROM pg_locks WHERE locktype = 'advisory'"))
            for _ in range(2):
                with pytest.raises(ConnectionLostError, match="or the lock that it held"):
                    writer.commit()
        assert len(store.live_files()) == 0
        fill(store, make_features(3))
        assert len(store.live_files()) == 3


# options ------------------------------------------------------------------------------------------------------------


def test_an_option_that_the_pooler_refuses_is_told_as_such(pooled: Pooler):
    uri = pooled.uri(pooled.new_database(), "-csearch_path=mine,public")
    begun = time.monotonic()
    with pytest.raises(StoreError, match=r"refuses an option of the URI .*options.*ALTER ROLE"):
        open_index(uri)
    assert time.monotonic() - begun < 20, "it would be refused again, however long one waits"


@needs_pgbouncer
def test_an_option_that_the_pooler_drops_is_missed(postgres_server: PostgresServer):
    """The index would be made in another schema than the one asked for."""
    with pooler(postgres_server, ignore_startup_parameters="options") as made:
        database = made.new_database()
        for work in (lambda uri: create_index(uri, INFO), open_index):
            with pytest.raises(StoreError, match="drops the option -csearch_path of the URI"):
                work(made.uri(database, "-csearch_path=mine,public"))
        postgres_server.execute(f"ALTER DATABASE {database} SET search_path = mine, public")
        postgres_server.execute("CREATE SCHEMA mine", database=database)
        create_index(made.uri(database), INFO).close()
        where = "SELECT schemaname FROM pg_tables WHERE tablename = 'image'"
        assert postgres_server.execute(where, database=database) == [("mine",)]


@needs_pgbouncer
@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"pool_mode": "statement"}, "it needs pool_mode = transaction"),
        ({"default_pool_size": 1, "query_wait_timeout": 1}, "a writer needs two"),
    ],
)
def test_what_a_pooler_cannot_do_is_told(postgres_server: PostgresServer, settings: dict[str, object], text: str):
    with pooler(postgres_server, **settings) as made:
        database = made.new_database()
        create_index(postgres_server.uri(database=database), INFO).close()
        with pytest.raises(StoreError, match=text), open_index(made.uri(database)) as store:
            fill(store, make_features(2))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", {}),
        ("-csearch_path=mine,public", {"search_path": "mine,public"}),
        ("-c search_path=mine -cjit=off", {"search_path": "mine", "jit": "off"}),
        ("--work-mem=4MB  -c maintenance_work_mem=2GB", {"work_mem": "4MB", "maintenance_work_mem": "2GB"}),
        (r"-c search_path=my\ schema,a\\b", {"search_path": r"my schema,a\b"}),
        ("-c jit=off -c jit=on", {"jit": "on"}),
        (("-cjit=off", "-cwork_mem=1MB"), {"jit": "off", "work_mem": "1MB"}),
        ("-d 5", {}),
    ],
)
def test_settings_among_the_options(text: str, found: dict[str, str]):
    assert _options(text) == found


def test_options_in_another_form_than_the_server_tells_them_are_there(server_place: Place):
    uri = f"{server_place.text}%20-cmaintenance_work_mem%3D65536kB%20-cjit%3D0"
    with create_index(uri, INFO) as store:
        assert len(store.snapshot) == 0
