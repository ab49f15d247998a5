"""Columns of text as arrays: the bytes of all rows in one array, which may be in a mapped file."""

from __future__ import annotations

import codecs
import functools
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vpmsearch.store.folder.columns import check_types
from vpmsearch.types import Bool, Int64

Bytes = NDArray[np.uint8]

_BLOCK = 1 << 20  # bytes of UTF-8 checked at once
_AFTER_ALL = b"\xff"  # in no UTF-8, so prefix + this comes after all that starts with the prefix


@dataclass(frozen=True)
class Texts:
    """n texts.

    data: their UTF-8. starts: (n + 1,) where each begins, then the end of the last.
    """

    data: Bytes
    starts: Int64

    @classmethod
    def of(cls, values: Sequence[str]) -> Texts:
        """Make a column.

        Raises:
            UnicodeEncodeError: a value is not Unicode.
        """
        return cls.of_bytes([value.encode() for value in values])

    @classmethod
    def of_bytes(cls, encoded: Sequence[bytes]) -> Texts:
        """Make a column of what is encoded already."""
        starts = np.zeros(len(encoded) + 1, np.int64)
        np.cumsum(np.fromiter(map(len, encoded), np.int64, len(encoded)), out=starts[1:])
        return cls(np.frombuffer(b"".join(encoded), np.uint8), starts)

    @classmethod
    def joined(cls, parts: Sequence[Texts]) -> Texts:
        """Concatenate columns."""
        ends = np.cumsum([0, *(len(part.data) for part in parts)])
        starts = [part.starts[:-1] + end for part, end in zip(parts, ends[:-1].tolist(), strict=True)]
        data = [np.empty(0, np.uint8), *(part.data for part in parts)]
        return cls(np.concatenate(data), np.concatenate([*starts, ends[-1:]]).astype(np.int64))

    def __len__(self) -> int:
        return len(self.starts) - 1

    def raw(self, row: int) -> bytes:
        """The UTF-8 of one."""
        return self.data[self.starts[row] : self.starts[row + 1]].tobytes()

    def at(self, row: int) -> str:
        """One of them."""
        return self.raw(row).decode()

    def __iter__(self) -> Iterator[str]:
        return iter(self.chosen(np.ones(len(self), np.bool_)))

    def chosen(self, kept: Bool) -> list[str]:
        """Those in `kept` (n,)."""
        return [encoded.decode() for encoded in self.chosen_raw(kept)]

    def chosen_raw(self, kept: Bool) -> list[bytes]:
        """The UTF-8 of those in `kept` (n,)."""
        data, rows = self.data.tobytes(), np.flatnonzero(kept)
        places = zip(self.starts[rows].tolist(), self.starts[rows + 1].tolist(), strict=True)
        return [data[start:end] for start, end in places]

    def check_places(self, name: str) -> None:
        """Refuse places that are not within the data, ascending.

        Raises:
            ValueError: they are not.
        """
        starts = self.starts
        if not len(starts) or starts[0] != 0 or starts[-1] != len(self.data) or (starts[1:] < starts[:-1]).any():
            raise ValueError(f"{name} has texts at impossible places")

    def check(self, name: str) -> None:
        """Refuse arrays that are no column of texts.

        Raises:
            ValueError: places are not within the data, ascending, or a text is not UTF-8.
        """
        self.check_places(name)
        starts, data = self.starts, self.data
        if data.max(initial=0) < 0x80:  # ASCII
            return
        decoder = codecs.getincrementaldecoder("utf-8")()
        for start in range(0, len(data), _BLOCK):
            decoder.decode(data[start : start + _BLOCK].tobytes(), final=start + _BLOCK >= len(data))
        begun = data[starts[:-1][starts[:-1] < len(data)]]
        if ((begun & 0xC0) == 0x80).any():  # inside a character
            raise ValueError(f"{name} has texts that begin inside a character")


class Paths:
    """The paths of n images.

    Args:
        texts: they. order: (n,) int32, their rows in the order of the UTF-8 of the paths, equal ones by row; computed
            when it is first needed unless given.
    """

    def __init__(self, texts: Texts, order: NDArray[np.int32] | None = None) -> None:
        self.texts = texts
        if order is not None:
            self.order = order

    @functools.cached_property
    def order(self) -> NDArray[np.int32]:
        """(n,) see above. A filter by path then takes a binary search instead of a look at every path."""
        encoded = self.texts.chosen_raw(np.ones(len(self.texts), np.bool_))
        return np.array(sorted(range(len(encoded)), key=encoded.__getitem__), np.int32)

    def at(self, row: int) -> str:
        """One path."""
        return self.texts.at(row)

    def starting_with(self, prefix: str) -> Bool:
        """(n,) which paths begin so."""
        start = prefix.encode("utf-8", "surrogatepass")  # what is no UTF-8 finds nothing
        return self._marked([self._span(start, start + _AFTER_ALL)])

    def among(self, wanted: Iterable[str]) -> Bool:
        """(n,) which paths are one of these."""
        encoded = {value.encode("utf-8", "surrogatepass") for value in wanted}
        return self._marked([self._span(value, value + b"\0") for value in encoded])

    def ends(self, kept: Bool) -> tuple[str, str] | None:
        """The first and the last in their order of the paths in `kept` (n,); None if there are none."""
        rows = self.order[kept[self.order]]
        return (self.at(int(rows[0])), self.at(int(rows[-1]))) if len(rows) else None

    def _span(self, first: bytes, after: bytes) -> slice:
        """Where in `order` the paths are that are at least `first` and less than `after`."""
        start = bisect_left(self.order, first, key=self.texts.raw)
        return slice(start, bisect_left(self.order, after, lo=start, key=self.texts.raw))

    def _marked(self, spans: Iterable[slice]) -> Bool:
        marked = np.zeros(len(self.texts), np.bool_)
        for span in spans:
            marked[self.order[span]] = True
        return marked


@dataclass(frozen=True)
class Hashes:
    """The content hashes of n images.

    raw: their bytes. plain: (n,) whether these are the UTF-8 of a text; otherwise the hash is their hex digits.
    """

    raw: Texts
    plain: Bool

    @classmethod
    def of(cls, values: Sequence[bytes | str]) -> Hashes:
        """Make a column of bytes or their hex digits, or of any other text."""
        check_types(values, "content_hash", bytes, str)
        found = [value if type(value) is bytes else _raw(value) for value in values]
        plain = np.fromiter((value is None for value in found), np.bool_, len(found))
        for row in np.flatnonzero(plain).tolist():
            found[row] = str(values[row]).encode()
        return cls(Texts.of_bytes([value or b"" for value in found]), plain)

    @classmethod
    def joined(cls, parts: Sequence[Hashes]) -> Hashes:
        """Concatenate columns."""
        plain = np.concatenate([np.empty(0, np.bool_), *(part.plain for part in parts)])
        return cls(Texts.joined([part.raw for part in parts]), plain)

    def at(self, row: int) -> str:
        """One hash, as text."""
        return self.raw.at(row) if self.plain[row] else self.raw.raw(row).hex()

    def chosen(self, kept: Bool) -> list[str]:
        """Those in `kept` (n,), as text."""
        raw, plain = self.raw.chosen_raw(kept), self.plain[kept].tolist()
        return [value.decode() if text else value.hex() for value, text in zip(raw, plain, strict=True)]

    def check(self) -> None:
        """Refuse arrays that are no column of hashes.

        Raises:
            ValueError: says what is wrong.
        """
        self.raw.check_places("content_hash")
        lengths = np.diff(self.raw.starts)
        starts = np.cumsum(np.append(0, lengths[self.plain]))
        if starts[-1]:
            Texts(self.raw.data[np.repeat(self.plain, lengths)], starts).check("content_hash")


def _raw(value: object) -> bytes | None:
    """The bytes of a text that is exactly their hex digits; None for any other."""
    text = str(value)
    try:
        raw = bytes.fromhex(text)
    except ValueError:
        return None
    return raw if raw and raw.hex() == text else None
