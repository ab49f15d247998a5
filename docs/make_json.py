"""Write docs/json.md and json.schema.json: what the commands print with --json. With --check, fail if they are stale.

Every test that runs a command with --json validates what it printed against this schema (tests/commands/conftest.py).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Literal

from make_answers import kind_of
from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import models_json_schema

FOLDER = Path(__file__).parent
Interval = tuple[float, float]
HEAD = """# What commands print with --json

Made by `make docs` from `docs/make_json.py`; `make check` fails when it is stale.

A command with `--json` prints one line of JSON on stdout, an object. `query` prints one line a query:
[answers.md](answers.md). Messages and errors are on stderr. [json.schema.json](json.schema.json) is the same as JSON
Schema, a definition a command. Fields may be added; a field that goes or changes its meaning is named in CHANGELOG.md.
Shares and rates are 0 to 1, intervals are of 95 %.
"""


class Output(BaseModel):
    """What a command prints; other fields than those described are refused."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)


class Reason(Output):
    """A file that was rejected."""

    path: str
    reason: str


class Changes(Output):
    """How many images got a label, another label, or lost it."""

    given: int
    changed: int
    cleared: int


class Index(Output):
    """What a run did, or with --dry-run would do. Counts are of images."""

    dry_run: bool
    indexed: int = Field(description="added, also in place of changed files")
    replaced: int = Field(description="of the indexed: files that had changed")
    unchanged: int
    relabelled: int = Field(description="same bytes, other labels")
    kept_labels: int = Field(description="images with a label that this gallery does not know")
    moved: int = Field(description="same bytes under a new path, the old file is gone")
    duplicates: int = Field(description="of the indexed: those with the bytes of another image")
    pruned: int
    dead: int = Field(description="their file is gone, and this gallery has the bytes elsewhere")
    images: int = Field(description="in the index now")
    seconds: float
    labels: dict[str, Changes] = Field(description="by label: pid, camid, captured_at and so on")
    pruned_paths: list[str]
    rejected: list[Reason]
    not_taken: dict[str, int] = Field(description="what was left aside while reading, by kind")


class Stats(Output):
    """What an index holds."""

    images: int
    removed: int = Field(description="still in the files until `compact`")
    rejected: int
    segments: int
    identities: int
    cameras: int
    bytes_on_disk: dict[str, int] = Field(description="by kind, and `total`")
    region_images: list[int] = Field(description="of each region: images that show it")
    region_visibility: list[float] = Field(description="of each region: mean over all images")
    region_index_types: list[list[str]] = Field(description="of each region: types of its segments")
    model: dict[str, Any] = Field(description="the weights, by name, fingerprint and form")
    index_type: str
    embedding_dtype: str
    calibrated_on: int | None = Field(description="images when `calibrate` last ran; none if it never did")
    rejections: list[Reason] | None = Field(None, description="with --rejected")


class Verify(Output):
    """Whether an index is whole."""

    ok: bool
    images: int
    problems: list[str]


class Remove(Output):
    """What was removed."""

    removed: int
    would_remove: int | None = Field(None, description="with --dry-run")
    paths: list[str] | None = Field(None, description="with --dry-run")


class Compact(Output):
    """What a compaction did, and where removed images may still be."""

    images: int = Field(description="kept")
    removed: int = Field(description="erased")
    bytes_before: int
    bytes_after: int
    erased: bool = Field(description="of the removed images nothing is left on the disk")
    readers: list[int] = Field(description="processes that have files of the index open")
    copies: list[str] = Field(description="backups and snapshots that still hold removed images")
    purged: list[str] = Field(description="copies that were deleted")
    dry_run: bool


class Copied(Output):
    """A copy of an index, or a file made of it."""

    images: int
    path: str


class Upgrade(Output):
    """Revisions of the format."""

    old: str = Field(alias="from")
    to: str


class Migrate(Output):
    """What was copied to another store."""

    images: int = Field(description="of the source; all are in the target and were compared")
    copied: int = Field(description="by this run")
    others: int = Field(description="of the target, which the source does not have")
    calibrated: bool = Field(description="the target has the source's calibration")


class Calibrate(Output):
    """A calibration that was made."""

    path: str
    images: int
    labelled: bool = Field(description="all strangers were known by their pids")
    basis: str = Field(description="pids, pairs or likeness: how strangers were told")
    searches: int = Field(description="distances of nearest strangers that were measured")
    right: int = Field(description="distances of right first answers that were measured")


class Asked(Output):
    """With --ask: pairs that were written, to be looked at."""

    path: str
    pairs: int


class Difference(Output):
    """Two models under one protocol; differences are the second's minus the first's."""

    gamma: float
    crop: str
    weighting: str
    queries: int
    rank1: float
    rank1_interval: Interval
    mean_ap: float
    mean_ap_interval: Interval
    won: int = Field(description="queries with a higher AP by the second")
    lost: int
    rankings: tuple[str, str] = Field(description="what ordered the gallery in each")
    verdict: str = Field(description="of the second by mAP: better, worse or undecided")


class Compare(Output):
    """Differences, a row a protocol."""

    results: list[Difference]


class _Measured(Output):
    """What a measurement has, of one data set or trial or as the mean of several."""

    dataset: str | None = Field(None, description="where several are evaluated")
    gamma: float
    crop: str
    weighting: str
    matcher: str | None
    candidates: int | None
    reciprocal: bool
    expand: int | None
    own_camera: bool
    rank1: float
    rank3: float
    rank5: float
    rank10: float
    map: float
    map_trapezoid: float
    minp: float
    visible_f1: float | None = Field(description="how well the model knows what a query shows")
    photo: str | None = Field(None, description="how queries were degraded")
    fnmr: dict[str, float] | None = Field(None, description="by false-match rate")
    fnmr_ranking: str | None = None
    draws: int | None = Field(None, description="galleries that were drawn, if single-shot")
    rank1_gain: float | None = Field(None, description="over uniform weights")
    map_gain: float | None = None
    protocol: str
    where: dict[str, list[str]] | None = Field(None, description="attributes that images had to have; with --where")
    trials: int | None = Field(None, description="how many there are; with --trial")
    halves: str | None = Field(None, description="who drew the halves of the people; with --trial")


class Row(_Measured):
    """What was measured by one γ, crop and weighting."""

    rank1_interval: Interval
    map_interval: Interval
    rank1_gain_interval: Interval | None = None
    map_gain_interval: Interval | None = None
    queries: int
    gallery: int
    trial: int | None = Field(None, description="its number, from 1; with --trial")


class MeanRow(_Measured):
    """With --trial all: the mean of the trials' rows of one γ, crop and weighting."""

    trial: Literal["mean"] = Field(description="mean")
    std: dict[str, float] = Field(description="standard deviation over the trials of each averaged figure, by its name")
    queries: float
    gallery: float


class Evaluate(Output):
    """Results, a row a measurement."""

    results: list[Row | MeanRow]


class Budget(Output):
    """A point of the curve of recall over time."""

    candidates: int = Field(description="k', of each region's list")
    p50_ms: float
    recall_at_10: float


class Speed(Output):
    """Searches by queries of one γ."""

    gamma: float
    recall_at_1: float
    recall_at_10: float
    recall_at_100: float
    queries: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    exact_p50_ms: float
    queries_a_second: float
    complete: float = Field(description="share of the queries")
    closed: float = Field(description="share of the queries")
    depth: float = Field(description="median")
    candidates: float = Field(description="median")
    curve: list[Budget]


class Bench(Output):
    """How fast and how complete a search of an index is."""

    results: list[Speed]
    images: int
    memory: dict[str, float] = Field(description="GiB of the process, by kind")
    equal: float = Field(description="share of the images that equal another")
    types: list[str] = Field(description="of the region indexes")


class Guessed(Output):
    """A known data set that a folder looks like."""

    layout: str
    root: str
    protocol: str
    splits: dict[str, list[dict[str, str]]] = Field(description="some images of each split: path and labels")


class Layout(Output):
    """Data sets that a folder looks like."""

    layouts: list[Guessed]
    pattern: str | None = Field(description="to begin from, with --pattern")


class ListExample(Output):
    """An image of a list, or a box."""

    name: str
    labels: dict[str, str]


class Listed(Output):
    """What would be read of a list of images or a file of boxes."""

    kind: Literal["list", "coco", "mot", "yolo", "table"] = Field(description="list is of images, the others of boxes")
    columns: dict[str, str] = Field(description="what each is read as; empty where the format has none")
    rows: int
    pictures: int = Field(description="that the boxes are in; of a list of images the same as rows")
    people: int
    cameras: int
    tracks: int
    unlabelled: int = Field(description="rows without a pid")
    captured: tuple[str, str] | None = Field(description="the first and the last time, ISO 8601")
    splits: dict[str, int] = Field(description="rows of each split")
    attributes: dict[str, int] = Field(description="rows that have each attribute")
    left_out: dict[str, int] = Field(description="what is left aside, by kind")
    examples: list[ListExample] = Field(description="the first three rows")
    missing: str | None = Field(description="the first of the examples whose file is not there")


class ListLook(Output):
    """Of a list of images or a file of boxes."""

    list: Listed


class Name(Output):
    """A file name, as a pattern reads it."""

    name: str
    labels: dict[str, str]
    problem: str


class Tried(Output):
    """With --pattern: what it reads of some names."""

    names: list[Name]


class Ordering(Output):
    """Whether a system was found better than another, as the paper says."""

    better: str
    worse: str
    source: str
    gamma: float | None
    outcome: str
    rank1_gain: float
    rank1_gain_interval: Interval


class Reproduce(Output):
    """A table or figure of the paper, measured again."""

    experiment: str
    rows: list[dict[str, Any]] = Field(
        description="label, system, matcher, source, gamma, weighting, queries, rank1_low, rank1_high, revision; and "
        "of each column of the table NAME, NAME_paper and NAME_difference"
    )
    orderings: list[Ordering]


COMMANDS: dict[str, tuple[type[Output], ...]] = {
    "index": (Index,),
    "stats": (Stats,),
    "verify": (Verify,),
    "remove": (Remove,),
    "compact": (Compact,),
    "snapshot": (Copied,),
    "restore": (Copied,),
    "upgrade": (Upgrade,),
    "migrate": (Migrate,),
    "export": (Copied,),
    "calibrate": (Calibrate, Asked),
    "evaluate": (Evaluate,),
    "compare": (Compare,),
    "bench": (Bench,),
    "layout": (Layout, Tried, ListLook),
    "reproduce": (Reproduce,),
}
"""Command -> what it may print."""


def schema() -> dict[str, Any]:
    """JSON Schema: the definition of each command is named as the command."""
    models = list(dict.fromkeys(model for several in COMMANDS.values() for model in several))
    made = models_json_schema(
        [(model, "validation") for model in models], by_alias=True, ref_template="#/$defs/{model}"
    )
    own = {
        command: {"anyOf": [{"$ref": f"#/$defs/{model.__name__}"} for model in several]}
        for command, several in COMMANDS.items()
    }
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$defs": made[1]["$defs"] | own}


def page(definitions: dict[str, Any]) -> str:
    """The page as it should be."""
    parts, shown = [HEAD], set[str]()
    for command, several in COMMANDS.items():
        parts.append(f"## vpmsearch {command}\n")
        for name in (model.__name__ for model in several):
            parts += _tables(definitions, name, shown)
    return "\n".join(parts)


def _tables(definitions: dict[str, Any], name: str, shown: set[str]) -> list[str]:
    """The table of a definition, then those of the definitions that it names first."""
    found = definitions[name]
    if name in shown:
        return [f"{name}: as above.\n"]
    shown.add(name)
    rows = [
        f"| `{field}` | {kind_of(value)}{'' if field in found.get('required', ()) else ', may be missing'} "
        f"| {value.get('description', '').replace('|', chr(92) + '|')} |"
        for field, value in found["properties"].items()
    ]
    own = [f"{name}: {found['description']}\n", "| field | type | what it is |", "|---|---|---|", *rows, ""]
    inner = [each for each in definitions if f'"#/$defs/{each}"' in json.dumps(found) and each not in shown]
    return ["\n".join(own), *(text for each in inner for text in _tables(definitions, each, shown))]


if __name__ == "__main__":
    made = schema()
    wanted = {
        "json.schema.json": json.dumps(made, indent=1, ensure_ascii=False) + "\n",
        "json.md": page(made["$defs"]),
    }
    if "--check" not in sys.argv:
        for name, text in wanted.items():
            (FOLDER / name).write_text(text, encoding="utf-8")
    elif any(not (FOLDER / name).is_file() or (FOLDER / name).read_text("utf-8") != wanted[name] for name in wanted):
        sys.exit("docs/json.md or docs/json.schema.json is stale; run `make docs`")
