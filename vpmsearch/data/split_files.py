"""Reads published splits of people into halves. They are published in four forms.

people: JSON, a list of {"train": [...], "test": [...]}. A person is a folder's name (person_0001) or a number.
Torchreid's splits_prid2011.json and splits_single_shot.json have this form.

permutations: the .mat file of iLIDS-VID's authors. Each row of its matrix ls_set is a permutation of the people, who
are numbered from 1 in ascending order. The first half of a row is for testing.

training: GRID's features_and_partitions.mat. Its trainIdxAll has the numbers of the training people of each split.

images: JSON, a list of {"query": [[path, label, camera], …], …}. Torchreid's splits.json of VIPeR and CUHK01 have this
form. Paths are those of the computer that wrote them, so only the file's name and the camera count.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Any

from vpmsearch.data.layout import SplitForm
from vpmsearch.data.mat_files import are_whole, is_numbers, mat_values, whole
from vpmsearch.errors import DataError
from vpmsearch.words import printable

_LAST_NUMBER = re.compile(r".*?([0-9]{1,18})[^0-9]*")


@dataclass(frozen=True)
class Split:
    """The halves of one trial.

    train, test: pids. swapped: whether the images of the gallery's camera are the queries, and the others the gallery.
    """

    train: frozenset[int]
    test: frozenset[int]
    swapped: bool = False


def read_splits(file: Path, form: SplitForm, people: Sequence[int], pid_of: Callable[[str], int | None]) -> list[Split]:
    """The splits of a file, in its order.

    Args:
        form: one of those above. people: the pids that take part, ascending. pid_of: gives the pid of an image's name,
            or None if the name is not one of this data set.

    Raises:
        DataError: the file is damaged, names people who are not there, or one of them on both sides.
    """
    try:
        if form == "people":
            found = _of_people(_json(file))
        elif form == "permutations":
            found = _of_permutations(mat_values(file, "ls_set")["ls_set"], people, file)
        elif form == "training":
            found = _of_training(mat_values(file, "trainIdxAll")["trainIdxAll"], people)
        else:
            found = _of_images(_json(file), pid_of)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise DataError(f"{printable(file)} is not as splits of this data set are written; unpack it again") from error
    _check(found, file, people)
    return found


def _check(found: Sequence[Split], file: Path, people: Sequence[int]) -> None:
    if not found:
        raise DataError(f"{printable(file)} holds no split; unpack it again")
    known = set(people)
    for number, split in enumerate(found, start=1):
        where = f"{printable(file)}, split {number}"
        if not split.test or (both := split.train & split.test):
            why = "nobody is tested with" if not split.test else f"{sorted(both)[0]} is on both sides"
            raise DataError(f"{where}: {why}; unpack it again")
        if others := (split.train | split.test) - known:
            raise DataError(
                f"{where}: person {sorted(others)[0]} is not seen by both cameras here; unpack the images, or move the "
                "file away: then the halves are drawn"
            )


def _json(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8-sig"))


def _of_people(value: list[dict[str, list[Any]]]) -> list[Split]:
    return [Split(frozenset(map(_person, entry["train"])), frozenset(map(_person, entry["test"]))) for entry in value]


def _person(value: Any) -> int:
    """The pid of a person in the form "people": a number, or the last number in a folder's name."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    found = _LAST_NUMBER.fullmatch(PureWindowsPath(value).name)
    if found is None:
        raise ValueError(value)
    return int(found[1])


def _of_permutations(matrix: Any, people: Sequence[int], file: Path) -> list[Split]:
    if not is_numbers(matrix) or matrix.ndim != 2 or not are_whole(matrix):
        raise ValueError("no matrix")
    count = matrix.shape[1]
    if count != len(people):
        raise DataError(f"{printable(file)} splits {count} people; here are {len(people)} who take part")
    found = []
    for row in whole(matrix).tolist():
        if sorted(row) != list(range(1, count + 1)):
            raise ValueError("no permutation")
        ordered = [people[place - 1] for place in row]
        found.append(Split(frozenset(ordered[count // 2 :]), frozenset(ordered[: count // 2])))
    return found


def _of_training(cells: Any, people: Sequence[int]) -> list[Split]:
    found = []
    for cell in cells.ravel().tolist():
        numbers = cell[0][0][2]  # a struct, of which the third field has them
        if not is_numbers(numbers) or not are_whole(numbers):
            raise ValueError("no numbers")
        train = frozenset(whole(numbers).ravel().tolist())
        found.append(Split(train, frozenset(people) - train))
    return found


def _of_images(value: list[dict[str, list[Any]]], pid_of: Callable[[str], int | None]) -> list[Split]:
    found = []
    for entry in value:
        sides = {}
        for side in ("train", "query", "gallery"):
            pids = {pid_of(PureWindowsPath(path).name) for path, *_ in entry[side]}  # it takes / and \
            if None in pids:
                raise ValueError("a foreign image")
            sides[side] = frozenset(pid for pid in pids if pid is not None)
        first, second = ({int(camera) for _, _, camera, *_ in entry[side]} for side in ("query", "gallery"))
        if len(first) != 1 or len(second) != 1 or first == second or sides["query"] != sides["gallery"]:
            raise ValueError("not from one camera to the other")
        found.append(Split(sides["train"], sides["query"], swapped=min(first) > min(second)))
    return found
