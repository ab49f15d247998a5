"""Translates the errors of a PostgreSQL server and of a pooler in front of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import DBAPIError

from vpmsearch.errors import StoreError, StoreLockedError, StoreVersionError
from vpmsearch.store.place import Place

if TYPE_CHECKING:
    import psycopg


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
    """Two transactions conflicted. A retry may succeed."""


class ConnectionLostError(StoreError):
    """The server does not answer, or no longer."""


class ServerStartingError(ConnectionLostError):
    """The server answers but does not accept connections yet."""


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
_POOLER = {
    "unsupported startup parameter": "what stands between, PgBouncer most likely, refuses an option of the URI "
    "({reason}); take it out of the URI and set it at the role: ALTER ROLE … SET …",
    "statement pooling": "the pooler before the server takes no transactions ({reason}); it needs pool_mode = "
    "transaction",
    "query_wait_timeout": "the pooler before the server had no connection free for too long ({reason}); raise its "
    "default_pool_size: a writer needs two",
    "idle transaction timeout": "the pooler before the server ended the transaction of a writer's lock ({reason}); set "
    "its idle_transaction_timeout to 0",
}
"""By what a pooler says, whatever state it gives."""
_REFUSED = ("28000", "28P01")
_NO_ROLE = re.compile(r'^role ".*" does not exist')
_OTHER_TABLES = ("42P01", "42703", "42704", "42883", "0A000")
_BUSY = ("40001", "40P01", "55P03")


def _meaning(place: Place, cause: Exception, lasts: bool) -> StoreError:
    import psycopg

    state = getattr(cause, "sqlstate", None) or ""
    lines = str(cause).strip().splitlines() or [type(cause).__name__]
    reason = _reason(lines)
    for said, meaning in _POOLER.items():
        if said in str(cause):
            return StoreError(f"{place}: {meaning.format(reason=reason)}")
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
    """The most useful line. Each host has its own line, and libpq ends with a hint."""
    lasting = [line for line in lines if "authentication failed" in line or "does not exist" in line]
    for line in [*lasting, *lines]:
        if "FATAL" in line or "failed:" in line:
            return line.rpartition("FATAL:")[2].strip()
    return lines[0].strip()
