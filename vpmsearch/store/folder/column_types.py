"""The types of the catalog's columns. SQLite takes any value in any column, so values are checked when read."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import DateTime, Dialect, Float, Integer, LargeBinary, String
from sqlalchemy.types import TypeDecorator

from vpmsearch.labels import Attributes
from vpmsearch.store.folder.attributes import packed, unpacked


class UtcDateTime(TypeDecorator[datetime]):
    """A moment, stored as UTC without a zone and read as UTC with a zone. A moment without a zone counts as UTC."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Convert to naive UTC."""
        if value is None or value.tzinfo is None:
            return value
        return value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Add the zone UTC."""
        return None if value is None else value.replace(tzinfo=UTC)


class Hash(TypeDecorator[str]):
    """A hash in hex, stored as bytes to save half the room. Any other text is stored as text."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> Any:
        """To bytes, if they give the same text again."""
        try:
            raw = bytes.fromhex(value or "")
        except ValueError:
            return value
        return raw if raw and raw.hex() == value else value

    def process_result_value(self, value: Any, dialect: Dialect) -> str | None:
        """To hex."""
        if value is not None and type(value) not in (bytes, str):
            raise TypeError(f"{type(value).__name__} in place of a hash")
        return value.hex() if isinstance(value, bytes) else value


class _Checked(TypeDecorator[Any]):
    """A column whose values must have one type when they are read."""

    kinds: tuple[type, ...] = ()

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        """The value, unchanged.

        Raises:
            TypeError: it has another type.
        """
        if value is not None and type(value) not in self.kinds:
            raise TypeError(f"{type(value).__name__} in place of {self.kinds[0].__name__}")
        return value


class Whole(_Checked):
    """Integers."""

    impl = Integer
    cache_ok = True  # SQLAlchemy does not inherit it
    kinds = (int,)


class Text(_Checked):
    """Text."""

    impl = String
    cache_ok = True
    kinds = (str,)


class Bytes(_Checked):
    """Bytes."""

    impl = LargeBinary
    cache_ok = True
    kinds = (bytes,)


class Real(_Checked):
    """Numbers."""

    impl = Float  # explicit: for a plain float, SQLAlchemy takes FLOAT or DOUBLE depending on its version
    cache_ok = True
    kinds = (float, int)


class LabelValue(TypeDecorator[Any]):
    """A whole number or a word, stored as it is. Only in a column of BLOBs SQLite turns no text into a number."""

    impl = LargeBinary
    cache_ok = True

    def bind_processor(self, dialect: Dialect) -> None:
        """No conversion."""

    def result_processor(self, dialect: Dialect, coltype: object) -> None:
        """No conversion."""


class AttributeValues(TypeDecorator[Any]):
    """Attributes as JSON; NULL if there are none."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value: Attributes | None, dialect: Dialect) -> str | None:
        """To text."""
        return packed(value or {})

    def process_result_value(self, value: Any, dialect: Dialect) -> dict[str, str]:
        """From text."""
        return {} if value is None else unpacked(value)
