"""Which images of an index a run may remove, as its gallery no longer has them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from vpmsearch.data.fragment import file_of
from vpmsearch.indexing.paths import rejected_path, stored_path


class Pruning:
    """What `--prune` covers.

    Args:
        below: folders, photographs and films. Images below a folder, and the parts of a photograph or film, may be
            removed.
        complete: photographs and films of whose people this gallery names all. Other parts of them are removed, also
            where the gallery names nobody in a picture.
        named: images that the gallery has besides those of this run, such as other processes' shares. They stay.
        unread: photographs and films of which a picture could not be read. Their parts stay, as nobody knows who is in
            that picture.
    """

    def __init__(
        self,
        below: Iterable[Path],
        complete: Iterable[Path] = (),
        named: Iterable[Path] = (),
        unread: Iterable[Path] = (),
    ) -> None:
        self._whole = tuple(stored_path(path) for path in below)
        self._prefixes = tuple(os.path.join(path, "") for path in self._whole)  # noqa: PTH118 (the trailing separator)
        self._unread = frozenset(map(stored_path, unread))
        self.complete = frozenset(map(stored_path, complete)) - self._unread
        # As the catalog names them, in notes on rejected files too.
        self._named = frozenset(rejected_path(stored_path(path)) for path in named)

    def covers(self, path: str) -> bool:
        """Whether a stored path is below one of the places and is not named elsewhere."""
        if path in self._named:
            return False
        return path.startswith(self._prefixes) or ("#" in path and file_of(path) in self._whole)

    def lacks(self, path: str, scenes: Iterable[str]) -> bool:
        """Whether a path that this run did not name is a part of a scene whose parts are all known.

        Args:
            scenes: photographs and films of which this run named parts.
        """
        if "#" not in path or path in self._named:
            return False
        file = file_of(path)
        return file != path and file not in self._unread and (file in self.complete or file in scenes)
