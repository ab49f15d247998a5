"""The gallery store: images, visibility and embeddings of a gallery, committed as one and searched by region.

`GalleryStore` is a store in a folder. `verify`, `repair`, `compact`, `restore` and `upgrade` take the path of an index;
it may be too damaged or too old to be opened. On-disk format: indexes/README.md. `open` opens an index wherever it is;
`folder` and `postgres` hold the two stores. `contract` is their common interface.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vpmsearch.system import lazy

if TYPE_CHECKING:
    from vpmsearch.store.contract import Gallery, GalleryView, ImageWriter
    from vpmsearch.store.folder.compaction import compact
    from vpmsearch.store.folder.copies import restore
    from vpmsearch.store.folder.gallery import GalleryStore
    from vpmsearch.store.folder.index_types import INDEX_TYPES
    from vpmsearch.store.folder.maintenance import repair, verify
    from vpmsearch.store.folder.migrate import upgrade
    from vpmsearch.store.folder.snapshot import Snapshot
    from vpmsearch.store.folder.writer import GalleryWriter
    from vpmsearch.store.values import CompactReport, StoreStats, VerifyReport

_MODULES = {
    "INDEX_TYPES": "vpmsearch.store.folder.index_types",
    "CompactReport": "vpmsearch.store.values",
    "Gallery": "vpmsearch.store.contract",
    "GalleryStore": "vpmsearch.store.folder.gallery",
    "GalleryView": "vpmsearch.store.contract",
    "GalleryWriter": "vpmsearch.store.folder.writer",
    "ImageWriter": "vpmsearch.store.contract",
    "Snapshot": "vpmsearch.store.folder.snapshot",
    "StoreStats": "vpmsearch.store.values",
    "VerifyReport": "vpmsearch.store.values",
    "compact": "vpmsearch.store.folder.compaction",
    "repair": "vpmsearch.store.folder.maintenance",
    "restore": "vpmsearch.store.folder.copies",
    "upgrade": "vpmsearch.store.folder.migrate",
    "verify": "vpmsearch.store.folder.maintenance",
}

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

__getattr__ = lazy.names(__name__, _MODULES)
