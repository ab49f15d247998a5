"""Writes the files of labels that segments lack: of older indexes, and after labels were changed."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from vpmsearch.errors import StoreError
from vpmsearch.store.folder import label_file
from vpmsearch.store.folder.catalog import Catalog
from vpmsearch.store.folder.checksums import FileSum
from vpmsearch.store.folder.files import check_folder, segment_folder
from vpmsearch.store.folder.label_file import LABELS_NAME, LEFT
from vpmsearch.store.folder.labels import ImageLabels


def complete(folder: Path, catalog: Catalog, anew: Collection[int] = ()) -> None:
    """Write the files of labels that are absent, or listed no more. The caller holds the writer lock.

    A catalog of an older revision, which is not written to, stays as it is.

    Args:
        anew: segments whose files are written in any case.

    Raises:
        StoreError: one cannot be written, for example as the disk is full. That does no harm: the catalog is read.
    """
    with catalog.read() as reader:
        if reader.older:
            return
        segments, written = list(reader.segments()), reader.label_files()
        trusted = reader.trusts_labels()
    if not trusted:
        catalog.trust_labels()
    for segment_id in segments:
        place = segment_folder(folder, segment_id)
        check_folder(place)
        if segment_id not in anew and _is_there(place / LABELS_NAME, written.get(segment_id)):
            continue
        with catalog.read() as reader:
            labels = reader.labels(segment_id)
        catalog.note_labels(segment_id, _write(place, labels))


def _write(place: Path, labels: ImageLabels) -> FileSum:
    for left in place.glob(f"{LEFT}*"):  # of a writer that was killed
        with suppress(OSError):  # a folder is none of ours
            left.unlink()
    try:
        return label_file.write(place, labels)
    except OSError as error:
        raise StoreError(
            f"{place / LABELS_NAME} cannot be written ({error.strerror or error}); mend that and repeat"
        ) from error


def _is_there(path: Path, written: FileSum | None) -> bool:
    """Whether a file has the size that was written. Its bytes are compared when it is opened."""
    try:
        return written is not None and path.lstat().st_size == written.size
    except OSError:
        return False
