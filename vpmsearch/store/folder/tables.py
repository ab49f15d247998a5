"""The catalog's tables in SQLAlchemy, and the engine that opens them. `catalog` reads and changes them."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar

from sqlalchemy import (
    CheckConstraint,
    Engine,
    ForeignKey,
    Index,
    MetaData,
    UniqueConstraint,
    create_engine,
    event,
    func,
    select,
    text,
)
from sqlalchemy.orm import DeclarativeBase, InstrumentedAttribute, Mapped, mapped_column
from sqlalchemy.pool import NullPool
from sqlalchemy.sql.elements import ColumnElement

from vpmsearch.store.folder.column_types import AttributeValues, Bytes, Hash, LabelValue, Real, Text, UtcDateTime, Whole
from vpmsearch.store.folder.sqlite import connect


class Base(DeclarativeBase):
    """All tables; `migrations/` holds frozen copies and a test compares the two."""

    type_annotation_map: ClassVar = {int: Whole, str: Text, bytes: Bytes}
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class Model(Base):
    """The one model of the index, and how the index stores what it says."""

    __tablename__ = "model"
    __table_args__ = (CheckConstraint("id = 1", name="only_one"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    weights: Mapped[str]
    fingerprint: Mapped[str]
    name: Mapped[str]
    dataset: Mapped[str]
    regions_high: Mapped[int]
    regions_wide: Mapped[int]
    embedding_dim: Mapped[int]
    input_height: Mapped[int]
    input_width: Mapped[int]
    min_visibility: Mapped[float] = mapped_column(Real)
    embedding_dtype: Mapped[str]
    index_type: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    index_id: Mapped[str] = mapped_column(server_default="")  # of this index and its copies, of no other


class Segment(Base):
    """One immutable folder of embeddings and region indexes; ids are never reused."""

    __tablename__ = "segment"
    __table_args__ = ({"sqlite_autoincrement": True},)
    id: Mapped[int] = mapped_column(primary_key=True)
    images: Mapped[int]
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)


class SegmentFile(Base):
    """A file of a segment, as it was written: bytes, and their BLAKE2b of 16 bytes."""

    __tablename__ = "segment_file"
    segment_id: Mapped[int] = mapped_column(ForeignKey(Segment.id, ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    size: Mapped[int]
    digest: Mapped[bytes]


class Image(Base):
    """One image; removed ones stay, with `removed_at`, until the index is compacted. Ids are never reused."""

    __tablename__ = "image"
    id: Mapped[int] = mapped_column(primary_key=True)
    path: Mapped[str]
    # Without an index, which would cost each image of a commit its own page. A search for hashes reads all rows.
    content_hash: Mapped[str] = mapped_column(Hash)
    pid: Mapped[Any | None] = mapped_column(LabelValue, index=True)
    camid: Mapped[Any | None] = mapped_column(LabelValue, index=True)
    captured_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    width: Mapped[int]
    height: Mapped[int]
    segment_id: Mapped[int] = mapped_column(ForeignKey(Segment.id))
    row: Mapped[int]
    removed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    attributes: Mapped[Any | None] = mapped_column(AttributeValues)
    __table_args__ = (
        UniqueConstraint("segment_id", "row"),
        # A path names at most one image that is not removed; the removed ones may share it.
        Index("uq_image_path_live", "path", unique=True, sqlite_where=text("removed_at IS NULL")),
        Index("ix_image_removed", "id", sqlite_where=text("removed_at IS NOT NULL")),
        {"sqlite_autoincrement": True},
    )


class Visibility(Base):
    """The p visibility scores of an image as little-endian float32."""

    __tablename__ = "visibility"
    image_id: Mapped[int] = mapped_column(ForeignKey(Image.id, ondelete="CASCADE"), primary_key=True)
    scores: Mapped[bytes]


class Rejected(Base):
    """A file that could not be indexed, and why."""

    __tablename__ = "rejected"
    path: Mapped[str] = mapped_column(primary_key=True)
    reason: Mapped[str]
    rejected_at: Mapped[datetime] = mapped_column(UtcDateTime)


class Checksum(Base):
    """Sums over the rows of a table. With them `verify` checks that the rows are those that were committed."""

    __tablename__ = "checksum"
    name: Mapped[str] = mapped_column(primary_key=True)
    total: Mapped[int]


class Copy(Base):
    """A snapshot that was made of the index; it may hold images removed since.

    total: its images' checksum. owner: where the index was then; a copy of the index made by hand owns no snapshots.
    """

    __tablename__ = "copy"
    path: Mapped[str] = mapped_column(primary_key=True)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    total: Mapped[int]
    owner: Mapped[str]


# The images that are not removed.
LIVE = Image.removed_at.is_(None)


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


def listed(column: InstrumentedAttribute[Any], values: Iterable[int | str]) -> ColumnElement[bool]:
    """`column IN (values)` as one JSON variable, so that no number of values passes SQLite's limit."""
    return column.in_(select(func.json_each(json.dumps(list(values))).table_valued("value").c.value))
