"""train: a second stretch from a checkpoint, and a compiled model."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tiny_weights import picture

from vpmsearch.commands.training_data import write_held_out
from vpmsearch.data.labelled import LabelledImage, ReidDataset
from vpmsearch.training import presets


@pytest.fixture
def people(tmp_path: Path, tiny: str, monkeypatch: pytest.MonkeyPatch) -> tuple[object, ...]:
    """Four people, three pictures of each, and a preset that takes a second."""
    small = replace(
        presets.PRESETS["small"], backbone=tiny, epochs=1, input_size=(64, 32), pids_per_batch=4, images_per_pid=2
    )
    monkeypatch.setitem(presets.PRESETS, "small", small)
    for pid in range(4):
        folder = tmp_path / "people" / f"person {pid}"
        folder.mkdir(parents=True)
        for shot in range(3):
            picture(10 * pid + shot).save(folder / f"{shot}.png")
    return ("train", "--data", "people", "--dataset", "folder", "--preset", "small", "--num-regions", "3x1")


def test_train_says_what_it_starts_from(cli, people):
    assert "starting from" not in cli(*people, "--output", "first.safetensors").stderr
    second = (*people, "--output", "second.safetensors", "--overwrite", "--seed", 1, "--init")
    kept = cli(*second, "first.checkpoint.safetensors")
    assert kept.stdout == "second.safetensors\n"
    assert "starting from first.checkpoint.safetensors, identity classifiers too\n" in kept.stderr
    assert "first.safetensors, identity classifiers anew\n" in cli(*second, "first.safetensors").stderr
    other = cli(*second, "first.checkpoint.safetensors", "--num-regions", "1x3")
    assert "identity classifiers anew\n" in other.stderr
    save_file({"a": torch.zeros(1)}, "damaged.safetensors", {"checkpoint": "{}"})
    assert "damaged checkpoint" in cli(*second, "damaged.safetensors", code=1).error
    assert "no file missing to start from" in cli(*second, "missing", code=1).error


def test_train_compiled_without_a_compiler(cli, people, monkeypatch: pytest.MonkeyPatch):
    def fail(*args: object, **kwargs: object) -> None:
        raise RuntimeError("Cannot find a compiler\nand much more")

    monkeypatch.setattr(torch, "compile", fail)
    error = cli(*people, "--compile", code=1).error
    assert error.startswith("the model cannot be compiled (Cannot find a compiler); install")
    assert not list(Path("weights").glob("*"))


def test_train_with_a_memory(cli, people):
    settings = ("--set", "consistency_weight=1", "--set", "memory_weight=0.5")
    cli(*people, *settings)
    assert "loss_memory" in Path("weights/vpm.log.csv").read_text().splitlines()[0]
    assert cli(*people, *settings, "--resume").stdout == "weights/vpm.safetensors\n"
    assert "memory_weight needs a consistency_weight" in cli(*people, "--set", "memory_weight=1", code=2).stderr
    assert "memory_weight must be finite" in cli(*people, *settings, "--set", "memory_weight=NaN", code=2).stderr


def test_another_runs_weights_are_not_replaced_unasked(cli, people):
    cli(*people)
    files = {path: path.read_bytes() for path in Path("weights").iterdir()}
    assert "weights/vpm.safetensors is there already; go on with it by --resume" in cli(*people, code=1).error
    Path("weights/vpm.checkpoint.safetensors").rename("elsewhere.safetensors")
    assert "it has no checkpoint to go on from, replace it by --overwrite" in cli(*people, "--resume", code=1).error
    Path("elsewhere.safetensors").rename("weights/vpm.checkpoint.safetensors")
    Path("weights/vpm.safetensors").unlink()
    assert "weights/vpm.checkpoint.safetensors is there already" in cli(*people, code=1).error
    assert all(path.read_bytes() == files[path] for path in Path("weights").iterdir())
    cli(*people, "--overwrite", "--seed", 1)
    assert Path("weights/vpm.safetensors").read_bytes() != files[Path("weights/vpm.safetensors")]


def test_what_of_the_settings_comes_to_nothing_is_said(cli, people):
    memory = ("--set", "consistency_weight=1", "--set", "memory_weight=0.5")
    assert "two cameras" not in cli(*people, *memory).stderr  # an image without a camera is of one of its own
    rows = [
        f"{path.relative_to(Path.cwd())},{pid},0"
        for pid, folder in enumerate(sorted(Path("people").resolve().iterdir()))
        for path in sorted(folder.iterdir())
    ]
    Path("one_camera.csv").write_text("\n".join(["path,pid,camid", *rows]))
    one = ("train", "--data", "one_camera.csv", "--dataset", "csv", *people[5:], *memory, "--overwrite")
    assert "no identity was seen by two cameras" in cli(*one).stderr
    for shot in range(3, 60):
        picture(shot).save(f"people/person 0/{shot}.png")
    uneven = cli(*people, "--overwrite").stderr
    assert "an epoch shows" in uneven
    assert "of 69 images" in uneven


def test_held_out_words_and_numbers_are_written_down(tmp_path: Path):
    people = tuple(LabelledImage(Path(f"{pid}.jpg"), pid) for pid in ("zoe", 7, "alice", 7))
    path = write_held_out(tmp_path / "w.safetensors", [ReidDataset("folder-held-out", query=people)])
    assert json.loads(path.read_text()) == {"folder-held-out": [7, "alice", "zoe"]}


def test_train_on_two_data_sets(cli, people, tmp_path: Path):
    """Four people each, of the same numbers: eight to tell apart; one of the second set is held out by name."""
    for pid in range(4):
        for shot in range(4):
            folder = tmp_path / "others" / f"person {pid}"
            folder.mkdir(parents=True, exist_ok=True)
            picture(100 + 10 * pid + shot).save(folder / f"c{1 + shot % 2}_{shot}.png")
    command = (*people, "--data", "others", "--dataset", "folder")
    both = cli(*command, "--output", "both.safetensors")
    assert "8 identities, 28 images" in both.stderr
    assert "images a second" in both.stderr
    separate = cli(*command, "--output", "separate.safetensors", "--set", "domains=separate", "--steps", 3)
    assert "training: 3/3" in separate.stderr
    held = cli(*command, "--output", "held.safetensors", "--hold-out", 0, "--hold-out", 1, "--steps", 1,
               "--set", "pids_per_batch=2")  # fmt: skip
    assert "7 identities" in held.stderr
    (pids,) = json.loads(Path("held.held-out.json").read_text()).values()
    assert len(pids) == 1
    assert "‖f(cut) − f(whole)‖" in held.stderr
    again = cli(*command, "--output", "again.safetensors", "--hold-out", 0, "--hold-out", 1, "--steps", 1,
                "--set", "pids_per_batch=2", "--seed", 7, "--hold-out-seed", 0)  # fmt: skip
    assert "7 identities" in again.stderr
    assert list(json.loads(Path("again.held-out.json").read_text()).values()) == [pids]
    assert "2 --data and 1 --dataset" in cli(*people, "--data", "others", code=2).stderr
    assert "2 data sets and 1 --hold-out" in cli(*command, "--hold-out", 1, code=2).stderr
