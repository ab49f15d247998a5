"""The paper's tables and figures as data: which systems are measured in which way, and the paper's numbers."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from vpmsearch.errors import DataError
from vpmsearch.evaluation.rows import Weighting

Source = Literal["holistic", "partial-reid", "partial-ilids"]
"""The data set of queries and gallery. "holistic" is the test split of the training data set, with cut queries."""

GAMMAS = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
SHOT_DRAWS = 10
"""How many galleries are drawn for Partial-REID, which is measured single-shot."""


@dataclass(frozen=True)
class Row:
    """One measurement.

    label: the paper's name. system: a name in `training.systems.SYSTEMS`. matcher: if given, it alone orders the whole
    gallery, on the feature maps of that system, see `evaluation.matching`. paper: the paper's figures as fractions,
    under the names of `Evaluation.to_json`; empty if it has none.
    """

    label: str
    system: str
    source: Source = "holistic"
    gamma: float = 1.0
    weighting: Weighting = "visibility"
    matcher: str | None = None
    paper: dict[str, float] = field(default_factory=dict)

    @property
    def draws(self) -> int | None:
        """How many galleries are drawn if the row is measured single-shot, else None."""
        return SHOT_DRAWS if self.source == "partial-reid" else None


@dataclass(frozen=True)
class Ordering:
    """A finding of the paper: the system with label `better` has a higher rank-1 than the one with label `worse`.

    It is tested on pairs of rows with the same source and γ. If the paper's figures of a pair say the opposite, those
    count.
    """

    better: str
    worse: str


@dataclass(frozen=True)
class Experiment:
    """A table or figure. columns: its metrics. picture: "curve" is rank-1 over γ, "regions" the regions of an image."""

    name: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    orderings: tuple[Ordering, ...] = ()
    picture: Literal["curve", "regions", "none"] = "none"

    @property
    def systems(self) -> tuple[str, ...]:
        """The systems to train, each once."""
        return tuple(dict.fromkeys(row.system for row in self.rows))


def _percent(names: tuple[str, ...], *values: float) -> dict[str, float]:
    return {name: round(value / 100, 6) for name, value in zip(names, values, strict=True)}


_TABLE1 = ("rank1", "rank5", "rank10", "map")
# γ: baseline, PCB, VPM on Market-1501; each rank-1, rank-5, rank-10, mAP
MARKET1501 = {
    0.5: ((64.5, 82.2, 88.1, 44.4), (0.9, 3.2, 5.6, 1.7), (70.9, 86.5, 92.1, 48.8)),
    0.6: ((79.0, 91.4, 94.3, 57.9), (8.1, 16.5, 23.2, 6.6), (84.4, 94.3, 96.1, 62.5)),
    0.7: ((83.9, 93.9, 95.9, 63.7), (36.5, 58.9, 67.4, 26.8), (88.2, 95.8, 97.2, 71.7)),
    0.8: ((85.7, 94.3, 96.4, 66.1), (71.9, 87.3, 91.4, 56.8), (90.1, 95.8, 97.7, 74.7)),
    0.9: ((87.1, 95.5, 97.4, 67.8), (88.8, 95.8, 97.1, 77.2), (91.7, 96.6, 98.0, 78.7)),
    1.0: ((86.8, 95.3, 97.4, 67.7), (93.4, 97.8, 98.4, 83.0), (93.0, 97.8, 98.8, 80.8)),
}
# γ: baseline, PCB, VPM on DukeMTMC-reID, rank-1 only
_DUKE = {
    0.5: (65.0, 5.0, 69.5),
    0.6: (76.2, 13.1, 78.2),
    0.7: (76.3, 35.9, 80.3),
    0.8: (76.3, 64.0, 80.3),
    0.9: (77.0, 81.6, 81.7),
    1.0: (76.2, 84.1, 83.6),
}
_THREE = (("baseline", "baseline"), ("PCB", "pcb"), ("VPM", "vpm"))

_TABLE2 = ("rank1", "rank3")
# Partial-REID and Partial-iLIDS
_OTHERS: dict[str, tuple[float, ...]] = {
    "MTRC": (23.7, 27.3, 17.7, 26.1),
    "AMC+SWM": (37.3, 46.0, 21.0, 32.8),
    "DSR": (50.7, 70.0, 58.8, 67.2),
    "SFR": (56.9, 78.5, 63.9, 74.8),
}
_MATCHERS = {"MTRC": "mtrc", "AMC+SWM": "amc-swm", "DSR": "dsr", "SFR": "sfr"}
_CROPS: dict[str, tuple[float, ...]] = {
    "bottom": (53.2, 73.2, 53.6, 62.3),
    "top": (64.3, 83.6, 67.2, 76.5),
    "bilateral": (67.7, 81.9, 65.5, 74.8),
}

_TABLE3 = ("rank1", "rank3", "rank5", "map")
# Partial-iLIDS; Market-1501, mAP
_VARIANTS = {
    "VPM": ("vpm", (67.2, 76.5, 82.4), (93.0, 97.8, 80.8)),
    "no triplet": ("no-triplet", (57.1, 73.9, 79.0), (91.3, 97.0, 77.8)),
    "MVPM-1": ("vpm", (63.0, 74.8, 82.4), (93.0, 96.3, 79.7)),
    "MVPM-2": ("mvpm-2", (61.3, 73.1, 79.0), (92.8, 97.4, 80.1)),
    "MVPM-3": ("mvpm-3", (58.8, 74.8, 82.4), (91.4, 96.5, 75.5)),
    "MVPM-4": ("mvpm-4", (59.7, 74.8, 78.2), (90.4, 96.6, 75.7)),
}


def _table1() -> Experiment:
    rows = tuple(
        Row(label, system, gamma=gamma, paper=_percent(_TABLE1, *values))
        for gamma, three in MARKET1501.items()
        for (label, system), values in zip(_THREE, three, strict=True)
    )
    return Experiment(
        "table1", "Table 1: queries cut to γ", _TABLE1, rows, (Ordering("VPM", "baseline"), Ordering("VPM", "PCB")),
        "curve",
    )  # fmt: skip


def _table2() -> Experiment:
    rows = []
    sources: tuple[tuple[Source, slice], ...] = (("partial-reid", slice(0, 2)), ("partial-ilids", slice(2, 4)))
    for source, some in sources:
        # We do not have their own features and networks. Here they get the feature maps of VPM (bilateral).
        rows += [
            Row(name, "vpm-bilateral", source, matcher=_MATCHERS[name], paper=_percent(_TABLE2, *values[some]))
            for name, values in _OTHERS.items()
        ]
        rows += [
            Row(f"VPM ({crop})", f"vpm-{crop}", source, paper=_percent(_TABLE2, *values[some]))
            for crop, values in _CROPS.items()
        ]
    orderings = (Ordering("VPM (top)", "VPM (bottom)"), Ordering("VPM (bilateral)", "VPM (bottom)"))
    return Experiment("table2", "Table 2: trained on whole persons", _TABLE2, tuple(rows), orderings)


def _table3() -> Experiment:
    rows = []
    for label, (system, ilids, market) in _VARIANTS.items():
        weighting: Weighting = "uniform" if label == "MVPM-1" else "visibility"
        rows.append(Row(label, system, "partial-ilids", weighting=weighting, paper=_percent(_TABLE3[:3], *ilids)))
        rows.append(Row(label, system, weighting=weighting, paper=_percent(("rank1", "rank5", "map"), *market)))
        # Not in the paper: with 119 queries little can be decided, so 3,368 cut queries are added.
        rows.append(Row(label, system, gamma=0.5, weighting=weighting))
    orderings = tuple(Ordering("VPM", label) for label in _VARIANTS if label != "VPM")
    return Experiment("table3", "Table 3: what self-supervision is worth", _TABLE3, tuple(rows), orderings)


def _figure4() -> Experiment:
    rows = [
        Row(
            f"p = {p}",
            "vpm" if p == 6 else f"p{p}",
            gamma=gamma,
            paper=_percent(_TABLE1[:1], values[0]) if p == 6 else {},
        )
        for p in (2, 3, 4, 6, 8)
        for gamma, (_, _, values) in MARKET1501.items()
    ]
    rows += [
        Row("baseline", "baseline", gamma=g, paper=_percent(_TABLE1[:1], three[0][0]))
        for g, three in MARKET1501.items()
    ]
    orderings = tuple(Ordering(f"p = {p}", "baseline") for p in (2, 3, 4, 6, 8))
    return Experiment("fig4", "Fig. 4: how many regions", ("rank1",), tuple(rows), orderings, "curve")


def _figure5() -> Experiment:
    rows = tuple(Row("VPM, 3 × 2", "3x2", gamma=gamma) for gamma in (0.5, 1.0))
    return Experiment("fig5", "Fig. 5: each pixel's likeliest region", ("rank1", "map"), rows, picture="regions")


def _table1_duke() -> Experiment:
    rows = tuple(
        Row(label, system, gamma=gamma, paper=_percent(_TABLE1[:1], value))
        for gamma, three in _DUKE.items()
        for (label, system), value in zip(_THREE, three, strict=True)
    )
    return replace(_table1(), name="table1-duke", title="Table 1: queries cut to γ, DukeMTMC-reID", rows=rows)


EXPERIMENTS = {found.name: found for found in (_table1(), _table1_duke(), _table2(), _table3(), _figure4(), _figure5())}
"""Experiments by name. The paper's holistic figures are of Market-1501, those of table1-duke of DukeMTMC-reID."""


def get_experiment(name: str) -> Experiment:
    """An experiment by name.

    Raises:
        DataError: there is none of that name.
    """
    if name not in EXPERIMENTS:
        raise DataError(f"unknown experiment {name!r}; choose one of {', '.join(EXPERIMENTS)}")
    return EXPERIMENTS[name]
