"""Experiments as data, and their runner: what is trained and measured, and that nothing is done twice."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_weights import picture, write_weights

from vpmsearch.data.datasets import LabelledImage, ReidDataset
from vpmsearch.errors import DataError, TrainingError
from vpmsearch.evaluation import reproduce
from vpmsearch.evaluation.experiments import EXPERIMENTS, GAMMAS, Experiment, Ordering, Row, get_experiment
from vpmsearch.evaluation.matching import MATCHERS
from vpmsearch.evaluation.reproduce import Reproduction, verdicts
from vpmsearch.training.presets import get_preset
from vpmsearch.training.systems import SYSTEMS

pytestmark = pytest.mark.usefixtures("tiny")

# experiments ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("experiment", EXPERIMENTS.values(), ids=EXPERIMENTS.keys())
def test_experiments_are_complete(experiment: Experiment):
    labels = {row.label for row in experiment.rows}
    assert {name for ordering in experiment.orderings for name in (ordering.better, ordering.worse)} <= labels
    assert set(experiment.systems) <= set(SYSTEMS)
    keys = [(row.label, row.source, row.gamma) for row in experiment.rows]
    assert len(set(keys)) == len(keys)
    for row in experiment.rows:
        assert set(row.paper) <= set(experiment.columns)
        assert all(0 < value < 1 for value in row.paper.values())


def test_rows_are_the_papers():
    """Some figures of each table, typed from the paper a second time."""

    def paper(name: str, label: str, **where: object) -> list[float]:
        (row,) = (
            row
            for row in EXPERIMENTS[name].rows
            if row.label == label and all(getattr(row, key) == value for key, value in where.items())
        )
        return [round(100 * value, 4) for value in row.paper.values()]

    assert paper("table1", "PCB", gamma=0.7) == [36.5, 58.9, 67.4, 26.8]
    assert paper("table1", "VPM", gamma=0.5) == [70.9, 86.5, 92.1, 48.8]
    assert paper("table1", "baseline", gamma=1.0) == [86.8, 95.3, 97.4, 67.7]
    assert paper("table1-duke", "PCB", gamma=0.8) == [64.0]
    assert paper("table1-duke", "VPM", gamma=0.6) == [78.2]
    assert paper("table2", "SFR", source="partial-ilids") == [63.9, 74.8]
    assert paper("table2", "MTRC", source="partial-reid") == [23.7, 27.3]
    assert {row.matcher for row in EXPERIMENTS["table2"].rows} == {None, *MATCHERS}
    assert paper("table2", "VPM (bilateral)", source="partial-reid") == [67.7, 81.9]
    assert paper("table3", "MVPM-3", source="partial-ilids") == [58.8, 74.8, 82.4]
    assert paper("table3", "no triplet", source="holistic", gamma=1.0) == [91.3, 97.0, 77.8]
    assert len(EXPERIMENTS["table1"].rows) == 18
    assert len(EXPERIMENTS["fig4"].rows) == 36
    assert {row.gamma for row in EXPERIMENTS["fig4"].rows} == set(GAMMAS)
    with pytest.raises(DataError, match=r"table9.*table1, table1-duke"):
        get_experiment("table9")


# the runner -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> ReidDataset:
    """Eight identities to train on; three to find, a query of each in camera 1, two gallery images in camera 2."""
    folder = tmp_path_factory.mktemp("people")

    def draw(name: str, pid: int, camid: int) -> LabelledImage:
        path = folder / f"{name}-{pid}-{camid}.png"
        picture(pid * 10 + camid, 32, 80).save(path)
        return LabelledImage(path, pid, camid)

    train = [draw("train", pid, camid) for pid in range(1, 17) for camid in (1, 2)]
    query = [draw("query", pid, 1) for pid in (21, 22, 23)]
    gallery = [draw(f"gallery{i}", pid, 2) for pid in (21, 22, 23) for i in (0, 1)]
    return ReidDataset("people", tuple(train), tuple(query), tuple(gallery))


EXPERIMENT = Experiment(
    "small",
    "Small",
    ("rank1",),
    (
        Row("VPM", "vpm", gamma=0.5, paper={"rank1": 0.9}),
        Row("VPM", "vpm", gamma=1.0),
        Row("MVPM-1", "vpm", gamma=0.5, weighting="uniform"),
        Row("PCB", "pcb", gamma=0.5),
        Row("VPM", "vpm", "partial-reid"),
        Row("SFR", "vpm", "partial-reid", matcher="sfr"),
        Row("MTRC", "vpm", "partial-reid", matcher="mtrc"),
    ),
    (Ordering("VPM", "MVPM-1"), Ordering("VPM", "PCB")),
)


def runner(people: ReidDataset, output: Path, log: list[str], seed: int = 0, **partial: ReidDataset) -> Reproduction:
    """Instead of training, weights are drawn."""

    def train(name, trainer):
        log.append(f"train {name}")
        if not trainer.files.weights.exists():
            write_weights(trainer.files.weights, seed=len(log), backbone="tiny")

    settings = get_preset("small", seed=seed)

    @contextmanager
    def watch(what: str, total: int) -> Iterator[Callable[[int], None]]:
        log.append(what)
        seen: list[int] = []
        yield seen.append
        assert sum(seen) == total

    return Reproduction(settings, people, partial, output, device=torch.device("cpu"), train=train, watch=watch)


@pytest.fixture(scope="module")
def done(people: ReidDataset, tmp_path_factory: pytest.TempPathFactory, tiny: str) -> Path:
    """What a run of EXPERIMENT leaves, for tests that only read it: another run there measures nothing."""
    folder = tmp_path_factory.mktemp("done")
    list(runner(people, folder, []).run(EXPERIMENT))
    return folder


def test_everything_is_measured_once(people, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    log: list[str] = []
    found = list(runner(people, tmp_path, log).run(EXPERIMENT))
    assert log == ["train vpm", "vpm on holistic: γ 0.5, 1.0", "train pcb", "pcb on holistic: γ 0.5"]
    assert [one.row for one in found] == [EXPERIMENT.rows[i] for i in (0, 1, 2, 3)]
    for one in found:
        assert (one.values["gamma"], one.values["weighting"]) == (one.row.gamma, one.row.weighting)
        assert len(one.lines) == one.values["queries"] == 3
        assert sum(line.rank1 for line in one.lines) / 3 == pytest.approx(one.values["rank1"])

    with monkeypatch.context() as patch:
        patch.setattr(reproduce, "evaluate_model", lambda *given, **more: pytest.fail("measured again"))
        again = list(runner(people, tmp_path, log).run(EXPERIMENT))
        assert [one.values for one in again] == [one.values for one in found]

    # What was measured of other weights, or with another seed, does not count.
    log.clear()
    list(runner(people, tmp_path, log, seed=1).run(EXPERIMENT))
    assert len([line for line in log if "on holistic" in line]) == 2
    write_weights(tmp_path / "pcb.safetensors", seed=99, backbone="tiny")
    log.clear()
    list(runner(people, tmp_path, log, seed=1).run(EXPERIMENT))
    assert [line for line in log if "on holistic" in line] == ["pcb on holistic: γ 0.5"]


def test_partial_data_sets_join_where_they_are(people, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    log: list[str] = []
    ordered = set()
    real = reproduce.evaluate_model

    def spy(*given, **more):
        ordered.add((more["matcher"], more["candidates"]))
        return real(*given, **more)

    monkeypatch.setattr(reproduce, "evaluate_model", spy)
    partial = ReidDataset("partial-reid", query=people.query, gallery=people.gallery)
    found = list(runner(people, tmp_path, log, **{"partial-reid": partial}).run(EXPERIMENT))
    assert [line for line in log if "partial" in line] == [
        "vpm on partial-reid: γ 1.0", "vpm on partial-reid by sfr: γ 1.0", "vpm on partial-reid by mtrc: γ 1.0"
    ]  # fmt: skip
    some = [one for one in found if one.row.source == "partial-reid"]
    assert [one.values["draws"] for one in some] == [10, 10, 10]
    assert {("sfr", None), ("mtrc", None)} < ordered, "a matcher orders all there are"
    assert len({tuple(line.ap for line in one.lines) for one in some}) > 1
    log.clear()
    again = list(runner(people, tmp_path, log, **{"partial-reid": partial}).run(EXPERIMENT))
    assert [one.values for one in again] == [one.values for one in found]
    assert log == ["train vpm", "train pcb"]

    # A matcher of other settings has not been measured; one that does not use them has.
    log.clear()
    monkeypatch.setattr("vpmsearch.evaluation.matching.PENALTY", 0.2)
    list(runner(people, tmp_path, log, **{"partial-reid": partial}).run(EXPERIMENT))
    assert [line for line in log if "partial" in line] == ["vpm on partial-reid by mtrc: γ 1.0"]


def test_systems_that_are_the_same_are_trained_once(people, tmp_path: Path):
    log: list[str] = []
    run = runner(people, tmp_path, log)  # whose preset cuts bilaterally
    assert run.weights("vpm-bilateral") == run.weights("vpm") == tmp_path / "vpm.safetensors"
    assert run.weights("vpm-top") != run.weights("vpm")
    assert log == ["train vpm", "train vpm-top"]


def test_orderings_are_tested_by_pairs(people, done: Path):
    measured = list(runner(people, done, []).run(EXPERIMENT))
    found = verdicts(EXPERIMENT, measured)
    assert [(one.better, one.worse, one.gamma) for one in found] == [("VPM", "MVPM-1", 0.5), ("VPM", "PCB", 0.5)]
    by_label = {(one.row.label, one.row.gamma): one.values["rank1"] for one in measured}
    for one in found:
        gain = by_label[one.better, 0.5] - by_label[one.worse, 0.5]
        assert one.difference.rank1 == pytest.approx(gain)
        low, high = one.difference.rank1_interval
        assert one.outcome == ("holds" if low > 0 else "does not hold" if high < 0 else "undecided")


def test_orderings_are_the_papers_own_at_each_gamma(people, done: Path):
    """Table 1 has PCB above VPM on whole persons, and below it on all others."""
    measured = [found for found in runner(people, done, []).run(EXPERIMENT) if found.row.source == "holistic"]

    def tested(papers: dict[str, float]) -> dict[str, tuple[str, float]]:
        rows = [replace(found, row=replace(found.row, paper={"rank1": papers[found.row.label]})) for found in measured]
        return {
            "-".join(sorted((v.better, v.worse))): (v.better, v.difference.rank1) for v in verdicts(EXPERIMENT, rows)
        }

    as_listed = tested({"VPM": 0.9, "MVPM-1": 0.8, "PCB": 0.89})
    reversed_ = tested({"VPM": 0.9, "MVPM-1": 0.8, "PCB": 0.91})
    assert [better for better, _ in as_listed.values()] == ["VPM", "VPM"]
    assert reversed_["MVPM-1-VPM"] == as_listed["MVPM-1-VPM"]
    assert reversed_["PCB-VPM"] == ("PCB", pytest.approx(-as_listed["PCB-VPM"][1]))
    assert set(tested({"VPM": 0.9, "MVPM-1": 0.9, "PCB": 0.89})) == {"PCB-VPM"}, "the paper has a tie"


def test_weights_of_other_settings_are_not_trained_on(people, tmp_path: Path):
    """By real training, as short as can be: a run of other settings in the same folder is refused, not mixed."""
    for seed, fine in ((0, True), (0, True), (1, False)):
        settings = get_preset("small", epochs=1, embedding_dim=4, seed=seed)
        run = Reproduction(settings, people, {}, tmp_path, device=torch.device("cpu"))
        if fine:
            assert run.weights("baseline") == tmp_path / "baseline.safetensors"
        else:
            with pytest.raises(TrainingError, match=r"baseline: .* other settings.*another output folder"):
                run.weights("baseline")


def test_a_damaged_measurement_is_named(people, done: Path, tmp_path: Path):
    shutil.copytree(done, tmp_path / "copy")
    file = next((tmp_path / "copy" / "measured").glob("*.json"))
    file.write_text("{")
    with pytest.raises(DataError, match=f"{file.name} cannot be read"):
        list(runner(people, tmp_path / "copy", []).run(EXPERIMENT))
