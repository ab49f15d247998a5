"""What every program does: its version, completion, one image as a gallery, and where output goes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_weights import picture
from typer.testing import CliRunner

from vpmsearch.commands import app
from vpmsearch.version import VERSION

ROOT = Path(__file__).parents[2]
ASKED = {
    "bash": {"COMP_WORDS": "vpmsearch cal", "COMP_CWORD": "1"},
    "zsh": {"_TYPER_COMPLETE_ARGS": "vpmsearch cal"},
    "fish": {"_TYPER_COMPLETE_ARGS": "vpmsearch cal", "_TYPER_COMPLETE_FISH_ACTION": "get-args"},
}
IN_A_SHELL = {
    "bash": 'eval "$(vpmsearch --show-completion bash)"; COMP_WORDS=(vpmsearch cal); COMP_CWORD=1; '
    '_vpmsearch_completion vpmsearch; echo "${COMPREPLY[@]}"',
    "fish": 'vpmsearch --show-completion fish | source; complete -C "vpmsearch cal"',
    "zsh": """zmodload zsh/zpty; zpty z zsh -f -i
        zpty -w z 'PS1=; autoload -Uz compinit; compinit -u -D; source <(vpmsearch --show-completion zsh); echo RE""ADY'
        zpty -r z line '*READY*'; zpty -w -n z $'vpmsearch cal\\t'; zpty -r z out '*vpmsearch calibrate*'; echo $out""",
}


def test_version(cli):
    assert cli("--version").stdout == f"vpmsearch {VERSION}\n"


@pytest.mark.parametrize("shell", sorted(ASKED))
def test_completion(shell: str):
    environment = ASKED[shell] | {"_VPMSEARCH_COMPLETE": f"complete_{shell}"}
    found = CliRunner().invoke(app, [], prog_name="vpmsearch", env=environment)
    assert "calibrate" in found.stdout
    assert "query" not in found.stdout


@pytest.mark.slow
@pytest.mark.parametrize("shell", sorted(IN_A_SHELL))
def test_completion_in_a_real_shell(shell: str, tmp_path: Path):
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    command = tmp_path / "vpmsearch"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m vpmsearch "$@"\n')
    command.chmod(0o755)
    environment = os.environ | {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1",
    }
    done = subprocess.run(
        [shell, "-c", IN_A_SHELL[shell]], env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert "calibrate" in done.stdout, done.stderr


def test_one_image_is_a_gallery(cli, weights: Path, tmp_path: Path):
    for number in (1, 2):
        picture(number).save(tmp_path / f"{number}.png")
    assert "now holds 1 image\n" in cli("index", "1.png", "--weights", weights).stderr
    assert "now holds 2 images\n" in cli("index", "2.png", "--prune").stderr
    (tmp_path / "1.png").unlink()
    assert "0 pruned" in cli("index", "2.png", "--prune").stderr  # the other image is not of this gallery
    assert "does not exist" in cli("index", "3.png", code=1).error
    (tmp_path / "notes.txt").write_text("no image")
    assert "notes.txt" in cli("index", "notes.txt", code=1).error


def test_one_list_is_read_without_more(cli, weights: Path, tmp_path: Path):
    picture(1).save(tmp_path / "1.png")
    (tmp_path / "people.csv").write_text("path,pid,camid\n1.png,7,3\n")
    cli("index", "people.csv", "--weights", weights)
    assert cli("stats", "--json").json[0]["identities"] == 1
    assert cli("query", "1.png").stdout.startswith("1.png: 1 match (")


def test_no_folder_is_made_for_an_output(cli, index: Path, weights: Path, tmp_path: Path):
    asked = [
        ("calibrate", "--ask", "new/pairs.csv", "--index", index),
        ("evaluate", "--data", "d", "--weights", weights, "--per-query", "new/lines.csv"),
        ("query", "1.png", "--report", "new/report.html", "--index", index),
        ("query", "1.png", "--panel", "new/panel.png", "--index", index),
    ]
    for line in asked:
        assert "there is no folder new" in cli(*line, code=1).error
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("line", "name", "words"),
    [
        ("train", "vpmsearch.data.drawn_dataset.write_drawn_dataset", "with --resume goes on from the last checkpoint"),
        ("index g", "vpmsearch.data.datasets.read_gallery", "the same command goes on where it was"),
        ("stats", "vpmsearch.store.open.open_index", "is kept"),
    ],
)
def test_an_interrupt_says_how_to_go_on(cli, monkeypatch, line: str, name: str, words: str):
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(name, interrupt)
    assert cli(*line.split(), code=130).stderr.splitlines()[-1].endswith(words)
