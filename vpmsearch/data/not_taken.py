"""Counts what was left aside while a gallery was read, by kind, so that it can be reported."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

LINKED, VANISHED, HIDDEN = "links to folders", "folders that vanished", "hidden"
_NAMED = 3
_LONGEST = 12  # characters of an extension; what is longer is a part of a name


class NotTaken:
    """A counter of what was left aside.

    counts: how much of each kind. The kind of a file or folder is its extension, such as ".heic", or "without
    extension", or one of the constants above. Other kinds are named in words, such as "boxes of crowds". examples:
    paths of the first few of each kind. Hidden files and folders have no examples.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.examples: dict[str, list[str]] = defaultdict(list)
        self._walked: list[str] = []

    def is_new(self, root: str) -> bool:
        """Whether a folder is visited for the first time. A layout may visit one more than once."""
        place = os.path.join(os.path.abspath(root), "")  # noqa: PTH100, PTH118
        if any(place.startswith(walked) for walked in self._walked):
            return False
        self._walked.append(place)
        return True

    def note(self, kind: str, path: str) -> None:
        """Count one more."""
        self.counts[kind] += 1
        if kind != HIDDEN and len(self.examples[kind]) < _NAMED:
            self.examples[kind].append(path)

    def note_file(self, path: str) -> None:
        """Count a file without an image's extension."""
        name = os.path.basename(path)  # noqa: PTH119 (speed)
        extension = os.path.splitext(name)[1].lower()  # noqa: PTH122
        plain = extension.isprintable() and extension.isascii() and len(extension) <= _LONGEST
        kind = HIDDEN if name.startswith(".") else (extension if plain else "of other names") or "without extension"
        self.note(kind, path)


_counting: ContextVar[NotTaken | None] = ContextVar("not_taken", default=None)


@contextmanager
def counting_not_taken() -> Iterator[NotTaken]:
    """Within the block, readers count in what it gives: `vpmsearch.data.image_files` files, others by `note`."""
    counted = NotTaken()
    token = _counting.set(counted)
    try:
        yield counted
    finally:
        _counting.reset(token)


def note(kind: str, path: str, count: int = 1) -> None:
    """Count things that were left aside and are no files, such as boxes of a list.

    Args:
        kind: in words. path: an example. count: how many.
    """
    if count and (counted := _counting.get()) is not None:
        counted.note(kind, path)
        counted.counts[kind] += count - 1


def current(root: str) -> NotTaken:
    """The counter for a walk through `root`: that of `counting_not_taken`, or else one that nobody reads."""
    counted = _counting.get()
    return counted if counted is not None and counted.is_new(root) else NotTaken()
