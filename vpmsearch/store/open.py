"""Chooses the store of an index by its path or URI. No other module does."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from vpmsearch.errors import StoreError
from vpmsearch.store import Gallery, GalleryStore, VerifyReport
from vpmsearch.store.place import Place
from vpmsearch.store.values import OnBuild, tell_nobody

if TYPE_CHECKING:
    from pathlib import Path

    from vpmsearch.types import ModelInfo

Where = str | os.PathLike[str] | Place


def open_index(where: Where, *, device: str = "cpu", files: bool = True) -> Gallery:
    """Open an index in a folder or a database.

    Args:
        files: see `GalleryStore.open`; a server has none.

    Raises:
        StoreNotFoundError: there is none. Otherwise as `GalleryStore.open` and `ServerStore.open`.
    """
    place = Place.of(where)
    if place.folder is not None:
        return GalleryStore.open(place.folder, device=device, files=files)
    from vpmsearch.store.postgres.store import ServerStore

    return ServerStore.open(place, device=device)


def create_index(
    where: Where, info: ModelInfo, *, embedding_dtype: str = "float32", index_type: str = "auto", device: str = "cpu"
) -> Gallery:
    """Make a new index in a folder or a database.

    Raises:
        StoreError: there is one already, or it cannot be made.
    """
    place = Place.of(where)
    if place.folder is not None:
        if index_type == "ybhnsw":
            raise StoreError("index type ybhnsw is YugabyteDB's; a folder has others")
        return GalleryStore.create(
            place.folder, info, embedding_dtype=embedding_dtype, index_type=index_type, device=device
        )
    from vpmsearch.store.postgres.store import ServerStore

    return ServerStore.create(place, info, embedding_dtype=embedding_dtype, index_type=index_type, device=device)


def create_or_open(
    where: Where, info: ModelInfo, *, embedding_dtype: str = "float32", index_type: str = "auto", device: str = "cpu"
) -> Gallery:
    """Make a new index, or open the one that a parallel run over another share of the gallery has just made.

    Raises:
        StoreError: it cannot be made, and there is none.
    """
    try:
        return create_index(where, info, embedding_dtype=embedding_dtype, index_type=index_type, device=device)
    except StoreError:
        with suppress(StoreError):
            return open_index(where, device=device)
        raise


def verify_index(where: Where) -> VerifyReport:
    """Check an index. In a folder it may be too damaged to be opened."""
    place = Place.of(where)
    if place.folder is not None:
        from vpmsearch.store import verify

        return verify(place.folder)
    with open_index(place) as store:
        return store.verify()


def upgrade_index(
    where: Where, on_build: OnBuild = tell_nobody, on_tables: Callable[[int], None] = lambda images: None
) -> tuple[str, str]:
    """Bring an index to this version's revision. Returns the revisions before and after.

    Args:
        on_build, on_tables: told how far it is on a server, see `vpmsearch.store.postgres.upgrade`. A folder takes
            seconds.
    """
    place = Place.of(where)
    if place.folder is not None:
        from vpmsearch.store import upgrade

        return upgrade(place.folder)
    from vpmsearch.store.postgres.connection import Server
    from vpmsearch.store.postgres.upgrade import upgrade as upgrade_server

    server = Server(place)
    try:
        return upgrade_server(server, on_build, on_tables)
    finally:
        server.close()


def folder_of(where: Where, instead: str) -> Path:
    """The folder of an index, for commands that work on files only.

    Raises:
        StoreError: the index is on a server; the message ends with `instead`.
    """
    place = Place.of(where)
    if place.folder is None:
        raise StoreError(f"{place} is on a server, which this command does not work on; {instead}")
    return place.folder


def fitting_type(where: Where, index_type: str) -> str:
    """The index type of another index if this kind of store has it, else "auto"."""
    return index_type if index_type in index_types(where) else "auto"


def index_types(where: Where) -> tuple[str, ...]:
    """The index types that an index at this place may have."""
    if Place.of(where).is_server:
        from vpmsearch.store.postgres.schema import METHODS

        return tuple(METHODS)
    from vpmsearch.store import INDEX_TYPES

    return tuple(INDEX_TYPES)
