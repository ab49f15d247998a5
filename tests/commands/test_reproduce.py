"""`reproduce`, whole: trains, measures, compares, draws; on drawn pedestrians and too short to learn anything."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from tiny_weights import write_pictures, write_weights

from vpmsearch.commands.reproduce import _regions, _row, _table
from vpmsearch.data.drawn_dataset import write_drawn_dataset
from vpmsearch.data.images import load_image
from vpmsearch.data.synthetic import DrawnSettings
from vpmsearch.evaluation.experiments import get_experiment
from vpmsearch.evaluation.per_query import QueryLine
from vpmsearch.evaluation.reproduce import Measured, Reproduction


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    train, test = (DrawnSettings(identities=16, cameras=2, shots=2, height=64, width=32, seed=seed) for seed in (0, 1))
    folder = tmp_path_factory.mktemp("drawn") / "data"
    return write_drawn_dataset(folder, train=train, test=test, distractors=1, junk=1)


def test_what_is_missing_is_said_before_any_training(cli, drawn: Path):
    plain = ("--data", drawn, "--preset", "small")
    assert "table2 needs --partial-reid DIR or --partial-ilids DIR" in cli("reproduce", "table2", *plain, code=1).error
    assert "unknown experiment 'table9'" in cli("reproduce", "table9", *plain, code=2).stderr


def test_rows_of_matchers_say_on_what():
    experiment = get_experiment("table2")
    values = {"rank1": 0.66, "rank3": 0.8, "queries": 60, "rank1_interval": (0.6, 0.7)}
    measured = [Measured(row, values, (), "0") for row in experiment.rows if row.source == "partial-reid"]
    *_, last = _table(experiment, measured, [])
    assert last == "MTRC, AMC+SWM, DSR, SFR: on the maps of vpm-bilateral; the paper's figures are of other features"
    assert len(_table(experiment, measured[4:], [])) == 2 + 3
    rows = [_row(found, experiment.columns) for found in measured]
    assert [row["matcher"] for row in rows] == ["mtrc", "amc-swm", "dsr", "sfr", None, None, None]


@pytest.mark.parametrize("name", ["table1", "fig4"])
def test_its_json_has_the_documented_form(cli, drawn: Path, tmp_path: Path, monkeypatch, name: str):
    """`cli` validates it. The slow test below trains and measures what is made up here."""

    def made_up(_: Reproduction, experiment):
        for number, row in enumerate(experiment.rows):
            hits = [float(query <= number) for query in range(len(experiment.rows) + 1)]
            lines = [
                QueryLine(f"{n}.jpg", 1, 1, row.gamma, "bilateral", row.weighting, 0, 0, 1, 1, *[hit] * 6)
                for n, hit in enumerate(hits)
            ]
            figures = dict.fromkeys(("rank1", "rank3", "rank5", "rank10", "map"), 0.5)
            yield Measured(row, {**figures, "queries": len(lines), "rank1_interval": [0.4, 0.6]}, lines, "0")

    monkeypatch.setattr(Reproduction, "run", made_up)
    (found,) = cli("reproduce", name, "--data", drawn, "--preset", "small", "--output", tmp_path, "--json").json
    assert found["experiment"] == name
    assert {row["gamma"] for row in found["rows"]} == {row.gamma for row in get_experiment(name).rows}
    outcomes = {ordering["outcome"] for ordering in found["orderings"]}
    assert outcomes
    assert outcomes <= {"holds", "does not hold", "undecided"}


def test_the_picture_of_regions_is_that_of_the_model(tiny: str, tmp_path: Path):
    """Fig. 5, without the training before it, which takes the slow test below."""
    weights = write_weights(tmp_path / "w.safetensors", grid=(3, 2), backbone=tiny)
    (image,) = write_pictures(tmp_path / "pictures", 1)
    assert _regions(weights, image, tmp_path / "fig5.png") == tmp_path / "fig5.png"
    assert load_image(tmp_path / "fig5.png").width > 100


@pytest.mark.slow
@pytest.mark.parametrize(("name", "systems", "rows", "orderings"), [
    ("table1", 3, 18, 12), ("table3", 5, 12, 9), ("fig4", 6, 36, 30), ("fig5", 1, 2, 0),
])  # fmt: skip
def test_experiments_run_and_go_on(cli, drawn: Path, tmp_path: Path, name, systems, rows, orderings):
    plain = ("reproduce", name, "--data", drawn, "--output", tmp_path / "out", "--preset", "small", "--set", "epochs=1")
    plain += ("--set", "embedding_dim=8", "--json")
    first = cli(*plain)
    (found,) = first.json
    assert (len(found["rows"]), len(found["orderings"])) == (rows, orderings)
    assert len(list((tmp_path / "out").glob("*.checkpoint.safetensors"))) == systems
    with (tmp_path / "out" / f"{name}.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == rows
    assert list((tmp_path / "out").glob(f"{name}*.png")) or name == "table3"
    again = cli(*plain)
    assert again.json == first.json
    assert " on holistic" not in again.stderr
    table = cli(*plain[:-1]).stdout.splitlines()
    assert len(table) == 2 + rows + orderings
