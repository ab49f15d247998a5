"""The catalog's revisions: Alembic, configured here, so that nobody needs an alembic.ini."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util.exc import CommandError
from sqlalchemy import text

import vpmsearch
from vpmsearch.atomic import replacing
from vpmsearch.errors import StoreError, StoreNotFoundError, StoreVersionError
from vpmsearch.store.catalog import FILE_NAME, REVISION
from vpmsearch.store.locking import writer_lock
from vpmsearch.store.sqlite import connect, translated
from vpmsearch.store.tables import open_engine

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection


def migrations_folder(package: Path | None = None) -> Path:
    """Where the migrations are: inside the package (a plain install) or beside it (a checkout, an editable install).

    Args:
        package: the folder of the package `vpmsearch`; found by itself unless given.

    Raises:
        StoreError: they are in neither place.
    """
    package = package or Path(vpmsearch.__file__).parent
    # Inside first: beside an installed package lie other people's packages, one of which may be called migrations.
    for folder in (package / "migrations", package.parent / "migrations"):
        if (folder / "env.py").is_file() and (folder / "versions" / "0001_first_catalog.py").is_file():
            return folder
    raise StoreError(f"the migrations that belong to {package} are missing; install vpmsearch again")


def _config(connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(migrations_folder()).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def head_revision() -> str:
    """The revision that this version of vpmsearch reads and writes."""
    head = ScriptDirectory.from_config(_config()).get_current_head()
    if head is None:
        raise StoreError(f"there are no migrations in {migrations_folder()}; install vpmsearch again")
    return head


def current_revision(connection: Connection) -> str | None:
    """The revision of the catalog behind a connection, None where it has none."""
    return MigrationContext.configure(connection).get_current_revision()


def make_tables(connection: Connection, revision: str = "head") -> None:
    """Bring a catalog, an empty one too, to a revision; within the transaction of the caller."""
    command.upgrade(_config(connection), revision)


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
    with writer_lock(folder), translated(catalog):
        # SQLite changes a table by building it anew, and dropping the old one must not cascade: keys are checked after.
        engine = open_engine(catalog, write=True, foreign_keys=False)
        with engine.begin() as connection:
            old = current_revision(connection)
        if old is None:
            raise StoreVersionError(f"{catalog} names no revision; restore the index from a copy or build it again")
        if old == REVISION:
            return old, old
        _check_known(folder, old)
        _back_up(catalog, old)
        with engine.begin() as connection:
            make_tables(connection)
            broken = connection.execute(text("PRAGMA foreign_key_check")).all()
            if broken:  # leaving by an error takes everything back
                raise StoreError(f"upgrading {folder} would leave {len(broken)} dangling rows; nothing was changed")
    return old, REVISION


def _check_known(folder: Path, revision: str) -> None:
    try:
        ScriptDirectory.from_config(_config()).get_revision(revision)
    except CommandError as error:
        raise StoreVersionError(
            f"{folder} was written by a newer version of vpmsearch (revision {revision}, known up to {REVISION}); "
            "update vpmsearch"
        ) from error


def _back_up(catalog: Path, revision: str) -> None:
    """Copy a catalog, WAL included, to `catalog.sqlite3.backup-<revision>`."""
    with replacing(catalog.with_name(f"{catalog.name}.backup-{revision}")) as copy:
        connection = connect(catalog, write=True)
        try:
            connection.execute("VACUUM INTO ?", (str(copy),))
        finally:
            connection.close()
