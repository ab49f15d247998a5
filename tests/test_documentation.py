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


@pytest.mark.parametrize(
    ("value", "text"), [(0.1, "+10.0"), (-0.0123, "−1.2"), (-0.0001, "0.0"), (0.0, "0.0"), (0.00051, "+0.1")]
)
def test_differences_have_a_sign_where_there_is_one(results, value, text):
    assert results["signed"](value) == text
