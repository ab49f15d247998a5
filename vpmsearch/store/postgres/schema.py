"""The tables of an index on a server: checks and creation."""

from __future__ import annotations

import math
import re
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeAlias

from vpmsearch.errors import ModelError, StoreDamagedError, StoreError, StoreNotFoundError, StoreVersionError
from vpmsearch.store.postgres.connection import Server
from vpmsearch.store.postgres.encoding import VECTOR_TYPES
from vpmsearch.store.postgres.features import INDEXABLE, MOST_REGIONS, create_table
from vpmsearch.store.postgres.held import wait_for
from vpmsearch.store.values import StoredModel
from vpmsearch.types import ModelInfo

if TYPE_CHECKING:
    import psycopg

    Cursor: TypeAlias = psycopg.Cursor[Any]

REVISION = "server_0003"  # the newest, kept here so that opening needs no Alembic; a test compares the two
OLDEST_SERVER = 14
OLDEST_PGVECTOR = (0, 8, 0)
"""Iterative scans: without them a filter silently cuts lists."""
METHODS = {"auto": "hnsw", "hnsw": "hnsw", "ivf-flat": "ivfflat", "ybhnsw": "ybhnsw", "flat": ""}
"""The server's index method by the type that is asked for; "ybhnsw" is YugabyteDB's."""
BUILD_FROM = 10_000
"""Images from which "auto" builds indexes: below, a scan of a region is as fast, and exact."""
LARGEST = 16_000
NEXT_VERSION = "version = version + 1 + floor(random() * 1000000)::bigint"
"""What each commit does to `model`. The version grows by a random step. A promoted standby may lack the last commits,
and new commits must not reuse the versions that clients saw for the lost ones.
"""
CREATING = 0x76706D73  # of advisory locks: "vpms"


def check(server: Server, cursor: Cursor) -> None:
    """Refuse a server that cannot hold an index, or has none.

    Raises:
        StoreNotFoundError: there is no index. StoreVersionError: PostgreSQL, pgvector or the index are of another
        version.
    """
    _check_server(server, cursor)
    cursor.execute("SELECT to_regclass('vpmsearch_version') IS NOT NULL")
    if not _one(cursor)[0]:
        raise StoreNotFoundError(
            f"there is no index at {server.place}; create one with `vpmsearch index GALLERY --index …`"
        )
    _check_extension(server, cursor)
    cursor.execute("SELECT version_num FROM vpmsearch_version")
    found = [str(row[0]) for row in cursor.fetchall()]
    if found != [REVISION]:
        raise StoreVersionError(
            f"{server.place} has revision {', '.join(found) or 'none'} and this version of vpmsearch needs {REVISION}; "
            "run `vpmsearch upgrade` on it, or update vpmsearch if a newer one wrote it"
        )


def opened(server: Server, cursor: Cursor) -> tuple[StoredModel, str]:
    """`check`, then `read_model`."""
    check(server, cursor)
    return read_model(server, cursor)


def _check_server(server: Server, cursor: Cursor) -> None:
    cursor.execute("SELECT current_setting('server_version_num')::int, current_setting('server_version')")
    number, name = _one(cursor)
    if number < OLDEST_SERVER * 10_000:
        raise StoreVersionError(f"{server.place} runs PostgreSQL {name}; vpmsearch needs {OLDEST_SERVER} or newer")


def _check_extension(server: Server, cursor: Cursor) -> None:
    cursor.execute("SELECT extversion FROM pg_extension WHERE extname = 'vector'")
    row = cursor.fetchone()
    if row is None:
        raise StoreError(
            f"{server.place} has no extension vector in this database; have a superuser run CREATE EXTENSION vector"
        )
    if tuple(map(int, re.findall(r"\d+", str(row[0])))) < OLDEST_PGVECTOR:
        needed = ".".join(map(str, OLDEST_PGVECTOR))
        raise StoreVersionError(
            f"{server.place} has pgvector {row[0]}; vpmsearch needs {needed} or newer: ALTER EXTENSION vector UPDATE"
        )


def _one(cursor: Cursor) -> tuple[Any, ...]:
    row = cursor.fetchone()
    assert row is not None
    return tuple(row)


def create(server: Server, model: StoredModel) -> None:
    """Make the tables of a new index, all of them or none.

    Raises:
        StoreError: there is an index already, the model is too large, or the role lacks a right.
    """
    from vpmsearch.store.migrations import make_tables  # Alembic takes a while to import and only this needs it

    _check_model(server, model)
    with server.change() as connection:
        driver: Any = connection.connection.driver_connection
        with driver.cursor() as cursor:
            wait_for(cursor, CREATING, server.place, "makes or upgrades an index")  # two may have found nothing
            _check_server(server, cursor)
            cursor.execute("SELECT to_regclass('vpmsearch_version') IS NOT NULL")
            if _one(cursor)[0]:
                raise StoreError(f"there is an index at {server.place} already; open it, or name another database")
            _make_extension(server, cursor)
            make_tables(connection)
            create_table(cursor, model.info.p, model.info.embedding_dim, VECTOR_TYPES[model.embedding_dtype])
            _insert_model(cursor, model)


def _check_model(server: Server, model: StoredModel) -> None:
    d, column = model.info.embedding_dim, VECTOR_TYPES[model.embedding_dtype]
    if model.index_type not in METHODS:
        raise StoreError(f"{server.place} knows no index type {model.index_type!r}; a server has {', '.join(METHODS)}")
    if model.info.p > MOST_REGIONS:
        raise ModelError(
            f"a server stores up to {MOST_REGIONS} regions, not {model.info.p}; take a model of fewer, or make the "
            "index in a folder"
        )
    if d > LARGEST:
        raise ModelError(f"a server stores embeddings of up to {LARGEST} numbers, not {d}; reduce them (embedding_dim)")
    if d > INDEXABLE["halfvec"] and METHODS[model.index_type]:
        raise ModelError(
            f"a server indexes embeddings of up to {INDEXABLE['halfvec']} numbers, not {d} ({column}); "
            "reduce them (embedding_dim), or take --index-type flat"
        )


def _make_extension(server: Server, cursor: Cursor) -> None:
    import psycopg

    cursor.execute("SELECT count(*) FROM pg_extension WHERE extname = 'vector'")
    if not _one(cursor)[0]:
        try:
            cursor.execute("CREATE EXTENSION vector")
        except (psycopg.errors.UndefinedFile, psycopg.errors.FeatureNotSupported) as error:
            raise StoreError(
                f"the server of {server.place} has no pgvector; install it there "
                "(Debian: postgresql-NN-pgvector), then repeat"
            ) from error
        except psycopg.errors.InsufficientPrivilege as error:
            raise StoreError(
                f"{server.place}: this role may not create the extension vector; "
                "have a superuser run CREATE EXTENSION vector in this database"
            ) from error
    _check_extension(server, cursor)


def _insert_model(cursor: Cursor, model: StoredModel) -> None:
    info = model.info
    values = {
        "weights": info.weights, "fingerprint": info.fingerprint, "name": info.name, "dataset": info.dataset,
        "regions_high": info.num_regions[0], "regions_wide": info.num_regions[1], "embedding_dim": info.embedding_dim,
        "input_height": info.input_size[0], "input_width": info.input_size[1], "min_visibility": info.threshold,
        "embedding_dtype": model.embedding_dtype, "index_type": model.index_type, "created_at": datetime.now(UTC),
        "index_id": uuid.uuid4().hex,
    }  # fmt: skip
    places = ", ".join(f"%({name})s" for name in values)
    cursor.execute(f"INSERT INTO model (id, {', '.join(values)}) VALUES (1, {places})", values)


def read_model(server: Server, cursor: Cursor) -> tuple[StoredModel, str]:
    """The model of an index, and the id that only the index and its copies have.

    Raises:
        StoreDamagedError: there is none, or an impossible one.
    """
    cursor.execute(
        "SELECT regions_high, regions_wide, embedding_dim, fingerprint, weights, name, dataset, input_height, "
        "input_width, min_visibility, embedding_dtype, index_type, index_id FROM model"
    )
    row = cursor.fetchone()
    if row is None:
        raise StoreDamagedError(f"{server.place} names no model; restore the server's backup or build the index again")
    try:
        info = ModelInfo((row[0], row[1]), row[2], row[3], row[4], row[5], row[6], (row[7], row[8]), row[9])
        if row[10] not in VECTOR_TYPES or row[11] not in METHODS:
            raise ModelError(f"embeddings as {row[10]}, indexes of type {row[11]}")
    except ModelError as error:
        raise StoreDamagedError(f"{server.place} names an impossible model ({error})") from error
    return StoredModel(info, row[10], row[11]), str(row[12])


def lists_for(vectors: int) -> int:
    """Lists of an ivfflat index: 2·√n, as in the folder store."""
    return max(1, min(32_768, round(2 * math.sqrt(vectors))))
