"""Upgrading the catalog of a folder that an older version of vpmsearch wrote."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import Connection, create_engine, text

from vpmsearch.errors import StoreError, StoreNotFoundError, StoreVersionError
from vpmsearch.store.folder import schema
from vpmsearch.store.folder.catalog import FILE_NAME, REVISION, Catalog, insert_files, sum_all
from vpmsearch.store.folder.checksums import folder_sums
from vpmsearch.store.folder.columns import check_types, whole_numbers
from vpmsearch.store.folder.files import REMEDY, check_folder, segment_folder
from vpmsearch.store.folder.label_keeping import complete
from vpmsearch.store.folder.leftovers import remove_leftovers
from vpmsearch.store.folder.locking import writer_lock
from vpmsearch.store.folder.segments import IMAGES_NAME, is_ours, write_images
from vpmsearch.store.folder.sqlite import connect, translated
from vpmsearch.store.folder.tables import open_engine
from vpmsearch.store.migrations import is_known, make_tables
from vpmsearch.system.atomic import replacing
from vpmsearch.types import MAX_REGIONS


def upgrade(path: str | os.PathLike[str]) -> tuple[str, str]:
    """Bring an index to the revision of this version of vpmsearch. The old catalog stays beside it as a backup.

    It also writes the files of labels that are absent, with which the index opens faster.

    Args:
        path: the folder of the index.

    Returns:
        The revisions before and after. If there was nothing to do they are equal, and no backup is made.

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
            revisions = _upgrade(folder, catalog)
            with suppress(StoreError):  # without files of labels opening takes longer
                complete(folder, Catalog(catalog))
            return revisions
    except OSError as error:
        raise StoreError(f"{folder} was not upgraded ({error.strerror or error}); mend that and repeat") from error


def _upgrade(folder: Path, catalog: Path) -> tuple[str, str]:
    old = _revision(folder, catalog)
    if old == REVISION:
        return old, old
    wanted = schema_at(old)

    def check(connection: sqlite3.Connection) -> None:
        schema.check(connection, catalog, old, wanted)

    _keep_a_log(catalog)
    # Dropping a table must not cascade; keys are checked after.
    engine = open_engine(catalog, write=True, foreign_keys=False, check=check)
    remove_leftovers(folder)
    _back_up(catalog, old)
    with engine.begin() as connection:
        before = _kept(connection)
        make_tables(connection)
        if old == "0001":
            _sum_up(folder, connection)
        else:
            sum_all(connection)  # rows may have another form now; the files have not changed
        _check_upgraded(connection, folder, before)  # an error undoes everything
    return old, REVISION


def _revision(folder: Path, catalog: Path) -> str:
    """The revision of a catalog that has not been checked yet.

    Raises:
        StoreVersionError: it has none, or one that this version of vpmsearch does not know.
    """
    with closing(connect(catalog)) as connection:
        found = schema.revisions(connection, catalog)
    if len(found) != 1:
        raise StoreVersionError(f"{catalog} names no revision; {REMEDY}")
    if not is_known(found[0]):
        raise StoreVersionError(
            f"{folder} was written by a newer version of vpmsearch (revision {found[0]}, known up to {REVISION}); "
            "update vpmsearch"
        )
    return found[0]


def schema_at(revision: str) -> schema.Schema:
    """The tables that the migrations up to a revision make."""
    with create_engine("sqlite://").begin() as connection:
        make_tables(connection, revision)
        made: Any = connection.connection.driver_connection
        return schema.described(made)


def _kept(connection: Connection) -> dict[str, int]:
    """Numbers that no upgrade may lower: rows by table, and the largest ids ever used."""
    counts = {
        table: int(connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one())
        for table in ("model", "segment", "image", "visibility", "rejected")
    }
    given = connection.execute(text("SELECT name, seq FROM sqlite_sequence")).all()
    return counts | {f"ids of {row.name}": int(row.seq) for row in given}


def _check_upgraded(connection: Connection, folder: Path, before: dict[str, int]) -> None:
    """Refuse an upgrade that lost something, or whose tables differ from those of a new catalog."""
    broken = connection.execute(text("PRAGMA foreign_key_check")).all()
    if broken:
        raise StoreError(f"upgrading {folder} would leave {len(broken)} dangling rows; nothing was changed")
    after = _kept(connection)
    for name, number in before.items():
        if after.get(name, 0) < number:
            raise StoreError(
                f"upgrading {folder} would leave {after.get(name, 0)} of {number} of {name}; nothing was changed"
            )
    made: Any = connection.connection.driver_connection
    schema.compare(schema.described(made), schema.expected(), folder / FILE_NAME)


def _sum_up(folder: Path, connection: Connection) -> None:
    """Add to an index of revision 0001 what it lacks: the files of image ids and visibility, and all checksums.

    The checksums are of the files as they are now: an upgrade cannot know whether one was damaged before.
    """
    grid = connection.execute(text("SELECT regions_high, regions_wide FROM model")).one()
    p = int(np.prod(whole_numbers(grid, "model.regions", least=1)))
    if p > MAX_REGIONS:
        raise ValueError(f"{p} regions")
    statement = text(
        "SELECT image.id, scores FROM image JOIN visibility ON image_id = image.id WHERE segment_id = :segment "
        "ORDER BY row"
    )
    for (segment_id,) in connection.execute(text("SELECT id FROM segment")).all():
        place = segment_folder(folder, segment_id)
        check_folder(place)
        for left in place.glob(f".{Path(IMAGES_NAME).stem}.*"):  # of an upgrade that was interrupted
            with suppress(OSError):  # a folder is none of ours
                left.unlink()
        rows = connection.execute(statement, {"segment": segment_id}).all()
        ids = whole_numbers([row.id for row in rows], "image.id")
        check_types([row.scores for row in rows], "visibility.scores", bytes)
        visibility = np.frombuffer(b"".join(row.scores for row in rows), dtype="<f4").reshape(len(ids), p)
        with replacing(place / IMAGES_NAME) as temporary, temporary.open("wb") as file:
            write_images(file, ids, visibility)
        connection.execute(text("DELETE FROM segment_file WHERE segment_id = :segment"), {"segment": segment_id})
        insert_files(connection, segment_id, folder_sums(place, lambda name: is_ours(name, p)))
    sum_all(connection)


def _back_up(catalog: Path, revision: str) -> None:
    """Copy a catalog, WAL included, to `catalog.sqlite3.backup-<revision>`."""
    with replacing(catalog.with_name(f"{catalog.name}.backup-{revision}")) as copy:
        connection = connect(catalog, write=True)
        try:
            connection.execute("VACUUM INTO ?", (str(copy),))
        finally:
            connection.close()
        _keep_a_log(copy)


def _keep_a_log(catalog: Path) -> None:
    """Switch the catalog to a write-ahead log, which VACUUM INTO does not keep. Without it readers and a writer block
    each other.
    """
    with closing(connect(catalog, write=True)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
