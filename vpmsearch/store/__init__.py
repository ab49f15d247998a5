"""The gallery store: images, visibility and embeddings of a gallery on disk, committed as one and searched by region.

`GalleryStore` is the way in. `verify`, `repair`, `compact`, `restore` and `upgrade` take the path of an index, also of
one that cannot be opened because it is damaged or old. On-disk format: indexes/README.md.
"""

from __future__ import annotations

import os

from vpmsearch.store.contract import Gallery, GalleryView, ImageWriter
from vpmsearch.store.folder.copies import restore
from vpmsearch.store.folder.gallery import GalleryStore
from vpmsearch.store.folder.index_types import INDEX_TYPES
from vpmsearch.store.folder.maintenance import compact, repair, verify
from vpmsearch.store.folder.snapshot import Snapshot
from vpmsearch.store.folder.writer import GalleryWriter
from vpmsearch.store.values import CompactReport, StoreStats, VerifyReport

__all__ = [
    "INDEX_TYPES",
    "CompactReport",
    "Gallery",
    "GalleryStore",
    "GalleryView",
    "GalleryWriter",
    "ImageWriter",
    "Snapshot",
    "StoreStats",
    "VerifyReport",
    "compact",
    "repair",
    "restore",
    "upgrade",
    "verify",
]


def upgrade(path: str | os.PathLike[str]) -> tuple[str, str]:
    """Bring an index to this version's revision, keeping a backup of the catalog; the revisions before and after.

    See `vpmsearch.store.folder.migrate.upgrade`, which this imports when called: Alembic takes a while.
    """
    from vpmsearch.store.folder.migrate import upgrade as run

    return run(path)
