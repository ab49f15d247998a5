"""A reader of the catalog: one read transaction, so all answers are from the same moment."""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, Self

import numpy as np
from sqlalchemy import Engine, func, null, select, text, type_coerce
from sqlalchemy.sql.elements import ColumnElement
from sqlalchemy.types import NullType

from vpmsearch.errors import ModelError, StoreDamagedError
from vpmsearch.store.folder import checksums
from vpmsearch.store.folder.checksums import FileSum
from vpmsearch.store.folder.columns import check_types, whole_numbers
from vpmsearch.store.folder.embeddings import DTYPES
from vpmsearch.store.folder.files import REMEDY, printable_line
from vpmsearch.store.folder.index_types import INDEX_TYPES
from vpmsearch.store.folder.label_file import LABELS_NAME
from vpmsearch.store.folder.labels import COLUMNS, ImageLabels
from vpmsearch.store.folder.schema import OLDER, VERSIONS
from vpmsearch.store.folder.sqlite import translated
from vpmsearch.store.folder.tables import (
    CHECKSUM,
    COPY,
    IMAGE,
    LIVE,
    MODEL,
    REJECTED,
    SEGMENT,
    SEGMENT_FILE,
    VISIBILITY,
    listed,
)
from vpmsearch.store.folder.values import ImageRows
from vpmsearch.store.values import StoredModel
from vpmsearch.types import Int64, ModelInfo

_BLOCK = 10_000  # rows fetched at once
_FILE = re.compile(r"[a-z][a-z0-9_]*\.[a-z0-9]+")  # nothing that leads out of the segment's folder


class Reader:
    """One read transaction: all answers are from the same moment, whatever is committed meanwhile.

    SQLite cannot empty its write-ahead log during the transaction, so close the reader soon. Not for several threads.
    """

    def __init__(self, path: Path, engine: Engine) -> None:
        self._path = path
        with translated(path):
            self._connection = engine.connect()
            try:
                # WAL takes its snapshot at the first read, not at BEGIN.
                self._connection.execute(select(func.count()).select_from(MODEL)).scalar_one()
                version = self._connection.execute(text(f"SELECT version_num FROM {VERSIONS}")).scalar_one()
                self.older: bool = version == OLDER
                """Whether it is a catalog of `schema.OLDER`."""
            except BaseException:
                self._connection.close()
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the transaction; harmless when repeated."""
        self._connection.close()

    @contextmanager
    def _blocks(self, statement: Any) -> Iterator[Iterator[Sequence[Any]]]:
        with translated(self._path):
            yield self._connection.execute(statement).partitions(_BLOCK)

    def _all(self, statement: Any) -> list[Any]:
        with self._blocks(statement) as blocks:
            return [row for block in blocks for row in block]

    def _ids(self, *conditions: ColumnElement[bool]) -> Int64:
        with self._blocks(select(_plain(IMAGE.c.id)).where(*conditions).order_by(IMAGE.c.id)) as blocks:
            rows = chain.from_iterable(blocks)
            return whole_numbers(list(chain.from_iterable(rows)), "image.id")  # up to a million: no Python loop

    def model(self) -> StoredModel:
        """The one row of `model`."""
        rows = self._all(select(MODEL))
        if len(rows) != 1:
            raise StoreDamagedError(f"{self._path} names no model; {REMEDY}")
        row = rows[0]
        try:
            info = ModelInfo(
                num_regions=(row.regions_high, row.regions_wide),
                embedding_dim=row.embedding_dim,
                fingerprint=row.fingerprint,
                weights=row.weights,
                name=row.name,
                dataset=row.dataset,
                input_size=(row.input_height, row.input_width),
                min_visibility=row.min_visibility,
            )
            if row.embedding_dtype not in DTYPES or row.index_type not in INDEX_TYPES:
                raise ModelError(f"embeddings as {row.embedding_dtype}, indexes of type {row.index_type}")
        except (ModelError, ValueError, TypeError, OverflowError) as error:  # SQLite's columns take any type
            reason = printable_line(error)
            raise StoreDamagedError(f"{self._path} names an impossible model ({reason}); restore a copy") from error
        return StoredModel(info, row.embedding_dtype, row.index_type)

    def state(self) -> tuple[object, ...]:
        """Differs between two transactions exactly when something was committed between them.

        A commit changes rows and so their checksum. A merge changes only the segments.
        """
        sums = select(CHECKSUM.c.name, CHECKSUM.c.total).where(CHECKSUM.c.name.in_(("image", "rejected")))
        index_id = self._index_id()  # another index may have replaced the one at this path
        return (index_id, *self.segments().items(), *map(tuple, self._all(sums.order_by(CHECKSUM.c.name))))

    def segments(self) -> dict[int, int]:
        """Segment id -> number of images, with the removed ones. Ids ascend."""
        return {row.id: row.images for row in self._all(select(SEGMENT.c.id, SEGMENT.c.images).order_by(SEGMENT.c.id))}

    def image_rows(self, p: int, segments: Sequence[int], *, removed: bool = False) -> ImageRows:
        """Where the images of some segments are. Removed images are included only if `removed`.

        Raises:
            StoreDamagedError: an image has not exactly p visibility scores.
        """
        wanted = map(_plain, (IMAGE.c.id, IMAGE.c.segment_id, IMAGE.c.row, VISIBILITY.c.scores))
        statement = select(*wanted).outerjoin(VISIBILITY, VISIBILITY.c.image_id == IMAGE.c.id).order_by(IMAGE.c.id)
        conditions = [listed(IMAGE.c.segment_id, segments)] + ([] if removed else [LIVE])
        places, scores = [np.empty((0, 3), np.int64)], bytearray()
        with self._blocks(statement.where(*conditions)) as blocks:
            for block in blocks:
                *columns, blobs = zip(*block, strict=True)
                check_types(blobs, "visibility.scores", bytes, type(None))
                if any(blob is None or len(blob) != 4 * p for blob in blobs):
                    raise StoreDamagedError(f"{self._path} lacks visibility scores; {REMEDY}")
                names = ("image.id", "image.segment_id", "image.row")
                places.append(np.stack(list(map(whole_numbers, columns, names)), axis=1))
                scores += b"".join(blobs)
        ids, owners, rows = np.ascontiguousarray(np.concatenate(places).T)  # (n, 3) -> (3, n)
        visibility = np.frombuffer(bytes(scores), dtype="<f4").astype(np.float32).reshape(-1, p)  # (n · p,) -> (n, p)
        return ImageRows(ids, owners, rows, visibility)

    def labels(self, segment_id: int) -> ImageLabels:
        """The labels of a segment's images, with the removed ones, in the order of its rows."""
        return self._labels(IMAGE.c.row, IMAGE.c.segment_id == segment_id)

    def live_labels(self, segments: Sequence[int]) -> ImageLabels:
        """The labels of the images of some segments that are not removed, ascending by id."""
        return self._labels(IMAGE.c.id, LIVE, listed(IMAGE.c.segment_id, segments))

    def _labels(self, order: ColumnElement[Any], *conditions: ColumnElement[bool]) -> ImageLabels:
        absent = ("attributes",) if self.older else ()
        columns = (null().label(name) if name in absent else _plain(IMAGE.c[name]) for name in COLUMNS)
        with self._blocks(select(*columns).where(*conditions).order_by(order)) as blocks:
            return ImageLabels.of(blocks)

    def relabelled(self) -> int:
        """Differs between two transactions if the labels of an image were changed between them."""
        return self._number(checksums.RELABELLED)

    def _number(self, name: str) -> int:
        found = self._all(select(CHECKSUM.c.total).where(CHECKSUM.c.name == name))
        return int(found[0][0]) if found else 0

    def live_among(self, ids: Iterable[int]) -> set[int]:
        """Those of the ids that name an image which is not removed."""
        return set(self._ids(LIVE, listed(IMAGE.c.id, ids)).tolist())

    def live_by_segment(self) -> dict[int, int]:
        """Segment id -> number of images that are not removed. Segments without any are absent."""
        counted = select(IMAGE.c.segment_id, func.count().label("images")).where(LIVE).group_by(IMAGE.c.segment_id)
        return {row.segment_id: row.images for row in self._all(counted)}

    def removed(self) -> Int64:
        """Ids, ascending, of the removed images that are still in the files."""
        return self._ids(IMAGE.c.removed_at.is_not(None))

    def files(self, segment_id: int) -> dict[str, FileSum]:
        """The files of a segment as they were written, by name, without the file of labels.

        Raises:
            StoreDamagedError: one is not a file in the segment's own folder.
        """
        columns = (SEGMENT_FILE.c.name, SEGMENT_FILE.c.size, SEGMENT_FILE.c.digest)
        here = (SEGMENT_FILE.c.segment_id == segment_id, SEGMENT_FILE.c.name != LABELS_NAME)
        rows = self._all(select(*columns).where(*here))
        if any(not _FILE.fullmatch(str(row.name)) for row in rows):
            raise StoreDamagedError(f"{self._path} names files that no segment has; {REMEDY}")
        return {row.name: FileSum(row.name, row.size, row.digest) for row in rows}

    def label_files(self) -> dict[int, FileSum]:
        """Segment id -> its file of labels as it was written. A segment whose labels were changed since is absent."""
        if not self.trusts_labels():
            return {}
        columns = (SEGMENT_FILE.c.segment_id, SEGMENT_FILE.c.size, SEGMENT_FILE.c.digest)
        rows = self._all(select(*columns).where(SEGMENT_FILE.c.name == LABELS_NAME))
        return {row.segment_id: FileSum(LABELS_NAME, row.size, row.digest) for row in rows}

    def trusts_labels(self) -> bool:
        """Whether whoever changed labels last knew of files of labels."""
        return self._number(checksums.RELABELLED) == self._number(checksums.LABELLED)

    def found_all(self) -> Int64:
        """Ids, ascending, of the images that are not removed."""
        return self._ids(LIVE)

    def copy_catalog(self, target: Path) -> None:
        """Write the catalog, as this transaction sees it, to a new file without a WAL.

        Raises:
            OSError: the disk is full or fails.
        """
        with translated(target), closing(sqlite3.connect(target)) as copy:
            source: Any = self._connection.connection.driver_connection
            source.backup(copy)  # within our transaction, so from the same moment
            copy.execute("DELETE FROM copy")  # copies of the original are not copies of the copy
            copy.execute("UPDATE checksum SET total = 0 WHERE name = 'copy'")
            copy.commit()
        with target.open("rb") as file:
            os.fsync(file.fileno())

    def copies(self) -> dict[str, tuple[int, str]]:
        """The snapshots that were made: path -> checksum of the images, and the index's path at that time."""
        rows = self._all(select(COPY.c.path, COPY.c.total, COPY.c.owner).order_by(COPY.c.path))
        return {row.path: (row.total, row.owner) for row in rows}

    def identity(self) -> tuple[str, int]:
        """An id that only this index and its copies have, and the checksum of its images."""
        total = self._only(select(CHECKSUM.c.total).where(CHECKSUM.c.name == "image"), "the checksum of its images")
        return self._index_id(), int(total)

    def _index_id(self) -> str:
        return str(self._only(select(MODEL.c.index_id), "its model"))

    def _only(self, statement: Any, name: str) -> Any:
        """The value that an index has once."""
        rows = self._all(statement)
        if not rows:
            raise StoreDamagedError(f"{self._path} lacks {name}; {REMEDY}")
        return rows[0][0]

    def rejected(self) -> list[tuple[str, str]]:
        """(path, reason), by path."""
        return [tuple(row) for row in self._all(select(REJECTED.c.path, REJECTED.c.reason).order_by(REJECTED.c.path))]

    def counts(self) -> tuple[int, int, int]:
        """How many images, removed images and rejected files there are."""
        removed = select(func.count()).select_from(IMAGE).where(IMAGE.c.removed_at.is_not(None))
        images, gone = (
            int(self._all(statement)[0][0]) for statement in (select(func.count()).select_from(IMAGE), removed)
        )
        return images - gone, gone, self.rejections()

    def rejections(self) -> int:
        """How many rejected files there are."""
        return int(self._all(select(func.count()).select_from(REJECTED))[0][0])

    def integrity(self) -> list[str]:
        """Problems that SQLite itself finds, and the tables whose rows are not what was committed."""
        found = [str(row[0]) for row in self._all(text("PRAGMA integrity_check")) if row[0] != "ok"]
        found += [f"dangling reference in table {row[0]}" for row in self._all(text("PRAGMA foreign_key_check"))]
        stored = {row.name: row.total for row in self._all(select(CHECKSUM.c.name, CHECKSUM.c.total))}
        with translated(self._path):
            for table in checksums.TABLES:
                if checksums.table_sum(self._connection, table, attributes=not self.older) != stored.get(table):
                    found.append(f"rows of table {table} are not those that were committed (checksum)")
        return found


def _plain(column: Any) -> Any:
    """A column with SQLite's raw values, because whole columns are checked faster than single values."""
    return type_coerce(column, NullType()).label(column.name)
