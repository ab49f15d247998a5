"""Checksums: of files when they are written, and of the catalog's rows whenever they change.

The number of a row is the first 8 bytes of the BLAKE2b of its values as SQLite stores them. The checksum of a table is
the sum of its rows' numbers, so a change costs only the rows that it changes. Checksums find accidents, not attacks:
whoever can write the catalog can write the sums too.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.engine import Connection

from vpmsearch.store.folder.files import open_file

_MODULUS = 2**63
"""SQLite's integers are signed."""
_ROWS = 10_000  # fetched at once

# The place of an image (segment_id, row) is left out, as a merge changes it. `verify` compares it with the segment.
_STATEMENTS = {
    "model": "SELECT * FROM model",
    "segment": "SELECT id, images FROM segment",
    "segment_file": "SELECT segment_id, name, size, digest FROM segment_file",
    "image": "SELECT image.id, path, content_hash, pid, camid, captured_at, width, height, removed_at, scores, "
    "attributes FROM image LEFT JOIN visibility ON image_id = image.id",
    "rejected": "SELECT path, reason, rejected_at FROM rejected",
    "copy": "SELECT path, created_at, total, owner FROM copy",
}
_IMAGE_COLUMNS = 11
TABLES = tuple(_STATEMENTS)
RELABELLED = "relabelled"
"""Stored beside the sums: a random number that changes whenever labels change. It tells whether labels must be read
again.
"""
LABELLED = "labelled"
"""Stored beside it: its value when files of labels were last known to be right. An older vpmsearch changes labels
without this number, so files of labels count only where both are equal.
"""


@dataclass(frozen=True)
class FileSum:
    """A file as it was written. size: bytes. digest: their BLAKE2b, 16 bytes."""

    name: str
    size: int
    digest: bytes


def file_sum(path: Path) -> FileSum:
    """Compute the checksum of a file.

    Raises:
        OSError: it cannot be read. StoreDamagedError: an index has no such file.
    """
    with open_file(path) as file:
        found = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16))
        return FileSum(path.name, file.tell(), found.digest())


def is_as_written(path: Path, written: FileSum | None) -> bool:
    """Whether a file is exactly what was written. Reads every byte. False if `written` is None.

    Raises:
        OSError: it cannot be read.
    """
    return written is not None and path.lstat().st_size == written.size and file_sum(path).digest == written.digest


def digest(data: bytes) -> bytes:
    """The digest that a `FileSum` holds."""
    return hashlib.blake2b(data, digest_size=16).digest()


def folder_sums(folder: Path, wanted: Callable[[str], bool] = lambda name: True) -> list[FileSum]:
    """The checksums of the files of a folder whose names are wanted, in the order of the names.

    Raises:
        OSError: one cannot be read.
    """
    return [file_sum(path) for path in sorted(folder.iterdir()) if wanted(path.name)]


def table_sum(
    connection: Connection, table: str, keys: Iterable[int | str] | None = None, *, attributes: bool = True
) -> int:
    """The sum over all rows of a table, or over the rows of some keys: image ids, or paths of rejected files.

    Args:
        attributes: whether the table of images has this column; in revision 0002 it has not.
    """
    statement, values = _STATEMENTS[table], {}
    if not attributes:
        statement = statement.replace("scores, attributes", "scores")
    if keys is not None:
        column = {"image": "image.id", "rejected": "path"}[table]
        statement += f" WHERE {column} IN (SELECT value FROM json_each(:keys))"
        values = {"keys": json.dumps(list(keys))}
    total = 0
    for block in connection.execute(text(statement), values).partitions(_ROWS):
        total += sum(_number(row) for row in block)
    return total % _MODULUS


def add(connection: Connection, table: str, change: int) -> None:
    """Add to a stored sum."""
    stored = connection.execute(text("SELECT total FROM checksum WHERE name = :table"), {"table": table}).scalar_one()
    put(connection, table, stored + change)


def number_of(connection: Connection, name: str) -> int:
    """A stored sum or number; 0 if there is none."""
    found = connection.execute(text("SELECT total FROM checksum WHERE name = :name"), {"name": name}).scalar()
    return int(found or 0)


def put(connection: Connection, table: str, total: int) -> None:
    """Store a sum."""
    connection.execute(
        text("INSERT OR REPLACE INTO checksum (name, total) VALUES (:table, :total)"),
        {"table": table, "total": total % _MODULUS},
    )


def _number(row: Sequence[object]) -> int:
    # An image without attributes has the same number as before attributes existed.
    known = row[:-1] if len(row) == _IMAGE_COLUMNS and row[-1] is None else row
    data = repr(tuple(known)).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest()) % _MODULUS
