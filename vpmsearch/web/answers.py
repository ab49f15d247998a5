"""What was found, in the shape in which it goes over the wire."""

from __future__ import annotations

from vpmsearch.data.fragment import part_of
from vpmsearch.data.images import printable
from vpmsearch.search.queries import region_names
from vpmsearch.types import ImageRecord, Match, RegionFeatures, SearchResult
from vpmsearch.web.fields import MAX_RANK
from vpmsearch.web.schemas import Hit, NoMatch, QueryRegion, RegionPart, RegionsSeen, SearchAnswer
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
    sources: tuple[int, ...],
    chosen: tuple[int, ...] | None,
    found: Found,
    offset: int,
    no_person: str = "",
) -> SearchAnswer:
    """One page of the ranks.

    Args:
        view: that was searched. query: one, (1, p) and (1, p, d). sources: for each region the photograph it was taken
            from. chosen: regions that were asked for, None for all. found: the page. offset: ranks before it.
        no_person: why the photographs show nobody, or "".
    """
    info = view.snapshot.model_info
    names, counts = region_names(info.num_regions), info.visible(query.visibility[0])
    shown = [
        QueryRegion(
            region=region,
            name=names[region],
            visibility=float(query.visibility[0, region]),
            counts=bool(counts[region]) and (chosen is None or region in chosen),
            photograph=sources[region],
        )
        for region in range(info.p)
    ]
    hits = [
        _hit(view, rank, match, record, rate, names, itself=match.image_id in found.itself, track_images=images)
        for (rank, match, record), rate, images in zip(
            found.matches, found.false_match_rates, found.track_images, strict=True
        )
    ]
    result = found.result
    return SearchAnswer(
        offset=offset,
        more=found.more and offset + len(hits) < MAX_RANK,
        exact=result.exact,
        candidates=result.candidates,
        elapsed_ms=result.elapsed_ms,
        depth=result.depth,
        complete=result.complete,
        bound_closed=result.bound_closed,
        no_person=no_person or None,
        verdict=None if no_person else found.verdict,
        filled_from=found.filled_from,
        calibration_notice=view.calibration_notice or None,
        empty=_why_empty(view, result),
        query=shown,
        matches=hits,
    )


def _why_empty(view: View, result: SearchResult) -> NoMatch | None:
    """Without the folder that all images share, which is the server's own."""
    if result.empty is None:
        return None
    text = result.empty.text.replace(view.folder, "") if len(view.folder) > 1 else result.empty.text
    return NoMatch(kind=result.empty.kind, reason=printable(text))


def _hit(
    view: View,
    rank: int,
    match: Match,
    record: ImageRecord,
    rate: float | None,
    names: tuple[str, ...],
    *,
    itself: bool,
    track_images: int | None,
) -> Hit:
    part = part_of(match.path)
    regions = [
        RegionPart(region=r.region, name=names[r.region], distance=r.distance, weight=r.weight, share=r.share)
        for r in match.regions
    ]
    return Hit(
        rank=rank,
        image_id=match.image_id,
        path=view.shown_path(match.path),
        pid=match.pid,
        camid=match.camid,
        captured_at=record.captured_at,
        width=record.width,
        height=record.height,
        distance=match.distance,
        false_match_rate=rate,
        itself=itself,
        box=None if part.box is None else list(part.box),
        seconds=part.seconds,
        track_images=track_images,
        regions=regions,
    )
