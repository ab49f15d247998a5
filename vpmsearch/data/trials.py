"""Trials: a data set whose people are split at random, again and again, into those to train on and to test with.

The splits are those that the set's authors or torchreid published, where their file is there. Otherwise they are drawn
here, by one seed: trial 3 of a data set is the same on every machine, but not that of a paper.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from vpmsearch.data.labelled import ImageRow, ReidDataset, Trial
from vpmsearch.data.layout import Halves, Layout, pattern_of
from vpmsearch.data.layout_finder import Place, find
from vpmsearch.data.layout_reader import read_split
from vpmsearch.data.split_files import Split, read_splits
from vpmsearch.errors import DataError
from vpmsearch.words import number_of, printable

SEED = 0
"""Seed of the halves that are drawn here."""


class Trials:
    """All trials of a data set. Its files are listed once.

    Args:
        layout: the data set's row of the table. root: its folder, or a folder around it.

    Raises:
        DataError: the layout has no trials, something is missing, or a file of splits is damaged.
    """

    def __init__(self, layout: Layout, root: Path) -> None:
        if layout.halves is None:
            raise DataError(f"{layout.title} is not measured over trials; leave --trial away")
        place = find(layout, root, ("query", "gallery"))
        self._layout, self._halves = layout, layout.halves
        self._query, self._gallery = (list(read_split(layout, place, split)) for split in ("query", "gallery"))
        self._splits, self.source = self._all_splits(place)

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self._splits)

    def dataset(self, number: int, splits: Sequence[str]) -> ReidDataset:
        """Some splits of one trial.

        Args:
            number: from 1 to `count`.

        Raises:
            DataError: there is no such trial.
        """
        if not 1 <= number <= self.count:
            raise DataError(f"{self._layout.title} has the trials 1 to {self.count}, not {number}")
        split = self._splits[number - 1]
        asking, answering = (self._gallery, self._query) if split.swapped else (self._query, self._gallery)
        found = {
            "train": [row for row in (*self._query, *self._gallery) if row.pid in split.train],
            "query": [row for row in asking if row.pid in split.test],
            "gallery": [row for row in answering if row.pid in split.test or self._stays(row)],
        }
        images = {name: [row.image() for row in found[name]] for name in splits}
        trial = Trial(number, self.count, self.source)
        return ReidDataset.of(self._layout.name, images, self._layout.protocol, trial)

    def _stays(self, row: ImageRow) -> bool:
        """Whether a gallery image is of somebody who never asks and is in each trial's gallery."""
        return self._halves.others and row.pid not in self._asking

    def _all_splits(self, place: Place) -> tuple[list[Split], str]:
        asked, answered = (Counter(row.pid for row in rows) for rows in (self._query, self._gallery))
        self._asking = set(asked)
        least = self._halves.least
        people = sorted(
            pid
            for pid, images in asked.items()
            if isinstance(pid, int) and pid not in self._layout.distractors and min(images, answered[pid]) >= least
        )
        for name, form in self._halves.files:
            for folder in (place.root, place.root.parent):
                if (folder / name).is_file():
                    found = read_splits(folder / name, form, people, self._pid_of(place))
                    return found, f"people by {printable(name)}"
        if len(people) < 2:
            least_images = number_of(least, "image")
            raise DataError(
                f"{printable(place.root)}: halves need two people of whom both sides have {least_images}; there "
                f"{'is one' if people else 'is none'}"
            )
        return _drawn(people, self._halves), _drawn_in_words(self._halves)

    def _pid_of(self, place: Place) -> Callable[[str], int | None]:
        """A function that gives the pid of an image of this data set by its name, or None for another name."""
        patterns = [(part, pattern_of(self._layout, part)) for part in place.variant.parts("query", "gallery")]

        def pid_of(name: str) -> int | None:
            for part, pattern in patterns:
                fields = pattern.fields(name)
                if fields is not None:
                    pid = self._layout.row(part, fields, name).pid
                    return pid if isinstance(pid, int) else None
            return None

        return pid_of


def _drawn(people: Sequence[int], halves: Halves) -> list[Split]:
    """Splits by the seed. Half of the people, rounded down, train, as in torchreid."""
    found = []
    for number in range(halves.count):
        order = np.random.default_rng([SEED, number]).permutation(len(people)).tolist()
        train, test = (
            frozenset(people[place] for place in places)
            for places in (order[: len(people) // 2], order[len(people) // 2 :])
        )
        found += [Split(train, test, swapped) for swapped in ((False, True) if halves.both else (False,))]
    return found


def _drawn_in_words(halves: Halves) -> str:
    names = " or ".join(name for name, _ in halves.files)
    return f"halves drawn by vpmsearch with seed {SEED}, as {names} is not there: not those of a paper"
