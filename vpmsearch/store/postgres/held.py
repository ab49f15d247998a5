"""A writer's connection and its lock. The lock ends with the work, also behind a pooler.

A session lock does not work behind a pooler such as PgBouncer in transaction mode. The session belongs to the pooler:
it continues after the client has left, and would keep the lock for ever. A transaction stays on one server connection
while it is open, with any pooler, and its locks end with it. So a transaction on a second connection holds the lock and
does nothing else. It holds no snapshot, so it does not hinder VACUUM.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

from vpmsearch.store.place import Place
from vpmsearch.store.postgres.problems import ConnectionLostError, translated

if TYPE_CHECKING:
    import psycopg

    Connection: TypeAlias = psycopg.Connection[Any]
    Cursor: TypeAlias = psycopg.Cursor[Any]

log = logging.getLogger("vpmsearch.store.postgres")

TELL_SECONDS, AGAIN_SECONDS = 5.0, 60.0
"""Seconds of waiting for a lock until its holder is reported, and between further reports."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 0.5
_TIMEOUTS = ["idle_in_transaction_session_timeout", "transaction_timeout"]
# Keys of 64 bits stand in two columns. `objsubid` 1 says that it is one key and not two of 32 bits.
_HOLDS = """
locktype = 'advisory' AND granted AND objsubid = 1 AND (classid::bigint << 32 | objid::bigint) = %s
AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


class Held:
    """A connection that is never replaced, and its lock. Once either is lost, all further work fails.

    After a failover a pooler may send a client's transactions to another server. So each transaction first checks that
    its server has this writer's lock, which has a random key.

    Args:
        place: of the index, for messages. work: a connection in autocommit. lock: another one, not in autocommit, for
            the transaction of the lock. name: of the lock that all writers of the index share, 64 bits.
    """

    def __init__(self, place: Place, work: Connection, lock: Connection, name: int) -> None:
        self.place, self._work, self._lock, self._name = place, work, lock, name
        self._own = secrets.randbits(64) - 2**63

    def enter(self) -> None:
        """Take the lock, shared with other writers. Waits while another holds it exclusively."""
        with self._locking() as cursor:
            self._begin(cursor)
            wait_for(cursor, self._name, self.place, "has the index to itself, as to build indexes", shared=True)

    def is_last(self) -> bool:
        """Whether there is no other writer. If so, none can start until this is closed."""
        try:
            with self._locking() as cursor:
                if _try(cursor, self._name, shared=False):
                    return True
                # Two writers that leave at once each see the other. One that tries again after releasing its own lock
                # sees none.
                self._lock.rollback()
                self._begin(cursor)
                return _try(cursor, self._name, shared=False)
        except ConnectionLostError:  # and the lock with it: the next writer builds
            return False

    @contextmanager
    def write(self) -> Iterator[Cursor]:
        """One transaction, committed at the end.

        Raises:
            ConnectionLostError: a connection is lost, now or since an earlier transaction.
        """
        if self._work.closed or self._lock.closed:
            raise self._is_lost()
        with translated(self.place, self._work), self._work.transaction(), self._work.cursor() as cursor:
            cursor.execute(f"SELECT count(*) FROM pg_locks WHERE {_HOLDS}", [self._own])
            row = cursor.fetchone()
            if row is None or not row[0]:
                raise self._is_lost()
            yield cursor

    def _is_lost(self) -> ConnectionLostError:
        return ConnectionLostError(
            f"{self.place} does not answer this writer any more (its connection was lost, or the lock that it held); "
            "what was committed is kept: repeat when the server is back"
        )

    @contextmanager
    def _locking(self) -> Iterator[Cursor]:
        with translated(self.place, self._lock), self._lock.cursor() as cursor:
            yield cursor

    def _begin(self, cursor: Cursor) -> None:
        """Begin the transaction of the lock. It lasts as long as the work and names its owner."""
        cursor.execute("SELECT set_config(name, '0', true) FROM pg_settings WHERE name = ANY(%s)", [_TIMEOUTS])
        whose = f"vpmsearch process {os.getpid()} on {socket.gethostname()}"
        cursor.execute("SELECT set_config('application_name', %s, true)", [whose[:63]])
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [self._own])


def wait_for(cursor: Cursor, name: int, place: Place, doing: str, *, shared: bool = False) -> None:
    """Take a lock until the end of the transaction. After `TELL_SECONDS` of waiting, its holder is reported.

    The lock is polled: a waiting statement cannot report anything, and a statement timeout would end it.

    Args:
        cursor: in the transaction. name: of the lock, 64 bits. doing: what somebody does who has it. shared: together
            with others that share it.
    """
    begun, told, pause = time.monotonic(), 0.0, _FIRST_PAUSE
    while not _try(cursor, name, shared=shared):
        waited = time.monotonic() - begun
        if waited >= TELL_SECONDS and (not told or waited - told >= AGAIN_SECONDS):
            log.warning(
                "%s: waiting since %.0f s for somebody who %s: %s", place, waited, doing, _holders(cursor, name)
            )
            told = waited
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)


def _try(cursor: Cursor, name: int, *, shared: bool) -> bool:
    # No parameter: with one psycopg leaves a portal open, and VACUUM would wait for its snapshot until the lock ends.
    cursor.execute(f"SELECT pg_try_advisory_xact_lock{'_shared' if shared else ''}({name:d})")
    row = cursor.fetchone()
    return bool(row and row[0])


def _holders(cursor: Cursor, name: int) -> str:
    """Who holds a lock, and how an administrator of the server can end that."""
    cursor.execute(
        f"""
        SELECT l.pid, a.application_name, a.usename, a.backend_start AT TIME ZONE 'UTC'
        FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid
        WHERE {_HOLDS} AND l.pid <> pg_backend_pid() ORDER BY l.pid
        """,
        [name],
    )
    rows = cursor.fetchall()
    if not rows:
        return "another writer, who is leaving"
    return "; ".join(
        f"{program or 'a program without a name'}, user {user}, connected {since:%Y-%m-%d %H:%M} UTC "
        f"(to end it: SELECT pg_terminate_backend({pid}))"
        if since is not None
        else f"server process {pid}"
        for pid, program, user, since in rows
    )
