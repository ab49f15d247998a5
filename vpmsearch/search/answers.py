"""The one form of an answer, for `query --json`, REST, reports and text. docs/answers.md describes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from vpmsearch.data.fragment import part_or_file
from vpmsearch.search.queries import only_regions, region_names
from vpmsearch.types import Match, ModelInfo, RegionFeatures, SearchResult, as_utc

SCHEMA = 2
"""Version of the form. It grows when a field goes or changes its meaning, not when one is added."""


@dataclass(frozen=True)
class QueryRegion:
    """What a query shows of one region.

    counts: whether the region is compared: enough of it is visible, and it was asked for. photograph: the number,
    from 0, of the photograph that the region was taken from.
    """

    region: int
    name: str
    visibility: float
    counts: bool
    photograph: int


def query_regions(
    query: RegionFeatures, info: ModelInfo, chosen: Sequence[int] | None = None, sources: Sequence[int] | None = None
) -> list[QueryRegion]:
    """What one query, (1, p) and (1, p, d), shows of each region.

    Args:
        info: model of the index. chosen: regions that were asked for, None for all. sources: for each region the
            number of the photograph it was taken from; None where the query is one photograph.
    """
    names, seen = region_names(info.num_regions), query.visibility[0]
    counts = info.visible(only_regions(query, chosen).visibility[0])
    return [
        QueryRegion(region, names[region], float(seen[region]), bool(counts[region]), sources[region] if sources else 0)
        for region in range(info.p)
    ]


def match_values(rank: int, match: Match, filled_from: int | None = None) -> dict[str, Any]:
    """One match as JSON values. Over its regions, Σ weight·distance / Σ weight is the match's distance.

    Args:
        filled_from: id of the image that the query was filled from; None if it was not filled.
    """
    return {
        "rank": rank,
        "image_id": match.image_id,
        "path": match.path,
        "distance": match.distance,
        "pid": match.pid,
        "camid": match.camid,
        "regions": [
            {"region": r.region, "distance": r.distance, "weight": r.weight, "share": r.share, "name": r.name}
            for r in match.regions
        ],
        "captured_at": None if match.captured_at is None else _written(match.captured_at),
        "attributes": dict(match.attributes),
        "width": match.width,
        "height": match.height,
        **place_in(match.path),
        "false_match_rate": match.false_match_rate,
        "itself": match.itself,
        "track_images": match.track_images,
        "notes": answer_notes(match, filled_from),
    }


def answer_values(name: str, seen: Sequence[QueryRegion], result: SearchResult, first_rank: int = 1) -> dict[str, Any]:
    """An answer as JSON values.

    Args:
        name: name of the query. seen: what the query shows. result: what `judged` returned. first_rank: rank of the
            first match.
    """
    ranked = enumerate(result.matches, start=first_rank)
    matches = [match_values(rank, match, result.filled_from) for rank, match in ranked]
    return {
        "query": name,
        "exact": result.exact,
        "candidates": result.candidates,
        "elapsed_ms": result.elapsed_ms,
        "matches": matches,
        "verdict": result.verdict,
        "verdict_word": result.verdict_word or None,
        "verdict_text": result.verdict_text or None,
        "filled_from": result.filled_from,
        "confirmed": list(result.confirmed),
        "refused": list(result.refused),
        "depth": result.depth,
        "complete": result.complete,
        "bound_closed": result.bound_closed,
        "empty": None if result.empty is None else {"kind": result.empty.kind, "reason": result.empty.text},
        "calibration_notice": result.calibration_notice or None,
        "no_person": result.no_person or None,
        "query_regions": [asdict(region) for region in seen],
        "images": result.images,
        "schema": SCHEMA,
    }


def _written(moment: datetime) -> str:
    """The moment in UTC, as RFC 3339 writes it."""
    return as_utc(moment).isoformat().replace("+00:00", "Z")


def place_in(path: str) -> dict[str, Any]:
    """Where in its file an image is. The path says it.

    Returns:
        "box", [left, top, width, height] in pixels, None for a whole picture; "seconds" of a film, None without film.
    """
    part = part_or_file(path)
    return {"box": None if part.box is None else list(part.box), "seconds": part.seconds}


def shares_text(match: Match) -> str:
    """The regions that two images were compared by, for people: "0 head 47%, 1 torso 31%"."""
    return ", ".join(f"{part.region} {part.name} {part.share:.0%}".replace("  ", " ") for part in match.regions)


def labels_text(match: Match) -> list[str]:
    """The labels of an image as text for people: person, camera, time and attributes, as far as they are known."""
    told = [f"{name} {value}" for name, value in (("pid", match.pid), ("camid", match.camid)) if value is not None]
    if match.captured_at is not None:
        told.append(f"{as_utc(match.captured_at):%Y-%m-%d %H:%M:%S}Z")
    return [*told, *(f"{name}={value}" for name, value in match.attributes.items())]


def rate_text(match: Match) -> str:
    """The false-match rate as text for people; "" where there is none."""
    rate = match.false_match_rate
    return "" if rate is None else f"{rate:.1%} false matches" if 0 < rate < 0.1 else f"{rate:.0%} false matches"


def answer_notes(match: Match, filled_from: int | None) -> list[str]:
    """Further notes on a match, as text for people.

    Args:
        filled_from: id of the image that the query was filled from; None if it was not filled.
    """
    told = [rate_text(match)] if rate_text(match) else []
    told += [f"{match.track_images} images of its track"] if (match.track_images or 0) > 1 else []
    told += ["the query itself"] if match.itself else []
    return told + (["the query was filled from this image"] if match.image_id == filled_from else [])
