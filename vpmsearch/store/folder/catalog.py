"""The catalog: an SQLite database of the images, their visibility, the segments and the rejected files.

A `Reader` is one consistent read transaction. Every change is one method of `Catalog` and one write transaction. Only
this module, `reader`, `checksums`, `tables` and `migrate` use SQLAlchemy.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import bindparam, delete, insert, select, text, update
from sqlalchemy.engine import Connection

from vpmsearch.errors import StoreError, StoreVersionError
from vpmsearch.store.folder import checksums, schema
from vpmsearch.store.folder.checksums import FileSum
from vpmsearch.store.folder.columns import whole_numbers
from vpmsearch.store.folder.label_file import LABELS_NAME
from vpmsearch.store.folder.reader import Reader
from vpmsearch.store.folder.sqlite import connect, translated, unlocked_state
from vpmsearch.store.folder.tables import (
    COPY,
    IMAGE,
    LIVE,
    MODEL,
    REJECTED,
    SEGMENT,
    SEGMENT_FILE,
    VISIBILITY,
    listed,
    open_engine,
)
from vpmsearch.store.folder.values import Changes
from vpmsearch.store.values import StoredModel
from vpmsearch.types import Int64

Answer = TypeVar("Answer")
FILE_NAME = "catalog.sqlite3"
REVISION = "0003"  # the newest migration, kept here so that opening needs no Alembic; a test compares the two


_ATTEMPTS = 8
_LONG_LOG = 4 << 20  # bytes
_LOG_WAIT = 0.5  # seconds to wait for readers; only verifying and copying take longer than milliseconds


class Catalog:
    """One catalog file: gives readers and applies changes. To change it, the caller holds the writer lock."""

    def __init__(self, path: Path) -> None:
        self.path = path

        def check(connection: sqlite3.Connection) -> None:
            schema.check(connection, path, REVISION)

        def check_readable(connection: sqlite3.Connection) -> None:
            schema.check_readable(connection, path, REVISION)

        self._reading = open_engine(path, check=check_readable)
        self._writing = open_engine(path, write=True, check=check)

    def read(self) -> Reader:
        """A new transaction that sees all that is committed now."""
        return Reader(self.path, self._reading)

    def ask(self, work: Callable[[Reader], Answer]) -> Answer:
        """The result of `work` in one transaction that sees all that is committed now.

        SQLite takes no locks in a folder that we cannot write to (see `catalog_uri`). Another user who can write there
        may change the catalog during `work`. Then its result or error is discarded, and `work` starts again.

        Raises:
            StoreError: the catalog changed during every attempt.
        """
        for attempt in range(_ATTEMPTS):
            before = unlocked_state(self.path)
            try:
                with self.read() as reader:
                    found = work(reader)
                if before is None or unlocked_state(self.path) == before:
                    return found
            except StoreError:
                if before is None or unlocked_state(self.path) == before:
                    raise
            time.sleep(0.05 * attempt)
        raise StoreError(
            f"{self.path.parent} is being changed by somebody else and cannot be locked from here, as it cannot be "
            "written to; try again, or read a snapshot of it"
        )

    @contextmanager
    def _write(self) -> Iterator[Connection]:
        with translated(self.path), self._writing.begin() as connection:
            yield connection
        self._shorten_log()

    def _shorten_log(self) -> None:
        """Empty a long write-ahead log. SQLite itself does so only at a moment when nobody reads."""
        with suppress(OSError, StoreError):  # the commit is done, and the next one tries again
            if self.path.with_name(f"{self.path.name}-wal").stat().st_size > _LONG_LOG:
                self.truncate_wal(_LOG_WAIT)

    def check_revision(self) -> None:
        """Refuse a catalog that this version cannot read, as every transaction does.

        Raises:
            StoreVersionError: it has another revision. StoreDamagedError: it has none, or other tables.
        """
        self.ask(lambda reader: None)

    def check_writable(self) -> None:
        """Refuse a catalog that this version can only read, before any work is done.

        Raises:
            StoreVersionError: it has an older revision.
        """
        if self.ask(lambda reader: reader.older):
            raise StoreVersionError(
                f"{self.path.parent} has revision {schema.OLDER}, which this version of vpmsearch reads and does not "
                f"change; run `vpmsearch upgrade --index {self.path.parent}` first"
            )

    def next_ids(self) -> tuple[int, int]:
        """The next image id and segment id. SQLite remembers the largest id ever used."""
        with translated(self.path), self._reading.connect() as connection:
            rows = connection.execute(text("SELECT name, seq FROM sqlite_sequence LIMIT 10")).all()
            given = {row.name: int(whole_numbers([row.seq], "sqlite_sequence.seq")[0]) for row in rows}
        return given.get(IMAGE.name, 0) + 1, given.get(SEGMENT.name, 0) + 1

    def apply(self, changes: Changes) -> None:
        """Make one commit visible."""
        now = datetime.now(UTC)
        added = {record.path for record in (*changes.records, *changes.updated.values())}
        touched = [*changes.removed, *changes.updated, *changes.ids]
        rejected = [
            {"path": path, "reason": reason, "rejected_at": now}
            for path, reason in changes.rejected.items()
            if path not in added
        ]
        gone = added | changes.rejected.keys() | set(changes.accepted)
        with self._write() as connection:
            before = checksums.table_sum(connection, "image", touched)
            before_rejected = checksums.table_sum(connection, "rejected", gone)
            if changes.removed:  # before the insertions: a changed file's new image takes over its path
                tombstones = update(IMAGE).where(LIVE, listed(IMAGE.c.id, changes.removed)).values(removed_at=now)
                connection.execute(tombstones)
            if changes.updated:
                target = update(IMAGE).where(IMAGE.c.id == bindparam("image"), LIVE)
                columns = ("path", "pid", "camid", "captured_at", "attributes")
                target = target.values({name: bindparam(f"new_{name}") for name in columns})
                known = changes.updated.items()
                rows = [{"image": key} | {f"new_{name}": getattr(to, name) for name in columns} for key, to in known]
                connection.execute(target, rows)
                _forget_labels(connection, changes.updated)
            if changes.segment_id is not None:
                segment = {"id": changes.segment_id, "images": len(changes.ids), "created_at": now}
                connection.execute(insert(SEGMENT), segment)
                insert_files(connection, changes.segment_id, changes.files)
                connection.execute(insert(IMAGE), _image_values(changes))
                scores = (row.astype("<f4").tobytes() for row in changes.visibility)
                values = [{"image_id": i, "scores": blob} for i, blob in zip(changes.ids, scores, strict=True)]
                connection.execute(insert(VISIBILITY), values)
            if gone:
                connection.execute(delete(REJECTED).where(listed(REJECTED.c.path, sorted(gone))))
            if rejected:
                connection.execute(insert(REJECTED), rejected)
            after = checksums.table_sum(connection, "image", touched)
            checksums.add(connection, "image", after - before)
            checksums.add(connection, "rejected", checksums.table_sum(connection, "rejected", gone) - before_rejected)
            _sum_segments(connection)

    def move(self, old: Sequence[int], segment_id: int, ids: Int64, files: Sequence[FileSum]) -> None:
        """Delete the removed images of some segments and assign the others to a new segment.

        Args:
            old: ids of the segments. segment_id: of the new one; without any `ids` there is none. ids: of the images
                that stay, in the order of their rows.
        """
        moves = [{"image": image_id, "place": row} for row, image_id in enumerate(ids.tolist())]
        removed = (IMAGE.c.removed_at.is_not(None), listed(IMAGE.c.segment_id, old))
        with self._write() as connection:
            gone = connection.execute(select(IMAGE.c.id).where(*removed)).scalars().all()
            checksums.add(connection, "image", -checksums.table_sum(connection, "image", gone))
            connection.execute(delete(IMAGE).where(*removed))  # visibility rows follow
            if moves:
                segment = {"id": segment_id, "images": len(moves), "created_at": datetime.now(UTC)}
                connection.execute(insert(SEGMENT), segment)
                insert_files(connection, segment_id, files)
                target = update(IMAGE).where(IMAGE.c.id == bindparam("image"))
                connection.execute(target.values(segment_id=segment_id, row=bindparam("place")), moves)
            connection.execute(delete(SEGMENT).where(listed(SEGMENT.c.id, old)))
            _sum_segments(connection)

    def note_copies(
        self, made: Mapping[str, int] | None = None, gone: Sequence[str] = (), owner: Path | None = None
    ) -> None:
        """Note new snapshots and delete the notes of those that are gone. Needs no writer lock: it changes nothing
        else.

        Args:
            made: path of a snapshot -> checksum of its images. owner: where the index is, or will be.
        """
        now, made = datetime.now(UTC), made or {}
        with self._write() as connection:
            connection.execute(delete(COPY).where(listed(COPY.c.path, [*made, *gone])))
            if made:
                known = {"created_at": now, "owner": os.path.abspath(owner or self.path.parent)}  # noqa: PTH100
                connection.execute(insert(COPY), [{"path": path, "total": n, **known} for path, n in made.items()])
            checksums.put(connection, "copy", checksums.table_sum(connection, "copy"))

    def note_labels(self, segment_id: int, file: FileSum) -> None:
        """Record the file of labels of a segment, in place of an earlier one."""
        old = (SEGMENT_FILE.c.segment_id == segment_id, SEGMENT_FILE.c.name == file.name)
        with self._write() as connection:
            connection.execute(delete(SEGMENT_FILE).where(*old))
            insert_files(connection, segment_id, [file])
            _sum_segments(connection)

    def trust_labels(self) -> None:
        """Forget all files of labels, after an older vpmsearch changed labels and did not know of them."""
        with self._write() as connection:
            connection.execute(delete(SEGMENT_FILE).where(SEGMENT_FILE.c.name == LABELS_NAME))
            checksums.put(connection, checksums.LABELLED, checksums.number_of(connection, checksums.RELABELLED))
            _sum_segments(connection)

    def truncate_wal(self, wait_seconds: float = 0.0) -> bool:
        """Move all commits into the main file and empty the WAL. False if readers prevented it for the whole time."""
        with translated(self.path):
            connection = connect(self.path, write=True)
            try:
                connection.execute(f"PRAGMA busy_timeout = {round(1000 * wait_seconds)}")
                busy = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
            finally:
                connection.close()
        return not busy


def create(path: Path, model: StoredModel) -> None:
    """Write a new catalog: its tables and its first row, in one transaction."""
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
        "index_id": uuid.uuid4().hex,
    }
    with translated(path), open_engine(path, create=True).begin() as connection:
        schema.make(connection, REVISION)
        connection.execute(insert(MODEL), row)
        sum_all(connection)


def sum_all(connection: Connection) -> None:
    """Compute and store the checksum of every table."""
    for table in checksums.TABLES:
        checksums.put(connection, table, checksums.table_sum(connection, table))


def insert_files(connection: Connection, segment_id: int, files: Sequence[FileSum]) -> None:
    """Record the files of a segment."""
    rows = [{"segment_id": segment_id, "name": f.name, "size": f.size, "digest": f.digest} for f in files]
    connection.execute(insert(SEGMENT_FILE), rows)


def _forget_labels(connection: Connection, changed: Iterable[int]) -> None:
    """Note that labels of images change, in the transaction that does it: their segments' files of labels are outdated.

    Where an older vpmsearch has changed labels, no file counts until `trust_labels`, so nothing is noted of them here.
    """
    known = checksums.number_of(connection, checksums.LABELLED) == checksums.number_of(connection, checksums.RELABELLED)
    number = secrets.randbits(62)
    checksums.put(connection, checksums.RELABELLED, number)
    if known:
        touched = select(IMAGE.c.segment_id).where(listed(IMAGE.c.id, changed))
        outdated = (SEGMENT_FILE.c.name == LABELS_NAME, SEGMENT_FILE.c.segment_id.in_(touched))
        connection.execute(delete(SEGMENT_FILE).where(*outdated))
        checksums.put(connection, checksums.LABELLED, number)


def _sum_segments(connection: Connection) -> None:
    """Compute these sums anew; the tables are small because segments are merged."""
    for table in ("segment", "segment_file"):
        checksums.put(connection, table, checksums.table_sum(connection, table))


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
            "attributes": record.attributes,
            "segment_id": changes.segment_id,
            "row": row,
        }
        for row, (image_id, record) in enumerate(zip(changes.ids, changes.records, strict=True))
    ]
