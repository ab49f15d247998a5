"""The revisions of both stores' tables: Alembic, configured here, so that nobody needs an alembic.ini.

A folder's catalog and a server's schema each have their own line of revisions. Importing this module is slow because it
imports Alembic.
"""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util.exc import CommandError
from sqlalchemy import Connection

from vpmsearch.errors import StoreError


def migrations_folder(package: Path | None = None) -> Path:
    """Where the migrations are: inside the package (a plain install) or beside it (a checkout, an editable install).

    Args:
        package: the folder of the package `vpmsearch`; found by itself unless given.

    Raises:
        StoreError: they are in neither place.
    """
    package = package or Path(__file__).parents[1]
    # Inside first: an installed package lies beside other packages, and one of them may be called migrations.
    for folder in (package / "migrations", package.parent / "migrations"):
        if (folder / "env.py").is_file() and (folder / "versions" / "0001_first_catalog.py").is_file():
            return folder
    raise StoreError(f"the migrations that belong to {package} are missing; install vpmsearch again")


SERVER_VERSIONS = "vpmsearch_version"
"""The table with the revision of a server's index. Its name is our own because the database may hold other tables."""


def _config(connection: Connection | None = None) -> Config:
    """Both kinds of database have their own line of revisions in one folder, as none of their tables are alike."""
    config = Config()
    folder = migrations_folder()
    config.set_main_option("script_location", str(folder).replace("%", "%%"))
    config.attributes["connection"] = connection
    if connection is not None and connection.dialect.name == "postgresql":
        config.set_main_option("path_separator", "newline")
        config.set_main_option("version_locations", str(folder / "postgresql").replace("%", "%%"))
        config.attributes["version_table"] = SERVER_VERSIONS
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
    """Bring a catalog, which may be empty, to a revision. Runs within the caller's transaction.

    Raises:
        StoreError: a migration does something forbidden; see migrations/env.py.
    """
    try:
        command.upgrade(_config(connection), revision)
    except CommandError as error:
        raise StoreError(f"the tables were not changed: {error}") from error


def is_known(revision: str) -> bool:
    """Whether a catalog's revision is one of this version of vpmsearch."""
    try:
        ScriptDirectory.from_config(_config()).get_revision(revision)
    except CommandError:
        return False
    return True
