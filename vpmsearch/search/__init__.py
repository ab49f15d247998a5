"""Search: candidates from the region indexes, Eq. 4 on what is left, and how sure a match is.

`SearchEngine` is the way in. It is imported when it is first asked for, so that the light modules of this folder stay
light.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vpmsearch.search.engine import SearchEngine

__all__ = ["SearchEngine"]


def __getattr__(name: str) -> Any:
    if name != "SearchEngine":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from vpmsearch.search.engine import SearchEngine

    return SearchEngine
