"""`vpmsearch bench`: how many images a second the model sees, and how fast and how complete a search of an index is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vpmsearch.commands import checks, options
from vpmsearch.commands.terminal import answer, answer_json, command, progress, say
from vpmsearch.words import number_of

if TYPE_CHECKING:
    from vpmsearch.evaluation.searching import SearchMeasurement
    from vpmsearch.model.extraction import Extractor
    from vpmsearch.store import GalleryView
    from vpmsearch.types import RegionFeatures

RECALL_WANTED, EQUAL_SHARE = 0.99, 0.01
"""Recall@10 below which, and share of equal images from which, `bench` says so."""
HEAD = "gamma  recall@1  recall@10  recall@100  p50 ms  p95 ms  p99 ms  exact p50 ms  queries/s  complete   depth"


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, example="vpmsearch bench --index indexes/mine --gamma 0.5 --gamma 1.0 --picture recall.png")(bench)


def bench(
    index: options.Index = options.DEFAULT_INDEX,
    weights: options.Weights = None,
    gamma: Annotated[
        list[float] | None,
        typer.Option(
            callback=checks.gammas, help="Area ratio the queries are cut to (repeatable).", show_default="0.5, 1.0"
        ),
    ] = None,
    crop: Annotated[
        str,
        typer.Option(callback=checks.crop, help="What is kept: top, bottom, left, right, bilateral or random."),
    ] = "bilateral",
    queries: Annotated[int, typer.Option(min=1, help="Images of the index to search with.")] = 100,
    seed: Annotated[int, typer.Option(min=0, help="Of their choice and of the crops.")] = 0,
    picture: Annotated[
        Path | None, typer.Option(help="Save a picture of recall over time here.", show_default=False)
    ] = None,
    json: options.Json = False,
    device: options.Device = "auto",
) -> None:
    """Measure searches on an index: recall of the default path against the exact one, and how long both take.

    Queries are images of the index, cut to γ; their files must still be there.
    """
    from vpmsearch.evaluation.searching import measure_search, resident_memory, rounds, share_of_equals
    from vpmsearch.model.device import choose_device
    from vpmsearch.model.extraction import Extractor
    from vpmsearch.model.weights import find_by_fingerprint
    from vpmsearch.report.drawing import checked_output
    from vpmsearch.search.open import searcher
    from vpmsearch.store.open import open_index

    if picture is not None:
        checked_output(picture)  # before the work, not after it
    chosen, rows = choose_device(device), list[dict[str, Any]]()
    curves = {}
    with open_index(index, device=str(chosen)) as store:
        info = store.model_info
        extractor = Extractor(find_by_fingerprint(info.fingerprint, info.weights, weights), chosen)
        asked = {
            ratio: _queries(extractor, store.snapshot, queries, ratio, crop, seed) for ratio in gamma or [0.5, 1.0]
        }
        engine = searcher(store)
        if not json:
            answer(HEAD)
        with progress("searching", sum(rounds(len(features)) for features in asked.values())) as advance:
            for ratio, features in asked.items():
                measured = measure_search(engine, features, advance)
                rows.append(_row(ratio, measured))
                curves[f"γ {ratio:g}"] = list(measured.curve.values())
                if not json:
                    answer(_line(rows[-1]))
        memory, images, equal = resident_memory(), len(store.snapshot), share_of_equals(store.snapshot)
        types = sorted({kind for kinds in store.stats().region_index_types for kind in kinds})
    if json:
        answer_json({"results": rows, "images": images, "memory": memory, "equal": equal, "types": types})
    else:
        kept = ", ".join(f"{name} {value:.2f}" for name, value in memory.items())
        answer(f"{number_of(images, 'image')}; memory of this process, the model's included: {kept}")
    _tell_of_misses(rows, equal, types)
    if picture is not None:
        from vpmsearch.report.curves import recall_curve

        say(f"picture: {recall_curve(curves, picture)}")


def _tell_of_misses(rows: list[dict[str, Any]], equal: float, types: list[str]) -> None:
    """Say that an index finds less than it should, and what may help."""
    if equal >= EQUAL_SHARE:
        say(f"{equal:.0%} of the images are equal to another (blank frames or copies, as a sample tells)")
    least = min(row["recall_at_10"] for row in rows)
    if least < RECALL_WANTED:
        why = "; many equal images fill the lists" if equal >= EQUAL_SHARE else ""
        say(
            f"recall@10 is {least:.3f} with region indexes of type {', '.join(types)}{why}: --exact finds all, and so "
            "does an index made with --index-type flat"
        )


def _queries(
    extractor: Extractor, snapshot: GalleryView, count: int, gamma: float, crop: str, seed: int
) -> RegionFeatures:
    """Features of images of the index, cut to γ."""
    import numpy as np

    from vpmsearch.errors import DataError
    from vpmsearch.evaluation.features import query_crops
    from vpmsearch.model.extraction import Request
    from vpmsearch.types import RegionFeatures

    rng = np.random.default_rng(seed)
    ids = snapshot.image_ids
    rows = np.sort(rng.choice(len(ids), min(count, len(ids)), replace=False))
    boxes = query_crops(len(rows), crop, gamma, seed)
    records = snapshot.records_of(ids[rows])
    requests = (Request(i, Path(record.path), boxes[i]) for i, record in enumerate(records))
    batches = list(extractor.extract(requests))
    parts = [batch.features for batch in batches if len(batch.features)]
    if not parts:
        raise DataError(
            f"none of {number_of(len(rows), 'image')} of the index can be read where it says they are; run this where "
            "they are"
        )
    lost = sum(len(batch.rejected) for batch in batches)
    if lost:
        say(f"of {number_of(len(rows), 'image')} {lost} cannot be read any more, left out")
    return RegionFeatures.concatenate(parts)


def _row(gamma: float, measured: SearchMeasurement) -> dict[str, Any]:
    from dataclasses import asdict

    row = asdict(measured)
    recalls, curve = row.pop("recalls"), row.pop("curve")
    return {
        "gamma": gamma,
        **{f"recall_at_{k}": value for k, value in recalls.items()},
        **row,
        "curve": [{"candidates": k, "p50_ms": ms, "recall_at_10": value} for k, (ms, value) in curve.items()],
    }


def _line(row: dict[str, Any]) -> str:
    return (
        f"{row['gamma']:5.2f}  {row['recall_at_1']:8.4f}  {row['recall_at_10']:9.4f}  {row['recall_at_100']:10.4f}"
        f"  {row['p50_ms']:6.1f}  {row['p95_ms']:6.1f}  {row['p99_ms']:6.1f}  {row['exact_p50_ms']:12.1f}"
        f"  {row['queries_a_second']:9.1f}  {row['complete']:8.2f}  {row['depth']:6.0f}"
    )
