"""Reads a server's index in one transaction."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from vpmsearch.errors import StoreError
from vpmsearch.labels import Label, as_label, in_order
from vpmsearch.store.calibration_file import unpacked
from vpmsearch.store.postgres.connection import Server
from vpmsearch.store.postgres.encoding import VECTOR_TYPES, decoded
from vpmsearch.store.postgres.features import Layout, embedding
from vpmsearch.store.postgres.statements import CELLS, conditions
from vpmsearch.store.values import StoredModel, common_folder
from vpmsearch.types import Float32, ImageRecord, Int64, RegionFeatures, SearchFilter, as_utc

if TYPE_CHECKING:
    import psycopg

    Cursor: TypeAlias = psycopg.Cursor[Any]

MOST_CELLS = 20_000
"""Most cells that a search bounds. If there are more, it settles its depth without the bound."""
RECORD = "i.id, i.path, i.content_hash, i.pid, i.camid, i.captured_at, i.width, i.height, i.attributes"
"""An image's id, and the columns that `record_of` takes."""


@dataclass(frozen=True)
class State:
    """version: grows with each commit. built: the method of the indexes over embeddings, "" if there are none."""

    version: int
    built: str


@dataclass(frozen=True)
class Embeddings:
    """embeddings: (n, p, d), 0 where none is stored. count: how many are stored."""

    embeddings: Float32
    count: int


def present(image_ids: Iterable[int], found: Any) -> list[int]:
    """The ids as a list.

    Raises:
        StoreError: one of them is not in `found`.
    """
    ids = [int(image_id) for image_id in image_ids]
    missing = next((image_id for image_id in ids if image_id not in found), None)
    if missing is not None:
        raise StoreError(f"image {missing} is not in the index; it may have been removed")
    return ids


class Reading:
    """One transaction: all its answers are of the same moment.

    Attributes:
        state: of the index. layout: how embeddings are stored and searched in that state.
    """

    def __init__(self, server: Server, cursor: Cursor, model: StoredModel, index_id: str) -> None:
        self.server, self.cursor, self.model = server, cursor, model
        self._asking = threading.Lock()  # several threads compare images, and a cursor has one result at a time
        found = self.rows("SELECT version, built FROM model WHERE index_id = %s", [index_id])
        if not found:
            raise StoreError(f"another index has come to be at {server.place}; open it anew")
        self.state = State(*found[0])
        self.layout = Layout(VECTOR_TYPES[model.embedding_dtype], model.info.embedding_dim, self.state.built)

    def rows(self, statement: str, values: Any = None, again: bool = False) -> list[tuple[Any, ...]]:
        """All rows of a statement. Safe for several threads.

        Args:
            again: the statement comes often and its best plan does not depend on the values. The server keeps its plan.
        """
        with self._asking:
            self.cursor.execute(statement, values, prepare=again)
            found: list[tuple[Any, ...]] = self.cursor.fetchall()
        return found

    def count(self, search_filter: SearchFilter, most: int | None = None) -> int:
        """How many images pass a filter; it stops counting at `most`."""
        only = conditions(search_filter)
        limit = "" if most is None else f" LIMIT {most}"
        counted = self.rows(
            f"SELECT count(*) FROM (SELECT 1 FROM image i{only.where()}{limit}) AS counted", only.values
        )
        return int(counted[0][0])

    def ids(self, search_filter: SearchFilter, paths: Sequence[str] = ()) -> Int64:
        """Ids, ascending, of the images that meet every condition."""
        only = conditions(search_filter, paths)
        found = self.rows(f"SELECT i.id FROM image i{only.where()} ORDER BY i.id", only.values)
        return np.fromiter((row[0] for row in found), np.int64, len(found))

    def records(self, image_ids: Sequence[int] | Int64) -> dict[int, ImageRecord]:
        """What is known about images, by id; unknown ids are absent."""
        found = self.rows(f"SELECT {RECORD} FROM image i WHERE i.id = ANY(%s)", [_numbers(image_ids)])
        return {row[0]: record_of(row[1:]) for row in found}

    def features(self, image_ids: Sequence[int] | Int64) -> RegionFeatures:
        """The features of images, in the order asked; embeddings of regions that are not visible are 0.

        Raises:
            StoreError: one is not in the index.
        """
        info, ids = self.model.info, _numbers(image_ids)
        stored = dict(self.rows("SELECT id, visibility FROM image WHERE id = ANY(%s)", [ids]))
        place = {image_id: row for row, image_id in enumerate(dict.fromkeys(present(ids, stored)))}
        visibility = np.array([stored[image_id] for image_id in place], np.float32).reshape(len(place), info.p)
        embeddings = self.embeddings(list(place)).embeddings
        order = [place[image_id] for image_id in ids]
        return RegionFeatures(visibility[order], embeddings[order])

    def embeddings(self, image_ids: Sequence[int]) -> Embeddings:
        """The stored embeddings of some images. Each id may occur once."""
        info, place = self.model.info, {image_id: row for row, image_id in enumerate(image_ids)}
        embeddings = np.zeros((len(place), info.p, info.embedding_dim), np.float32)
        columns = ", ".join(map(embedding, range(info.p)))
        rows = self.rows(f"SELECT image_id, {columns} FROM image_feature WHERE image_id = ANY(%s)", [list(place)])
        stored = [(place[row[0]], region) for row in rows for region in range(info.p) if row[1 + region] is not None]
        if stored:
            vectors = [value for row in rows for value in row[1:] if value is not None]
            images, regions = zip(*stored, strict=True)
            embeddings[images, regions] = decoded(vectors, info.embedding_dim, self.model.embedding_dtype)
        return Embeddings(embeddings, len(stored))

    def digests(self, image_ids: Sequence[int] | Int64) -> list[bytes]:
        """The digests that were stored with the features, in the order asked."""
        found = dict(self.rows("SELECT id, digest FROM image WHERE id = ANY(%s)", [_numbers(image_ids)]))
        return [bytes(found[image_id]) for image_id in present(image_ids, found)]

    def cells(self) -> tuple[bytes, ...]:
        """Every cell that occurs, but at most `MOST_CELLS` + 1."""
        return tuple(bytes(row[0]) for row in self.rows(CELLS, [MOST_CELLS + 1]))

    def live_files(self) -> dict[str, tuple[int, str]]:
        """Path -> (image id, content hash)."""
        return {row[0]: (row[1], row[2]) for row in self.rows("SELECT path, id, content_hash FROM image")}

    def rejected(self) -> list[tuple[str, str]]:
        """(path, reason), by path."""
        return [(row[0], row[1]) for row in self.rows("SELECT path, reason FROM rejected ORDER BY path")]

    def calibration(self) -> dict[str, Any] | None:
        """See `ServerStore.calibration`."""
        text = self.rows("SELECT calibration FROM model")[0][0]
        return None if text is None else unpacked(text, f"the calibration of {self.server.place}")

    def counts(self) -> dict[str, int]:
        """See `ServerView.counts`."""
        images, identities, cameras = self.rows(
            "SELECT count(*), count(DISTINCT pid) FILTER (WHERE pid !~ '^-[0-9]+$'), count(DISTINCT camid) FROM image"
        )[0]
        rejected = self.rows("SELECT count(*) FROM rejected")[0][0]
        counts = {"images": images, "removed": 0, "rejected": rejected, "identities": identities}
        return counts | {"cameras": cameras, "segments": 0}

    def camids(self) -> list[Label]:
        """The cameras, in their order: numbers, then words."""
        found = self.rows("SELECT DISTINCT camid FROM image WHERE camid IS NOT NULL")
        return in_order(as_label(row[0]) for row in found)

    def has_words(self, name: Literal["pid", "camid"]) -> bool:
        """Whether any image's pid, or camid, is a word."""
        found = self.rows(f"SELECT DISTINCT {name} FROM image WHERE {name} IS NOT NULL")
        return any(isinstance(as_label(row[0]), str) for row in found)

    def attribute_names(self) -> list[str]:
        """The attributes that any image has, in their order."""
        named = "SELECT DISTINCT jsonb_object_keys(attributes) FROM image WHERE attributes IS NOT NULL"
        return sorted(str(row[0]) for row in self.rows(named))

    def captured(self) -> tuple[datetime, datetime] | None:
        """When the first and the last image were captured."""
        first, last = self.rows("SELECT min(captured_at), max(captured_at) FROM image")[0]
        return None if first is None else (as_utc(first), as_utc(last))

    def folder(self) -> str:
        """The folder that all images are in; see `common_folder`."""
        first, last = (
            self.rows(f'SELECT path FROM image ORDER BY path COLLATE "C" {order} LIMIT 1') for order in ("ASC", "DESC")
        )
        return common_folder(first[0][0], last[0][0]) if first else ""


def _numbers(image_ids: Iterable[int]) -> list[int]:
    return [int(image_id) for image_id in image_ids]


def record_of(row: Sequence[Any]) -> ImageRecord:
    """The record in the columns `RECORD` of a row, its id left out."""
    path, content_hash, *labels, captured_at, width, height, attributes = row
    pid, camid = (None if text is None else as_label(text) for text in labels)
    noted = dict(sorted((attributes or {}).items()))  # jsonb has an order of its own
    return ImageRecord(path, content_hash, pid, camid, captured_at and as_utc(captured_at), width, height, noted)
