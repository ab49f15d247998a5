"""Search: finds candidates in the region indexes, ranks them by Eq. 4, and says how sure a match is.

`SearchEngine` searches an index in a folder. `open.searcher` returns the search of any store.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vpmsearch.system import lazy

if TYPE_CHECKING:
    from vpmsearch.search.engine import SearchEngine

__all__ = ["SearchEngine"]

__getattr__ = lazy.names(__name__, {"SearchEngine": "vpmsearch.search.engine"})
