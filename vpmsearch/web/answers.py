"""Turns search results into the form that is sent to clients."""

from __future__ import annotations

from dataclasses import replace

from vpmsearch.search.answers import answer_values, query_regions
from vpmsearch.search.queries import region_names
from vpmsearch.types import NoMatches, SearchResult
from vpmsearch.web.fields import MAX_RANK
from vpmsearch.web.schemas import RegionsSeen, SearchAnswer
from vpmsearch.web.searching import Searched
from vpmsearch.web.service import SearchService
from vpmsearch.web.state import Photograph, View
from vpmsearch.words import printable


def regions_seen(service: SearchService, photograph: Photograph) -> RegionsSeen:
    """What the model sees in a photograph."""
    info = service.view.snapshot.model_info
    return RegionsSeen(
        grid=list(info.num_regions),
        names=list(region_names(info.num_regions)),
        labels=photograph.labels.tolist(),
        visibility=photograph.features.visibility[0].tolist(),
        min_visibility=info.threshold,
        width=photograph.size[0],
        height=photograph.size[1],
    )


def search_answer(searched: Searched) -> SearchAnswer:
    """One page of the ranks, in the form of `query --json`. It does not tell where the server's files are."""
    view, found = searched.view, searched.found
    shown = replace(found.result, empty=_why_empty(view, found.result))
    seen = query_regions(searched.query, view.snapshot.model_info, searched.chosen, searched.taken)
    values = answer_values(searched.asked.name, seen, shown, found.offset + 1)
    for match in values["matches"]:
        match["path"] = view.shown_path(match["path"])
    more = found.more and found.offset + len(shown.matches) < MAX_RANK
    return SearchAnswer(**values, offset=found.offset, more=more)


def shown_result(view: View, result: SearchResult) -> SearchResult:
    """The result with its paths as answers show them."""
    matches = tuple(replace(match, path=view.shown_path(match.path)) for match in result.matches)
    return replace(result, matches=matches, empty=_why_empty(view, result))


def _why_empty(view: View, result: SearchResult) -> NoMatches | None:
    """Why there is no match, without the folder that all images share: clients need not know it."""
    if result.empty is None:
        return None
    text = result.empty.text.replace(view.folder, "") if len(view.folder) > 1 else result.empty.text
    return replace(result.empty, text=printable(text))
