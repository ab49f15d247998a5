"""Content hashes of a gallery's files. A scene with many parts is read once."""

from __future__ import annotations

import os

from vpmsearch.data.film import is_film
from vpmsearch.data.fragment import part_of
from vpmsearch.data.images import content_hash, part_hash


class ContentHashes:
    """As `content_hash`, but remembers the file of the last part: the parts of a scene come one after another."""

    def __init__(self) -> None:
        self._last: tuple[str, str] = ("", "")

    def of(self, path: str | os.PathLike[str]) -> str:
        """The hash of a file or of a part of one.

        Raises:
            ImageError: the file cannot be read, is empty or too large.
        """
        text = os.fspath(path)
        if "#" not in text:
            return content_hash(text)
        part = part_of(text)
        if not part.fragment or is_film(part.file):  # a film's hash is remembered elsewhere
            return content_hash(text)
        if self._last[0] != part.file:
            self._last = (part.file, content_hash(part.file))
        return part_hash(self._last[1], part)
