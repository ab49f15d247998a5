"""What was found, in the shape in which it goes over the wire."""

from __future__ import annotations

from dataclasses import replace

from vpmsearch.data.images import printable
from vpmsearch.search.answers import answer_values, query_regions
from vpmsearch.search.queries import region_names
from vpmsearch.types import NoMatches, RegionFeatures, SearchResult
from vpmsearch.web.fields import MAX_RANK
from vpmsearch.web.schemas import RegionsSeen, SearchAnswer
from vpmsearch.web.service import Found, Photograph, SearchService, View


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


def search_answer(
    view: View,
    query: RegionFeatures,
    name: str,
    sources: tuple[int, ...],
    chosen: tuple[int, ...] | None,
    found: Found,
) -> SearchAnswer:
    """One page of the ranks, in the form that `query --json` has too; nothing in it tells where the files are.

    Args:
        view: that was searched. query: one, (1, p) and (1, p, d). name: of it. sources: for each region the photograph
            it was taken from. chosen: regions that were asked for, None for all. found: the page.
    """
    result = found.result
    matches = tuple(replace(match, path=view.shown_path(match.path)) for match in result.matches)
    shown = replace(result, matches=matches, empty=_why_empty(view, result))
    seen = query_regions(query, view.snapshot.model_info, chosen, sources)
    return SearchAnswer(
        **answer_values(name, seen, shown, found.offset + 1),
        offset=found.offset,
        more=found.more and found.offset + len(matches) < MAX_RANK,
    )


def _why_empty(view: View, result: SearchResult) -> NoMatches | None:
    """Without the folder that all images share, which is the server's own."""
    if result.empty is None:
        return None
    text = result.empty.text.replace(view.folder, "") if len(view.folder) > 1 else result.empty.text
    return replace(result.empty, text=printable(text))
