"""Why a search found nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Protocol

from vpmsearch.labels import Label
from vpmsearch.types import NoMatches, RegionFeatures, SearchFilter


class Contents(Protocol):
    """The content of an index: a folder's snapshot, or what one transaction sees on a server."""

    def count(self, search_filter: SearchFilter) -> int:
        """Images that pass a filter."""

    def counts(self) -> dict[str, int]:
        """At least "images" and "identities"."""

    def camids(self) -> list[Label]:
        """The cameras, in their order."""

    def attribute_names(self) -> list[str]:
        """The attributes that any image has, in their order."""

    def captured(self) -> tuple[datetime, datetime] | None:
        """When the first and the last image were captured; None where no image has a time."""


def why_empty(contents: Contents, query: RegionFeatures, wanted: SearchFilter) -> NoMatches:
    """Why a query has no match.

    Args:
        contents: the index as the search saw it. query: one query, its visibility 0 where it does not count.
        wanted: the filter of the search.
    """
    known = contents.counts()
    if not known["images"]:
        return NoMatches("index", "the index is empty")
    passing = contents.count(wanted)
    if not passing:
        return _why_nothing_passes(contents, wanted, known["identities"])
    if not (query.visibility > 0).any():
        text = "the query shows no region well enough: each is below the index's min_visibility, or was not asked for"
        return NoMatches("query", text)
    images = "images" if wanted == SearchFilter() else "images that pass the filter"
    return NoMatches("regions", f"none of the {images} ({passing}) shows a region that the query shows")


def _why_nothing_passes(contents: Contents, wanted: SearchFilter, identities: int) -> NoMatches:
    lacking = list(_lacking_labels(contents, wanted, identities))
    if lacking:
        return NoMatches("labels", f"no image passes the filter: no image of the index has {' or '.join(lacking)}")
    unmet = list(_unmet(contents, wanted))
    told = "; ".join(unmet) if unmet else "each condition is met by some images, all of them by none"
    return NoMatches("filter", f"no image passes the filter: {told}")


def _lacking_labels(contents: Contents, wanted: SearchFilter, identities: int) -> Iterator[str]:
    """The kinds of labels that the filter asks for and no image of the index has."""
    if wanted.pids and not identities and not contents.count(SearchFilter(pids=wanted.pids)):
        yield "a pid"
    if wanted.camids and not contents.camids():
        yield "a camid"
    if _timed(wanted) and contents.captured() is None:
        yield "a time of capture"
    known = contents.attribute_names() if wanted.attributes else []
    for name in wanted.attributes:
        if name not in known:
            yield f"an attribute {name} ({f'there are {_listed(known)}' if known else 'none has any'})"


def _unmet(contents: Contents, wanted: SearchFilter) -> Iterator[str]:
    """The conditions of the filter that no image meets, each taken alone."""
    if wanted.pids and not contents.count(SearchFilter(pids=wanted.pids)):
        yield f"no image has pid {_listed(wanted.pids)}"
    if wanted.camids and not contents.count(SearchFilter(camids=wanted.camids)):
        yield f"no image has camid {_listed(wanted.camids)}"
    for name, values in wanted.attributes.items():
        if not contents.count(SearchFilter(where={name: values})):
            yield f"no image has {name} {_listed(values)}"
    if _timed(wanted) and not contents.count(replace(wanted, pids=(), camids=(), path_prefix="", where={})):
        first, last = contents.captured() or (None, None)
        if first is not None and last is not None:
            yield f"no image was captured then; they were from {first.isoformat()} to {last.isoformat()}"
    if wanted.path_prefix and not contents.count(SearchFilter(path_prefix=wanted.path_prefix)):
        yield f"no path of the index starts with {wanted.path_prefix}"


def _timed(wanted: SearchFilter) -> bool:
    return wanted.captured_after is not None or wanted.captured_before is not None


def _listed(labels: Sequence[Label]) -> str:
    return " or ".join(map(str, labels[:5])) + (" …" if len(labels) > 5 else "")
