"""Checksums: of files when they are written, and of the catalog's rows whenever they change.

A row's number is the first 8 bytes of the BLAKE2b of its values, as SQLite holds them. The numbers of a table's rows
are added up, so that a change costs what it touches, not the whole table. They find accidents: whoever can write the
catalog can write the sums too.
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

# Where an image is (segment_id, row) is left out: a merge moves it, and `verify` compares it with the segment itself.
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
"""Beside the sums a number, drawn anew whenever labels of images change: who has read them knows whether to again."""


@dataclass(frozen=True)
class FileSum:
    """A file as it was written. size: bytes. digest: their BLAKE2b, 16 bytes."""

    name: str
    size: int
    digest: bytes


def file_sum(path: Path) -> FileSum:
    """Read a file and sum it up.

    Raises:
        OSError: it cannot be read. StoreDamagedError: it is no file that an index has.
    """
    with open_file(path) as file:
        found = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16))
        return FileSum(path.name, file.tell(), found.digest())


def is_as_written(path: Path, written: FileSum | None) -> bool:
    """Whether a file holds what was written, every byte of it is read; False if nothing of it is known.

    Raises:
        OSError: it cannot be read.
    """
    return written is not None and path.lstat().st_size == written.size and file_sum(path).digest == written.digest


def digest(data: bytes) -> bytes:
    """As in a `FileSum`."""
    return hashlib.blake2b(data, digest_size=16).digest()


def folder_sums(folder: Path, wanted: Callable[[str], bool] = lambda name: True) -> list[FileSum]:
    """The files of a folder whose names are wanted, by name.

    Raises:
        OSError: one cannot be read.
    """
    return [file_sum(path) for path in sorted(folder.iterdir()) if wanted(path.name)]


def table_sum(
    connection: Connection, table: str, keys: Iterable[int | str] | None = None, *, attributes: bool = True
) -> int:
    """The sum over a table's rows, or over those of some keys: image ids, or paths of rejected files.

    Args:
        attributes: whether images have the column, as they have not in an index of revision 0002.
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
    """Change a stored sum."""
    stored = connection.execute(text("SELECT total FROM checksum WHERE name = :table"), {"table": table}).scalar_one()
    put(connection, table, stored + change)


def put(connection: Connection, table: str, total: int) -> None:
    """Store a sum."""
    connection.execute(
        text("INSERT OR REPLACE INTO checksum (name, total) VALUES (:table, :total)"),
        {"table": table, "total": total % _MODULUS},
    )


def _number(row: Sequence[object]) -> int:
    # An image without attributes counts as it did before there were any.
    known = row[:-1] if len(row) == _IMAGE_COLUMNS and row[-1] is None else row
    data = repr(tuple(known)).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest()) % _MODULUS
