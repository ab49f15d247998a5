"""Columns of a catalog as arrays. Each value's type is checked, because SQLite stores any type in any column.

A wrong value raises TypeError or ValueError, which `sqlite.translated` turns into a `StoreDamagedError`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vpmsearch.types import Int64

Times = NDArray[np.datetime64]
"""Moments in UTC, to the microsecond; NaT where there is none."""

MOMENT = np.dtype("datetime64[us]")
_MOMENTS = re.compile(r"(?:[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6},)*")  # as SQLAlchemy writes


def check_types(values: Sequence[object], name: str, *allowed: type) -> None:
    """Refuse values of any other type.

    Raises:
        TypeError: names the column and the type.
    """
    if strange := set(map(type, values)) - set(allowed):  # a million in a few milliseconds
        raise TypeError(f"{name} holds {sorted(kind.__name__ for kind in strange)[0]}")


def whole_numbers(values: Sequence[Any], name: str, least: int = 0) -> Int64:
    """Integers of 64 bits from `least` on."""
    check_types(values, name, int)
    numbers = np.array(values, dtype=np.int64)
    if len(numbers) and numbers.min() < least:
        raise ValueError(f"{name} holds {numbers.min()}")
    return numbers


def moments(values: Sequence[Any], name: str) -> Times:
    """Moments as SQLAlchemy stores them, or None."""
    check_types(values, name, str, type(None))
    given = [value for value in values if value is not None]
    if not _MOMENTS.fullmatch("".join(f"{value}," for value in given)):
        raise ValueError(f"{name} holds what is no time")
    try:
        found = np.array([value or "NaT" for value in values], dtype=MOMENT)
    except ValueError as error:
        raise ValueError(f"{name} holds what is no time") from error
    if len(given) and np.nanmin(found) < np.datetime64("0001-01-01"):  # the first of Python's years
        raise ValueError(f"{name} holds a time before the year 1")
    return found
