"""ServerStore: an index on PostgreSQL with pgvector, with the methods of the folder store, `GalleryStore`."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from vpmsearch.errors import StoreError
from vpmsearch.store import calibration_file
from vpmsearch.store.contract import Gallery
from vpmsearch.store.intake import check_dtype
from vpmsearch.store.place import Place
from vpmsearch.store.postgres import schema
from vpmsearch.store.postgres import verify as checks
from vpmsearch.store.postgres.connection import Server
from vpmsearch.store.postgres.features import visibility
from vpmsearch.store.postgres.reading import Reading
from vpmsearch.store.postgres.view import ServerView
from vpmsearch.store.postgres.writer import ServerWriter
from vpmsearch.store.values import OnBuild, StoredModel, StoreStats, VerifyReport, tell_nobody
from vpmsearch.types import ModelInfo, SearchFilter


class ServerStore(Gallery):
    """An index on a server. A context manager; make one by `create` or `open`. Several threads may use it."""

    def __init__(self, place: Place, device: str = "cpu") -> None:
        self.path: Place = place
        self.device = device
        self.server = Server(place)
        try:
            self._model, self._index_id = self.server.read(lambda cursor: schema.opened(self.server, cursor))
            self._view: ServerView | None = self._look()
        except BaseException:
            self.server.close()
            raise
        self._lock, self._changes = threading.Lock(), 0

    @classmethod
    def create(
        cls,
        place: Place | str,
        model_info: ModelInfo | Mapping[str, Any],
        *,
        embedding_dtype: str = "float32",
        index_type: str = "auto",
        device: str = "cpu",
    ) -> ServerStore:
        """Make a new index in a database that holds none.

        Args:
            place: postgresql+psycopg://user@host/database. model_info: the model, or a mapping of its fields.
            embedding_dtype: "float32", or "float16" for half the disk. index_type: a key of `schema.METHODS`.

        Raises:
            StoreError: there is an index already, or the role lacks a right. ModelError: d is too large.
        """
        where = Place.of(place)
        info = ModelInfo.of(model_info)
        check_dtype(embedding_dtype)
        server = Server(where)
        try:
            schema.create(server, StoredModel(info, embedding_dtype, index_type))
        finally:
            server.close()
        return cls(where, device)

    @classmethod
    def open(cls, place: Place | str, *, device: str = "cpu") -> ServerStore:
        """Open an index.

        Raises:
            StoreNotFoundError: there is none in that database. StoreVersionError: it, PostgreSQL or pgvector are of
                another version. StoreError: nobody answers, or lets nobody in.
        """
        return cls(Place.of(place), device)

    def close(self) -> None:
        """Close all connections."""
        self._closed = True
        self.server.close()

    def _look(self) -> ServerView:
        return ServerView(self.server, self._model, self._index_id)

    @property
    def snapshot(self) -> ServerView:
        """What searches see."""
        self._check_open()
        while True:
            with self._lock:
                if self._view is not None:
                    return self._view
            self._renew()

    def refresh(self) -> bool:
        """Take a new view if something was committed since the last; True if so. Searches need none."""
        self._check_open()
        return self._renew()

    def _renew(self) -> bool:
        """Look without holding the lock, as the server may be slow. Look again if the view was changed meanwhile.

        The first look may be older than that change.
        """
        while True:
            with self._lock:
                before, changes = self._view, self._changes
            fresh = self._look()
            with self._lock:
                if changes == self._changes:
                    if before is not None and fresh.state == before.state:
                        return False
                    self._view, self._changes = fresh, changes + 1
                    return True

    def _outdate(self) -> None:
        with self._lock:
            self._view, self._changes = None, self._changes + 1

    def writer(self, *, on_build: OnBuild = tell_nobody) -> ServerWriter:
        """See `Gallery.writer`. The server builds the indexes when the last writer leaves, a region at a time.

        It does not say how far it is within a region, so `on_build` hears of each region when it is done.
        """
        self._check_open()
        return ServerWriter(self.server, self._model, self._index_id, self._outdate, on_build)

    def live_files(self) -> dict[str, tuple[int, str]]:
        """Path -> (image id, content hash) of all images committed by now."""
        return self.snapshot.read(Reading.live_files)

    def rejected(self) -> list[tuple[str, str]]:
        """(path, reason) of the files that could not be indexed, by path."""
        return self.snapshot.read(Reading.rejected)

    def _found(self, wanted: SearchFilter, paths: Sequence[str]) -> list[int]:
        found: list[int] = self.snapshot.read(lambda reading: reading.ids(wanted, paths)).tolist()
        return found

    def calibration(self) -> dict[str, Any] | None:
        """See `Gallery.calibration`."""
        return self.snapshot.read(Reading.calibration)

    def keep_calibration(self, values: dict[str, Any]) -> Place:
        """See `Gallery.keep_calibration`; a commit of its own."""
        self._check_open()
        with self.server.write() as cursor:
            cursor.execute(
                f"UPDATE model SET calibration = %s, {schema.NEXT_VERSION} WHERE index_id = %s",
                [calibration_file.packed(values), self._index_id],
            )
            if cursor.rowcount != 1:
                raise StoreError(f"another index has come to be at {self.path}; nothing was committed")
        self._outdate()
        return self.path

    def stats(self) -> StoreStats:
        """What the index holds now. Bytes are the server's, dead rows included until it vacuums."""
        return self.snapshot.read(self._stats)

    def _stats(self, reading: Reading) -> StoreStats:
        p = self.model_info.p
        sizes, kinds = checks.sizes(reading)
        counted = ", ".join(f"count({visibility(region)})" for region in range(p))
        visible = list(reading.rows(f"SELECT {counted} FROM image_feature")[0])
        means = ", ".join(f"coalesce(avg(visibility[{region + 1}]::float8), 0)" for region in range(p))
        return StoreStats(
            **reading.counts(),
            bytes_on_disk=sizes,
            region_images=visible,
            region_visibility=list(reading.rows(f"SELECT {means} FROM image")[0]),
            region_index_types=[kinds] * p,
            model=dataclasses.asdict(self.model_info),
            index_type=self.index_type,
            embedding_dtype=self.embedding_dtype,
            calibrated_on=calibration_file.images_calibrated_on(reading.calibration(), self.model_info),
        )

    def verify(self) -> VerifyReport:
        """Check every row against every other and its digest; damage is reported, never raised."""

        def verify(reading: Reading) -> VerifyReport:
            problems = checks.check(reading)
            return VerifyReport(not problems, reading.count(SearchFilter()), tuple(problems))

        return self.snapshot.read(verify)
