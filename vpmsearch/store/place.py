"""Where an index is: a folder of this machine, or a database."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_PASSWORD = re.compile(r"(?<=://)([^/@:]*):[^@]*(?=@)")
_PASSWORD_OPTION = re.compile(r"(?<=password=)[^&]*")


@dataclass(frozen=True)
class Place:
    """The value of --index. `str(place)` is for messages and never holds a password.

    text: a path, or a URI such as postgresql+psycopg://user@host/database.
    """

    text: str

    @classmethod
    def of(cls, where: str | os.PathLike[str] | Place) -> Place:
        """A `Place` from a text or path; a `Place` is returned unchanged."""
        return where if isinstance(where, Place) else cls(os.fspath(where))

    @property
    def is_server(self) -> bool:
        """Whether it is a URI. Opening it shows whether its kind of server is supported."""
        return _URI.match(self.text) is not None

    @property
    def folder(self) -> Path | None:
        """The folder, None for a server."""
        return None if self.is_server else Path(self.text)

    def __str__(self) -> str:
        if not self.is_server:
            return str(Path(self.text))
        return _PASSWORD_OPTION.sub("***", _PASSWORD.sub(r"\1:***", self.text))

    def __repr__(self) -> str:  # in a traceback too
        return f"Place({str(self)!r})"
