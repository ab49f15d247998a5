"""Chooses the search for a store; nothing else decides it."""

from __future__ import annotations

from vpmsearch.search.engine import SearchEngine
from vpmsearch.search.searcher import Searcher
from vpmsearch.store import Gallery, GalleryStore


def searcher(store: Gallery) -> Searcher:
    """The search of a store. A folder's files are searched in this process, a server's rows in the server."""
    if isinstance(store, GalleryStore):
        return SearchEngine(store)
    from vpmsearch.search.server import ServerSearch  # imported here: a folder needs no PostgreSQL driver
    from vpmsearch.store.postgres.store import ServerStore

    assert isinstance(store, ServerStore)
    return ServerSearch(store)
