"""A column of labels as arrays: the distinct labels once, and for each row which of them it has."""

from __future__ import annotations

import functools
import operator
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from vpmsearch.errors import DataError
from vpmsearch.labels import INT64, Label, as_label
from vpmsearch.store.folder.columns import check_types
from vpmsearch.store.folder.texts import Texts
from vpmsearch.types import Bool, Int64


@dataclass(frozen=True)
class Labels:
    """The labels of n things: numbers, words or None. Few are distinct.

    numbers: the distinct numbers, ascending. words: the distinct words, ascending. codes: (n,) int32, a position in
    `numbers` followed by `words`; −1 for None.
    """

    numbers: Int64
    words: Texts
    codes: NDArray[np.int32]

    @classmethod
    def of(cls, values: Sequence[Any], name: str, *allowed: type) -> Labels:
        """Make labels from values of the allowed types or None."""
        check_types(values, name, *allowed, type(None))
        distinct = set(values)
        numbers = sorted(value for value in distinct if isinstance(value, int))
        words = sorted(value for value in distinct if isinstance(value, str))
        labels: list[Label] = [*numbers, *words]
        code: dict[Label | None, int] = {None: -1} | {value: number for number, value in enumerate(labels)}
        codes = np.fromiter(map(code.__getitem__, values), np.int32, len(values))
        return cls(np.array(numbers, np.int64), Texts.of(words), codes)

    @classmethod
    def joined(cls, parts: Sequence[Labels]) -> Labels:
        """Concatenate labels; the result has one table of values."""
        # Not np.unique: it imports numpy.ma, which every command that writes would wait for.
        numbers = np.array(sorted(set[int]().union(*(part.numbers.tolist() for part in parts))), np.int64)
        words = sorted(set[str]().union(*(part.words for part in parts)))
        code = {word: number for number, word in enumerate(words, len(numbers))}
        codes = [np.empty(0, np.int32)]
        for part in parts:
            of_words = np.fromiter(map(code.__getitem__, part.words), np.int64, len(part.words))
            table = np.concatenate([np.searchsorted(numbers, part.numbers), of_words, [-1]]).astype(np.int32)
            codes.append(table[part.codes])  # code −1 finds the last entry
        return cls(numbers, Texts.of(words), np.concatenate(codes))

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def distinct(self) -> int:
        """How many distinct labels there are."""
        return len(self.numbers) + len(self.words)

    def among(self, wanted: Collection[Label]) -> Bool:
        """(n,) whether each label is one of `wanted`."""
        table = np.zeros(self.distinct + 1, np.bool_)  # one more at the end, for code −1
        table[self._codes_of(wanted)] = True
        table[-1] = False  # neither None nor a label that nothing has
        found: Bool = table.take(self.codes, mode="wrap")  # a third of the time of indexing, which widens the codes
        return found

    def _codes_of(self, wanted: Collection[Label]) -> Int64:
        """The code of each of these labels; −1 where nothing has it.

        Numbers are looked up in an array. After a scan the caches are cold, and a dictionary of Python's then takes
        0.9 ms for 2,500 of 5,000 numbers, the array 0.4 ms.
        """
        words: list[str] = []
        try:
            asked = np.fromiter(map(operator.index, cast("Collection[int]", wanted)), np.int64, len(wanted))
        except (TypeError, OverflowError):  # words, or a number that no index can hold
            words = [value for value in wanted if isinstance(value, str)]
            whole = [operator.index(value) for value in wanted if isinstance(value, int)]
            asked = np.array([value for value in whole if value in INT64], np.int64)
        places = np.searchsorted(self.numbers, asked)
        found = places < len(self.numbers)
        found[found] = self.numbers[places[found]] == asked[found]
        code = self._code_of_word if words else {}
        of_words = np.array([code.get(word, -1) for word in words], np.int64)
        return np.concatenate([np.where(found, places, -1), of_words])

    @functools.cached_property
    def _code_of_word(self) -> dict[str, int]:
        return {word: number for number, word in enumerate(self.words, len(self.numbers))}

    def present(self, kept: Bool) -> set[Label]:
        """The distinct labels among those in `kept` (n,)."""
        counts = np.bincount(self.codes[kept] + 1)[1:]  # code −1 has no value
        return {self._value(code) for code in np.flatnonzero(counts).tolist()}

    def at(self, row: int) -> Label | None:
        """One label."""
        code = int(self.codes[row])
        return None if code < 0 else self._value(code)

    def _value(self, code: int) -> Label:
        numbers = len(self.numbers)
        return int(self.numbers[code]) if code < numbers else self.words.at(code - numbers)

    def check(self, name: str) -> None:
        """Refuse arrays that are no column of labels.

        Raises:
            ValueError: says what is wrong.
        """
        self.words.check(name)
        if self.codes.min(initial=-1) < -1 or self.codes.max(initial=-1) >= self.distinct:
            raise ValueError(f"{name} has codes of no label")
        if (self.numbers[1:] <= self.numbers[:-1]).any():
            raise ValueError(f"{name} has numbers that do not ascend")

    def check_words(self, name: str) -> None:
        """Refuse words that are no label of an image.

        Raises:
            ValueError: one is not as `as_label` gives it.
        """
        for word in self.words:
            try:
                known = as_label(word)
            except DataError as error:
                raise ValueError(f"{name}: {error}") from error
            if known != word:
                raise ValueError(f"{name} holds the text {word!r}")
