"""`GalleryStore` under its public name; the class lives in `vpmsearch.store.folder.gallery`."""

from __future__ import annotations

from vpmsearch.store.folder.gallery import GalleryStore

__all__ = ["GalleryStore"]
