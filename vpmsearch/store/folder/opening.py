"""Opening the catalog of an index that is there."""

from __future__ import annotations

from pathlib import Path

from vpmsearch.errors import StoreNotFoundError
from vpmsearch.store.folder.catalog import FILE_NAME, Catalog


def open_catalog(folder: Path) -> Catalog:
    """The catalog of an index, of the right revision.

    Raises:
        StoreNotFoundError, StoreVersionError, StoreDamagedError: there is none that could be used.
    """
    path = folder / FILE_NAME
    if not path.is_file():
        raise StoreNotFoundError(
            f"there is no index at {folder}; create one with `vpmsearch index GALLERY --index {folder}`"
        )
    catalog = Catalog(path)
    catalog.check_revision()
    return catalog
