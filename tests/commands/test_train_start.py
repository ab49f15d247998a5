"""train: a second stretch from a checkpoint, and a compiled model."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tiny_weights import picture

from vpmsearch.commands import training_data
from vpmsearch.commands.training_data import write_held_out
from vpmsearch.data.labelled import LabelledImage, ReidDataset
from vpmsearch.data.synthetic import DrawnSettings
from vpmsearch.errors import TrainingError
from vpmsearch.model.weights import read_weights
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
    path = tmp_path / "w.held-out.json"
    write_held_out(path, [ReidDataset("folder-held-out", query=people)])
    assert json.loads(path.read_text()) == {"folder-held-out": [7, "alice", "zoe"]}
    write_held_out(path, [])
    assert not path.exists()
    with pytest.raises(TrainingError, match=r"cannot write .*none/w.held-out.json: No such file"):
        write_held_out(tmp_path / "none" / "w.held-out.json", [ReidDataset("folder-held-out", query=people)])


@pytest.fixture
def others(tmp_path: Path) -> tuple[str, ...]:
    """Four more people of the same numbers, seen by two cameras."""
    for pid in range(4):
        folder = tmp_path / "others" / f"person {pid}"
        folder.mkdir(parents=True)
        for shot in range(4):
            picture(100 + 10 * pid + shot).save(folder / f"c{1 + shot % 2}_{shot}.png")
    return ("--data", "others", "--dataset", "folder")


def test_held_out_people_of_data_sets_with_one_name_are_told_apart(cli, people, others):
    few = ("--steps", 1, "--set", "pids_per_batch=2")
    held = cli(*people, *others, "--output", "w.safetensors", *few, "--hold-out", 2, "--hold-out", 1)
    found = json.loads(Path("w.held-out.json").read_text())
    assert {name: len(pids) for name, pids in found.items()} == {"folder-1-held-out": 2, "folder-2-held-out": 1}
    assert all(f"{name}: γ 1.0" in held.stderr for name in found)
    assert "held out: 3 identities, written to w.held-out.json with the first weights\n" in held.stderr
    assert read_weights("w.safetensors").config.dataset == "folder-1 + folder-2"


def test_a_run_that_is_refused_leaves_who_was_held_out(cli, people):
    """Else nobody would know any more what the trained weights have not seen."""
    few = (*people, "--steps", 1, "--set", "pids_per_batch=2", "--output", "w.safetensors")
    cli(*few, "--hold-out", 2)
    files = {path: path.read_bytes() for path in Path().glob("w.*")}
    assert Path("w.held-out.json") in files
    assert "of a run with other data" in cli(*few, "--hold-out", 1, "--resume", code=1).error
    assert "of a run with other data" in cli(*few, "--resume", code=1).error
    assert "a batch takes 5" in cli(*few, "--set", "pids_per_batch=5", "--overwrite", code=1).error
    assert {path: path.read_bytes() for path in Path().glob("w.*")} == files
    cli(*few, "--overwrite")  # trains on all of them
    assert not Path("w.held-out.json").exists()


def test_a_run_that_ends_before_its_first_weights_leaves_who_was_held_out(cli, people):
    """It is of the weights that are still there."""
    few = (*people, "--set", "pids_per_batch=2", "--output", "w.safetensors")
    cli(*few, "--hold-out", 2)
    files = {path: path.read_bytes() for path in Path().glob("w.*")}
    for image in Path("people").glob("*/*.png"):
        image.write_bytes(b"damaged")
    for held in ((), ("--hold-out", 1)):
        assert "not an image" in cli(*few, *held, "--overwrite", code=1).error
        assert {path: path.read_bytes() for path in Path().glob("w.*")} == files


def test_a_run_goes_on_with_the_same_people_held_out(cli, people):
    """The images of all people have the same names here, and as many."""
    few = (*people, "--set", "pids_per_batch=2", "--hold-out", 2, "--output", "w.safetensors")
    cli(*few, "--hold-out-seed", 0)
    files = {path: path.read_bytes() for path in Path().glob("w.*")}
    error = cli(*few, "--hold-out-seed", 1, "--epochs", 2, "--resume", code=1).error
    assert error.startswith("this run held out others, see w.held-out.json; resume with the same --hold-out and")
    assert {path: path.read_bytes() for path in Path().glob("w.*")} == files
    assert error.endswith("If that file is of another run, remove it")
    Path("w.held-out.json").write_text('{"folder": [7]}')  # of an earlier version, by another name
    cli(*few, "--hold-out-seed", 0, "--epochs", 2, "--resume")
    assert Path("w.held-out.json").read_bytes() == files[Path("w.held-out.json")]
    Path("w.held-out.json").write_text("damaged")
    cli(*few, "--hold-out-seed", 0, "--epochs", 3, "--resume")
    assert Path("w.held-out.json").read_bytes() == files[Path("w.held-out.json")]


@pytest.mark.parametrize("share", ["1.5", "2.7", "inf"])
def test_a_hold_out_that_is_neither_a_share_nor_a_number(cli, people, share):
    told = cli(*people, "--hold-out", share, code=2).stderr
    assert f"{share} is neither a share below 1 nor a number of identities" in " ".join(told.replace("│", " ").split())


def test_people_that_cannot_be_measured_do_not_end_a_run(cli, people):
    """Nothing of them is trained on."""
    few = (*people, "--steps", 1, "--set", "pids_per_batch=2", "--hold-out", 1, "--overwrite")
    cli(*few)
    (held,) = json.loads(Path("weights/vpm.held-out.json").read_text())["folder-held-out"]
    for image in Path("people", str(held)).iterdir():
        image.write_bytes(b"damaged")
    told = cli(*few)
    assert told.stdout == "weights/vpm.safetensors\n"
    assert "epoch 1: folder-held-out: not measured: " in told.stderr


def test_a_data_set_that_is_shown_again_and_again_is_told(cli, people, others):
    few = ("--set", "pids_per_batch=2", "--steps", 1, "--overwrite")
    assert "of its images" not in cli(*people, *others, *few).stderr
    for pid in range(60):
        folder = Path("others", f"more {pid}")
        folder.mkdir()
        for shot in range(3):
            (folder / f"{shot}.png").write_bytes(Path("others/person 1/c1_0.png").read_bytes())
    told = cli(*people, *others, *few).stderr
    assert "folder-1: an epoch shows each of its images 21 times" in told
    assert "folder-2: an epoch" not in told


def test_a_hold_out_that_leaves_nobody_names_the_data_set(cli, people, others):
    error = cli(*people, *others, "--hold-out", 0, "--hold-out", 4, code=1).error
    assert error == "holding out 4 of 4 identities of folder-2 leaves none to train on"


def test_the_same_images_in_two_data_sets(cli, people):
    Path("again").symlink_to("people")
    error = cli(*people, "--data", "again", "--dataset", "folder", code=1).error
    assert error.startswith("again/person 0/0.png is in data sets 1 and 2")
    assert not Path("weights").exists()


def test_an_image_that_is_damaged_during_a_run(cli, people):
    Path("people/person 2/1.png").write_bytes(b"damaged")
    error = cli(*people, code=1).error
    assert error.startswith("people/person 2/1.png: ")
    assert error.endswith("; put a sound image there and go on with --resume, or start anew without it")
    picture(21).save("people/person 2/1.png")
    assert cli(*people, "--resume").stdout == "weights/vpm.safetensors\n"


def test_an_output_that_is_a_folder(cli, people):
    for name in ("w.safetensors", "v.checkpoint.safetensors", "u.log.csv", "t.curves.png", "s.held-out.json"):
        Path(name).mkdir()
        output = f"{name[0]}.safetensors"
        assert cli(*people, "--output", output, code=1).error == f"{name} is a folder; give the name of a new file"
        assert list(Path().glob(f"{name[0]}.*")) == [Path(name)]


def test_a_run_goes_on_without_the_file_that_it_started_from(cli, people):
    cli(*people, "--output", "first.safetensors")
    second = (
        *people,
        "--output",
        "w.safetensors",
        "--init",
        "first.safetensors",
        "--set",
        "schedule=step",
        "--epochs",
        2,
    )
    cli(*second)
    whole = Path("w.safetensors").read_bytes()
    cli(*second[:-1], 1, "--overwrite")
    Path("first.safetensors").unlink()
    told = cli(*second, "--resume").stderr
    assert "going on from w.checkpoint.safetensors\n" in told
    assert "starting from" not in told
    assert Path("w.safetensors").read_bytes() == whole
    assert "no file first.safetensors to start from" in cli(*second, "--overwrite", code=1).error


def test_layers_of_another_shape_are_told(cli, people):
    told = cli(*people, "--output", "first.safetensors").stderr
    assert "start anew" not in told
    second = (*people, "--output", "w.safetensors", "--overwrite", "--init", "first.safetensors")
    assert "start anew" not in cli(*second).stderr
    told = cli(*second, "--num-regions", "2x1").stderr
    assert "not of the same shape there: locator, which start anew" in told
    told = cli(*second, "--num-regions", "2x1", "--embedding-dim", 8).stderr
    assert "not of the same shape there: locator and reduction, which start anew" in told


def test_regions_that_come_to_nothing_are_told(cli, people):
    told = cli(*people, "--num-regions", "6x1", "--set", "occluder_class=true").stderr
    assert "a whole image can show 4 of 6x1 regions, as the feature map has 4x2 pixels" in told
    assert "no image will show an occluder" in told
    told = cli(*people, "--set", "occluder_class=true", "--set", "occlude=0.5", "--overwrite").stderr
    assert "can show" not in told
    assert "no image will show" not in told


def test_settings_that_nobody_could_read_again(cli, people):
    """Weights of such an input would be refused, after the training."""
    error = cli(*people, "--set", "input_size=[2048, 1024]", code=1).error
    assert error.startswith("these settings fit no weights file: input_size (2048, 1024)")
    told = cli(*people, "--set", "preset=fast", code=2).stderr
    assert "choose one by --preset" in " ".join(told.replace("│", " ").split())


def test_the_names_of_many_data_sets_fit_the_weights(cli, people, tmp_path: Path):
    sets: list[str] = []
    for number in range(26):
        (tmp_path / "many" / f"{number}").mkdir(parents=True)
        for shot in range(2):
            picture(shot).save(tmp_path / "many" / f"{number}" / f"{shot}.png")
        rows = [f"many/{number}/{shot}.png,7" for shot in range(2)]
        Path(f"{number}.csv").write_text("\n".join(["path,pid", *rows]))
        sets += ["--data", f"{number}.csv", "--dataset", "csv"]
    cli("train", *sets, *people[5:], "--steps", 1, "--set", "pids_per_batch=26", "--output", "w.safetensors")
    name = read_weights("w.safetensors").config.dataset
    assert name.startswith("csv-1 + csv-2 + ")
    assert name.endswith("…")


def test_train_on_two_data_sets(cli, people, others):
    """Four people each, of the same numbers: eight to tell apart; one of the second set is held out by name."""
    command = (*people, *others)
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


def test_drawing_counts_to_all_images(monkeypatch, tmp_path, capsys):
    """Distractors and badly cut boxes are drawn too."""
    small = {"identities": 2, "cameras": 2, "shots": 2}

    def settings(**given: int) -> DrawnSettings:
        return DrawnSettings(**(given | small))

    monkeypatch.setattr("vpmsearch.data.synthetic.DrawnSettings", settings)
    monkeypatch.setattr(training_data, "DRAWN_FOLDER", tmp_path / "drawn")
    assert len(training_data._drawn_pedestrians().train) == 8
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("drawing: ")]
    images = len(list((tmp_path / "drawn").rglob("*.jpg")))
    assert [line.split()[1] for line in lines] == [f"{images}/{images}"]
