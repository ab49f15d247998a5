"""Pairs of images about which a person says whether they show the same person. They replace labels in a calibration.

A file of pairs is CSV with the columns `image`, `other` (paths as the index has them, or image ids) and `same`: yes, no
or empty for "not answered". `choose_pairs` picks pairs that are worth asking about. The answers to some hundred pairs
tell how likely two images at a distance show the same person.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vpmsearch.errors import DataError
from vpmsearch.search.searcher import Searcher
from vpmsearch.store import Gallery
from vpmsearch.system.atomic import check_folder_of, replacing
from vpmsearch.words import number_of, printable

PAIRS_ASKED = 150
NEAR = 40
"""The other image of a pair is among so many ranks. Nearer ranks are drawn more often, as both answers occur there."""
ANSWERS, OF_EACH = 60, 15
"""Answers that a calibration needs in all, and of each kind (yes and no)."""
COLUMNS = ("image", "other", "same")
SAID = {
    **dict.fromkeys(("yes", "y", "same", "true", "1"), True),
    **dict.fromkeys(("no", "n", "not same", "false", "0"), False),
}
_ROWS = 1_000_000
_RIDGE = 1e-2
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Answers:
    """A person's answers about pairs of images, by their ids.

    same: (smaller id, larger id) -> whether both show one person. probes: first images of the pairs, each once.
    """

    same: Mapping[tuple[int, int], bool]
    probes: tuple[int, ...]

    def of(self, image_id: int, other: int) -> bool | None:
        """The answer about a pair; None where there is none."""
        return self.same.get((min(image_id, other), max(image_id, other)))


@dataclass(frozen=True)
class Sample:
    """An answered pair as a search saw it: how many regions the query showed, the distance, and the answer."""

    visible: int
    distance: float
    same: bool


@dataclass(frozen=True)
class Curve:
    """How likely two images at a distance show the same person: a logistic curve for each number of visible regions.

    middle: by number of visible regions, the distance at which the probability is 1/2. slope: of all curves, below 0.
    """

    middle: Mapping[int, float]
    slope: float

    def same(self, visible: int, distances: Floats) -> Floats:
        """Probabilities (n,) that images at `distances` (n,) show the same person as the query."""
        nearest = min(self.middle, key=lambda number: (abs(number - visible), number))
        steps = np.clip(self.slope * (distances - self.middle[nearest]), -50, 50)
        likely: Floats = 1 / (1 + np.exp(-steps))
        return likely


def choose_pairs(engine: Searcher, count: int = PAIRS_ASKED, seed: int = 0) -> list[tuple[int, int]]:
    """Pairs of image ids to ask about: an image drawn at random, and one of its `NEAR` nearest other images.

    Raises:
        DataError: the index has too few images.
    """
    snapshot, rng = engine.snapshot, np.random.default_rng(seed)
    if len(snapshot) < 2:
        raise DataError(f"{engine.store.path} holds {number_of(len(snapshot), 'image')}; a pair needs two")
    ids = snapshot.image_ids[rng.permutation(len(snapshot))[:count]]
    found = engine.search(snapshot.features_of(ids), min(NEAR + 1, len(snapshot)), exact=True)
    pairs = dict[tuple[int, int], tuple[int, int]]()
    for image_id, result in zip(ids.tolist(), found, strict=True):
        others = [match.image_id for match in result.matches if match.image_id != image_id]
        if others:
            rank = int(np.exp(rng.uniform(0, np.log(len(others))))) - 1
            pair = (image_id, others[rank])
            pairs.setdefault((min(pair), max(pair)), pair)
    return list(pairs.values())


def check_pairs_file(path: Path) -> None:
    """Refuse, before the work begins, a file that `write_pairs` would not write.

    Raises:
        DataError: the file exists already, or its folder does not exist.
    """
    if path.exists():
        raise DataError(f"{printable(path)} is there already and may hold answers; choose another name")
    check_folder_of(path)


def write_pairs(path: Path, engine: Searcher, pairs: Sequence[tuple[int, int]]) -> None:
    """Write a file of pairs without answers.

    Raises:
        DataError: the file exists already, its folder does not exist, or it cannot be written.
    """
    check_pairs_file(path)
    snapshot = engine.snapshot
    ids = sorted({image_id for pair in pairs for image_id in pair})
    name = {i: record.path for i, record in zip(ids, snapshot.records_of(ids), strict=True)}
    try:
        with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(COLUMNS)
            writer.writerows((name[image_id], name[other], "") for image_id, other in pairs)
    except OSError as error:
        raise DataError(f"cannot write {printable(path)}: {error.strerror or error}; choose another file") from error


def read_answers(path: Path, store: Gallery) -> Answers:
    """Read a file of pairs. Rows without an answer are left out.

    Raises:
        DataError: the file cannot be read, a row cannot be understood or names an image that is not in the index, or
            there are too few answers.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            if not set(COLUMNS) <= set(reader.fieldnames or ()):
                raise DataError(f"{printable(path)} has not the columns {', '.join(COLUMNS)}")
            rows = [row for _, row in zip(range(_ROWS), reader, strict=False)]
    except OSError as error:
        raise DataError(f"{printable(path)} cannot be read ({error.strerror or error})") from error
    except (ValueError, csv.Error) as error:
        raise DataError(f"{printable(path)} is no CSV file in UTF-8 ({error})") from error
    ids, same, probes = _names(store), dict[tuple[int, int], bool](), dict[int, None]()
    for number, row in enumerate(rows, start=2):
        said = (row["same"] or "").strip().lower()
        if said in ("", "?"):
            continue
        if said not in SAID:
            raise DataError(f"{printable(path)}, line {number}: same is {said!r}; write yes or no, or leave it empty")
        pair = [ids.get(row[column] or "", 0) for column in COLUMNS[:2]]
        if not all(pair) or pair[0] == pair[1]:
            names = " and ".join(printable(row[column] or "") for column in COLUMNS[:2])
            raise DataError(f"{printable(path)}, line {number}: {names} are not two images of the index")
        same[min(pair), max(pair)] = SAID[said]
        probes[pair[0]] = None
    check_enough(same.values(), str(printable(path)))
    return Answers(same, tuple(probes))


def _names(store: Gallery) -> dict[str, int]:
    """The image ids by path, and by the id as text where no path has that text."""
    by_path = {path: image_id for path, (image_id, _) in store.live_files().items()}
    return {str(image_id): image_id for image_id in by_path.values()} | by_path


def check_enough(said: Iterable[bool], where: str) -> None:
    """Refuse too few answers.

    Raises:
        DataError: there are too few; the message says how many there are and how many are needed.
    """
    every = list(said)
    yes = sum(every)
    if len(every) < ANSWERS or min(yes, len(every) - yes) < OF_EACH:
        raise DataError(
            f"{where}: {number_of(len(every), 'answer')}, {yes} of them yes; a calibration needs {ANSWERS}, {OF_EACH} "
            "of either kind"
        )


def fit(samples: Sequence[Sample]) -> Curve:
    """The maximum-likelihood logistic curves by Newton's method: one slope, a middle per number of visible regions.

    Raises:
        DataError: there are too few samples, or images of the same person are not nearer than others.
    """
    check_enough([sample.same for sample in samples], "the pairs that searches met")
    shown = sorted({sample.visible for sample in samples})
    column = {number: i for i, number in enumerate(shown)}
    x = np.zeros((len(samples), len(shown) + 1))
    for row, sample in enumerate(samples):
        x[row, column[sample.visible]], x[row, -1] = 1, sample.distance
    y = np.array([sample.same for sample in samples], np.float64)
    mean, spread = float(x[:, -1].mean()), max(float(x[:, -1].std()), 1e-12)
    x[:, -1] = (x[:, -1] - mean) / spread
    weights = np.zeros(len(shown) + 1)
    for _ in range(50):
        likely = 1 / (1 + np.exp(-np.clip(x @ weights, -30, 30)))
        gradient = x.T @ (likely - y) + _RIDGE * weights
        curvature = (x * (likely * (1 - likely))[:, None]).T @ x + _RIDGE * np.eye(len(weights))
        step = np.linalg.solve(curvature, gradient)
        weights -= step
        if np.abs(step).max() < 1e-9:
            break
    if weights[-1] >= 0:
        raise DataError(
            "pairs that were answered with yes are no nearer than others: nothing follows from the distance"
        )
    middle = {number: mean - spread * float(weights[i] / weights[-1]) for number, i in column.items()}
    return Curve(middle, float(weights[-1]) / spread)
