"""Compares the tables of a catalog with those that it must have, before anything is read from them.

A catalog may come from an attacker. A view in place of a table, a trigger, a computed column or an endless check would
otherwise run whenever a row is read or written.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import cast

from sqlalchemy import Connection, create_mock_engine
from sqlalchemy.dialects import sqlite

from vpmsearch.errors import StoreDamagedError, StoreVersionError
from vpmsearch.store.folder.files import REMEDY
from vpmsearch.store.folder.tables import METADATA

VERSIONS = "alembic_version"
OLDER = "0002"
"""The revision that is still read as it is; to write to it, it must be upgraded."""
Schema = Mapping[tuple[str, str], object]
"""(type, name) -> SQL of a table, index and so on, in a form that does not depend on how it was typed."""

_MOST = 200  # things in a schema
_LONGEST = 20_000  # characters of one
_GIVEN = {  # made by Alembic and SQLite
    VERSIONS: f"CREATE TABLE {VERSIONS} (version_num VARCHAR(32) NOT NULL, "
    f"CONSTRAINT {VERSIONS}_pkc PRIMARY KEY (version_num))",
    "sqlite_sequence": "CREATE TABLE sqlite_sequence(name,seq)",
}


@cache
def _statements() -> tuple[str, ...]:
    """The SQL that makes the tables and indexes of this version of vpmsearch, without those that `_GIVEN` has."""
    found: list[str] = []
    dialect = sqlite.dialect()

    def note(statement: object, *_: object, **__: object) -> None:
        found.append(str(statement.compile(dialect=dialect)).strip())  # type: ignore[attr-defined]

    METADATA.create_all(create_mock_engine("sqlite://", note), checkfirst=False)
    return tuple(found)


@cache
def expected() -> Schema:
    """Of this version of vpmsearch."""
    found: dict[tuple[str, str], object] = {("table", name): _normal(sql) for name, sql in _GIVEN.items()}
    for sql in _statements():
        kind = "index" if " INDEX " in sql.split("(")[0] else "table"
        name = sql.split("(")[0].split(" ON ")[0].split()[-1].strip('"')
        found[kind, name] = _normal(sql)
    return found


def make(connection: Connection, revision: str) -> None:
    """Make the tables of a new catalog, and write down their revision, in the caller's transaction.

    They are the tables that all migrations together would make; a test compares the two. Alembic is not needed: to
    import it takes longer than to make an index.
    """
    for sql in (*_statements(), _GIVEN[VERSIONS]):
        connection.exec_driver_sql(sql)
    connection.exec_driver_sql(f"INSERT INTO {VERSIONS} VALUES (?)", (revision,))


@cache
def expected_older() -> Schema:
    """Of `OLDER`: an image's labels are numbers, and it has no attributes."""
    found = dict(expected())
    head, parts, tail = cast("tuple[str, tuple[str, ...], str]", found["table", "image"])
    older = [re.sub(r"^(pid|camid) BLOB$", r"\1 INTEGER", part) for part in parts if part != "attributes VARCHAR"]
    found["table", "image"] = head, tuple(sorted(older)), tail
    return found


def check_readable(connection: sqlite3.Connection, path: Path, revision: str) -> None:
    """As `check`, but accepts `OLDER` too: an index in a read-only folder cannot be upgraded."""
    if revisions(connection, path) == [OLDER]:
        check(connection, path, OLDER, expected_older())
    else:
        check(connection, path, revision)


def described(connection: sqlite3.Connection) -> Schema:
    """The schema of a catalog, without the indexes that SQLite makes by itself.

    Raises:
        ValueError: it is so large that no vpmsearch made it.
    """
    rows = connection.execute("SELECT type, name, sql FROM sqlite_schema LIMIT ?", (_MOST + 1,)).fetchall()
    if len(rows) > _MOST or any(sql is not None and len(sql) > _LONGEST for *_, sql in rows):
        raise ValueError("its schema is longer than any that vpmsearch makes")
    return {
        (kind, name): _normal(sql) if sql else None
        for kind, name, sql in rows
        if sql is not None or kind != "index" or not name.startswith("sqlite_autoindex_")
    }


def check(connection: sqlite3.Connection, path: Path, revision: str, wanted: Schema | None = None) -> None:
    """Refuse a catalog that has not exactly the tables of a revision.

    Args:
        path: of the catalog, for messages. wanted: the tables; those of this version unless given.

    Raises:
        StoreVersionError: it has another revision. StoreDamagedError: it has none, or others.
    """
    found = _described(connection, path)
    versions = revisions(connection, path, found)
    if versions != [revision]:
        raise StoreVersionError(
            f"{path.parent} has revision {', '.join(versions) or 'none'} and this version of vpmsearch needs "
            f"{revision}; run `vpmsearch upgrade --index {path.parent}`, or update vpmsearch if the index "
            "was written by a newer one"
        )
    compare(found, expected() if wanted is None else wanted, path)


def is_plain(connection: sqlite3.Connection, table: str) -> bool:
    """Whether a name is a table of stored columns, in a catalog of any revision."""
    kinds = connection.execute("SELECT type, sql FROM sqlite_schema WHERE name = ? LIMIT 2", (table,)).fetchall()
    if len(kinds) != 1 or kinds[0][0] != "table" or not str(kinds[0][1]).upper().startswith("CREATE TABLE"):
        return False
    columns = connection.execute("SELECT hidden FROM pragma_table_xinfo(?)", (table,)).fetchall()
    return len(columns) > 0 and not any(hidden for (hidden,) in columns)


def revisions(connection: sqlite3.Connection, path: Path, found: Schema | None = None) -> list[str]:
    """The revisions that a catalog names: one, unless somebody has tampered with it.

    Raises:
        StoreDamagedError: it has no table of them.
    """
    key = ("table", VERSIONS)
    if (_described(connection, path) if found is None else found).get(key) != _normal(_GIVEN[VERSIONS]):
        raise StoreDamagedError(f"{path} has no table {VERSIONS} as vpmsearch makes it; {REMEDY}")
    rows = connection.execute(f"SELECT version_num FROM {VERSIONS} LIMIT 5").fetchall()
    return [str(version).encode("unicode_escape").decode()[:40] for (version,) in rows]


def compare(found: Schema, wanted: Schema, path: Path) -> None:
    """Refuse a schema that is not exactly the wanted one.

    Raises:
        StoreDamagedError: names one thing.
    """
    differing = sorted({key for key in {*found, *wanted} if found.get(key, "") != wanted.get(key, "")})
    if differing:
        kind, name = (str(part).encode("unicode_escape").decode()[:60] for part in differing[0])
        what = "is not as vpmsearch makes it" if differing[0] in found else "is missing"
        raise StoreDamagedError(f"{path}: {kind} {name} {what}; {REMEDY}")


def _described(connection: sqlite3.Connection, path: Path) -> Schema:
    try:
        return described(connection)
    except (ValueError, TypeError, AttributeError) as error:
        raise StoreDamagedError(f"{path} is no catalog ({error}); {REMEDY}") from error


def _normal(sql: str) -> tuple[str, tuple[str, ...], str]:
    """Constraints may stand in any order; commas within their brackets do not separate them."""
    words = " ".join(sql.split())
    head, _, rest = words.partition("(")
    body, _, tail = rest.rpartition(")")
    parts = re.split(r",(?![^(]*\))", body)
    return head.strip().replace('"', ""), tuple(sorted(part.strip() for part in parts)), tail.strip()
