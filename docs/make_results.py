"""Fill the tables of docs/results.md from the runs in docs/runs; with --check, fail if the page is stale.

A run is what a command or benchmark printed as JSON, saved with the command, the revision, the machine and the seed.
`<!-- table: NAME of RUN -->` in the page is followed by the table and `<!-- end -->`: nobody types a figure.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from vpmsearch.evaluation.experiments import MARKET1501

PAGE = Path(__file__).parent / "results.md"
RUNS = Path(__file__).parent / "runs"
MARKED = re.compile(
    r"(<!-- table: (?P<name>[\w-]+) of (?P<run>[\w-]+)(?: (?P<option>\S+))? -->\n).*?(<!-- end -->)", re.S
)
PAPER = {gamma: values[2] for gamma, values in MARKET1501.items()}
TITLES = {"rank1": "rank-1 (95 %)", "rank3": "rank-3", "rank5": "rank-5", "rank10": "rank-10", "map": "mAP"}
WAYS = {
    "from_features": "ours, Eq. 4 and ranking",
    "of_matrix": "ours, of a matrix of distances",
    "torchreid_python": "torchreid, Python, of a matrix",
    "torchreid_cython": "torchreid, Cython, of a matrix",
}
Row = dict[str, Any]


def percent(value: float, digits: int = 1) -> str:
    """A share as a percentage."""
    return f"{100 * value:.{digits}f}"


def signed(value: float) -> str:
    """A difference of shares in points, "−0.0" being 0."""
    text = f"{100 * value:+.1f}"
    return "0.0" if float(text) == 0 else text.replace("-", "−")


def between(interval: Sequence[float]) -> str:
    """An interval of shares."""
    return f"{percent(interval[0])}-{percent(interval[1])}"


def change(value: float, interval: Sequence[float]) -> str:
    """A paired difference and its interval."""
    return f"{signed(value)} ({signed(interval[0])} to {signed(interval[1])})"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """In Markdown."""
    lines = [list(heads), ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def crops(rows: list[Row], crop: str) -> str:
    """Rows of `evaluate --json` with one crop strategy: Eq. 4 beside all regions equal, and the paper's Table 1."""
    seen = {(row["gamma"], row["weighting"]): row for row in rows if row["crop"] == crop}
    gammas = sorted({gamma for gamma, _ in seen if gamma < 1 or crop == "bilateral"})
    heads = [
        "γ",
        "rank-1 (95 %)",
        "rank-5",
        "rank-10",
        "mAP (95 %)",
        "mAP trapezoid",
        "visible F1",
        "rank-1, all equal",
    ]
    heads += ["Eq. 4 adds to rank-1 (95 %)", "to mAP (95 %)"]
    if crop == "bilateral":
        heads += ["paper: R-1 / R-5 / R-10 / mAP", "R-1 and mAP beyond the paper's"]
    lines = []
    for gamma in gammas:
        row, equal = seen[gamma, "visibility"], seen.get((gamma, "uniform"))
        line = [str(gamma), f"{percent(row['rank1'])} ({between(row['rank1_interval'])})"]
        line += [percent(row["rank5"]), percent(row["rank10"])]
        line += [f"{percent(row['map'])} ({between(row['map_interval'])})", percent(row["map_trapezoid"])]
        line += [f"{row['visible_f1']:.3f}", percent(equal["rank1"]) if equal else ""]
        line += [
            change(row[f"{what}_gain"], row[f"{what}_gain_interval"]) if equal else "" for what in ("rank1", "map")
        ]
        if crop == "bilateral" and gamma not in PAPER:
            line += ["", ""]
        elif crop == "bilateral":
            paper = PAPER[gamma]
            beyond = [
                signed(ours - theirs / 100) for ours, theirs in ((row["rank1"], paper[0]), (row["map"], paper[3]))
            ]
            line += [" / ".join(map(str, paper)), ", ".join(beyond)]
        lines.append(line)
    return table(heads, lines)


def ablations(rows: list[Row], _: str) -> str:
    """Rows of benchmarks/ablations.py: one line a run."""
    gammas = sorted({row["gamma"] for row in rows}, reverse=True)
    heads = ["run", *(f"γ {gamma}: rank-1 / mAP" for gamma in gammas)]
    heads += [f"change at γ {gamma}: rank-1 (95 %), mAP (95 %)" for gamma in gammas[1:]]
    heads += [f"visible F1 at {gamma}" for gamma in gammas[1:]]
    lines = []
    for name in dict.fromkeys(row["run"] for row in rows):
        own = {row["gamma"]: row for row in rows if row["run"] == name}
        line = [name, *(f"{percent(own[g]['rank1'])} / {percent(own[g]['map'])}" for g in gammas)]
        for gamma in gammas[1:]:
            row = own[gamma]
            both = [change(row[f"{what}_change"], row[f"{what}_change_interval"]) for what in ("rank1", "map")]
            line.append(", ".join(both) if name != rows[0]["run"] else "")
        line += [f"{own[gamma]['visible_f1']:.3f}" for gamma in gammas[1:]]
        lines.append(line)
    return table(heads, lines)


def trunk(rows: list[Row], _: str) -> str:
    """Rows of benchmarks/trunk_alone.py."""
    lines = [
        [str(row["gamma"]), f"{percent(row['rank1'])} ({between(row['rank1_interval'])})", percent(row["map"])]
        for row in rows
    ]
    return table(["γ", "rank-1 (95 %)", "mAP"], lines)


def questions(rows: list[Row], question: str) -> str:
    """Rows of benchmarks/questions.py: one line a choice, the mean of both crops."""
    asked = [row for row in rows if row["question"] == question]
    gammas = sorted({row["gamma"] for row in asked}, reverse=True)
    lines = []
    for choice in dict.fromkeys(row["choice"] for row in asked):
        line = [choice]
        for gamma in gammas:
            own = [row for row in asked if (row["choice"], row["gamma"]) == (choice, gamma)]
            means = [sum(row[what] for row in own) / len(own) for what in ("rank1", "map")]
            line.append(" / ".join(map(percent, means)))
        lines.append(line)
    return table([question, *(f"γ {gamma}: rank-1 / mAP" for gamma in gammas)], lines)


def visibility(rows: list[Row], _: str) -> str:
    """The same rows: how good the visibility is, by γ and crop."""
    kinds = dict.fromkeys((row["gamma"], row["crop"], row["pixels"], row["visible_f1"]) for row in rows)
    lines = [[str(gamma), crop, percent(pixels), f"{f1:.3f}"] for gamma, crop, pixels, f1 in kinds]
    return table(["γ", "kept", "pixels of T in the right region, %", "visible F1"], lines)


def indexing(rows: list[Row], _: str) -> str:
    """Rows of benchmarks/extraction.py --onnx."""
    columns = {"forward_per_s": ".1f", "index_per_s": ".1f", "ratio": ".2f", "onnx_index_per_s": ".1f"}
    columns |= {"onnx_ratio": ".2f"}
    lines = [[format(row[name], form) for name, form in columns.items()] for row in rows]
    heads = ["model alone, torch", "`index`", "of the model alone", "`index --runtime onnx`", "of `index`"]
    return table(heads, lines)


def scenes(rows: list[Row], _: str) -> str:
    """Rows of benchmarks/scenes.py, with the model and without."""
    heads = [
        "people",
        "model",
        "crops as files, CPU seconds",
        "boxes in frames, CPU seconds",
        "speed of boxes over that of files",
    ]
    return table(
        heads,
        [
            [
                f"{row['images']:,}",
                row["model"],
                f"{row['crops_s']:.1f}",
                f"{row['boxes_s']:.1f}",
                f"{row['speed_ratio']:.2f}",
            ]
            for row in rows
        ],
    )


def torchreid(rows: list[Row], _: str) -> str:
    """Rows of benchmarks/torchreid_ranking.py."""
    lines = []
    for row in rows:
        differs = "" if row["differs"] is None else f"{row['differs']:.0e}"
        lines.append([WAYS[row["way"]], f"{row['cpu_s']:.1f}", f"{row['times_of_matrix']:.1f}", differs])
    return table(["way", "CPU seconds", "times ours of a matrix", "CMC and mAP differ by"], lines)


def reproduced(rows: list[Row], _: str) -> str:
    """Rows of `reproduce --json`: ours, the paper's in brackets, and how far ours is from it."""
    names = [name for name in rows[0] if f"{name}_paper" in rows[0]]
    heads = ["system", "queries cut to γ", *(TITLES[name] for name in names)]
    lines = []
    for row in rows:
        line = [row["label"] + (", of " + row["source"] if row["source"] != "holistic" else ""), f"{row['gamma']:g}"]
        for name in names:
            text, paper = percent(row[name]), row[f"{name}_paper"]
            if name == "rank1":
                text += f" ({between((row['rank1_low'], row['rank1_high']))})"
            line.append(text if paper is None else f"{text} [{percent(paper)}, {signed(row[f'{name}_difference'])}]")
        lines.append(line)
    return table(heads, lines)


def orderings(found: list[Row], _: str) -> str:
    """Orderings of `reproduce --json`: each at each γ, with the paired gain in rank-1."""
    lines = [
        [
            f"{one['better']} above {one['worse']}",
            f"{one['gamma']:g}",
            change(one["rank1_gain"], one["rank1_gain_interval"]),
            one["outcome"],
        ]
        for one in found
    ]
    return table(["ordering", "queries cut to γ", "gain in rank-1 (95 %)", "here"], lines)


BARS = {
    ("cuhk01-486", 1.0): (85, 83), ("cuhk01-486", 0.7): (74, 73), ("cuhk01-486", 0.5): (55, 57),
    ("pku-reid", 1.0): (60, 57), ("pku-reid", 0.7): (52, 48), ("pku-reid", 0.5): (40, 37),
    ("cuhk03", 1.0): (85, 82), ("cuhk03", 0.7): (72, 68), ("cuhk03", 0.5): (50, 50),
    ("market1501", 1.0): (95.5, 87), ("market1501", 0.7): (92, 80), ("market1501", 0.5): (73, 57),
}  # fmt: skip
"""What the weights were meant to reach, set before they were trained: rank-1 and mAP, in percent."""


def elsewhere(rows: list[Row], _: str) -> str:
    """Rows of `evaluate --json` over several data sets: rank-1 and mAP beside what was wanted, and what Eq. 4 adds."""
    heads = ["data set", "queries / gallery", "γ", "rank-1 (95 %)", "mAP (95 %)", "wanted", "beyond what was wanted"]
    heads += ["Eq. 4 adds to rank-1 (95 %)", "to mAP (95 %)", "visible F1"]
    lines = []
    for row in rows:
        if row["weighting"] != "visibility" or "photo" in row:
            continue
        wanted = BARS[row["dataset"], row["gamma"]]
        differences = [signed(row[name] - bar / 100) for name, bar in zip(("rank1", "map"), wanted, strict=True)]
        lines.append(
            [
                row["dataset"],
                f"{row['queries']:,} / {row['gallery']:,}",
                f"{row['gamma']:g}",
                f"{percent(row['rank1'])} ({between(row['rank1_interval'])})",
                f"{percent(row['map'])} ({between(row['map_interval'])})",
                f"{wanted[0]:g} / {wanted[1]:g}",
                ", ".join(differences),
                change(row["rank1_gain"], row["rank1_gain_interval"]),
                change(row["map_gain"], row["map_gain_interval"]),
                f"{row['visible_f1']:.3f}",
            ]
        )
    return table(heads, lines)


def photographs(rows: list[Row], _: str) -> str:
    """Rows of `evaluate --json --photo …`: how poor the queries were, and what is found."""
    heads = ["queries", "γ", "rank-1 (95 %)", "mAP (95 %)", "Eq. 4 adds to rank-1 (95 %)"]
    lines = [
        [
            row.get("photo", "as they are"),
            f"{row['gamma']:g}",
            f"{percent(row['rank1'])} ({between(row['rank1_interval'])})",
            f"{percent(row['map'])} ({between(row['map_interval'])})",
            change(row["rank1_gain"], row["rank1_gain_interval"]) if "rank1_gain" in row else "",
        ]
        for row in rows
        if row["weighting"] == "visibility"
    ]
    return table(heads, lines)


def learning(rows: list[Row], _: str) -> str:
    """Held-out people after so many steps."""
    heads = ["steps", "rank-1 / mAP, γ 1.0", "rank-1 / mAP, γ 0.5", "visible F1, γ 0.5", "‖f(cut) − f(whole)‖"]
    lines = [
        [
            str(row["steps"]),
            f"{percent(row['rank1'])} / {percent(row['map'])}",
            f"{percent(row['half_rank1'])} / {percent(row['half_map'])}",
            f"{row['half_f1']:.3f}",
            f"{row['shift']:.3f}",
        ]
        for row in rows
    ]
    return table(heads, lines)


def ingredients(rows: list[Row], _: str) -> str:
    """Rows of benchmarks/choosing.py of runs that differ in one setting: rank-1 / mAP by kind of query."""
    kinds = {"γ 1.0": "whole", "γ 0.5": "γ 0.5", "half-jpeg30": "half the size, JPEG 30", "grey": "grey"}
    sets = {"cuhk03-held-out": "CUHK03", "pku-reid": "PKU"}
    heads = ["run", *(f"{name}: {kind}" for name in sets.values() for kind in kinds.values())]
    lines = [
        [row["run"], *(" / ".join(map(percent, row[name][kind][:2])) for name in sets for kind in kinds)]
        for row in rows
    ]
    return table(heads, lines)


def verdicts(rows: list[Row], _: str) -> str:
    """Verdicts without labels: what is missed, and what is matched wrongly."""
    names = ("cameras", "basis", "query", "rank 1 of", "rank1", "missed", "found", "false match", "left")
    return table(names, ([str(row[name]) for name in names] for row in rows))


def scan(rows: list[Row], _: str) -> str:
    """Rows of benchmarks/joint_scan.py of two trees, `before` and `now`."""
    names = {"default": "default", "exact": "exact", "batch": "64 at once", "exact_batch": "64 at once, exact"}
    names |= {"filtered": "filtered"}

    def both(row: Row, name: str, digits: int = 1) -> str:
        return " → ".join(f"{row[tree][name]:.{digits}f}" for tree in ("before", "now"))

    def line(row: Row) -> list[str]:
        times = [f"{both(row, name)} ({row['share'][name]:.2f})" for name in names]
        over = f"{row['filtered_over_default']:.2f}"
        return [row["gallery"], f"{row['images']:,}", *times, over, both(row, "recall", 3)]

    return table(["gallery", "images", *names.values(), "filtered / default, now", "recall@10"], map(line, rows))


def peers(rows: list[Row], _: str) -> str:
    """Rows of benchmarks/peers.py."""
    heads = ["gallery", "images", "way", "setting", "recall@10", "CPU ms, median", "90 %", "built in, CPU s"]
    return table(
        heads,
        (
            [row["gallery"], f"{row['images']:,}", row["way"], row["setting"], f"{row['recall_at_10']:.3f}"]
            + [f"{row[name]:.1f}" for name in ("cpu_ms", "cpu_ms_p90", "build_cpu_s")]
            for row in rows
        ),
    )


def beside(rows: list[Row], _: str) -> str:
    """Rows of benchmarks/server_beside.py."""
    heads = ["images", "asked", "recall@10", "client", "server", "both, median", "both, 95 %", "elapsed"]
    names = ("client ms", "server ms", "both ms", "both p95", "wall ms")
    return table(
        heads,
        (
            [f"{row['images']:,}", row["asked"], f"{row['recall@10']:.3f}", *(f"{row[name]:.1f}" for name in names)]
            for row in rows
        ),
    )


def by_hand(rows: list[Row], _: str) -> str:
    """Rows of benchmarks/pgvector_by_hand.py."""
    heads = ["gallery", "images", "way", "recall@10", "client", "server", "both, median", "both, 95 %"]
    names = ("client ms", "server ms", "both ms", "both p95")
    return table(
        heads,
        (
            [row["gallery"], f"{row['images']:,}", row["way"], f"{row['recall@10']:.3f}"]
            + [f"{row[name]:.1f}" for name in names]
            for row in rows
        ),
    )


TABLES: dict[str, Callable[[list[Row], str], str]] = {
    made.__name__: made
    for made in (
        crops,
        ablations,
        trunk,
        questions,
        visibility,
        indexing,
        scenes,
        torchreid,
        reproduced,
        orderings,
        elsewhere,
        photographs,
        learning,
        ingredients,
        verdicts,
        scan,
        peers,
        beside,
        by_hand,
    )
}


def _part(name: str) -> str:
    """Which part of a run a table shows."""
    return name if name == "orderings" else "rows"


def page(text: str) -> str:
    """The page as it should be."""

    def filled(found: re.Match[str]) -> str:
        run = json.loads((RUNS / f"{found['run']}.json").read_text(encoding="utf-8"))
        return f"{found[1]}{TABLES[found['name']](run[_part(found['name'])], found['option'] or '')}{found[5]}"

    return MARKED.sub(filled, text)


if __name__ == "__main__":
    now = PAGE.read_text(encoding="utf-8")
    if "--check" not in sys.argv:
        PAGE.write_text(page(now), encoding="utf-8")
    elif now != page(now):
        sys.exit("docs/results.md is stale; run `make docs`")
