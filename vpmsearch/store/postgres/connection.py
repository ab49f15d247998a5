"""Connections to a PostgreSQL server, and what its errors mean. SQLAlchemy pools them; statements go to psycopg."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import URL, Engine, create_engine, make_url
from sqlalchemy.engine import Connection
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError

from vpmsearch.errors import StoreError, StoreLockedError, StoreVersionError
from vpmsearch.store.place import Place

if TYPE_CHECKING:
    import psycopg

log = logging.getLogger("vpmsearch.store.postgres")

SCHEMES = ("postgresql+psycopg", "postgresql", "postgres")
EXAMPLE = "postgresql+psycopg://user@host/database"
RETRY_SECONDS, FIRST_PAUSE, LONGEST_PAUSE = 30.0, 0.25, 5.0
"""For how long a read is tried again from when its connection was lost, and the pauses between, each twice the last."""
_POOL = 8
# A machine that vanishes is noticed within half a minute or so, not after the hours that TCP takes by itself.
_TIMEOUTS = {
    "connect_timeout": 10,
    "keepalives_idle": 20,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
# libpq's own form of several hosts: scheme://user@, a:5432,b:5433, /database?…
_SEVERAL_HOSTS = re.compile(r"([^/]*://(?:[^/@]*@)?)([^/?@]*,[^/?@]*)(/.*)")
# [v6]:port, v6 alone, or host:port; a host may be the folder of a socket.
_HOST_AND_PORT = re.compile(r"(?:\[(?P<v6>[^]]*)\]|(?P<host>[^:]*|.*:.*:.*?))(?::(?P<port>[^:]*))?")

Answer = TypeVar("Answer")


class Server:
    """Connections to the server of one index. Safe for several threads.

    Raises:
        StoreError: the URI cannot be used, or psycopg is not installed. Whether somebody answers is found out later.
    """

    def __init__(self, place: Place) -> None:
        self.place = place
        try:
            url = _url(place.text)
            if url.drivername not in SCHEMES or not url.database:
                raise ValueError("another scheme, or no database")
            self._engine: Engine = create_engine(
                url.set(drivername=SCHEMES[0]),
                pool_size=_POOL,
                max_overflow=_POOL,
                pool_pre_ping=True,  # a server that was started anew, or failed over, costs a new connection
                # Statements are planned each time: a plan for any query vector or list of ids is none for this one.
                connect_args={name: value for name, value in _TIMEOUTS.items() if name not in url.query}
                | {"prepare_threshold": None},
            )
            self._several = "," in str(self._engine.dialect.create_connect_args(url)[1].get("host", ""))
            self._reached = False
            self._writers, self._counting = 0, threading.Lock()
        except _HostsError as error:
            raise StoreError(f"{place}: {error}") from error
        except (ArgumentError, NoSuchModuleError, ValueError) as error:
            raise StoreError(f"{place} names no index: give a folder, or a database as {EXAMPLE}") from error
        except ImportError as error:
            raise StoreError(f"{place} needs psycopg: pip install 'vpmsearch[postgres]'") from error

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def read(self, work: Callable[[psycopg.Cursor[Any]], Answer]) -> Answer:
        """What `work` finds in one read-only transaction of one moment (REPEATABLE READ); rows come in binary form.

        All of it again, as a new transaction, where the connection is lost or the server starts or is promoted: for
        `RETRY_SECONDS`. A server that never answered is not waited for, unless the URI names others beside it; nor is
        one that is lost while a writer is open.

        Raises:
            ConnectionLostError, ServerBusyError: it came to nothing in that time.
        """
        end, pause = None, FIRST_PAUSE
        while True:
            try:
                with self._transaction() as cursor:
                    return work(cursor)
            except (ConnectionLostError, ServerBusyError) as error:
                now = time.monotonic()
                end = now + RETRY_SECONDS if end is None else end
                if now + pause > end or not (self._reached or self._several or isinstance(error, ServerStartingError)):
                    raise
                if self._writers and isinstance(error, ConnectionLostError):
                    raise
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    @contextmanager
    def _transaction(self) -> Iterator[psycopg.Cursor[Any]]:
        options = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        with (
            translated(self.place),
            self._engine.connect() as connection,
            connection.execution_options(**options).begin(),
            translated(self.place, _driver(connection)),
            _driver(connection).cursor(binary=True) as cursor,
        ):
            # Compiling takes longer than any statement here; a time in another zone may be before the year 1.
            cursor.execute("SELECT set_config('jit', 'off', true), set_config('TimeZone', 'UTC', true)")
            self._reached = True
            yield cursor

    @contextmanager
    def write(self) -> Iterator[psycopg.Cursor[Any]]:
        """One transaction, committed at the end."""
        with self.change() as connection, _driver(connection).cursor() as cursor:
            yield cursor

    @contextmanager
    def change(self) -> Iterator[Connection]:
        """The same, as Alembic needs it."""
        with translated(self.place), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def held(self) -> Iterator[Held]:
        """One connection for a writer. Meanwhile no read is tried again: another server may lack what the writer knows.

        Its locks last until they are given back or the connection ends.
        """
        with translated(self.place), self._engine.connect() as connection:
            driver = _driver(connection.execution_options(isolation_level="AUTOCOMMIT"))
            driver.isolation_level = driver.read_only = None  # what a read before it left there
            driver.add_notice_handler(_tell_of_memory)
            with self._counting:
                self._writers += 1
            try:
                yield Held(self.place, driver)
            finally:
                with self._counting:
                    self._writers -= 1
                connection.invalidate()  # closed, not pooled, and so are its locks


class Held:
    """A connection that no other replaces: once it is lost, all that is done by it fails."""

    def __init__(self, place: Place, connection: psycopg.Connection[Any]) -> None:
        self.place, self._connection = place, connection

    @contextmanager
    def write(self) -> Iterator[psycopg.Cursor[Any]]:
        """One transaction, committed at the end.

        Raises:
            ConnectionLostError: the connection is lost, now or since an earlier transaction.
        """
        if self._connection.closed:
            raise ConnectionLostError(
                f"{self.place} does not answer this writer any more (its connection was lost); what was committed is "
                "kept: repeat when the server is back"
            )
        with (
            translated(self.place, self._connection),
            self._connection.transaction(),
            self._connection.cursor() as cursor,
        ):
            yield cursor

    def execute(self, statement: str, values: list[object]) -> tuple[Any, ...] | None:
        """One statement without a transaction; its first row."""
        with translated(self.place, self._connection), self._connection.cursor() as cursor:
            cursor.execute(statement, values)
            return cursor.fetchone()


def _tell_of_memory(notice: psycopg.errors.Diagnostic) -> None:
    """Pgvector says while it builds an index that it will go on slowly, which nobody would see."""
    if "maintenance_work_mem" in (notice.message_primary or ""):
        log.warning(
            "building this index takes longer than it would with more maintenance_work_mem (%s); docs/scaling.md "
            "says how much and how to give it",
            notice.message_primary,
        )


class _HostsError(ValueError):
    """Hosts and ports that do not fit each other."""


def _url(text: str) -> URL:
    """A URI as SQLAlchemy takes it: several hosts and their ports are parameters, as many of one as of the other.

    Raises:
        _HostsError: hosts and ports do not fit each other.
    """
    if several := _SEVERAL_HOSTS.fullmatch(text):
        head, hosts, rest = several.groups()
        text = f"{head}{rest}{'&' if '?' in rest else '?'}host={hosts}"
    url = make_url(text)
    named, asked = (_parts(url.query.get(name, "")) for name in ("host", "port"))
    if len(named) < 2:
        return url
    pairs = [_HOST_AND_PORT.fullmatch(host) for host in named]
    hosts_of, ports = zip(*[(pair["v6"] or pair["host"], pair["port"] or "") for pair in pairs if pair], strict=True)
    if asked and any(ports):
        raise _HostsError("ports stand beside the hosts and in port= too; leave one of them out")
    if asked:
        ports = tuple(asked * len(named) if len(asked) == 1 else asked)  # libpq's rule: one port is everybody's
    if len(ports) != len(named):
        raise _HostsError(f"{len(named)} hosts and {len(ports)} ports; give one port, or one for each host")
    if wrong := next((port for port in ports if port and not port.isdecimal()), None):
        raise _HostsError(f"{wrong!r} is no port")
    return url.update_query_dict({"host": ",".join(hosts_of), "port": ",".join(ports)})


def _parts(value: str | tuple[str, ...]) -> list[str]:
    """What stands between commas, or was given several times."""
    return [part for each in ([value] if isinstance(value, str) else value) if each for part in each.split(",")]


def _driver(connection: Connection) -> psycopg.Connection[Any]:
    driver: Any = connection.connection.driver_connection
    assert driver is not None
    found: psycopg.Connection[Any] = driver
    return found


@contextmanager
def translated(place: Place, connection: psycopg.Connection[Any] | None = None) -> Iterator[None]:
    """Turn what psycopg raises, wrapped by SQLAlchemy or not, into the tree of vpmsearch.errors, chained.

    Args:
        connection: whose errors they are, if there is one already: while it lasts, a server that tells of a lost
            connection means its own, to a shard.
    """
    import psycopg

    try:
        yield
    except (DBAPIError, psycopg.Error) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        lasts = connection is not None and not connection.closed
        raise _meaning(place, cause if isinstance(cause, psycopg.Error) else error, lasts) from error


class ServerBusyError(StoreLockedError):
    """Two transactions were in each other's way; the same again may well succeed."""


class ConnectionLostError(StoreError):
    """Nobody answers, or not any more."""


class ServerStartingError(ConnectionLostError):
    """Somebody answers who takes no connections yet."""


_BY_STATE = {
    "42501": "the role lacks a right ({reason}); grant it: docs/scaling.md names what each command needs",
    "42P07": "other tables of the same names are there ({reason}); give vpmsearch a database or schema of its own",
    "53100": "the server's disk is full ({reason}); free some space and repeat",
    "53300": "the server has no connection left ({reason}); stop some clients or raise max_connections",
    "53200": "the server is out of memory ({reason}); lower maintenance_work_mem or work_mem",
    "25006": "this server only reads ({reason}): a standby, most likely; write to the primary",
    "3D000": "there is no such database ({reason}); create it: createdb NAME",
    "3F000": "there is no schema to create tables in ({reason}); create it, or leave search_path alone",
    "57014": "the server cancelled a statement ({reason}); raise statement_timeout or lock_timeout",
}
_REFUSED = ("28000", "28P01")
_NO_ROLE = re.compile(r'^role ".*" does not exist')
_OTHER_TABLES = ("42P01", "42703", "42704", "42883", "0A000")
_BUSY = ("40001", "40P01", "55P03")


def _meaning(place: Place, cause: Exception, lasts: bool) -> StoreError:
    import psycopg

    state = getattr(cause, "sqlstate", None) or ""
    lines = str(cause).strip().splitlines() or [type(cause).__name__]
    reason = _reason(lines)
    if state in _BY_STATE:
        return StoreError(f"{place}: {_BY_STATE[state].format(reason=reason)}")
    if (
        state in _REFUSED
        or "authentication failed" in reason
        or "no password supplied" in reason
        or _NO_ROLE.search(reason)
    ):
        return StoreError(f"{place}: the server lets nobody in so ({reason}); check user, password and pg_hba.conf")
    if state in _BUSY:
        return ServerBusyError(f"{place} is kept busy by another client ({reason}); repeat")
    if state in _OTHER_TABLES:
        return StoreVersionError(f"{place} is not as this vpmsearch expects ({reason}); run `vpmsearch upgrade` on it")
    # Without a state it is the client's own error: of a value that no server takes, or of the connection.
    of_connection = not state and isinstance(cause, psycopg.OperationalError | psycopg.InterfaceError)
    if of_connection or (state.startswith(("08", "57P")) and not lasts):
        if 'database "' in reason and "does not exist" in reason:
            return StoreError(f"{place}: {_BY_STATE['3D000'].format(reason=reason)}")
        starting = state == "57P03" or reason.startswith("the database system is")
        return (ServerStartingError if starting else ConnectionLostError)(
            f"{place} does not answer ({reason}); what was committed is kept: repeat when the server is back"
        )
    return StoreError(f"{place}: {reason}")


def _reason(lines: list[str]) -> str:
    """The line that tells most: of several hosts each has its own, the last one's first, and libpq ends with a hint."""
    lasting = [line for line in lines if "authentication failed" in line or "does not exist" in line]
    for line in [*lasting, *lines]:
        if "FATAL" in line or "failed:" in line:
            return line.rpartition("FATAL:")[2].strip()
    return lines[0].strip()
