"""Brings an index on a server that an older vpmsearch made to this version's tables, and builds its indexes again."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from vpmsearch.errors import StoreError, StoreNotFoundError, StoreVersionError
from vpmsearch.store.postgres.connection import Server
from vpmsearch.store.postgres.features import MOST_REGIONS
from vpmsearch.store.postgres.held import wait_for
from vpmsearch.store.postgres.indexes import build_indexes
from vpmsearch.store.postgres.schema import CREATING, REVISION, check, opened
from vpmsearch.store.postgres.writer import lock_name
from vpmsearch.store.values import OnBuild

if TYPE_CHECKING:
    import psycopg

    Cursor: TypeAlias = psycopg.Cursor[Any]


def upgrade(server: Server, on_build: OnBuild, on_tables: Callable[[int], None]) -> tuple[str, str]:
    """Bring an index to this version's revision; the revisions before and after.

    The tables change in one transaction: after an interruption they are the old ones or the new ones. Then missing
    indexes over embeddings are built, a region at a time. If that is interrupted, this function or the next writer
    continues; searches are right without them, and slower.

    Args:
        on_build: see `build_indexes`. on_tables: called before the tables change, with the number of images. The server
            does not say how far that is.

    Raises:
        StoreNotFoundError: there is no index. StoreVersionError: a newer vpmsearch wrote it. StoreError: its features
            are on shards, or have more regions than a row holds.
    """
    old = _change_tables(server, on_tables)
    model, index_id = server.read(lambda cursor: opened(server, cursor))
    with server.held(lock_name(index_id)) as held:
        if held.is_last():  # else the last writer builds them
            build_indexes(held, model, index_id, on_build)
    return old, REVISION


def _change_tables(server: Server, on_tables: Callable[[int], None]) -> str:
    """The revision before."""
    from vpmsearch.store.migrations import make_tables

    with server.change() as connection:
        driver: Any = connection.connection.driver_connection
        with driver.cursor() as cursor:
            wait_for(cursor, CREATING, server.place, "makes or upgrades an index")
            try:
                check(server, cursor)
                return REVISION
            except StoreNotFoundError:
                raise
            except StoreVersionError:
                cursor.execute("SELECT max(version_num) FROM vpmsearch_version")
                old = str(cursor.fetchone()[0])
                if old in (REVISION, "None"):  # it is PostgreSQL or pgvector that is too old, or no index at all
                    raise
            if old > REVISION:
                raise StoreVersionError(f"{server.place} was written by a newer vpmsearch ({old}); update vpmsearch")
            _wait_for_writers(server, cursor)
            _check_shards(server, cursor)
            _check_regions(server, cursor)
            cursor.execute("SELECT count(*) FROM image")
            on_tables(int(cursor.fetchone()[0]))
            make_tables(connection)
    return old


def _wait_for_writers(server: Server, cursor: Cursor) -> None:
    """Wait until nobody writes, and keep writers out until the transaction ends; they would use the old tables."""
    cursor.execute("SELECT index_id FROM model")
    for row in cursor.fetchall():
        wait_for(cursor, lock_name(str(row[0])), server.place, "writes to the index")


def _check_shards(server: Server, cursor: Cursor) -> None:
    """Refuse features that are on other servers.

    Raises:
        StoreError: they are.
    """
    cursor.execute(
        "SELECT count(*) FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid "
        "WHERE inhparent = to_regclass('region_feature') AND relkind = 'f'"
    )
    row = cursor.fetchone()
    if row is not None and row[0]:
        raise StoreError(
            f"the features of {server.place} are on shards, whose tables no upgrade changes; docs/scaling.md, "
            '"Shards of an older version", says how to bring them here first'
        )


def _check_regions(server: Server, cursor: Cursor) -> None:
    """Refuse an index whose images have more regions than a row holds.

    Raises:
        StoreError: they have.
    """
    cursor.execute("SELECT regions_high * regions_wide FROM model")
    for (p,) in cursor.fetchall():
        if p > MOST_REGIONS:
            raise StoreError(
                f"the images of {server.place} have {p} regions and this vpmsearch stores up to {MOST_REGIONS} on a "
                "server; index them again with a model of fewer, or in a folder; nothing was changed"
            )
