"""Columns of a catalog as arrays. Each value's type is checked, because SQLite stores any type in any column.

A wrong value raises TypeError or ValueError, which `sqlite.translated` turns into a `StoreDamagedError`.
"""

from __future__ import annotations

import functools
import operator
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vpmsearch.labels import Label
from vpmsearch.types import Bool, Int64

Texts = NDArray[Any]
"""Text of any length, NumPy's StringDType."""
Times = NDArray[np.datetime64]
"""Moments in UTC, to the microsecond; NaT where there is none."""

STRINGS = np.dtypes.StringDType()
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


def texts(values: Sequence[Any], name: str) -> Texts:
    """Text."""
    check_types(values, name, str)
    return np.array(values, dtype=STRINGS)


def hashes(values: Sequence[Any], name: str) -> Texts:
    """Hashes: stored bytes become hex, stored text stays as it is."""
    check_types(values, name, bytes, str)
    return texts([value.hex() if isinstance(value, bytes) else value for value in values], name)


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


@dataclass(frozen=True)
class Labels:
    """The labels of n things: numbers, words or None. Few are distinct.

    values: the distinct labels. codes: (n,) int32, positions in `values`; −1 for None.
    """

    values: tuple[Label, ...]
    codes: NDArray[np.int32]

    @classmethod
    def of(cls, values: Sequence[Any], name: str, *allowed: type) -> Labels:
        """Make labels from values of the allowed types or None."""
        check_types(values, name, *allowed, type(None))
        distinct = dict.fromkeys(values)
        distinct.pop(None, None)
        code = {value: number for number, value in enumerate(distinct)} | {None: -1}
        return cls(tuple(distinct), np.fromiter(map(code.__getitem__, values), np.int32, len(values)))

    def among(self, wanted: Collection[Label]) -> Bool:
        """(n,) whether each label is one of `wanted`."""
        table = np.zeros(len(self.values) + 1, np.bool_)  # one more at the end, for code −1
        table[self._codes_of(wanted)] = True
        table[-1] = False  # neither None nor a label that nothing has
        found: Bool = table.take(self.codes, mode="wrap")  # a third of the time of indexing, which widens the codes
        return found

    def _codes_of(self, wanted: Collection[Label]) -> Int64:
        """The code of each of these labels; −1 where nothing has it.

        Numbers are looked up in an array. After a scan the caches are cold, and a dictionary of Python's then takes
        0.9 ms for 2,500 of 5,000 numbers, the array 0.4 ms.
        """
        asked: Collection[Any] = wanted
        try:
            numbers = np.fromiter(map(operator.index, asked), np.int64, len(asked))
        except (TypeError, OverflowError):  # words, or a number that no index can hold
            return np.fromiter(map(self._code.get, wanted, repeat(-1)), np.int64, len(wanted))
        known, codes = self._numbers
        places = np.searchsorted(known, numbers)
        return np.where(known[places] == numbers, codes[places], -1)

    @functools.cached_property
    def _code(self) -> dict[Label, int]:
        """The code of each distinct label."""
        return {value: number for number, value in enumerate(self.values)}

    @functools.cached_property
    def _numbers(self) -> tuple[Int64, Int64]:
        """The distinct numbers, ascending, and their codes. The largest number of 64 bits is appended with code −1."""
        numbers = sorted((value, code) for value, code in self._code.items() if isinstance(value, int))
        known = np.array([*(value for value, _ in numbers), np.iinfo(np.int64).max], np.int64)
        return known, np.array([*(code for _, code in numbers), -1], np.int64)

    def present(self, kept: Bool) -> set[Label]:
        """The distinct labels among those in `kept` (n,)."""
        counts = np.bincount(self.codes[kept] + 1)[1:]  # code −1 has no value
        return {self.values[code] for code in np.flatnonzero(counts).tolist()}

    def at(self, row: int) -> Label | None:
        """One label."""
        code = int(self.codes[row])
        return None if code < 0 else self.values[code]
