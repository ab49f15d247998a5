"""The pages that are made from something else are as they would be made now."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"


@pytest.fixture(scope="module")
def results():
    return runpy.run_path(str(DOCS / "make_results.py"))


def test_the_tables_of_results_are_those_of_the_runs(results):
    text = (DOCS / "results.md").read_text(encoding="utf-8")
    assert results["page"](text) == text, "run `make docs`"
    assert text.count("<!-- table:") == text.count("<!-- end -->") == len(results["MARKED"].findall(text)) > 0


def test_every_run_says_how_it_was_made():
    for path in sorted((DOCS / "runs").glob("*.json")):
        run = json.loads(path.read_text(encoding="utf-8"))
        assert {"command", "revision", "machine", "seed", "rows"} <= run.keys(), path.name
        assert run["rows"], path.name


def test_a_figure_that_was_typed_is_put_right(results):
    text = (DOCS / "results.md").read_text(encoding="utf-8")
    start = text.index("<!-- table:")
    at = text.index("| 0.5 | ", start) + len("| 0.5 | ")
    assert results["page"](text[:at] + "9" + text[at:]) == text


def row(**values):
    return {"rank1": 0.5, "map": 0.25, "rank1_interval": [0.4, 0.6], "visible_f1": 0.9, "gamma": 0.5} | values


def cells(text):
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]


def test_crops_without_a_partner_or_a_paper(results):
    """A γ that the paper has not, measured by Eq. 4 alone: nothing is made up for what is missing."""
    own = {"rank5": 0.6, "rank10": 0.7, "map_interval": [0.2, 0.3], "map_trapezoid": 0.24, "crop": "bilateral"}
    alone = row(weighting="visibility", **own, gamma=0.45)
    heads, _, line = cells(results["crops"]([alone], "bilateral"))
    assert dict(zip(heads, line, strict=True)) == {
        "γ": "0.45", "rank-1 (95 %)": "50.0 (40.0-60.0)", "rank-5": "60.0", "rank-10": "70.0",
        "mAP (95 %)": "25.0 (20.0-30.0)", "mAP trapezoid": "24.0", "visible F1": "0.900", "rank-1, all equal": "",
        "Eq. 4 adds to rank-1 (95 %)": "", "to mAP (95 %)": "", "paper: R-1 / R-5 / R-10 / mAP": "",
        "R-1 and mAP beyond the paper's": "",
    }  # fmt: skip
    gains = {f"{what}_gain{suffix}": value for what in ("rank1", "map") for suffix, value in GAIN}
    both = [row(weighting="visibility", **own, **gains), row(weighting="uniform", **own, rank1=0.4)]
    heads, _, line = cells(results["crops"](both, "bilateral"))
    found = dict(zip(heads, line, strict=True))
    assert found["rank-1, all equal"] == "40.0"
    assert found["to mAP (95 %)"] == "+1.0 (−1.0 to +3.0)"
    assert found["paper: R-1 / R-5 / R-10 / mAP"] == "70.9 / 86.5 / 92.1 / 48.8"
    assert found["R-1 and mAP beyond the paper's"] == "−20.9, −23.8"


GAIN = (("", 0.01), ("_interval", [-0.01, 0.03]))


def test_ablations_stand_beside_the_first_run(results):
    change = {f"{what}_change{suffix}": value for what in ("rank1", "map") for suffix, value in GAIN}
    rows = [row(run=run, gamma=gamma, **change) for run in ("all", "less") for gamma in (0.5, 1.0)]
    heads, _, whole, less = cells(results["ablations"](rows, ""))
    assert heads[:3] == ["run", "γ 1.0: rank-1 / mAP", "γ 0.5: rank-1 / mAP"]
    assert whole == ["all", "50.0 / 25.0", "50.0 / 25.0", "", "0.900"]
    assert less[3] == "+1.0 (−1.0 to +3.0), +1.0 (−1.0 to +3.0)"


def test_the_trunk_and_the_visibility(results):
    assert cells(results["trunk"]([row()], ""))[2] == ["0.5", "50.0 (40.0-60.0)", "25.0"]
    rows = [row(question=q, choice=c, crop=crop, pixels=0.8) for q, c in (("C_i", "sum"), ("f_i", "8 bits"))
            for crop in ("top", "bottom")]  # fmt: skip
    rows[0]["rank1"] = 0.7
    assert cells(results["questions"](rows, "C_i"))[2:] == [["sum", "60.0 / 25.0"]]
    assert [line[1:] for line in cells(results["visibility"](rows, ""))[2:]] == [
        ["top", "80.0", "0.900"], ["bottom", "80.0", "0.900"],
    ]  # fmt: skip


def test_indexing_by_either_runtime(results):
    one = {"forward_per_s": 37.82, "index_per_s": 36.1, "ratio": 0.95, "onnx_index_per_s": 45.0, "onnx_ratio": 1.246}
    assert cells(results["indexing"]([one], ""))[2] == ["37.8", "36.1", "0.95", "45.0", "1.25"]


def test_torchreid_stands_beside_ours(results):
    one = {"way": "torchreid_cython", "cpu_s": 2.61, "times_of_matrix": 2.31, "differs": 4.6e-7}
    assert cells(results["torchreid"]([one], ""))[2] == ["torchreid, Cython, of a matrix", "2.6", "2.3", "5e-07"]
    assert cells(results["torchreid"]([one | {"differs": None}], ""))[2][-1] == ""


def test_rows_of_the_paper_stand_beside_ours(results):
    one = {"label": "VPM", "system": "vpm", "source": "holistic", "gamma": 0.5, "rank1_low": 0.4, "rank1_high": 0.6}
    one |= {"rank1": 0.5, "rank1_paper": 0.709, "rank1_difference": -0.209, "map": 0.25, "map_paper": None}
    rows = [one, one | {"label": "MVPM-2", "source": "partial-ilids", "gamma": 1.0}]
    heads, _, first, second = cells(results["reproduced"](rows, ""))
    assert heads == ["system", "queries cut to γ", "rank-1 (95 %)", "mAP"]
    assert first == ["VPM", "0.5", "50.0 (40.0-60.0) [70.9, −20.9]", "25.0"]
    assert second[:2] == ["MVPM-2, of partial-ilids", "1"]
    found = {"better": "VPM", "worse": "PCB", "gamma": 0.5, "outcome": "holds",
             "rank1_gain": 0.01, "rank1_gain_interval": [0.001, 0.03]}  # fmt: skip
    assert cells(results["orderings"]([found], ""))[2] == ["VPM above PCB", "0.5", "+1.0 (+0.1 to +3.0)", "holds"]


@pytest.mark.parametrize(
    ("value", "text"), [(0.1, "+10.0"), (-0.0123, "−1.2"), (-0.0001, "0.0"), (0.0, "0.0"), (0.00051, "+0.1")]
)
def test_differences_have_a_sign_where_there_is_one(results, value, text):
    assert results["signed"](value) == text
