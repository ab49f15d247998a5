"""Ranks images whose files still exist before equally distant images whose files are gone.

A gallery may be copied, indexed at both places and then deleted at one. The index then has two images of each
photograph. Their bytes and so their distances are equal, and ties would rank the older one first, which has no file.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import groupby

from vpmsearch.data.fragment import is_there as file_is_there
from vpmsearch.types import Match, SearchResult

_ENOUGH = 5  # if so many matches have no single file, the index is taken for one of another machine
_WIDENINGS = 4  # the number of matches is doubled so often, up to 16 times, while ties go on beyond the last rank


def living_first(result: SearchResult, k: int, search: Callable[[int], SearchResult]) -> SearchResult:
    """Reorder ties, so that no image without a file stands before an equally distant one with a file.

    If all files are missing (an index of another machine), nothing changes.

    Args:
        result: result of `search(k)`. search: runs the same search for another number of matches.
    """
    there: dict[str, bool] = {}

    def is_there(match: Match) -> bool:
        if match.path not in there:
            there[match.path] = file_is_there(match.path)
        return there[match.path]

    matches = result.matches
    if len(matches) >= _ENOUGH and not any(map(is_there, matches)):
        return result  # an index of another machine, where the files are; a second search would tell nothing
    for widening in range(1, _WIDENINGS + 1):
        tied = _last_tie(matches)
        if len(matches) < k or sum(map(is_there, tied)) >= k - (len(matches) - len(tied)):
            break  # nobody is behind the cut, or enough with files are before it
        # The equally distant image with a file may come just after the last match.
        wider = search(k << widening).matches
        goes_on = len(wider) > len(matches) and wider[-1].distance == matches[-1].distance
        matches = wider
        if not goes_on:
            break
    ordered: list[Match] = []
    for _, equal in groupby(matches, key=lambda match: match.distance):
        ordered += sorted(equal, key=lambda match: not is_there(match))  # stable: else by image id
        if len(ordered) >= k:
            break
    return replace(result, matches=tuple(ordered[:k]))


def _last_tie(matches: tuple[Match, ...]) -> list[Match]:
    """The matches at the same distance as the last one."""
    return [match for match in matches if match.distance == matches[-1].distance]
