"""A writer of an index on a server. Several may work at once."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self, TypeAlias

import numpy as np

from vpmsearch.errors import StoreError
from vpmsearch.labels import Attributes, Label
from vpmsearch.store.pending import PendingWriter
from vpmsearch.store.postgres.connection import Server
from vpmsearch.store.postgres.encoding import COPY_END, COPY_HEAD, cells, digests, feature_rows
from vpmsearch.store.postgres.features import columns
from vpmsearch.store.postgres.indexes import build_indexes
from vpmsearch.store.postgres.problems import ServerBusyError
from vpmsearch.store.postgres.schema import NEXT_VERSION
from vpmsearch.store.values import OnBuild, StoredModel
from vpmsearch.types import RegionFeatures, as_utc

if TYPE_CHECKING:
    import psycopg

    Cursor: TypeAlias = psycopg.Cursor[Any]

_ATTEMPTS = 5
_INSERT = """
INSERT INTO image (id, path, content_hash, pid, camid, captured_at, width, height, attributes, visibility, cell, digest)
SELECT id, path, content_hash, pid, camid, captured_at, width, height, attributes, visibility, decode(cell, 'hex'),
    decode(digest, 'hex')
FROM json_to_recordset(%s::json) AS new (id bigint, path text, content_hash text, pid text, camid text,
    captured_at timestamptz, width integer, height integer, attributes jsonb, visibility real[], cell text, digest text)
ORDER BY path
ON CONFLICT (path) DO NOTHING RETURNING id
"""


class ServerWriter(PendingWriter):
    """Adds, removes and rejects images; a context manager.

    Several may write at once. If two commit the same path, the first commit stays; the other is ignored if its bytes
    are the same and fails if they differ. An open writer holds a shared lock. The last writer to leave builds missing
    indexes over embeddings. After a failed commit nothing has changed and the changes are still pending: commit again,
    or leave. A writer uses one connection only, because its knowledge may be wrong after a failover.
    """

    def __init__(
        self, server: Server, model: StoredModel, index_id: str, committed: Callable[[], None], on_build: OnBuild
    ) -> None:
        self._server, self._index_id = server, index_id
        self._committed, self._on_build = committed, on_build
        self._lock_name = lock_name(index_id)
        super().__init__(model)

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._connection = stack.enter_context(self._server.held(self._lock_name))
            self._held = stack.pop_all()
        return self

    def _finish(self) -> None:
        if self._connection.is_last():
            build_indexes(self._connection, self._model, self._index_id, self._on_build)
            self._committed()

    def _check_entered(self) -> None:
        if self._held is None:
            raise StoreError(f"this writer of {self._server.place} is not open; use `with store.writer() as writer:`")

    def _take_ids(self, count: int) -> list[int]:
        with self._connection.write() as cursor:
            cursor.execute("SELECT nextval(pg_get_serial_sequence('image', 'id')) FROM generate_series(1, %s)", [count])
            return sorted(row[0] for row in cursor.fetchall())

    def _committed_among(self, image_ids: Sequence[int]) -> set[int]:
        with self._connection.write() as cursor:
            cursor.execute("SELECT id FROM image WHERE id = ANY(%s::bigint[])", [list(image_ids)])
            return {row[0] for row in cursor.fetchall()}

    def commit(self) -> None:
        """Make everything pending visible and durable.

        Raises:
            StoreError: it could not be written. ConnectionLostError: this writer cannot write any more; raised also if
                nothing is pending. The pending changes may have been committed.
        """
        self._check_entered()
        if not self._anything_pending:
            with self._connection.write() as cursor:  # whoever ends with this must know that it was one server
                cursor.execute("SELECT 1")
            return
        start = time.monotonic()
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                with self._connection.write() as cursor:
                    self._write(cursor)
                break
            except ServerBusyError:  # two writers with the same files, in different order
                if attempt == _ATTEMPTS:
                    raise
                time.sleep(0.05 * attempt)
        self.commit_seconds = time.monotonic() - start
        self._forget()
        self._committed()

    def _write(self, cursor: Cursor) -> None:
        added = {record.path for record in (*self._records, *self._updated.values())}
        if self._removed:  # before the insertions: a changed file's new image takes over its path
            cursor.execute("DELETE FROM image WHERE id = ANY(%s)", [sorted(self._removed)])
        self._write_updates(cursor)
        if self._ids:
            self._write_images(cursor)
        gone = sorted(added | self._rejected.keys() | self._accepted)
        cursor.execute("DELETE FROM rejected WHERE path = ANY(%s)", [gone])
        now = datetime.now(UTC)
        rejected = [(path, reason, now) for path, reason in sorted(self._rejected.items()) if path not in added]
        if rejected:
            cursor.executemany("INSERT INTO rejected VALUES (%s, %s, %s) ON CONFLICT DO NOTHING", rejected)
        # Last: writers wait for one another from here on.
        cursor.execute(f"UPDATE model SET {NEXT_VERSION} WHERE index_id = %s", [self._index_id])
        if cursor.rowcount != 1:
            raise StoreError(f"another index has come to be at {self._server.place}; nothing was committed")

    def _write_updates(self, cursor: Cursor) -> None:
        import psycopg

        rows = [
            (new.path, _text(new.pid), _text(new.camid), new.captured_at, _json(new.attributes), key)
            for key, new in sorted(self._updated.items())
        ]
        if rows:
            try:
                cursor.executemany(
                    "UPDATE image SET path = %s, pid = %s, camid = %s, captured_at = %s, attributes = %s::jsonb "
                    "WHERE id = %s",
                    rows,
                )
            except psycopg.errors.UniqueViolation as error:
                raise self._path_taken() from error

    def _path_taken(self, path: str = "one of these paths") -> StoreError:
        return StoreError(
            f"{self._server.place} already holds another image of {path}; remove the old one in the same commit"
        )

    def _write_images(self, cursor: Cursor) -> None:
        info, dtype = self._model.info, self._model.embedding_dtype
        features = RegionFeatures.concatenate(self._features)
        visible = info.visible(features.visibility)
        counted = np.where(visible, features.visibility, np.float32(0))
        known = zip(
            self._ids,
            self._records,
            features.visibility,
            cells(counted),
            digests(features, visible, dtype),
            strict=True,
        )
        values = [
            {
                "id": image_id, "path": record.path, "content_hash": record.content_hash, "pid": _text(record.pid),
                "camid": _text(record.camid), "captured_at": _iso(record.captured_at), "width": record.width,
                "height": record.height, "attributes": record.attributes or None,
                "visibility": seen.tolist(), "cell": cell.hex(), "digest": digest.hex(),
            }
            for image_id, record, seen, cell, digest in known
        ]  # fmt: skip
        cursor.execute(_INSERT, [json.dumps(values)])
        inserted = {row[0] for row in cursor.fetchall()}
        self._check_known(cursor, inserted)
        rows = [row for row, image_id in enumerate(self._ids) if image_id in inserted]
        if rows:
            ids = np.array(self._ids, np.int64)
            with cursor.copy(f"COPY image_feature ({', '.join(columns(info.p))}) FROM STDIN (FORMAT binary)") as copy:
                copy.write(COPY_HEAD)
                copy.write(feature_rows(ids[rows], features[rows], visible[rows], dtype))
                copy.write(COPY_END)

    def _check_known(self, cursor: Cursor, inserted: set[int]) -> None:
        """Check that each image that was not inserted exists: from another writer, or from a commit whose answer was
        lost.
        """
        missing = {r.path: (i, r) for i, r in zip(self._ids, self._records, strict=True) if i not in inserted}
        if not missing:
            return
        cursor.execute("SELECT path, id, content_hash FROM image WHERE path = ANY(%s)", [sorted(missing)])
        for path, image_id, content_hash in cursor.fetchall():
            ours, record = missing[path]
            if image_id != ours and (not content_hash or content_hash != record.content_hash):
                raise self._path_taken(path)
            del missing[path]
        if missing:
            raise ServerBusyError(f"another writer has just removed {min(missing)} from {self._server.place}; repeat")


def lock_name(index_id: str) -> int:
    """The name of the lock that all writers of an index share, 64 bits."""
    return int.from_bytes(bytes.fromhex(index_id)[:8], signed=True)


def _text(label: Label | None) -> str | None:
    return None if label is None else str(label)


def _json(attributes: Attributes) -> str | None:
    return json.dumps(dict(attributes)) if attributes else None


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else as_utc(moment).isoformat()
