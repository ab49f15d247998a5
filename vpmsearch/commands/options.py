"""Options that several commands share, so that they are spelled and explained once."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from hashlib import blake2b
from pathlib import Path
from typing import Annotated

import typer

from vpmsearch.commands import checks
from vpmsearch.labels import Label
from vpmsearch.model.weights import Precision as PrecisionName
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
    str,
    typer.Option(
        "--device",
        callback=checks.device_name,
        help="auto, cpu, cuda or cuda:N. auto takes a GPU where there is one.",
    ),
]
Pattern = Annotated[
    str,
    typer.Option(
        "--pattern",
        callback=checks.pattern,
        help="How files are named, in place of --dataset: a template such as '{camid}/{captured_at:unix}-{}.jpg', or a "
        "regular expression with groups such as (?P<pid>\\d+). `vpmsearch layout` tries one.",
        show_default=False,
    ),
]
Where = Annotated[
    list[str] | None,
    typer.Option(
        "--where",
        help="Only images with this attribute, such as site=north: a column of the list or a field of the pattern that "
        "they come from. Repeatable: all names must fit; of one name, any value.",
        metavar="NAME=VALUE",
        show_default=False,
    ),
]
Timezone = Annotated[
    str,
    typer.Option(
        "--timezone",
        callback=checks.zone_name,
        help="Zone of times that name none, such as Europe/Berlin.",
        show_default="UTC",
        metavar="ZONE",
    ),
]
Boxes = Annotated[
    list[str] | None,
    typer.Option(
        "--box",
        metavar="X,Y,W,H",
        help="The person's box in the photograph, in pixels; one for each image, in their order.",
        show_default=False,
    ),
]
Precision = Annotated[
    str,
    typer.Option(
        "--precision",
        callback=checks.precision_name,
        help="What the model computes in: float32; bfloat16, three times as fast where a CPU has it, by OpenVINO; "
        "auto, bfloat16 where that is so. An index keeps its own.",
        show_default="float32",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]


def zone(name: str) -> tzinfo | None:
    """The zone of times that name none, as an option's value; None for UTC."""
    from vpmsearch.data.moments import time_zone

    with checks.usage("--timezone"):
        return time_zone(name) if name else None


def precision(name: str, kind: str) -> PrecisionName:
    """The precision of new features, as an option's value; "" is float32. kind: of the device, cpu or cuda."""
    from vpmsearch.model.openvino_runtime import computes_in

    if name == "auto":
        return "bfloat16" if kind == "cpu" and computes_in("bfloat16") else "float32"
    if name == "bfloat16" and (kind != "cpu" or not computes_in("bfloat16")):
        raise typer.BadParameter(
            "bfloat16 needs a CPU that has it, and OpenVINO: pip install 'vpmsearch[openvino]'",
            param_hint="--precision",
        )
    return "bfloat16" if name == "bfloat16" else "float32"


def moment(text: str | None, local: tzinfo | None = None) -> datetime | None:
    """A date or time in UTC, as an option's value; `local`: the zone of one that names none, else UTC."""
    from vpmsearch.data.moments import parse_moment
    from vpmsearch.errors import DataError
    from vpmsearch.types import as_utc

    if text is None:
        return None
    try:
        return as_utc(parse_moment(text, local))
    except DataError as error:
        raise typer.BadParameter(str(error)) from error


def labels(texts: list[str] | None) -> tuple[Label, ...]:
    """Pids or camids, numbers or words, as an option's values."""
    from vpmsearch.errors import DataError
    from vpmsearch.labels import as_label

    try:
        return tuple(map(as_label, texts or ()))
    except DataError as error:
        raise typer.BadParameter(str(error)) from error


def where(texts: list[str] | None) -> dict[str, list[str]]:
    """Values by the attribute's name, of "name=value" each, as an option's values."""
    from vpmsearch.labels import wanted_attributes

    with checks.usage("--where"):
        return wanted_attributes(texts or ())


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
    """One share of the work: its number, from 1, and the number of shares."""

    number: int
    shares: int

    def takes(self, name: str) -> bool:
        """Whether a file belongs to this share. Only its name decides, so a process resumes with the same images."""
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


def told_apart(names: Sequence[str]) -> list[str]:
    """Names of data sets that differ: a name that several have gets its place among all of them, as in "csv-2"."""
    return [f"{name}-{place}" if names.count(name) > 1 else name for place, name in enumerate(names, start=1)]


def one_each(roots: Sequence[Path], layouts: Sequence[str] | None) -> list[str]:
    """The layout of each root; market1501 where there is one root and nothing was said.

    Raises:
        typer.BadParameter: there are not as many layouts as roots, or one is not known.
    """
    from vpmsearch.data.datasets import check_layout

    found = list(layouts or (["market1501"] if len(roots) == 1 else []))
    if len(found) != len(roots):
        raise typer.BadParameter(
            f"{len(roots)} --data and {len(found)} --dataset: give the layout of each data set, in the same order"
        )
    with checks.usage("--dataset"):
        for name in found:
            check_layout(name)
    return found
