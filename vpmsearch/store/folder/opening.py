"""Opens the catalog of an existing index."""

from __future__ import annotations

from pathlib import Path

from vpmsearch.errors import StoreNotFoundError
from vpmsearch.store.folder.catalog import FILE_NAME, Catalog


def open_catalog(folder: Path) -> Catalog:
    """The catalog of an index, of the right revision.

    Raises:
        StoreNotFoundError: there is no index. StoreVersionError: it has another revision. StoreDamagedError: it is
            damaged.
    """
    path = folder / FILE_NAME
    if not path.is_file():
        raise StoreNotFoundError(
            f"there is no index at {folder}; create one with `vpmsearch index GALLERY --index {folder}`"
        )
    catalog = Catalog(path)
    catalog.check_revision()
    return catalog
