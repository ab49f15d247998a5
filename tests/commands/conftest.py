"""Runs commands in this process, in a folder of its own, and checks what holds for every one of them."""

from __future__ import annotations

import functools
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from tiny_weights import write_pictures, write_weights
from typer.main import get_command
from typer.testing import CliRunner

from vpmsearch.commands import app
from vpmsearch.model.weights import DRAWN

try:
    import jsonschema_rs
except ImportError:
    jsonschema_rs = None

COMMAND = get_command(app)
OUTPUTS = json.loads((Path(__file__).parents[2] / "docs" / "json.schema.json").read_text("utf-8"))
"""Of every command what it prints with --json; docs/json.md."""


@dataclass(frozen=True)
class Outcome:
    """What a command printed."""

    stdout: str
    stderr: str

    @property
    def json(self) -> list[Any]:
        """stdout, every line of which must be JSON."""
        return [json.loads(line) for line in self.stdout.splitlines()]

    @property
    def error(self) -> str:
        """The one line that says what went wrong, always the last."""
        *before, last = self.stderr.splitlines()
        assert last.startswith("error: ")
        assert not any(line.startswith("error: ") for line in before)
        return last.removeprefix("error: ")


Cli = Callable[..., Outcome]


def run(*args: object, code: int = 0) -> Outcome:
    """Run a command and check its exit status; nothing may get out of it but the exit."""
    with patch("typer.testing._get_command", return_value=COMMAND):  # made of the app once, not for every run
        result = CliRunner().invoke(app, [str(arg) for arg in args])
    outcome = Outcome(result.stdout, result.stderr)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code == code, outcome.stderr
    assert "--debug" in args or "Traceback" not in result.output
    if code == 1:
        assert not outcome.stderr or outcome.error
    if code == 0 and "--json" in args and jsonschema_rs is not None and args[0] in OUTPUTS["$defs"]:
        for line in outcome.json:
            validator_of(str(args[0])).validate(line)
    return outcome


@functools.cache
def validator_of(command: str) -> Any:
    """Validates what a command prints with --json."""
    return jsonschema_rs.validator_for({"$ref": f"#/$defs/{command}", **OUTPUTS})


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """`run`, in an empty folder and without the user's weights."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("VPMSEARCH_WEIGHTS", raising=False)
    monkeypatch.delenv("VPMSEARCH_INDEX", raising=False)
    monkeypatch.setattr("vpmsearch.model.weights.PRETRAINED", tmp_path / "not" / "there.safetensors")
    return run


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory, tiny: str) -> Path:
    """Random weights."""
    return write_weights(tmp_path_factory.mktemp("weights") / "tiny.safetensors", backbone=tiny)


@pytest.fixture(scope="session")
def other_weights(tmp_path_factory: pytest.TempPathFactory, tiny: str) -> Path:
    """Other random weights, which say that they were trained on drawn pedestrians."""
    return write_weights(tmp_path_factory.mktemp("weights") / "drawn.safetensors", seed=1, dataset=DRAWN, backbone=tiny)


@pytest.fixture(scope="session")
def common_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights of a trunk that other processes know as well."""
    return write_weights(tmp_path_factory.mktemp("weights") / "common.safetensors")


@pytest.fixture(scope="session")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six pictures in two folders, and list.csv: pids 1 to 3, camids 1 and 2, one picture an hour, the last without."""
    root = tmp_path_factory.mktemp("gallery")
    write_pictures(root / "a", 4)
    write_pictures(root / "b", 2, first=4)
    lines = ["path,pid,camid,captured_at"]
    for i in range(6):
        taken = "" if i == 5 else f"2024-05-01T1{i}:00:00Z"
        lines.append(f"{'a' if i < 4 else 'b'}/{i:03}.png,{1 + i % 3},{1 + i % 2},{taken}")
    (root / "list.csv").write_text("\n".join(lines))
    return root


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory, gallery: Path, weights: Path) -> Path:
    """An index of the gallery with its labels; not to be changed."""
    index = tmp_path_factory.mktemp("built") / "index"
    run("index", gallery / "list.csv", "--dataset", "csv", "--index", index, "--weights", weights)
    return index


@pytest.fixture
def index(tmp_path: Path, built: Path) -> Path:
    """A copy of that index."""
    return Path(shutil.copytree(built, tmp_path / "index"))


@pytest.fixture
def common_index(tmp_path: Path, gallery: Path, common_weights: Path) -> Path:
    """An index that other processes can search."""
    run("index", gallery, "--index", tmp_path / "index", "--weights", common_weights)
    return tmp_path / "index"
