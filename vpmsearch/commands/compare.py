"""`vpmsearch compare`: two models, query by query, from the files that `evaluate --per-query` wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vpmsearch.commands import options
from vpmsearch.commands.terminal import answer, answer_json, command


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, example="vpmsearch compare before.csv after.csv")(compare)


def compare(
    first: Annotated[Path, typer.Argument(help="What `evaluate --per-query` saved of one model.")],
    second: Annotated[Path, typer.Argument(help="The same of another, or of another weighting or trunk.")],
    json: options.Json = False,
) -> None:
    """Compare two models query by query: what the second adds to rank-1 and mAP, with paired 95 % intervals.

    Both must have been shown the same queries with the same crops. By mAP the second is better or worse where the
    interval leaves 0 out, else it is undecided.
    """
    from vpmsearch.evaluation.per_query import compare as differences
    from vpmsearch.evaluation.per_query import read_query_lines

    found = differences(read_query_lines(first), read_query_lines(second))
    if json:
        answer_json({"results": [row._asdict() | {"verdict": row.verdict} for row in found]})
        return
    answer(
        "gamma  crop       weighting   queries   rank-1  95 %                     mAP  95 %                 won   lost"
    )
    for row in found:
        answer(
            f"{row.gamma:5.2f}  {row.crop:9s}  {row.weighting:10s}  {row.queries:7d}  "
            f"{row.rank1:+7.4f}  [{row.rank1_interval.low:+.4f}, {row.rank1_interval.high:+.4f}]  "
            f"{row.mean_ap:+7.4f}  [{row.mean_ap_interval.low:+.4f}, {row.mean_ap_interval.high:+.4f}]  "
            f"{row.won:5d}  {row.lost:5d}  {row.verdict}"
        )
    for before, after in dict.fromkeys(row.rankings for row in found if row.rankings[0] != row.rankings[1]):
        unsaid = "(it does not say)"
        answer(f"the first is ranked by {before or unsaid}, the second by {after or unsaid}")
