"""`vpmsearch calibrate`: measures distances in an index, so that later answers say match, unsure or no match."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vpmsearch.commands import options
from vpmsearch.commands.model import extractor_for
from vpmsearch.commands.terminal import answer, answer_json, command, progress, say
from vpmsearch.words import number_of, printable

FEW_PEOPLE = 100
"""Identities below which the rates of a calibration are said to be rough."""

if TYPE_CHECKING:
    from vpmsearch.search.verdict import Calibration


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, example="vpmsearch calibrate --index indexes/mine")(calibrate)


def calibrate(
    index: options.Index = options.DEFAULT_INDEX,
    weights: options.Weights = None,
    probes: Annotated[int, typer.Option(min=20, help="Images to search with.")] = 400,
    seed: Annotated[int, typer.Option(min=0, help="Which images.")] = 0,
    ask: Annotated[
        Path | None,
        typer.Option(help="Write pairs of images to answer into this CSV file, and stop.", show_default=False),
    ] = None,
    pairs: Annotated[
        Path | None,
        typer.Option(help="Use such a file, with yes or no under `same`.", show_default=False),
    ] = None,
    device: options.Device = "auto",
    json: options.Json = False,
) -> None:
    """Measure how near strangers come and how far right answers lie: then a query says match, unsure or no match.

    Images of the gallery, whole and cut, are searched for in it. Their pids tell who is a stranger. Without pids people
    are supposed to occur at most 20 times; some hundred answered pairs (--ask, then --pairs) make more matches certain.
    Kept in the index; do it again when the gallery has grown much or labels have come.
    """
    from vpmsearch.model.device import choose_device
    from vpmsearch.model.weights import find_by_fingerprint
    from vpmsearch.search.calibration import BOXES
    from vpmsearch.search.calibration import calibrate as measure
    from vpmsearch.search.open import searcher
    from vpmsearch.search.pairs import check_pairs_file, choose_pairs, read_answers, write_pairs
    from vpmsearch.store.open import open_index

    if ask is not None and pairs is not None:
        raise typer.BadParameter("--ask writes pairs and --pairs reads answers: one after the other")
    if ask is not None:
        check_pairs_file(ask)
    chosen = choose_device(device)
    with open_index(index, device=str(chosen)) as store:
        engine = searcher(store)
        if ask is not None:
            asked = choose_pairs(engine, seed=seed)
            write_pairs(ask, engine, asked)
            _asked(ask, len(asked), json)
            return
        answers = None if pairs is None else read_answers(pairs, store)
        loaded = find_by_fingerprint(store.model_info.fingerprint, store.model_info.weights, weights)
        images = len(store.snapshot)
        total = min(max(probes, len(answers.probes) if answers else 0), images) * len(BOXES)
        with progress("calibrating", total) as advance:
            found = measure(
                engine,
                extractor_for(loaded, chosen),
                probes=probes,
                seed=seed,
                answers=answers,
                on_progress=advance,
                on_estimate=lambda seconds: say(
                    f"{number_of(total, 'search', 'searches')} among {number_of(images, 'image')} take about "
                    f"{_duration(seconds)}"
                ),
            )
        where = store.keep_calibration(found.values())
    if found.labelled and found.identities < FEW_PEOPLE:
        say(
            f"measured on {number_of(found.identities, 'person', 'people')}: with fewer than {FEW_PEOPLE} twice as "
            "many strangers may match as is said, or more; calibrate again when there are more"
        )
    _told(found, where, json)


def _asked(path: Path, count: int, json: bool) -> None:

    if json:
        answer_json({"path": printable(path), "pairs": count})
        return
    answer(
        f"{printable(path)}: {number_of(count, 'pair')} of images. Look at each, write yes or no under `same`, leave "
        f"it empty where you cannot tell; then run `vpmsearch calibrate --pairs {printable(path)}`"
    )


def _told(found: Calibration, where: object, json: bool) -> None:
    from vpmsearch.search.verdict import ACCEPTED, LIKENESS, PAIRS, PIDS

    measured = sum(map(len, found.distances))
    if json:
        answer_json(
            {
                "path": str(where),
                "images": found.images,
                "labelled": found.labelled,
                "basis": found.basis,
                "searches": measured,
                "right": sum(map(len, found.own)),
            }
        )
        return
    by = {
        PIDS: "strangers told by pids",
        PAIRS: "strangers told by your answers",
        LIKENESS: "strangers told by likeness, as images without pids are among them: labels or answered pairs (--ask) "
        "would make more matches certain",
    }[found.basis]
    never = "" if any(found.own) else "; nobody occurs twice (in two cameras, if known), so it never says that none is"
    promise = f"match is up to {ACCEPTED[found.basis]:.0%} false matches{never}"
    searches = f"{number_of(measured, 'search', 'searches')} among {number_of(found.images, 'image')}"
    answer(f"{where}: {searches}, {by}; {promise}")


def _duration(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{max(seconds, 1):.0f} s"
