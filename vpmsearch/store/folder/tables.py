"""The catalog's tables in SQLAlchemy, and the engine that opens them. `catalog` reads and changes them.

They are tables of SQLAlchemy's core: its object-relational mapper would add a quarter of a second to every command.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from sqlalchemy import (
    CheckConstraint,
    Column,
    Engine,
    ForeignKey,
    Index,
    MetaData,
    Table,
    UniqueConstraint,
    create_engine,
    event,
    func,
    select,
    text,
)
from sqlalchemy.pool import NullPool
from sqlalchemy.schema import SchemaItem
from sqlalchemy.sql.elements import ColumnElement
from sqlalchemy.types import TypeEngine

from vpmsearch.store.folder.column_types import AttributeValues, Bytes, Hash, LabelValue, Real, Text, UtcDateTime, Whole
from vpmsearch.store.folder.sqlite import connect

METADATA = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)
"""All tables; `migrations/` holds frozen copies and a test compares the two."""


def _key(name: str, kind: type[TypeEngine[Any]], *constraints: SchemaItem) -> Column[Any]:
    return Column(name, kind, *constraints, primary_key=True)


def _given(name: str, kind: type[TypeEngine[Any]], *constraints: SchemaItem, **more: Any) -> Column[Any]:
    """A column that is never NULL."""
    return Column(name, kind, *constraints, nullable=False, **more)


MODEL = Table(
    "model",
    METADATA,
    _key("id", Whole),
    _given("weights", Text),
    _given("fingerprint", Text),
    _given("name", Text),
    _given("dataset", Text),
    _given("regions_high", Whole),
    _given("regions_wide", Whole),
    _given("embedding_dim", Whole),
    _given("input_height", Whole),
    _given("input_width", Whole),
    _given("min_visibility", Real),
    _given("embedding_dtype", Text),
    _given("index_type", Text),
    _given("created_at", UtcDateTime),
    _given("index_id", Text, server_default=""),  # of this index and its copies, of no other
    CheckConstraint("id = 1", name="only_one"),
)
"""The one model of the index, and how the index stores what it says."""

SEGMENT = Table(
    "segment",
    METADATA,
    _key("id", Whole),
    _given("images", Whole),
    _given("created_at", UtcDateTime),
    sqlite_autoincrement=True,
)
"""One immutable folder of embeddings and region indexes; ids are never reused."""

SEGMENT_FILE = Table(
    "segment_file",
    METADATA,
    _key("segment_id", Whole, ForeignKey(SEGMENT.c.id, ondelete="CASCADE")),
    _key("name", Text),
    _given("size", Whole),
    _given("digest", Bytes),
)
"""A file of a segment, as it was written: bytes, and their BLAKE2b of 16 bytes."""

IMAGE = Table(
    "image",
    METADATA,
    _key("id", Whole),
    _given("path", Text),
    # Without an index, which would cost each image of a commit its own page. A search for hashes reads all rows.
    _given("content_hash", Hash),
    Column("pid", LabelValue, index=True),
    Column("camid", LabelValue, index=True),
    Column("captured_at", UtcDateTime),
    _given("width", Whole),
    _given("height", Whole),
    _given("segment_id", Whole, ForeignKey(SEGMENT.c.id)),
    _given("row", Whole),
    Column("removed_at", UtcDateTime),
    Column("attributes", AttributeValues),
    UniqueConstraint("segment_id", "row"),
    # A path names at most one image that is not removed; the removed ones may share it.
    Index("uq_image_path_live", "path", unique=True, sqlite_where=text("removed_at IS NULL")),
    Index("ix_image_removed", "id", sqlite_where=text("removed_at IS NOT NULL")),
    sqlite_autoincrement=True,
)
"""One image; removed ones stay, with `removed_at`, until the index is compacted. Ids are never reused."""

VISIBILITY = Table(
    "visibility",
    METADATA,
    _key("image_id", Whole, ForeignKey(IMAGE.c.id, ondelete="CASCADE")),
    _given("scores", Bytes),
)
"""The p visibility scores of an image as little-endian float32."""

REJECTED = Table(
    "rejected",
    METADATA,
    _key("path", Text),
    _given("reason", Text),
    _given("rejected_at", UtcDateTime),
)
"""A file that could not be indexed, and why."""

CHECKSUM = Table("checksum", METADATA, _key("name", Text), _given("total", Whole))
"""Sums over the rows of a table. With them `verify` checks that the rows are those that were committed."""

COPY = Table(
    "copy",
    METADATA,
    _key("path", Text),
    _given("created_at", UtcDateTime),
    _given("total", Whole),
    _given("owner", Text),
)
"""A snapshot that was made of the index; it may hold images removed since.

total: its images' checksum. owner: where the index was then; a copy of the index made by hand owns no snapshots.
"""

LIVE = IMAGE.c.removed_at.is_(None)
"""The images that are not removed."""


def open_engine(
    path: Path,
    *,
    write: bool = False,
    create: bool = False,
    foreign_keys: bool = True,
    check: Callable[[sqlite3.Connection], object] = lambda connection: None,
) -> Engine:
    """An engine whose transactions are real: SQLite's BEGIN is emitted, which pysqlite alone would delay.

    Args:
        check: refuses a new connection by an error.
    """

    def creator() -> sqlite3.Connection:
        connection = connect(path, write=write, create=create, foreign_keys=foreign_keys)
        try:
            check(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    engine = create_engine("sqlite://", creator=creator, poolclass=NullPool)
    begin = "BEGIN IMMEDIATE" if write or create else "BEGIN"
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql(begin))
    return engine


def listed(column: ColumnElement[Any], values: Iterable[int | str]) -> ColumnElement[bool]:
    """`column IN (values)` as one JSON variable, so that no number of values passes SQLite's limit."""
    return column.in_(select(func.json_each(json.dumps(list(values))).table_valued("value").c.value))
