"""`vpmsearch calibrate`."""

from __future__ import annotations

from typing import Annotated

import typer

from vpmsearch.commands import options
from vpmsearch.commands.terminal import answer, answer_json, command, progress


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, example="vpmsearch calibrate --index indexes/mine")(calibrate)


def calibrate(
    index: options.Index = options.DEFAULT_INDEX,
    weights: options.Weights = None,
    probes: Annotated[int, typer.Option(min=20, help="Images to search with.")] = 400,
    seed: Annotated[int, typer.Option(min=0, help="Which images.")] = 0,
    device: options.Device = "auto",
    json: options.Json = False,
) -> None:
    """Measure how near strangers come, so that an answer can say match, unsure or no match.

    Images of the gallery, whole and cut, are searched for among those of other people (known by their pids where there
    are any). Kept in the index; do it again when the gallery has grown much.
    """
    from dataclasses import asdict

    from vpmsearch.model.device import choose_device
    from vpmsearch.model.extraction import Extractor
    from vpmsearch.model.weights import find_by_fingerprint
    from vpmsearch.search.calibration import ACCEPTED, BOXES
    from vpmsearch.search.calibration import calibrate as measure
    from vpmsearch.search.open import searcher
    from vpmsearch.store.open import open_index

    chosen = choose_device(device)
    with open_index(index, device=str(chosen)) as store:
        loaded = find_by_fingerprint(store.model_info.fingerprint, store.model_info.weights, weights)
        total = min(probes, len(store.snapshot)) * len(BOXES)
        with progress("searching for strangers", total) as advance:
            found = measure(searcher(store), Extractor(loaded, chosen), probes=probes, seed=seed, on_progress=advance)
        where = store.keep_calibration(asdict(found))
    measured = sum(map(len, found.distances))
    if json:
        answer_json({"path": str(where), "images": found.images, "labelled": found.labelled, "searches": measured})
        return
    by = "by their pids" if found.labelled else "without pids: other images of one person count as strangers"
    answer(
        f"{where}: {measured} searches among {found.images} images, {by}; match is up to {ACCEPTED:.0%} false matches"
    )
