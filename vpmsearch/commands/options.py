"""Options that several commands share, so that they are spelled and explained once."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from pathlib import Path
from typing import Annotated

import typer

from vpmsearch.store.place import Place

INDEX_VARIABLE = "VPMSEARCH_INDEX"
DEFAULT_INDEX = Place("indexes/default")

Index = Annotated[
    Place,
    typer.Option(
        "--index",
        parser=Place.of,
        metavar="INDEX",
        envvar=INDEX_VARIABLE,
        show_envvar=False,
        help=f"Folder of the index, or postgresql+psycopg://USER@HOST/DATABASE. Else ${INDEX_VARIABLE}.",
    ),
]
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


@dataclass(frozen=True)
class Shard:
    """Share number (from 1) of so many."""

    number: int
    shares: int

    def takes(self, name: str) -> bool:
        """Whether it is this share's: by the name alone, so that the same process resumes with the same images."""
        if self.shares == 1:
            return True
        digest = blake2b(name.encode("utf-8", "surrogateescape"), digest_size=8).digest()
        return int.from_bytes(digest) % self.shares == self.number - 1


def shard(text: str) -> Shard:
    """A share as "2/8"; without one, torchrun's environment, else everything."""
    if not text:
        ranks = os.environ.get("RANK", ""), os.environ.get("WORLD_SIZE", "")
        return Shard(int(ranks[0]) + 1, int(ranks[1])) if all(map(str.isdigit, ranks)) else Shard(1, 1)
    number, _, shares = text.partition("/")
    if not (number.isdigit() and shares.isdigit() and 1 <= int(number) <= int(shares)):
        raise typer.BadParameter(f"--shard {text!r}: give it as I/N, such as 1/8 … 8/8")
    return Shard(int(number), int(shares))
