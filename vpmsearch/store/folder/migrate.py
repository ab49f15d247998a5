"""Upgrading the catalog of a folder that an older version of vpmsearch wrote."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from sqlalchemy import Connection, text

from vpmsearch.errors import StoreError, StoreNotFoundError, StoreVersionError
from vpmsearch.store.folder.catalog import FILE_NAME, REVISION, insert_files, sum_all
from vpmsearch.store.folder.checksums import folder_sums
from vpmsearch.store.folder.locking import writer_lock
from vpmsearch.store.folder.segments import FOLDER_NAME, IMAGES_NAME, is_ours, remove_leftovers, write_images
from vpmsearch.store.folder.sqlite import connect, translated
from vpmsearch.store.folder.tables import open_engine
from vpmsearch.store.migrations import current_revision, is_known, make_tables
from vpmsearch.system.atomic import replacing


def upgrade(path: str | os.PathLike[str]) -> tuple[str, str]:
    """Bring an index to the revision of this version of vpmsearch; the old catalog stays beside it as a backup.

    Args:
        path: the folder of the index.

    Returns:
        The revision before and after; equal when there was nothing to do, and then no backup is made.

    Raises:
        StoreNotFoundError: there is no index. StoreLockedError: somebody writes to it.
        StoreVersionError: a newer version of vpmsearch wrote it.
    """
    folder = Path(path)
    catalog = folder / FILE_NAME
    if not catalog.is_file():
        raise StoreNotFoundError(f"there is no index at {folder}; create one with `vpmsearch index GALLERY`")
    try:
        with writer_lock(folder), translated(catalog):
            return _upgrade(folder, catalog)
    except OSError as error:
        raise StoreError(f"{folder} was not upgraded ({error.strerror or error}); mend that and repeat") from error


def _upgrade(folder: Path, catalog: Path) -> tuple[str, str]:
    # SQLite changes a table by building it anew, and dropping the old one must not cascade: keys are checked after.
    engine = open_engine(catalog, write=True, foreign_keys=False)
    with engine.begin() as connection:
        old = current_revision(connection)
    if old is None:
        raise StoreVersionError(f"{catalog} names no revision; restore the index from a copy or build it again")
    if old == REVISION:
        return old, old
    if not is_known(old):
        raise StoreVersionError(
            f"{folder} was written by a newer version of vpmsearch (revision {old}, known up to {REVISION}); "
            "update vpmsearch"
        )
    remove_leftovers(folder)
    _back_up(catalog, old)
    with engine.begin() as connection:
        make_tables(connection)
        if old == "0001":
            _sum_up(folder, connection)
        else:
            sum_all(connection)  # of rows that may have another form now; the files have not changed
        broken = connection.execute(text("PRAGMA foreign_key_check")).all()
        if broken:  # leaving by an error takes everything back
            raise StoreError(f"upgrading {folder} would leave {len(broken)} dangling rows; nothing was changed")
    return old, REVISION


def _sum_up(folder: Path, connection: Connection) -> None:
    """Give an index of revision 0001 what it lacks: files of image ids and visibility, and all checksums.

    From now on the files are as they are now: an upgrade cannot know whether one was damaged before.
    """
    p = int(connection.execute(text("SELECT regions_high * regions_wide FROM model")).scalar_one())
    statement = text(
        "SELECT image.id, scores FROM image JOIN visibility ON image_id = image.id WHERE segment_id = :segment "
        "ORDER BY row"
    )
    for (segment_id,) in connection.execute(text("SELECT id FROM segment")).all():
        place = folder / FOLDER_NAME / str(segment_id)
        for left in place.glob(f".{Path(IMAGES_NAME).stem}.*"):  # of an upgrade that was interrupted
            left.unlink()
        rows = connection.execute(statement, {"segment": segment_id}).all()
        ids = np.array([row.id for row in rows], dtype=np.int64)
        visibility = np.frombuffer(b"".join(row.scores for row in rows), dtype="<f4").reshape(len(ids), p)
        with replacing(place / IMAGES_NAME) as temporary, temporary.open("wb") as file:
            write_images(file, ids, visibility)
        connection.execute(text("DELETE FROM segment_file WHERE segment_id = :segment"), {"segment": segment_id})
        insert_files(connection, segment_id, [file for file in folder_sums(place) if is_ours(file.name, p)])
    sum_all(connection)


def _back_up(catalog: Path, revision: str) -> None:
    """Copy a catalog, WAL included, to `catalog.sqlite3.backup-<revision>`."""
    with replacing(catalog.with_name(f"{catalog.name}.backup-{revision}")) as copy:
        connection = connect(catalog, write=True)
        try:
            connection.execute("VACUUM INTO ?", (str(copy),))
        finally:
            connection.close()
