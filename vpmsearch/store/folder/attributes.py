"""The attributes of a segment's images, in memory: each distinct set of them once, as the catalog has it (JSON)."""

from __future__ import annotations

import functools
import json
from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from vpmsearch.errors import StoreDamagedError
from vpmsearch.labels import Attributes
from vpmsearch.store.folder.files import REMEDY
from vpmsearch.store.folder.label_column import Labels
from vpmsearch.types import Bool


def packed(attributes: Attributes) -> str | None:
    """Attributes as the catalog stores them (JSON text); None if there are none."""
    if not attributes:
        return None
    return json.dumps(dict(attributes), ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def unpacked(text: str) -> dict[str, str]:
    """The attributes of a text that `packed` made.

    Raises:
        ValueError: the text is not of that form.
    """
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError("attributes hold what is no JSON") from error
    if not isinstance(found, dict) or set(map(type, found.values())) - {str}:
        raise ValueError("attributes hold what is no text")
    return found


class AttributeSets:
    """The attributes of n images.

    Args:
        texts: JSON or None for each image. It is parsed when it is asked for; see `check`.
    """

    def __init__(self, texts: Labels) -> None:
        self.texts = texts
        self._columns: dict[str, Labels] = {}

    def check(self) -> None:
        """Parse all of them, so that damage is reported at once.

        Raises:
            ValueError: one is not what vpmsearch writes.
        """
        for text in self.texts.words:
            unpacked(text)

    def at(self, row: int) -> dict[str, str]:
        """Those of one image.

        Raises:
            StoreDamagedError: they are not what vpmsearch writes. Other methods raise it too.
        """
        text = self.texts.at(row)
        return {} if text is None else _sound(str(text))

    def among(self, name: str, wanted: Collection[str]) -> Bool:
        """(n,) whether each image has one of these values of the attribute."""
        if name not in self._names:
            return np.zeros(len(self.texts), np.bool_)
        return self._column(name).among(wanted)

    def names(self, kept: Bool) -> set[str]:
        """The names of all attributes of the images in `kept` (n,)."""
        return {name for text in self.texts.present(kept) for name in _sound(str(text))}

    @functools.cached_property
    def _names(self) -> frozenset[str]:
        return frozenset(name for text in self.texts.words for name in _sound(text))

    def _column(self, name: str) -> Labels:
        """One attribute of each image; made when it is first asked for."""
        column = self._columns.get(name)
        if column is None:
            of_sets = Labels.of([_sound(text).get(name) for text in self.texts.words], name, str)
            codes: NDArray[np.int32] = np.append(of_sets.codes, np.int32(-1))  # code −1 finds this last entry
            column = self._columns[name] = Labels(of_sets.numbers, of_sets.words, codes[self.texts.codes])
        return column


def _sound(text: str) -> dict[str, str]:
    try:
        return unpacked(text)
    except ValueError as error:
        raise StoreDamagedError(f"an image's {error}; {REMEDY}") from error
