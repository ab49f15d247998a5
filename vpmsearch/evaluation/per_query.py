"""The results of each query behind an evaluation's means, so that two models can be compared query by query."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vpmsearch.data.crops import CropBox
from vpmsearch.data.datasets import LabelledImage
from vpmsearch.errors import DataError
from vpmsearch.evaluation.intervals import DIFFERENCE, Interval, mean_interval
from vpmsearch.evaluation.rows import Evaluation
from vpmsearch.labels import Label, as_label
from vpmsearch.system.atomic import check_folder_of, replacing
from vpmsearch.words import number_of, printable


@dataclass(frozen=True)
class QueryLine:
    """The result of one query under one protocol.

    query: the names of the image's folder and file. pid, camid: its labels, −1 for an unknown camera.
    gamma, crop, weighting: as in `Evaluation`.
    left, top, right, bottom: the part of the image that was kept, in fractions of it.
    rank1, rank5, rank10: 1 for a hit, else 0; the share of draws with a hit if the gallery was drawn. ap, ap_trapezoid,
    inp: in 0-1. These six are NaN if the query has nothing to find.
    ranking: what ordered the gallery, the text of `Ranking`; empty in files that are older than this column.
    """

    query: str
    pid: Label
    camid: Label
    gamma: float
    crop: str
    weighting: str
    left: float
    top: float
    right: float
    bottom: float
    rank1: float
    rank5: float
    rank10: float
    ap: float
    ap_trapezoid: float
    inp: float
    ranking: str = ""

    @property
    def protocol(self) -> tuple[float, str, str]:
        """(gamma, crop, weighting)."""
        return self.gamma, self.crop, self.weighting

    @property
    def shown(self) -> tuple[str, float, float, float, float]:
        """The query and its crop."""
        return self.query, self.left, self.top, self.right, self.bottom


def query_lines(row: Evaluation, query: Sequence[LabelledImage]) -> list[QueryLine]:
    """The lines of one row of results; `query` are the images it was measured with."""
    found = row.per_query
    hits = [found.hits(k).tolist() for k in (1, 5, 10)]
    values = zip(*hits, found.ap.tolist(), found.ap_trapezoid.tolist(), found.inp.tolist(), strict=True)
    lines = []
    for image, box, numbers in zip(query, row.boxes, values, strict=True):
        whole = box or CropBox()
        assert image.pid is not None
        camid = -1 if image.camid is None else image.camid
        name = printable(Path(*image.path.parts[-2:]))
        corners = (whole.left, whole.top, whole.right, whole.bottom)
        how = (row.gamma, row.crop, row.weighting)
        line = QueryLine(name, image.pid, camid, *how, *corners, *numbers)
        lines.append(replace(line, ranking=str(row.ranking)))
    return lines


def write_query_lines(path: Path, lines: Iterable[QueryLine]) -> None:
    """Write a CSV file, whole or not at all.

    Raises:
        DataError: its folder is not there, or it cannot be written.
    """
    check_folder_of(path)
    try:
        with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, [item.name for item in fields(QueryLine)])
            writer.writeheader()
            writer.writerows(asdict(line) for line in lines)
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror or error}; choose another file") from error


def read_query_lines(path: Path) -> list[QueryLine]:
    """Read what `write_query_lines` wrote.

    Raises:
        DataError: it is missing or no such file.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            first = file.readline()
            file.seek(0)
            # Where decimals have a comma, spreadsheets save semicolons between the columns.
            sign = max(",;\t", key=first.count)
            reader = csv.DictReader(file, strict=True, delimiter=sign)
            called = [name.strip() for name in reader.fieldnames or ()]
            kinds = {item.name: _KINDS[str(item.type)] for item in fields(QueryLine)}
            if "ranking" not in called:  # older files have no `ranking`
                kinds.pop("ranking")
            missing = [name for name in kinds if name not in called]
            if missing:
                raise DataError(
                    f"{path} is not one that `vpmsearch evaluate --per-query` wrote: it has no column "
                    f"{', '.join(missing)[:200]}"
                )
            reader.fieldnames = called
            return [
                QueryLine(**{name: _value(row[name], kind, sign) for name, kind in kinds.items()}) for row in reader
            ]
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8; save it as CSV UTF-8") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error})") from error
    except (ValueError, TypeError, csv.Error) as error:
        raise DataError(f"{path} is damaged ({error}); evaluate again") from error


def _label(text: str) -> Label:
    try:
        return as_label(text)
    except DataError as error:
        raise ValueError(str(error)) from error


_KINDS: dict[str, Callable[[str], Any]] = {"str": str, "Label": _label, "float": float}


def _value(text: str | None, kind: Callable[[str], Any], sign: str) -> Any:
    """The value of a field, also if a spreadsheet or pandas has rewritten the file."""
    if text is None:
        raise ValueError("a line ends early")
    if kind is float:
        text = text.replace(",", ".") if sign != "," else text
        return float(text or "nan")
    return kind(text.removesuffix(".0")) if kind is _label else kind(text)


class Difference(NamedTuple):
    """The difference between two models under one protocol, on the same queries.

    rank1, mean_ap: the second model's minus the first's, in −1 to 1, with paired 95 % intervals. won, lost: how many
    queries have a higher or lower AP with the second. rankings: what ordered the gallery in each, see `QueryLine`.
    """

    gamma: float
    crop: str
    weighting: str
    queries: int
    rank1: float
    rank1_interval: Interval
    mean_ap: float
    mean_ap_interval: Interval
    won: int
    lost: int
    rankings: tuple[str, str]

    @property
    def verdict(self) -> str:
        """The second model by mAP: "better", "worse", or "undecided" if the interval contains 0."""
        low, high = self.mean_ap_interval
        return "better" if low > 0 else "worse" if high < 0 else "undecided"


def compare(first: Sequence[QueryLine], second: Sequence[QueryLine]) -> list[Difference]:
    """Compare two evaluations under every protocol that both have, in the order of the first.

    If each has a single weighting and these differ, they are compared with each other, γ by γ and crop by crop.

    Raises:
        DataError: they share no protocol, or had other queries or crops under it.
    """
    sides = [_by_protocol(lines) for lines in (first, second)]
    shared = [(protocol, protocol) for protocol in sides[0] if protocol in sides[1]]
    if not shared:
        shared = _of_two_weightings(*(list(side) for side in sides))
    if not shared:
        raise DataError("the two files share no gamma and crop; evaluate both models in the same way")
    return [_difference(sides[0][one], sides[1][other]) for one, other in shared]


_Shown = tuple[float, str, str]
"""(gamma, crop, weighting)."""


def _of_two_weightings(first: list[_Shown], second: list[_Shown]) -> list[tuple[_Shown, _Shown]]:
    """The pairs of protocols with the same gamma and crop; empty unless each evaluation has a single weighting."""
    if len({weighting for *_, weighting in first}) > 1 or len({weighting for *_, weighting in second}) > 1:
        return []
    return [(one, other) for one in first for other in second if one[:2] == other[:2]]


def _by_protocol(lines: Sequence[QueryLine]) -> dict[_Shown, list[QueryLine]]:
    found: dict[_Shown, list[QueryLine]] = {}
    for line in lines:
        found.setdefault(line.protocol, []).append(line)
    return {protocol: sorted(some, key=lambda line: line.shown) for protocol, some in found.items()}


def _difference(first: Sequence[QueryLine], second: Sequence[QueryLine]) -> Difference:
    gamma, crop, weighting = first[0].protocol
    if second[0].weighting != weighting:
        weighting = f"{weighting} → {second[0].weighting}"
    where = f"gamma {gamma}, crop {crop}, weighting {weighting}"
    if len(first) != len(second):
        raise DataError(
            f"{where}: {number_of(len(first), 'query')} and {len(second)}; compare evaluations of one data set"
        )
    for a, b in zip(first, second, strict=True):
        if a.shown != b.shown:
            raise DataError(
                f"{where}: {a.query} was shown as {a.shown[1:]}, and {b.query} as {b.shown[1:]}; "
                "evaluate both on one data set with one --seed"
            )
        if math.isnan(a.ap) != math.isnan(b.ap):
            raise DataError(f"{where}: {a.query} has something to find in one gallery and not in the other")
    hits = np.array([b.rank1 - a.rank1 for a, b in zip(first, second, strict=True)])
    ap = np.array([b.ap - a.ap for a, b in zip(first, second, strict=True)])
    valid = ~np.isnan(ap)
    if not valid.any():
        raise DataError(f"{where}: no query has anything to find")
    return Difference(
        gamma, crop, weighting, int(valid.sum()),
        float(hits[valid].mean()), mean_interval(hits, bounds=DIFFERENCE),
        float(ap[valid].mean()), mean_interval(ap, bounds=DIFFERENCE),
        int((ap > 0).sum()), int((ap < 0).sum()), (first[0].ranking, second[0].ranking),
    )  # fmt: skip
