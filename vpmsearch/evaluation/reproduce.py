"""Trains and measures what an experiment needs. Results of an earlier run are used again.

    output/<system>.safetensors              weights, with their log and checkpoint; an unfinished training continues
    output/measured/<system>-<source>-….csv  one line for each query
    output/measured/<system>-<source>-….json the row of results, and what it depends on

A measurement is used again only for the weights, seed and data set in its JSON file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from vpmsearch.data.datasets import LabelledImage, ReidDataset
from vpmsearch.errors import DataError, TrainingError
from vpmsearch.evaluation.experiments import Experiment, Row, Source
from vpmsearch.evaluation.features import queries_to_see
from vpmsearch.evaluation.matching import matcher_settings
from vpmsearch.evaluation.per_query import (
    Difference,
    QueryLine,
    compare,
    query_lines,
    read_query_lines,
    write_query_lines,
)
from vpmsearch.evaluation.protocols import evaluate_model
from vpmsearch.evaluation.rows import Evaluation
from vpmsearch.model.extraction import Extractor
from vpmsearch.model.weights import fingerprint, read_weights
from vpmsearch.system.atomic import replacing
from vpmsearch.system.revision import source_revision
from vpmsearch.training.settings import TrainSettings
from vpmsearch.training.systems import SYSTEMS, with_system
from vpmsearch.training.trainer import Trainer

CROP = "bilateral"
"""How queries are cut. The paper does not say how for Table 1 and Fig. 4."""
MIN_VISIBILITY = 0.0
"""In the paper every region counts, however little of it is visible. An index leaves out regions below 1/(2p)."""
Watch = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]
"""Shows progress: called with the name of a measurement and its number of images. What the context gives is called with
the size of each batch."""


@dataclass(frozen=True)
class Measured:
    """A row of an experiment with its results.

    values: as `Evaluation.to_json`. lines: one for each query. revision: of the vpmsearch that measured it.
    """

    row: Row
    values: Mapping[str, Any]
    lines: Sequence[QueryLine]
    revision: str


@dataclass(frozen=True)
class Verdict:
    """Whether one of the paper's orderings holds here, by rank-1 with its paired 95 % interval."""

    better: str
    worse: str
    source: Source
    gamma: float
    difference: Difference

    @property
    def outcome(self) -> str:
        """One of "holds", "does not hold" and "undecided"; undecided if the interval contains 0."""
        low, high = self.difference.rank1_interval
        return "holds" if low > 0 else "does not hold" if high < 0 else "undecided"


class Reproduction:
    """Runs experiments on one data set.

    Args:
        settings: train VPM; the other systems are changes to them. Their seed is also the seed of the crops.
        holistic: the data set to train on and to test with cut queries. partial: the available data sets of Table 2
            and 3.
        output: folder for all results. device: where models run. train: runs a trainer and resumes it; a parameter so
            that the caller can show progress. watch: shows the progress of measuring.
    """

    def __init__(
        self,
        settings: TrainSettings,
        holistic: ReidDataset,
        partial: Mapping[Source, ReidDataset],
        output: Path,
        *,
        device: torch.device,
        train: Callable[[str, Trainer], None] = lambda name, trainer: _run(trainer),
        watch: Watch = lambda what, total: nullcontext(lambda images: None),
    ) -> None:
        self._settings, self._output, self._device = settings, output, device
        self._sources: dict[Source, ReidDataset] = {"holistic": holistic, **partial}
        self._train, self._watch = train, watch
        self._trained: dict[str, Path] = {}

    def weights(self, system: str) -> Path:
        """The trained weights of a system. Systems that are equal under these settings share theirs."""
        settings = with_system(self._settings, system)
        name = next(other for other in SYSTEMS if with_system(self._settings, other) == settings)
        if name not in self._trained:
            holistic = self._sources["holistic"]
            trainer = Trainer(
                settings,
                holistic.train,
                dataset=holistic.name,
                output=self._output / f"{name}.safetensors",
                device=self._device,
            )
            try:
                self._train(name, trainer)
            except TrainingError as error:
                raise TrainingError(f"{name}: {error}; other settings or data need another output folder") from error
            self._trained[name] = trainer.files.weights
        return self._trained[name]

    def run(self, experiment: Experiment) -> Iterator[Measured]:
        """Measure every row whose data set is available."""
        for system in experiment.systems:
            wanted = [row for row in experiment.rows if row.system == system and row.source in self._sources]
            if wanted:
                yield from self._measured(self.weights(system), wanted)

    def _measured(self, weights: Path, rows: Sequence[Row]) -> Iterator[Measured]:
        """The rows of one system, in order. Missing ones are measured first, one source and matcher at a time."""
        print_ = fingerprint(weights)
        missing = [row for row in rows if self._known(row, weights, print_) is None]
        for way in dict.fromkeys((row.source, row.matcher) for row in missing):
            self._measure([row for row in missing if (row.source, row.matcher) == way], weights, print_)
        for row in rows:
            found = self._known(row, weights, print_)
            if found is None:
                raise DataError(f"{self._file(row, weights)} has vanished while it was needed; run this again")
            yield found

    def _measure(self, rows: Sequence[Row], weights: Path, print_: str) -> None:
        source, matcher, seed = self._sources[rows[0].source], rows[0].matcher, self._settings.seed
        gammas = tuple(dict.fromkeys(row.gamma for row in rows))
        weightings = tuple(dict.fromkeys(row.weighting for row in rows))
        by = f" by {matcher}" if matcher else ""
        what = f"{weights.stem} on {rows[0].source}{by}: γ {', '.join(map(str, gammas))}"
        images = len(source.gallery) + queries_to_see(len(source.query), gammas, (CROP,), seed)
        with self._watch(what, images) as advance:
            found = evaluate_model(
                Extractor(read_weights(weights), self._device),
                source.query,
                source.gallery,
                gammas=gammas,
                crops=(CROP,),
                weightings=weightings,
                seed=seed,
                min_visibility=MIN_VISIBILITY,
                draws=rows[0].draws,
                matcher=matcher,
                candidates=None,  # all: in its own paper a matcher ranks alone
                on_progress=advance,
            )
            self._keep(found, rows, weights, print_)

    def _keep(self, found: Iterable[Evaluation], rows: Sequence[Row], weights: Path, print_: str) -> None:
        """Write each result as soon as it is known."""
        source = self._sources[rows[0].source]
        for result in found:
            for row in rows:
                if (row.gamma, row.weighting) == (result.gamma, result.weighting):
                    file = self._file(row, weights)
                    file.parent.mkdir(parents=True, exist_ok=True)
                    write_query_lines(file, query_lines(result, source.query))
                    made = {"made_of": self._made_of(row, print_), "revision": source_revision()}
                    with replacing(file.with_suffix(".json")) as temporary:  # last: this file makes the row complete
                        temporary.write_text(json.dumps(made | {"row": result.to_json()}, indent=2) + "\n")

    def _known(self, row: Row, weights: Path, print_: str) -> Measured | None:
        file = self._file(row, weights)
        try:
            found = json.loads(file.with_suffix(".json").read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise DataError(f"{file.with_suffix('.json')} cannot be read ({error}); remove it") from error
        if not isinstance(found, dict) or found.get("made_of") != self._made_of(row, print_):
            return None
        return Measured(row, found["row"], read_query_lines(file), found["revision"])

    def _made_of(self, row: Row, print_: str) -> dict[str, Any]:
        """All that a measurement depends on."""
        source = self._sources[row.source]
        made = {"weights": print_, "seed": self._settings.seed, "crop": CROP, "draws": row.draws,
                "min_visibility": MIN_VISIBILITY,
                "gamma": row.gamma, "weighting": row.weighting,
                "query": _digest(source.query), "gallery": _digest(source.gallery)}  # fmt: skip
        return made | (
            {"matcher": row.matcher, "matcher_settings": matcher_settings(row.matcher)} if row.matcher else {}
        )

    def _file(self, row: Row, weights: Path) -> Path:
        by = f"-{row.matcher}" if row.matcher else ""
        return self._output / "measured" / f"{weights.stem}-{row.source}-{row.gamma:g}-{row.weighting}{by}.csv"


def verdicts(experiment: Experiment, measured: Sequence[Measured]) -> list[Verdict]:
    """The experiment's orderings, for each source and γ that both systems were measured with.

    If the paper's figures have the opposite order (PCB above VPM on whole persons), that one is tested. If they are
    equal (MVPM-1 on whole persons), nothing is tested. Without figures, the paper's text or picture counts.
    """
    found = []
    for ordering in experiment.orderings:
        for one in measured:
            for other in measured:
                labels = (one.row.label, other.row.label) == (ordering.better, ordering.worse)
                theirs = one.row.paper.get("rank1", 1), other.row.paper.get("rank1", 0)
                alike = (one.row.source, one.row.gamma) == (other.row.source, other.row.gamma)
                if labels and alike and theirs[0] != theirs[1]:
                    better, worse = (one, other) if theirs[0] > theirs[1] else (other, one)
                    # Rows may differ in their weighting (MVPM-1), which `compare` would not pair.
                    (difference,) = compare(_unweighted(worse.lines), _unweighted(better.lines))
                    found.append(Verdict(better.row.label, worse.row.label, one.row.source, one.row.gamma, difference))
    return found


def _unweighted(lines: Sequence[QueryLine]) -> list[QueryLine]:
    return [replace(line, weighting="any") for line in lines]


def _digest(images: Sequence[LabelledImage]) -> str:
    text = "\n".join(f"{image.path.name}\t{image.pid}\t{image.camid}" for image in images)
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()


def _run(trainer: Trainer) -> None:
    trainer.run(resume=True)
