"""Options that several commands share, so that they are spelled and explained once."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

DEFAULT_INDEX = Path("indexes/default")

Index = Annotated[Path, typer.Option("--index", help="Folder of the index.")]
Weights = Annotated[
    Path | None,
    typer.Option(
        "--weights",
        help="Weights file. Else $VPMSEARCH_WEIGHTS, weights/vpm.safetensors, or the one in the package.",
        show_default=False,
    ),
]
Device = Annotated[
    str, typer.Option("--device", help="auto, cpu, cuda or cuda:N. auto takes a GPU where there is one.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]


def moment(text: str) -> datetime:
    """An ISO date or time, as an option's value."""
    from vpmsearch.types import as_utc

    try:
        return as_utc(datetime.fromisoformat(text))
    except (ValueError, OverflowError) as error:
        raise typer.BadParameter(f"{text!r} is no ISO date or time, such as 2026-11-22 or 2026-11-22T16:20") from error


def grid(text: str) -> tuple[int, int]:
    """Regions as "6x1" (rows × columns) or "6", as an option's value."""
    try:
        rows, _, columns = text.lower().replace("×", "x").partition("x")
        size = (int(rows), int(columns or 1))
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is no grid of regions, such as 6x1 or 3x2") from error
    if min(size) < 1:
        raise typer.BadParameter(f"{text!r} has no regions")
    return size


def default_workers() -> int:
    """Threads that prepare images: one a core, up to 16."""
    return min(16, os.cpu_count() or 2)
