"""What the benchmarks keep of a run: enough to measure it again, and nothing that is nobody's business."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(scope="module")
def machine():
    return runpy.run_path(str(BENCHMARKS / "machine.py"))


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["--data", "/home/me/Market", "--gamma", "0.5"], "--data Market --gamma 0.5"),
        (["--output=/home/me/x.json", "runs/a"], "--output=x.json runs/a"),
        (["--server", "postgresql+psycopg://me:s3cret@db:5432/gallery"], "postgresql+psycopg://me:…@db:5432/gallery"),
        (["postgresql://db/gallery?user=me&password=s3cret&host=/tmp/pg"], "user=me&password=…&host=pg"),
    ],
)
def test_commands_are_kept_without_secrets_and_places(machine, words, shown):
    text = machine["as_typed"](words)
    assert shown in text
    assert "s3cret" not in text
    assert "/home" not in text


def test_a_run_is_kept_a_line_each_row(machine, tmp_path):
    run = machine["run_of"]("a command", {"rows": [{"γ": 1.0}, {"γ": 0.5}], "note": "é"}, 3)
    machine["save"](run, tmp_path / "run.json")
    text = (tmp_path / "run.json").read_text(encoding="utf-8")
    assert json.loads(text) == run
    assert '\n  {"γ": 1.0},\n  {"γ": 0.5}\n' in text
    assert {"command", "revision", "machine", "seed"} <= run.keys()


@pytest.mark.parametrize(
    ("printed", "problem"),
    [('{"results": [{"a": 1}]}', ""), ('{"rows": []}', 'no "rows"'), ("words", "no JSON"), ("", "failed with 3")],
)
def test_what_a_command_prints_is_kept(tmp_path, monkeypatch, printed, problem):
    file = tmp_path / "run.json"
    command = [sys.executable, "-c", f"print({printed!r}); exit({0 if printed else 3})", "--seed=3"]
    monkeypatch.setattr(sys, "argv", ["save_run.py", str(file), *command])
    monkeypatch.syspath_prepend(BENCHMARKS)
    if problem:
        with pytest.raises(SystemExit, match=problem):
            runpy.run_path(str(BENCHMARKS / "save_run.py"), run_name="__main__")
        assert not file.exists()
    else:
        runpy.run_path(str(BENCHMARKS / "save_run.py"), run_name="__main__")
        kept = json.loads(file.read_text(encoding="utf-8"))
        assert (kept["rows"], kept["seed"]) == ([{"a": 1}], 3)
        assert kept["command"].startswith(Path(sys.executable).name)
