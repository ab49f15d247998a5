"""The catalog: what SQLite knows of the images, their visibility, the segments and the rejected files.

A `Reader` is one consistent read transaction; every change goes through one method of `Catalog` that is one write
transaction. Here, in `tables` and in `migrate` alone is SQLAlchemy known.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import numpy as np
from sqlalchemy import Engine, bindparam, delete, func, insert, select, text, update
from sqlalchemy.engine import Connection
from sqlalchemy.sql.elements import ColumnElement

from vpmsearch.errors import ModelError, StoreDamagedError, StoreError, StoreVersionError
from vpmsearch.store.sqlite import connect, translated
from vpmsearch.store.tables import LIVE, Image, Model, Rejected, Segment, Visibility, listed, open_engine
from vpmsearch.store.values import Changes, ImageRows, StoredModel
from vpmsearch.types import ImageRecord, Int64, ModelInfo, SearchFilter

FILE_NAME = "catalog.sqlite3"
REVISION = "0001"  # the newest migration, kept here so that opening needs no Alembic; a test compares the two
_BLOCK = 10_000  # rows fetched at once


class Reader:
    """One read transaction: every answer is of the same moment, whatever is committed meanwhile. Thread-safe."""

    def __init__(self, path: Path, engine: Engine) -> None:
        self._path = path
        self._lock = threading.RLock()  # the collector may close it in the midst of anything
        with translated(path):
            self._connection = engine.connect()
            try:
                # WAL takes its snapshot at the first read, not at BEGIN.
                self._connection.execute(select(func.count()).select_from(Model)).scalar_one()
            except BaseException:
                self._connection.close()
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the transaction; harmless when repeated."""
        with self._lock:
            self._connection.close()

    @contextmanager
    def _blocks(self, statement: Any) -> Iterator[Iterator[Sequence[Any]]]:
        with self._lock, translated(self._path):
            if self._connection.closed:
                raise StoreError(f"this view of {self._path.parent} was closed; open the store again")
            yield self._connection.execute(statement).partitions(_BLOCK)

    def _all(self, statement: Any) -> list[Any]:
        with self._blocks(statement) as blocks:
            return [row for block in blocks for row in block]

    def _ids(self, *conditions: ColumnElement[bool]) -> Int64:
        with self._blocks(select(Image.id).where(LIVE, *conditions).order_by(Image.id)) as blocks:
            return np.fromiter((row.id for block in blocks for row in block), dtype=np.int64)

    def model(self) -> StoredModel:
        """The one row of `model`."""
        rows = self._all(select(Model.__table__))
        if len(rows) != 1:
            raise StoreDamagedError(f"{self._path} names no model; restore the index from a copy or build it again")
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
        except ModelError as error:
            raise StoreDamagedError(f"{self._path} names an impossible model ({error}); restore a copy") from error
        return StoredModel(info, row.embedding_dtype, row.index_type)

    def state(self) -> tuple[object, ...]:
        """Differs between two transactions exactly when something was committed between them.

        Every commit of images makes a segment whose id is new; tombstones only grow in number between compactions.
        """
        removed = select(func.count()).select_from(Image).where(Image.removed_at.is_not(None))
        rejected = select(func.count(), func.max(Rejected.rejected_at)).select_from(Rejected)
        return (*self.segments().items(), *self._all(removed)[0], *self._all(rejected)[0])

    def segments(self) -> dict[int, int]:
        """Images, removed ones included, of each segment by id, ascending."""
        return {row.id: row.images for row in self._all(select(Segment.id, Segment.images).order_by(Segment.id))}

    def image_rows(self, p: int, *, segment_id: int | None = None) -> ImageRows:
        """Where the images are that are not removed; of one segment, its removed ones included.

        Raises:
            StoreDamagedError: an image has not exactly p visibility scores.
        """
        columns = (Image.id, Image.segment_id, Image.row, Visibility.scores)
        statement = select(*columns).outerjoin(Visibility, Visibility.image_id == Image.id).order_by(Image.id)
        places, scores = [np.empty((0, 3), np.int64)], bytearray()
        with self._blocks(statement.where(LIVE if segment_id is None else Image.segment_id == segment_id)) as blocks:
            for block in blocks:
                if any(row.scores is None or len(row.scores) != 4 * p for row in block):
                    raise StoreDamagedError(
                        f"{self._path} lacks visibility scores; restore the index from a copy or build it again"
                    )
                places.append(np.array([row[:3] for row in block], dtype=np.int64))
                scores += b"".join(row.scores for row in block)
        ids, segments, rows = np.ascontiguousarray(np.concatenate(places).T)
        visibility = np.frombuffer(bytes(scores), dtype="<f4").astype(np.float32).reshape(-1, p)  # (n · p,) -> (n, p)
        return ImageRows(ids, segments, rows, visibility)

    def found(self, search_filter: SearchFilter, paths: Sequence[str] = (), prefix: str = "") -> Int64:
        """Ids, ascending, of the images that meet every condition; an empty condition is met by all."""
        conditions = []
        if search_filter.pids:
            conditions.append(listed(Image.pid, map(int, search_filter.pids)))
        if search_filter.camids:
            conditions.append(listed(Image.camid, map(int, search_filter.camids)))
        if search_filter.captured_after is not None:
            conditions.append(Image.captured_at >= search_filter.captured_after)
        if search_filter.captured_before is not None:
            conditions.append(Image.captured_at < search_filter.captured_before)
        if paths:
            conditions.append(listed(Image.path, paths))
        if prefix:
            conditions.append(func.substr(Image.path, 1, len(prefix)) == prefix)
        return self._ids(*conditions)

    def live_among(self, ids: Iterable[int]) -> set[int]:
        """Those of the ids that name an image which is not removed."""
        return set(self._ids(listed(Image.id, ids)).tolist())

    def records(self, ids: Int64) -> dict[int, ImageRecord]:
        """What is known about images, by id; unknown ids are absent."""
        columns = (Image.path, Image.content_hash, Image.pid, Image.camid, Image.captured_at, Image.width, Image.height)
        rows = self._all(select(Image.id, *columns).where(listed(Image.id, ids.tolist())))
        return {row.id: ImageRecord(*row[1:]) for row in rows}

    def live_files(self) -> dict[str, tuple[int, str]]:
        """Path -> (image id, content hash) of the images that are not removed."""
        rows = self._all(select(Image.path, Image.id, Image.content_hash).where(LIVE))
        return {row.path: (row.id, row.content_hash) for row in rows}

    def rejected(self) -> list[tuple[str, str]]:
        """(path, reason), by path."""
        return [tuple(row) for row in self._all(select(Rejected.path, Rejected.reason).order_by(Rejected.path))]

    def counts(self) -> dict[str, int]:
        """How many images, removed and rejected ones, segments, identities and cameras there are."""
        identities = func.count(func.distinct(Image.pid)).filter(Image.pid >= 0)  # −1 is the data sets' junk
        live = select(func.count(), identities, func.count(func.distinct(Image.camid))).where(LIVE)
        images, pids, camids = self._all(live.select_from(Image))[0]
        every = self._all(select(func.count()).select_from(Image))[0][0]
        rejected = self._all(select(func.count()).select_from(Rejected))[0][0]
        counts = {"images": images, "removed": every - images, "rejected": rejected, "identities": pids}
        return counts | {"cameras": camids, "segments": len(self.segments())}

    def integrity(self) -> list[str]:
        """What SQLite itself finds wrong."""
        found = [str(row[0]) for row in self._all(text("PRAGMA integrity_check")) if row[0] != "ok"]
        return found + [f"dangling reference in table {row[0]}" for row in self._all(text("PRAGMA foreign_key_check"))]


class Catalog:
    """One catalog file: gives readers and applies changes. Whoever changes it holds the writer lock."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._reading = open_engine(path)
        self._writing = open_engine(path, write=True)

    def read(self) -> Reader:
        """A new transaction that sees all that is committed now."""
        return Reader(self.path, self._reading)

    @contextmanager
    def _write(self) -> Iterator[Connection]:
        with translated(self.path), self._writing.begin() as connection:
            yield connection

    def check_revision(self) -> None:
        """Refuse a catalog whose tables are not those of this version.

        Raises:
            StoreVersionError: it has another revision. StoreDamagedError: it has none.
        """
        with translated(self.path), self._reading.connect() as connection:
            found = connection.execute(text("SELECT version_num FROM alembic_version")).scalars().all()
        if found != [REVISION]:
            raise StoreVersionError(
                f"{self.path.parent} has revision {', '.join(found) or 'none'} and this version of vpmsearch needs "
                f"{REVISION}; run `vpmsearch upgrade --index {self.path.parent}`, or update vpmsearch if the index "
                "was written by a newer one"
            )

    def next_ids(self) -> tuple[int, int]:
        """The next image id and segment id; SQLite remembers the largest ever given."""
        with translated(self.path), self._reading.connect() as connection:
            rows = connection.execute(text("SELECT name, seq FROM sqlite_sequence")).all()
        given = {row.name: int(row.seq) for row in rows}
        return given.get(Image.__tablename__, 0) + 1, given.get(Segment.__tablename__, 0) + 1

    def apply(self, changes: Changes) -> None:
        """Make one commit visible."""
        now = datetime.now(UTC)
        added = {record.path for record in changes.records}
        rejected = [
            {"path": path, "reason": reason, "rejected_at": now}
            for path, reason in changes.rejected.items()
            if path not in added
        ]
        with self._write() as connection:
            if changes.removed:  # before the insertions: a changed file's new image takes over its path
                tombstones = update(Image).where(LIVE, listed(Image.id, changes.removed)).values(removed_at=now)
                connection.execute(tombstones)
            if changes.segment_id is not None:
                segment = {"id": changes.segment_id, "images": len(changes.ids), "created_at": now}
                connection.execute(insert(Segment), segment)
                connection.execute(insert(Image), _image_values(changes))
                scores = (row.astype("<f4").tobytes() for row in changes.visibility)
                values = [{"image_id": i, "scores": blob} for i, blob in zip(changes.ids, scores, strict=True)]
                connection.execute(insert(Visibility), values)
            gone = added | changes.rejected.keys() | set(changes.accepted)
            if gone:
                connection.execute(delete(Rejected).where(listed(Rejected.path, sorted(gone))))
            if rejected:
                connection.execute(insert(Rejected), rejected)

    def move_all(self, segment_id: int, ids: Int64) -> None:
        """Forget the removed images and put the others, `ids` in the order of their rows, into one new segment."""
        moves = [{"image": image_id, "place": row} for row, image_id in enumerate(ids.tolist())]
        with self._write() as connection:
            old = connection.execute(select(Segment.id)).scalars().all()
            connection.execute(delete(Image).where(Image.removed_at.is_not(None)))  # visibility rows follow
            if moves:
                segment = {"id": segment_id, "images": len(moves), "created_at": datetime.now(UTC)}
                connection.execute(insert(Segment), segment)
                target = update(Image).where(Image.id == bindparam("image"))
                connection.execute(target.values(segment_id=segment_id, row=bindparam("place")), moves)
            connection.execute(delete(Segment).where(listed(Segment.id, old)))

    def truncate_wal(self) -> None:
        """Move all commits into the main file and empty the WAL, as far as readers allow it."""
        with translated(self.path):
            connection = connect(self.path, write=True)
            try:
                connection.execute("PRAGMA busy_timeout = 0")  # a reader keeps its view for as long as it likes
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            finally:
                connection.close()


def create(path: Path, model: StoredModel, make_tables: Callable[[Connection], None]) -> None:
    """Write a new catalog; `make_tables(connection)` runs the migrations in the same transaction as the first row."""
    info = model.info
    row = {
        "id": 1,
        "weights": info.weights,
        "fingerprint": info.fingerprint,
        "name": info.name,
        "dataset": info.dataset,
        "regions_high": info.num_regions[0],
        "regions_wide": info.num_regions[1],
        "embedding_dim": info.embedding_dim,
        "input_height": info.input_size[0],
        "input_width": info.input_size[1],
        "min_visibility": info.threshold,
        "embedding_dtype": model.embedding_dtype,
        "index_type": model.index_type,
        "created_at": datetime.now(UTC),
    }
    with translated(path), open_engine(path, create=True).begin() as connection:
        make_tables(connection)
        connection.execute(insert(Model), row)


def _image_values(changes: Changes) -> list[dict[str, Any]]:
    return [
        {
            "id": image_id,
            "path": record.path,
            "content_hash": record.content_hash,
            "pid": record.pid,
            "camid": record.camid,
            "captured_at": record.captured_at,
            "width": record.width,
            "height": record.height,
            "segment_id": changes.segment_id,
            "row": row,
        }
        for row, (image_id, record) in enumerate(zip(changes.ids, changes.records, strict=True))
    ]
