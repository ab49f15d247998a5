"""GalleryStore: catalog, embeddings and region indexes as one store with common commits."""

from __future__ import annotations

import dataclasses
import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vpmsearch.errors import StoreError
from vpmsearch.store import calibration_file
from vpmsearch.store.contract import Gallery
from vpmsearch.store.folder.catalog import FILE_NAME, Catalog
from vpmsearch.store.folder.compaction import compact
from vpmsearch.store.folder.copies import copy_index
from vpmsearch.store.folder.creation import create_index
from vpmsearch.store.folder.index_types import check_index_type, gpu_of
from vpmsearch.store.folder.locking import writer_lock
from vpmsearch.store.folder.maintenance import verify
from vpmsearch.store.folder.moment import Moment, undisturbed
from vpmsearch.store.folder.opening import open_catalog
from vpmsearch.store.folder.reader import Reader
from vpmsearch.store.folder.segments import bytes_by_kind
from vpmsearch.store.folder.snapshot import Snapshot, committed
from vpmsearch.store.folder.statistics import measured
from vpmsearch.store.folder.writer import GalleryWriter
from vpmsearch.store.intake import check_dtype
from vpmsearch.store.values import CompactReport, OnBuild, StoredModel, StoreStats, VerifyReport, tell_nobody
from vpmsearch.types import ModelInfo, SearchFilter
from vpmsearch.words import number_of


class GalleryStore(Gallery):
    """An index on disk. Searches see its `snapshot`; changes go through a `writer`. A context manager.

    Make one by `create` or `open`. Several threads may use it.
    """

    def __init__(self, path: Path, catalog: Catalog, device: str, files: bool = True) -> None:
        self.path: Path = path
        self.device = device
        self._catalog = catalog
        self._lock = threading.RLock()
        self._snapshot: Snapshot | None = None
        self._before: Snapshot | None = None
        self._listed: Moment | None = None
        if files:
            self._take()
        else:
            self._model = self._committed().model

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str],
        model_info: ModelInfo | Mapping[str, Any],
        *,
        embedding_dtype: str = "float32",
        index_type: str = "auto",
        device: str = "cpu",
    ) -> GalleryStore:
        """Make a new index for the embeddings of one model.

        Args:
            path: a folder that does not exist or is empty. model_info: the model, or a mapping of its fields.
            embedding_dtype: "float32", or "float16" for half the disk and an error of up to 5e-4 of each number.
            index_type: one of `INDEX_TYPES`.
            device: where its indexes are searched: "cpu", "cuda", "cuda:N" or "auto".

        Raises:
            StoreError: there is an index already, the folder holds other things, or it cannot be written.
            ModelError: the model_info is incomplete.
        """
        folder = Path(path)
        info = ModelInfo.of(model_info)
        check_index_type(index_type)
        gpu_of(device)
        check_dtype(embedding_dtype)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with writer_lock(folder):
                create_index(folder, StoredModel(info, embedding_dtype, index_type))
        except OSError as error:
            raise StoreError(f"no index can be created at {folder}: {error.strerror or error}") from error
        return cls.open(folder, device=device)

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, device: str = "cpu", files: bool = True) -> GalleryStore:
        """Open an index, every file of it.

        Args:
            path: its folder. device: where its indexes are searched: "cpu", "cuda", "cuda:N" or "auto".
            files: False opens the catalog and labels alone, which is enough to count, find and remove images. The other
                files are opened when `snapshot` is first used.

        Raises:
            StoreNotFoundError: there is none. StoreVersionError: it needs `vpmsearch upgrade`, or a newer vpmsearch.
            StoreDamagedError: a file is missing or not what it should be. DeviceError: there is no such device.
        """
        gpu_of(device)
        folder = Path(path)
        return cls(folder, open_catalog(folder), device, files)

    def __repr__(self) -> str:
        if self._closed:
            return f"<GalleryStore {self.path}: closed>"
        info = self.model_info
        name = info.name or "unnamed weights"
        images, regions = number_of(len(self.snapshot), "image"), number_of(info.p, "region")
        return f"<GalleryStore {self.path}: {images}, {regions}, {name}>"

    def close(self) -> None:
        """Close the files. Snapshots that are still in use stay valid."""
        with self._lock:
            self._closed = True
            self._forget()

    @property
    def snapshot(self) -> Snapshot:
        """What searches see: taken at open, at `refresh` and after a commit of this store's own writer."""
        with self._lock:
            self._check_open()
            if self._snapshot is None:
                self._take()
            assert self._snapshot is not None
            return self._snapshot

    def _take(self) -> None:
        self._snapshot = self._before = Snapshot.take(self.path, self._catalog, self.device, self._before)
        self._listed = self._snapshot.moment
        self._model = self._snapshot.stored_model  # another index may have replaced the one at this path

    def _moment_before(self) -> Moment | None:
        return None if self._before is None else self._before.moment

    def _outdate(self) -> None:
        """Make the next use take a new snapshot."""
        with self._lock:
            self._snapshot = None

    def _forget(self) -> None:
        with self._lock:
            self._snapshot = self._before = self._listed = None

    def _committed(self) -> Moment:
        """The catalog as it is committed now. What searches see does not change."""
        with self._lock:
            self._check_open()
            if self._listed is None or self._catalog.ask(Reader.state) != self._listed.state:
                self._listed = committed(self._catalog, self._listed or self._moment_before())
            return self._listed

    def refresh(self) -> bool:
        """Take a new snapshot if something was committed since the last; True if so."""
        with self._lock:
            self._check_open()
            if self._snapshot is not None and self._catalog.ask(Reader.state) == self._snapshot.state:
                return False
            self._take()
            return True

    def writer(self, *, on_build: OnBuild = tell_nobody) -> GalleryWriter:
        """See `Gallery.writer`. A commit and a merge build region indexes.

        Raises:
            StoreLockedError: on entering, when somebody else is writing.
        """
        self._check_open()
        return GalleryWriter(self.path, self._catalog, self._model, self._outdate, on_build)

    def live_files(self) -> dict[str, tuple[int, str]]:
        """Path -> (image id, content hash) of all images committed by now."""
        return self._committed().files()

    def rejected(self) -> list[tuple[str, str]]:
        """(path, reason) of the files that could not be indexed, by path."""
        self._check_open()
        return self._catalog.ask(Reader.rejected)

    def _found(self, wanted: SearchFilter, paths: Sequence[str]) -> list[int]:
        found: list[int] = self._committed().find(wanted, paths).tolist()
        return found

    def stats(self) -> StoreStats:
        """What is committed, and the bytes on disk now. It says nothing of the embeddings' health: see `verify`.

        Raises:
            StoreDamagedError: a file is missing or has another size than was written, or the visibility scores or the
                calibration are damaged. Changed bytes of embeddings and region indexes are not noticed.
        """
        return StoreStats(
            **undisturbed(self._committed, lambda moment: measured(self.path, moment)),
            bytes_on_disk=bytes_by_kind(self.path),
            model=dataclasses.asdict(self.model_info),
            index_type=self.index_type,
            embedding_dtype=self.embedding_dtype,
            calibrated_on=calibration_file.images_calibrated_on(self.calibration(), self.model_info),
        )

    def calibration(self) -> dict[str, Any] | None:
        """See `Gallery.calibration`."""
        return calibration_file.read(self.path)

    def keep_calibration(self, values: dict[str, Any]) -> Path:
        """See `Gallery.keep_calibration`; the file that holds it."""
        return calibration_file.write(self.path, values)

    def snapshot_to(self, target: str | os.PathLike[str]) -> int:
        """Copy the index as it is now. A writer may work meanwhile. The copy is an index like any other.

        `compact` names the copy as long as it holds images that were removed here.

        Args:
            target: a folder that does not exist or is empty.

        Returns:
            Images in the copy.

        Raises:
            StoreError: the target is not empty, or cannot be written. StoreDamagedError: a file is damaged.
            StoreVersionError: an older vpmsearch wrote the index, and it can be upgraded.
        """
        self._check_open()
        folder = Path(os.path.abspath(target))  # noqa: PTH100 (a link is the user's name for it)
        noted = os.access(self.path / FILE_NAME, os.W_OK)  # else nothing can ever be removed here
        if noted:
            self._catalog.check_writable()

        def note(_: Path, total: int) -> None:
            # Noted before the copy appears: a note of a copy that does not exist does no harm.
            if noted:
                self._catalog.note_copies({str(folder): total})

        return copy_index(self.path, self._catalog, folder, note)

    def verify(self) -> VerifyReport:
        """Check every file on disk; see `vpmsearch.store.verify`, which also takes an index that cannot be opened."""
        return verify(self.path)

    def compact(self, *, wait_seconds: float = 5.0, purge_backups: bool = False) -> CompactReport:
        """Free the space of removed images; see `vpmsearch.store.compact`."""
        self._check_open()
        self._forget()  # an open view would keep the old files on the disk
        report = compact(self.path, wait_seconds=wait_seconds, purge_backups=purge_backups)
        self._forget()
        return report
