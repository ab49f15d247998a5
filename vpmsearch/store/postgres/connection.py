"""Connections to a PostgreSQL server. SQLAlchemy pools them; statements go to psycopg."""

from __future__ import annotations

import functools
import logging
import math
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import URL, Engine, create_engine, event, make_url
from sqlalchemy.engine import Connection
from sqlalchemy.exc import ArgumentError, DisconnectionError, NoSuchModuleError

from vpmsearch.errors import StoreError
from vpmsearch.store.place import Place
from vpmsearch.store.postgres.encoding import Vector
from vpmsearch.store.postgres.held import Held
from vpmsearch.store.postgres.problems import ConnectionLostError, ServerBusyError, ServerStartingError, translated
from vpmsearch.words import number_of

if TYPE_CHECKING:
    import psycopg

log = logging.getLogger("vpmsearch.store.postgres")

SCHEMES = ("postgresql+psycopg", "postgresql", "postgres")
EXAMPLE = "postgresql+psycopg://user@host/database"
RETRY_SECONDS, FIRST_PAUSE, LONGEST_PAUSE = 30.0, 0.25, 5.0
"""How long a read is retried after its connection was lost, and the pauses between tries; each is twice the last."""
IDLE_SECONDS = 0.2
"""A read takes a pooled connection that was used less than this ago to be alive."""
_POOL = 8
# Compiling takes longer than any statement here; a time in another zone may be before the year 1.
_SETTINGS = "SELECT set_config('jit', 'off', {local}), set_config('TimeZone', 'UTC', {local})"
# A vanished machine is noticed within about half a minute. TCP alone would take hours.
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
_writes: ContextVar[bool] = ContextVar("writes", default=False)
"""Whether the connection that is being taken from the pool is to write."""


class Server:
    """Connections to the server of one index. Safe for several threads.

    Raises:
        StoreError: the URI cannot be used, or psycopg is not installed. Whether a server answers shows later.
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
                # Nothing is prepared unless `_made` allows it: behind a pooler the next transaction may run elsewhere.
                connect_args={name: value for name, value in _TIMEOUTS.items() if name not in url.query}
                | {"prepare_threshold": None},
            )
            event.listen(self._engine, "connect", self._made)
            event.listen(self._engine, "checkin", _returned)
            event.listen(self._engine, "checkout", _taken)
            self._options = _options(url.query.get("options", ""))
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

    def _made(self, connection: Any, _: object) -> None:
        """Make a new connection ready for use. What lasts as long as a session is set only where it has its own."""
        self._check_options(connection)
        connection.adapters.register_dumper(Vector, _vector_dumper())
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid()")
            # A pooler gives its clients a process id of its own making.
            if cursor.fetchone()[0] == connection.info.backend_pid:
                connection.prepare_threshold = sys.maxsize  # statements are prepared only where `rows` asks for it
                cursor.execute(_SETTINGS.format(local=False))
        connection.commit()

    def _check_options(self, connection: Any) -> None:
        """Refuse a connection that lost options of the URI. A pooler can be configured to drop options that it does not
        know.

        Without `-csearch_path` another schema would be written to.
        """
        with connection.cursor() as cursor:
            for name, value in self._options.items():
                cursor.execute("SELECT current_setting(%s, true)", [name])
                found = cursor.fetchone()
                cursor.execute("SELECT set_config(%s, %s, true)", [name, value])  # in the server's own form
                if found != cursor.fetchone():
                    raise StoreError(
                        f"{self.place}: what stands between drops the option -c{name} of the URI, as PgBouncer does "
                        "with ignore_startup_parameters = options; take it out of the URI and set it at the role or "
                        f"the database: ALTER ROLE … SET {name} = …"
                    )
        connection.rollback()

    def read(self, work: Callable[[psycopg.Cursor[Any]], Answer]) -> Answer:
        """The result of `work` in one read-only REPEATABLE READ transaction. Rows come in binary form.

        If the connection is lost, or the server is starting or being promoted, `work` runs again in a new transaction,
        for `RETRY_SECONDS`. There is no retry if the server never answered (unless the URI names several hosts), or
        while a writer is open.

        Raises:
            ConnectionLostError, ServerBusyError: no try succeeded in that time.
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
            if not _is_direct(_driver(connection)):
                cursor.execute(_SETTINGS.format(local=True))
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
        with translated(self.place), self._to_write() as connection, connection.begin():
            yield connection

    def _to_write(self) -> Connection:
        """A connection that has answered just now. A lost write is not repeated, so it must not begin on a dead one."""
        token = _writes.set(True)
        try:
            return self._engine.connect()
        finally:
            _writes.reset(token)

    @contextmanager
    def held(self, name: int) -> Iterator[Held]:
        """The connections and the lock of a writer. Reads are not retried meanwhile: another server may lack the
        writer's data.

        Args:
            name: of the lock of the index's writers, 64 bits.
        """
        with translated(self.place), self._to_write() as working, self._to_write() as locking:
            driver = _driver(working.execution_options(isolation_level="AUTOCOMMIT"))
            driver.add_notice_handler(_tell_of_memory)
            lock = _driver(locking.execution_options(isolation_level="READ COMMITTED"))
            for each in (driver, lock):
                each.isolation_level = each.read_only = None  # what a read before it left there
            with self._counting:
                self._writers += 1
            try:
                held = Held(self.place, driver, lock, name)
                held.enter()
                yield held
            finally:
                with self._counting:
                    self._writers -= 1
                for connection in (working, locking):
                    connection.invalidate()  # closed, not pooled, and so is the lock


@functools.cache
def _vector_dumper() -> type[psycopg.adapt.Dumper]:
    """Sends a `Vector` as it is. Its type has another number in each database, so the statement says which it is."""
    from psycopg.adapt import Dumper
    from psycopg.pq import Format

    class VectorDumper(Dumper):
        format = Format.BINARY

        def dump(self, obj: bytes) -> bytes:
            return obj

    return VectorDumper


def _is_direct(connection: psycopg.Connection[Any]) -> bool:
    """Whether a session of the server is this connection's own, so that what is set or prepared there stays."""
    return connection.prepare_threshold is not None


def _returned(_: Any, record: Any) -> None:
    record.info["returned"] = time.monotonic()


def _taken(connection: Any, record: Any, _: object) -> None:
    """Try a pooled connection that is to write, or that was not used for `IDLE_SECONDS`.

    The pool replaces one that does not answer. So a server that was started anew, or failed over, costs a new
    connection and no error. A read that finds its connection dead all the same is repeated.
    """
    if not _writes.get() and time.monotonic() - record.info.get("returned", math.inf) < IDLE_SECONDS:
        return
    import psycopg

    try:
        connection.autocommit = True
        connection.execute("")
        connection.autocommit = False
    except psycopg.Error as error:
        raise DisconnectionError from error


def _tell_of_memory(notice: psycopg.errors.Diagnostic) -> None:
    """Show pgvector's notice that an index build continues slowly for lack of memory. Nobody would see it otherwise."""
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
        raise _HostsError(
            f"{number_of(len(named), 'host')} and {number_of(len(ports), 'port')}; give one port, or one for each host"
        )
    if wrong := next((port for port in ports if port and not port.isdecimal()), None):
        raise _HostsError(f"{wrong!r} is no port")
    return url.update_query_dict({"host": ",".join(hosts_of), "port": ",".join(ports)})


def _options(value: str | tuple[str, ...]) -> dict[str, str]:
    """The settings that libpq's `options` give: -cname=value, -c name=value or --name=value; a backslash escapes."""
    text = " ".join([value] if isinstance(value, str) else value)
    words = [re.sub(r"\\(.)", r"\1", word) for word in re.findall(r"(?:\\.|[^\s\\])+", text)]
    found = re.findall(r"(?:^|\0)(?:-c\0?|--)([^\0=]+)=([^\0]*)", "\0".join(words))
    return {name.strip().replace("-", "_"): setting for name, setting in found}


def _parts(value: str | tuple[str, ...]) -> list[str]:
    """What stands between commas, or was given several times."""
    return [part for each in ([value] if isinstance(value, str) else value) if each for part in each.split(",")]


def _driver(connection: Connection) -> psycopg.Connection[Any]:
    driver: Any = connection.connection.driver_connection
    assert driver is not None
    found: psycopg.Connection[Any] = driver
    return found
