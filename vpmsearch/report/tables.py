"""Answers as tables with one row per image, for spreadsheets and for people's own analysis."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from vpmsearch.search.answers import match_values
from vpmsearch.system.extras import needed_for
from vpmsearch.types import ImageRecord, SearchResult, as_utc

PLAIN = ("rank", "image_id", "path", "pid", "camid", "distance", "captured_at", "width", "height", "box", "seconds")
JUDGED = ("false_match_rate", "itself")
DECISION = "decision"
Row = dict[str, Any]
Decided = Sequence[tuple[str, int, ImageRecord]]
"""("confirmed" or "refused", image id, what is known of it)."""

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def result_rows(result: SearchResult, first_rank: int = 1) -> tuple[list[str], list[Row]]:
    """Columns, and a row per match: the fields of docs/answers.md, and distance_i, weight_i, share_i of each region i.

    A region that had no part in a match is missing in its row. Each attribute has a column with its name.
    """
    regions = sorted({part.region for match in result.matches for part in match.regions})
    plain = [*PLAIN, *JUDGED]
    named = sorted({name for match in result.matches for name in match.attributes} - set(plain))
    columns = [*plain, *(f"{kind}_{region}" for region in regions for kind in ("distance", "weight", "share")), *named]
    rows = []
    for rank, match in enumerate(result.matches, start=first_rank):
        values = match_values(rank, match)
        row = {name: values[name] for name in plain} | {name: match.attributes.get(name) for name in named}
        for part in match.regions:
            kinds = {"distance": part.distance, "weight": part.weight, "share": part.share}
            row |= {f"{kind}_{part.region}": value for kind, value in kinds.items()}
        rows.append(row)
    return columns, rows


def decided_rows(columns: Sequence[str], rows: Sequence[Row], decided: Decided) -> tuple[list[str], list[Row]]:
    """The table with a column `decision`, and after the matches a row for each confirmed or refused image."""
    more = []
    for decision, image_id, record in decided:
        moment = None if record.captured_at is None else as_utc(record.captured_at).isoformat()
        known = {"image_id": image_id, "path": record.path, "pid": record.pid, "camid": record.camid}
        size = {"width": record.width, "height": record.height}
        more.append({**record.attributes, **known, **size, "captured_at": moment, DECISION: decision})
    named = sorted({name for row in more for name in row} - set(columns) - {DECISION})
    return [*columns, *named, DECISION], [*({**row, DECISION: ""} for row in rows), *more]


def csv_text(columns: Sequence[str], rows: Sequence[Row]) -> str:
    """The table as CSV with a header. Text that a spreadsheet would take for a formula gets an apostrophe before it."""
    target = io.StringIO()
    writer = csv.writer(target, lineterminator="\r\n")
    writer.writerow([_cell(name) for name in columns])
    writer.writerows([_cell(row.get(name)) for name in columns] for row in rows)
    return target.getvalue()


def _cell(value: object) -> object:
    if isinstance(value, list):
        return ",".join(map(str, value))
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str) and value.startswith(_FORMULA):
        return f"'{value}"
    return value


def parquet_bytes(columns: Sequence[str], rows: Sequence[Row]) -> bytes:
    """The table as a Parquet file. Labels are whole numbers, but text if one of them is a word.

    Raises:
        DataError: pyarrow is not installed.
    """
    with needed_for("Parquet"):
        import pyarrow
        import pyarrow.parquet
    table = pyarrow.table({name: _column(name, [row.get(name) for row in rows]) for name in columns})
    target = io.BytesIO()
    pyarrow.parquet.write_table(table, target)
    return target.getvalue()


def _column(name: str, values: list[Any]) -> list[Any]:
    if name == "captured_at":
        return [None if value is None else datetime.fromisoformat(value) for value in values]
    words = any(isinstance(value, str) for value in values)
    return [str(value) if words and value is not None else value for value in values]
