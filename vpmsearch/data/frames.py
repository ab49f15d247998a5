"""Images out of a table in memory: a pandas frame or an Arrow table, read as a list's file is."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Any

from vpmsearch.data.labelled import LabelledImage
from vpmsearch.data.lists import collected
from vpmsearch.data.manifest import rows_of
from vpmsearch.data.moments import at_zone
from vpmsearch.errors import DataError


def read_frame(
    table: Any, folder: str | os.PathLike[str] = ".", *, zone: tzinfo | None = None
) -> Sequence[LabelledImage]:
    """Every row of a table as an image, labelled or not: what `index_gallery` takes.

    Args:
        table: a pandas frame or an Arrow table with the columns of a list, see `vpmsearch.data.manifest`. Its times may
            be text or the table's own kind of time. folder: the folder that relative paths begin at. zone: time zone of
            times that name none; None is UTC.

    Raises:
        DataError: it is no such table, it has no column path, or a row has a bad value. The message counts rows from 1.
    """
    names, columns = _columns(table)
    kept = [place for place, name in enumerate(names) if name not in _EXPORTED or not set(names) >= _EXPORTED]
    names, columns = [names[place].removeprefix("attribute:") for place in kept], [columns[place] for place in kept]
    values = ([_plain(value, zone) for value in row] for row in zip(*columns, strict=True))
    return collected(rows_of(names, values, Path(folder), "the table", zone), Path(folder), "the table")


_EXPORTED = frozenset({"image_id", "content_hash", "width", "height", "visibility", "embeddings"})
"""Columns that `vpmsearch export` writes. In a table with all of them they are no attributes of an image."""


def _columns(table: Any) -> tuple[list[str], list[list[Any]]]:
    if hasattr(table, "to_pydict"):  # pyarrow
        found = table.to_pydict()
        return list(found), list(found.values())
    if hasattr(table, "columns") and hasattr(table, "to_dict"):  # pandas
        return [str(name) for name in table.columns], [table[name].tolist() for name in table.columns]
    raise DataError(f"a {type(table).__name__} is neither a pandas frame nor an Arrow table")


def _plain(value: Any, zone: tzinfo | None) -> Any:
    """A value as a list in JSON has it: None where it is missing, a time as text."""
    if value is None or type(value).__name__ in ("NaTType", "NAType"):
        return None
    if isinstance(value, datetime):
        return at_zone(value, zone).isoformat()
    return value
