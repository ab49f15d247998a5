"""What commands print with --json is what docs/json.md says. `cli` validates it wherever a test gives --json."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest
from conftest import COMMAND, OUTPUTS, validator_of
from tiny_weights import write_pictures

jsonschema_rs = pytest.importorskip("jsonschema_rs")
DOCS = Path(__file__).parents[2] / "docs"


def test_the_page_is_that_of_the_code(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["make_json.py", "--check"])
    monkeypatch.syspath_prepend(str(DOCS))
    runpy.run_path(str(DOCS / "make_json.py"), run_name="__main__")


def test_every_command_with_json_has_a_schema():
    with_json = {
        name for name, command in COMMAND.commands.items() if any("--json" in each.opts for each in command.params)
    }
    assert len(with_json) > 10
    assert with_json - {"query"} == {name for name in OUTPUTS["$defs"] if name.islower()}


def test_a_field_that_is_not_described_is_refused():
    whole = {"ok": True, "images": 3, "problems": []}
    validator_of("verify").validate(whole)
    for wrong in ({**whole, "surprise": 1}, {"ok": True, "images": 3}, {**whole, "images": "3"}):
        with pytest.raises(jsonschema_rs.ValidationError):
            validator_of("verify").validate(wrong)


def test_what_no_other_test_prints(cli, weights, tmp_path):
    write_pictures(tmp_path / "gallery", 4)
    cli("index", "gallery", "--weights", weights, "--json")
    cli("stats", "--rejected", "--json")
    cli("layout", "gallery", "--json")
    cli("layout", "gallery", "--pattern", "{pid}.png", "--json")
    cli("snapshot", "copy", "--json")
    cli("remove", tmp_path / "gallery" / "000.png", "--dry-run", "--json")
    cli("remove", tmp_path / "gallery" / "000.png", "--json")
    cli("compact", "--json")
    cli("migrate", "indexes/default", "another", "--json")
    cli("migrate", "another", "indexes/default", "--json")
    if pytest.importorskip("pyarrow"):
        cli("export", "all.parquet", "--json")
