"""The trainer: it learns, it repeats itself exactly, it goes on where it stopped, and it never spoils good files."""

from __future__ import annotations

import csv
import errno
import json
import math
import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_settings import TINY

import vpmsearch.training.step as step_module
import vpmsearch.training.trainer as module
from vpmsearch.data.datasets import LabelledImage
from vpmsearch.errors import DataError, ModelError, TrainingError, VpmsearchError, WeightsError
from vpmsearch.model import weights_file
from vpmsearch.model.initial import IMAGENET
from vpmsearch.model.weights import fingerprint, read_metadata, read_weights
from vpmsearch.training import checkpoint
from vpmsearch.training.log import LossRow, TrainingFiles, read_log
from vpmsearch.training.presets import get_preset
from vpmsearch.training.trainer import Trainer

CPU = torch.device("cpu")
VARIANTS = {
    "adamw": TINY,
    "resnet10": replace(TINY, backbone="resnet10"),
    "sgd": replace(
        TINY, optimizer="sgd", schedule="step", step_epoch=2, classifier="two-layer", margin=1.0, gradient_clip=None
    ),
    "two-views": replace(TINY, consistency_weight=2.0, color_jitter=0.2, erase=0.5),
    "memory": replace(TINY, consistency_weight=1.0, memory_weight=0.5, memory_temperature=0.3),
    "average": replace(TINY, average_decay=0.8, shift=0.1),
    "detached": replace(TINY, detach_locator=True),
    "teacher": replace(
        TINY,
        consistency_weight=1.0,
        memory_weight=0.5,
        cuts=2,
        average_decay=0.8,
        teacher=True,
        whole_share=0.2,
        box_jitter=0.1,
        degrade=0.5,
        grey=0.5,
        across_cameras=True,
    ),
}


def trainer(settings, images, output, **options):
    return Trainer(settings, images, dataset="drawn", output=output, device=CPU, **({"workers": 0} | options))


def train(settings, images, output, *, resume=False, stop_at=None, **options):
    """Run to the end, or until a user presses Ctrl-C after step `stop_at`; the rows that were reported."""
    rows = []

    def on_step(row):
        rows.append(row)
        if row.step == stop_at:
            raise KeyboardInterrupt

    run = trainer(settings, images, output, **options).run
    if stop_at is None:
        assert run(resume=resume, on_step=on_step) == output
    else:
        with pytest.raises(KeyboardInterrupt):
            run(resume=resume, on_step=on_step)
    return rows


@dataclass(frozen=True)
class Run:
    settings: object
    rows: list[LossRow]
    files: TrainingFiles


pytestmark = pytest.mark.usefixtures("tiny")


@pytest.fixture(
    scope="module",
    params=[
        "adamw",
        "sgd",
        "two-views",
        "memory",
        "average",
        "teacher",
        pytest.param("resnet10", marks=pytest.mark.slow),
    ],
)
def unbroken(request, drawn_images, tmp_path_factory):
    """A run from start to end, to be repeated."""
    output = tmp_path_factory.mktemp(f"unbroken-{request.param}") / "vpm.safetensors"
    settings = VARIANTS[request.param]
    return Run(settings, train(settings, drawn_images, output), TrainingFiles(output))


@pytest.fixture(scope="module")
def one_epoch(drawn_images, tmp_path_factory):
    """A run that was stopped in its second epoch."""
    output = tmp_path_factory.mktemp("stopped") / "vpm.safetensors"
    return Run(TINY, train(TINY, drawn_images, output, stop_at=5), TrainingFiles(output))


@pytest.fixture
def stopped(one_epoch, tmp_path):
    """A copy of it to go on from, or to spoil."""
    files = TrainingFiles(tmp_path / "vpm.safetensors")
    for source, target in zip(contents(one_epoch.files), contents(files), strict=True):
        target.write_bytes(source.read_bytes())
    return files


def contents(files):
    return [files.weights, files.log, files.checkpoint]


def snapshot(files):
    return {path: path.read_bytes() for path in contents(files)}


def assert_same_end(files, unbroken):
    """Weights, classifiers and the optimizer's memory, to the last bit."""
    assert fingerprint(files.weights) == fingerprint(unbroken.files.weights)
    ours, theirs = load_file(files.checkpoint), load_file(unbroken.files.checkpoint)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert read_log(files.log) == unbroken.rows


# ---------------------------------------------------------------------------------------------------- learning


def test_training_lowers_the_loss(drawn_images, tmp_path, monkeypatch):
    settings = replace(TINY, backbone="resnet10", margin=1.0)
    run, rows = trainer(settings, drawn_images, tmp_path / "vpm.safetensors"), []
    monkeypatch.setattr(run, "_save", lambda progress, rows: None)  # 60 MB an epoch, tested elsewhere
    run.run(on_step=rows.append)
    first, last = ([row for row in rows if row.epoch == epoch] for epoch in (0, 2))
    assert len(first) >= 3
    assert mean(last, "loss") < 0.9 * mean(first, "loss")
    assert mean(last, "loss_region") < 0.9 * mean(first, "loss_region")


def mean(rows, term):
    return sum(getattr(row, term) for row in rows) / len(rows)


@pytest.mark.slow
def test_training_learns_regions_and_identities(drawn_images, tmp_path, monkeypatch):
    """A longer run: the locator tells the bottom from the top of a person, and people are told apart."""
    settings = replace(TINY, backbone="resnet10", num_regions=(2, 1), epochs=40, region_loss_weight=5, margin=1.0)
    settings = replace(settings, learning_rate=1e-2)  # at 1e-3 the classifiers' weights cannot get far in 150 steps
    run, rows = trainer(settings, drawn_images, tmp_path / "vpm.safetensors"), []
    monkeypatch.setattr(run, "_save", lambda progress, rows: None)
    run.run(on_step=rows.append)
    assert mean(rows[-8:], "loss_region") < 0.5 * math.log(2)
    assert mean(rows[-8:], "loss_id") < 0.5 * mean(rows[:8], "loss_id")
    assert mean(rows[-8:], "loss_triplet") < mean(rows[:8], "loss_triplet")


def test_the_log_adds_up(unbroken):
    settings = unbroken.settings
    for row in unbroken.rows:
        paper = settings.region_loss_weight * row.loss_region + row.loss_id + row.loss_triplet
        ours = settings.consistency_weight * row.loss_consistency + settings.memory_weight * row.loss_memory
        assert row.loss == pytest.approx(paper + ours, rel=1e-5)
        assert 0 <= row.loss_consistency <= 4
        assert (row.loss_consistency > 0) == (settings.consistency_weight > 0)
        # Nobody is remembered at first.
        assert (row.loss_memory > 0) == (settings.memory_weight > 0 and row.step > 0)


def test_training_brings_two_views_together(drawn_images, tmp_path, monkeypatch):
    """More than identities alone do, which see the same views and hardly ask for it."""
    ends = {}
    for weight in (1e-9, 10.0):
        settings = replace(TINY, consistency_weight=weight, epochs=8, learning_rate=3e-3, trunk_learning_rate=3e-3)
        run, rows = trainer(settings, drawn_images, tmp_path / "vpm.safetensors"), []
        monkeypatch.setattr(run, "_save", lambda progress, rows: None)
        run.run(on_step=rows.append)
        first = mean([row for row in rows if row.epoch == 0], "loss_consistency")
        ends[weight] = mean([row for row in rows if row.epoch >= 5], "loss_consistency")
    assert ends[10.0] < 0.4 * first
    assert ends[10.0] < 0.7 * ends[1e-9]


def test_training_brings_the_right_neighbours_near(drawn_images, tmp_path, monkeypatch):
    """More than the other losses do, which have the same end."""
    rates = {"learning_rate": 3e-3, "trunk_learning_rate": 3e-3, "epochs": 16, "region_loss_weight": 1.0}
    ends = {}
    for weight in (1e-9, 5.0):
        settings = replace(VARIANTS["memory"], memory_weight=weight, memory_temperature=0.1, consistency_weight=0.1)
        settings = replace(settings, normalize_embeddings=True, **rates)
        run, rows = trainer(settings, drawn_images, tmp_path / "vpm.safetensors"), []
        monkeypatch.setattr(run, "_save", lambda progress, rows: None)
        run.run(on_step=rows.append)
        first = mean([row for row in rows if 1 <= row.epoch < 4], "loss_memory")  # all are remembered by then
        ends[weight] = mean([row for row in rows if row.epoch >= 8], "loss_memory")
    assert ends[5.0] < 0.8 * first
    assert ends[5.0] < 0.8 * ends[1e-9]


def test_every_whole_image_is_remembered_after_an_epoch(drawn_images, tmp_path, monkeypatch):
    run = trainer(replace(VARIANTS["memory"], epochs=1), drawn_images, tmp_path / "vpm.safetensors")
    assert run.memory.visibility.sum() == 0
    run.run()
    shown = torch.from_numpy(np.concatenate(run.sampler.epoch(0))).unique()
    assert len(shown) >= 18
    assert (run.memory.visibility[shown].sum(dim=1) > 0.5).all()
    saved = load_file(run.files.checkpoint)
    assert torch.equal(saved["module.memory.embeddings"], run.memory.embeddings)
    assert torch.equal(saved["module.memory.visibility"], run.memory.visibility)
    assert trainer(TINY, drawn_images, tmp_path / "other.safetensors").memory is None


def test_a_run_starts_from_the_whole_model_of_another(one_epoch, drawn_images, tmp_path):
    settings = replace(TINY, init=str(one_epoch.files.weights), seed=5)
    model = trainer(settings, drawn_images, tmp_path / "vpm.safetensors").model.state_dict()
    expected = load_file(one_epoch.files.weights)
    assert model.keys() == expected.keys()
    assert all(torch.equal(model[name], expected[name]) for name in model)


def test_weights_name_the_file_they_came_from_and_not_its_folder(one_epoch, drawn_images, tmp_path):
    """Weights are given away, and a folder's name may be a person's."""
    began = trainer(replace(TINY, init=str(one_epoch.files.weights)), drawn_images, tmp_path)
    assert began.weights_config().training["init"] == one_epoch.files.weights.name
    assert trainer(TINY, drawn_images, tmp_path).weights_config().training["init"] == "random"


@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_samples_are_made_as_the_settings_say(drawn_images, tmp_path, weight):
    settings = replace(TINY, consistency_weight=weight, color_jitter=0.25, erase=0.75, flip=False, gamma=(0.3, 0.8))
    run = trainer(settings, drawn_images, tmp_path / "vpm.safetensors")
    crops = run.data.settings
    assert (crops.two_views, crops.color_jitter, crops.erase) == (weight > 0, 0.25, 0.75)
    assert (crops.flip, crops.gamma, crops.strategies) == (False, (0.3, 0.8), settings.crops)
    assert (crops.input_size, crops.map_size, crops.grid) == ((64, 32), (4, 2), (3, 1))
    batch, _ = next(run._batches(0, run.sampler.epoch(0), 0))
    assert len(batch.pixels) == 3 * 2 * (2 if weight else 1)


# ---------------------------------------------------------------------------------------------------- repeating


@pytest.mark.parametrize("workers", [0, 2])
def test_the_same_seed_gives_the_same_run(unbroken, drawn_images, tmp_path, workers):
    torch.manual_seed(99)  # what happened before does not matter
    rows = train(unbroken.settings, drawn_images, tmp_path / "vpm.safetensors", workers=workers)
    assert rows == unbroken.rows
    assert_same_end(TrainingFiles(tmp_path / "vpm.safetensors"), unbroken)


def test_another_seed_gives_another_run(unbroken, drawn_images, tmp_path):
    settings = replace(unbroken.settings, seed=1, epochs=1)
    rows = train(settings, drawn_images, tmp_path / "vpm.safetensors")
    assert rows[0].loss != unbroken.rows[0].loss


# ---------------------------------------------------------------------------------------------------- going on


def test_a_stopped_run_goes_on_as_if_it_never_stopped(unbroken, drawn_images, tmp_path):
    files = TrainingFiles(tmp_path / "vpm.safetensors")
    in_second_epoch = next(row.step for row in unbroken.rows if row.epoch == 1) + 1
    before = train(unbroken.settings, drawn_images, files.weights, stop_at=in_second_epoch)
    assert before == unbroken.rows[: in_second_epoch + 1]
    assert read_log(files.log) == [row for row in unbroken.rows if row.epoch == 0]
    torch.manual_seed(99)
    after = train(unbroken.settings, drawn_images, files.weights, resume=True)
    assert after == [row for row in unbroken.rows if row.epoch >= 1]
    assert_same_end(files, unbroken)


@pytest.mark.parametrize("epoch", [0, 1])
def test_a_run_stopped_within_an_epoch_goes_on_from_there(unbroken, drawn_images, tmp_path, monkeypatch, epoch):
    """Twice, as the second checkpoint is of an epoch that was itself taken up within."""
    monkeypatch.setattr(module, "CHECKPOINT_SECONDS", 0.0)
    files = TrainingFiles(tmp_path / "vpm.safetensors")
    first = next(row.step for row in unbroken.rows if row.epoch == epoch)
    train(unbroken.settings, drawn_images, files.weights, stop_at=first + 1)
    assert read_log(files.log) == unbroken.rows[: first + 1]
    assert files.weights.exists() == (epoch > 0), "weights are of whole epochs"
    torch.manual_seed(99)
    new = trainer(unbroken.settings, drawn_images, files.weights)
    assert new.steps_left(resume=True) == len(unbroken.rows) - first - 1
    assert (
        train(unbroken.settings, drawn_images, files.weights, resume=True, stop_at=first + 2)
        == (unbroken.rows[first + 1 : first + 3])
    )
    assert train(unbroken.settings, drawn_images, files.weights, resume=True) == unbroken.rows[first + 2 :]
    assert_same_end(files, unbroken)


def test_it_is_told_before_files_are_written(drawn_images, tmp_path, monkeypatch):
    """Also before the checkpoints within an epoch. A run that goes on tells it again."""
    monkeypatch.setattr(module, "CHECKPOINT_SECONDS", 0.0)
    run, told, done = trainer(replace(TINY, epochs=1), drawn_images, tmp_path / "vpm.safetensors"), [], []
    run.run(on_step=done.append, on_save=lambda: told.append((len(done), run.files.checkpoint.exists())))
    last = len(done)
    assert last > 2
    assert told == [(step, step > 1) for step in range(1, last + 1)]
    assert run.files.weights.exists()


def test_a_run_killed_between_its_log_and_its_checkpoint(stopped, drawn_images, tmp_path, monkeypatch):
    """Weights and log are an epoch ahead of the checkpoint: the epoch is done again, and logged once."""

    def killed(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(module, "save_checkpoint", killed)
        with pytest.raises(KeyboardInterrupt):
            trainer(TINY, drawn_images, stopped.weights).run(resume=True)
    ahead = read_log(stopped.log)
    assert ahead[-1].epoch == 1
    train(TINY, drawn_images, stopped.weights, resume=True)
    rows = read_log(stopped.log)
    assert [row.step for row in rows] == list(range(len(rows)))
    assert rows[: len(ahead)] == ahead
    assert rows[-1].epoch == 2


def test_a_finished_run_has_nothing_to_go_on_with(unbroken, drawn_images, tmp_path):
    files = TrainingFiles(tmp_path / "vpm.safetensors")
    for source, target in zip(contents(unbroken.files), contents(files), strict=True):
        target.write_bytes(source.read_bytes())
    before = snapshot(files)
    assert train(unbroken.settings, drawn_images, files.weights, resume=True) == []
    assert snapshot(files) == before
    files.weights.unlink()
    assert train(unbroken.settings, drawn_images, files.weights, resume=True) == []
    assert snapshot(files) == before, "weights that were taken away are written again"


def test_without_a_checkpoint_a_run_starts_anew(unbroken, drawn_images, tmp_path):
    rows = train(unbroken.settings, drawn_images, tmp_path / "vpm.safetensors", resume=True, stop_at=0)
    assert rows == unbroken.rows[:1]


def test_without_resume_a_run_starts_anew(stopped, one_epoch, drawn_images):
    assert train(TINY, drawn_images, stopped.weights, stop_at=0) == one_epoch.rows[:1]


@pytest.mark.parametrize(
    "change",
    [
        {"learning_rate": 0.5},
        {"seed": 3},
        {"gamma": (0.5, 0.9)},
        {"margin": 0.1},
        {"consistency_weight": 1.0},
        {"consistency_weight": 1.0, "memory_weight": 1.0},
        {"memory_temperature": 0.5},
    ],
)
def test_other_settings_do_not_go_on(stopped, drawn_images, change):
    before = snapshot(stopped)
    with pytest.raises(TrainingError, match=r"other settings.*another output") as raised:
        trainer(replace(TINY, **change), drawn_images, stopped.weights).run(resume=True)
    for name, value in change.items():
        assert re.search(rf"{name} [^;]*, now {re.escape(json.dumps(value)[:4])}", str(raised.value))
    assert snapshot(stopped) == before


def test_the_same_start_by_another_name_goes_on(drawn_images, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    train(TINY, drawn_images, tmp_path / "first.safetensors")
    settings = replace(TINY, init="first.safetensors")
    train(settings, drawn_images, tmp_path / "second.safetensors", stop_at=trainer_steps(drawn_images, tmp_path))
    named = replace(settings, init=str(tmp_path / "first.safetensors"))
    assert train(named, drawn_images, tmp_path / "second.safetensors", resume=True)
    other = replace(settings, init=str(tmp_path / "second.safetensors"))
    with pytest.raises(TrainingError, match=r"settings \(init first.safetensors, now .*second.safetensors\)"):
        trainer(other, drawn_images, tmp_path / "second.safetensors").run(resume=True)


def trainer_steps(images, folder):
    """The first step of the second epoch."""
    return len(trainer(TINY, images, folder / "none.safetensors").sampler.epoch(0))


def test_the_steps_left_are_those_that_come(stopped, drawn_images):
    new = trainer(TINY, drawn_images, stopped.weights)
    left, whole = new.steps_left(resume=True), new.steps_left(resume=False)
    assert whole == sum(len(new.sampler.epoch(epoch)) for epoch in range(TINY.epochs))
    rows = train(TINY, drawn_images, stopped.weights, resume=True)
    assert 0 < len(rows) == left < whole


def test_a_checkpoint_may_be_larger_than_weights(stopped, drawn_images, monkeypatch):
    """A long run's must be readable."""
    assert checkpoint.MAX_BYTES > 10 * weights_file.MAX_FILE_BYTES
    monkeypatch.setattr(checkpoint, "MAX_BYTES", stopped.checkpoint.stat().st_size - 1)
    with pytest.raises(WeightsError, match="more than the"):
        trainer(TINY, drawn_images, stopped.weights).run(resume=True)


def test_other_images_do_not_go_on(stopped, drawn_images):
    with pytest.raises(TrainingError, match="other data"):
        trainer(TINY, drawn_images[:-1], stopped.weights).run(resume=True)


def test_a_checkpoint_that_is_none(stopped, drawn_images):
    run = trainer(TINY, drawn_images, stopped.weights).run
    weights = stopped.weights.read_bytes()
    whole = stopped.checkpoint.read_bytes()
    metadata = read_metadata(stopped.checkpoint)
    for content, error, message in [
        (b"garbage" * 100, WeightsError, "safetensors"),
        (whole[: len(whole) // 2], WeightsError, "safetensors"),
        (weights, TrainingError, "not a training checkpoint"),
    ]:
        stopped.checkpoint.write_bytes(content)
        with pytest.raises(error, match=message):
            run(resume=True)
    for text in ("", "[]", "{}", '{"progress": {}, "run": {}}', "[" * 100_000):
        save_file({"a": torch.zeros(1)}, stopped.checkpoint, {"checkpoint": text})
        with pytest.raises(TrainingError, match="damaged checkpoint"):
            run(resume=True)
    save_file({"module.a": torch.zeros(1)}, stopped.checkpoint, metadata)
    with pytest.raises(WeightsError, match="does not fit"):
        run(resume=True)
    assert stopped.weights.read_bytes() == weights


COLUMNS = "epoch,step,loss,loss_region,loss_id,loss_triplet,loss_consistency,loss_memory,lr"


@pytest.mark.parametrize(
    "text",
    [
        "epoch,step\n0,0\n",
        f"{COLUMNS}\n0,x\n",
        f"{COLUMNS}\n0,0,1,1,1,1\n",
        f"{COLUMNS.replace('loss_consistency,', '')}\n0,0,1,1,1,1,1,1\n",
        f"{COLUMNS.replace('loss_memory,', '')}\n0,0,1,1,1,1,1,1\n",  # of a version that had no memory
    ],
)
def test_a_log_that_is_none(stopped, drawn_images, text):
    stopped.log.write_text(text)
    with pytest.raises(TrainingError, match=r"vpm\.log\.csv is no training log"):
        trainer(TINY, drawn_images, stopped.weights).run(resume=True)


# ---------------------------------------------------------------------------------------------------- failing


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_epoch(stopped, drawn_images, monkeypatch):
    before = snapshot(stopped)
    compute, steps = step_module.vpm_loss, []

    def diverging(*args):
        terms = compute(*args)
        steps.append(1)
        return terms if len(steps) < 2 else replace(terms, total=terms.total * math.nan)

    run = trainer(TINY, drawn_images, stopped.weights)
    monkeypatch.setattr(step_module, "vpm_loss", diverging)
    with pytest.raises(TrainingError, match=r"not finite at epoch 1.*learning rate.*last checkpoint is kept") as raised:
        run.run(resume=True)
    assert all(name in str(raised.value) for name in COLUMNS.split(",") if name.startswith("loss_"))
    assert len(steps) == 2
    assert snapshot(stopped) == before
    monkeypatch.setattr(step_module, "vpm_loss", compute)
    assert train(TINY, drawn_images, stopped.weights, resume=True)[0].epoch == 1


def test_an_update_that_is_not_finite_stops_the_run_and_keeps_the_last_epoch(stopped, drawn_images):
    """All losses of the epoch are finite; its last step is what spoils the model."""
    before = snapshot(stopped)
    run = trainer(TINY, drawn_images, stopped.weights)

    def spoil(row):
        with torch.no_grad():
            run.classifiers.classify[0, 0, 0] = math.inf if row.step == last else run.classifiers.classify[0, 0, 0]

    last = len(read_log(stopped.log)) + len(run.sampler.epoch(1)) - 1
    with pytest.raises(TrainingError, match=r"classify is not finite in epoch 1.*last checkpoint is kept"):
        run.run(resume=True, on_step=spoil)
    assert snapshot(stopped) == before


def test_a_checkpoint_within_an_epoch_is_not_replaced_by_one_that_is_not_finite(stopped, drawn_images, monkeypatch):
    monkeypatch.setattr(module, "CHECKPOINT_SECONDS", 0.0)
    before = snapshot(stopped)
    run = trainer(TINY, drawn_images, stopped.weights)

    def spoil(row):
        with torch.no_grad():
            run.classifiers.classify[0, 0, 0] = math.inf

    with pytest.raises(TrainingError, match=r"classify is not finite in epoch 1.*last checkpoint is kept"):
        run.run(resume=True, on_step=spoil)
    assert snapshot(stopped) == before


def test_a_run_that_really_diverges(drawn_images, tmp_path):
    settings = replace(VARIANTS["sgd"], learning_rate=1e30, trunk_learning_rate=1e30, warmup_steps=0)
    with pytest.raises(TrainingError, match="not finite"):
        trainer(settings, drawn_images, tmp_path / "vpm.safetensors").run()
    assert list(tmp_path.iterdir()) == []


def full_disk(*args, **kwargs):
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("target", ["os.fsync", "vpmsearch.model.tensors.save_file", "csv.DictWriter.writerows"])
def test_a_full_disk_is_one_error_and_keeps_the_last_epoch(stopped, drawn_images, monkeypatch, target):
    checkpoint = stopped.checkpoint.read_bytes()
    with monkeypatch.context() as patched:
        patched.setattr(target, full_disk)
        with pytest.raises(VpmsearchError, match=r"cannot write .*No space left"):
            trainer(TINY, drawn_images, stopped.weights).run(resume=True)
    assert stopped.checkpoint.read_bytes() == checkpoint
    assert {path.name for path in stopped.weights.parent.iterdir()} == {path.name for path in contents(stopped)}
    assert train(TINY, drawn_images, stopped.weights, resume=True)[0].epoch == 1


@pytest.mark.parametrize(
    ("settings", "images", "error"),
    [
        (replace(TINY, pids_per_batch=7), slice(None), DataError),
        (TINY, slice(0, 0), DataError),
        (replace(TINY, init="imagenet", backbone="resnet10"), slice(None), ModelError),
        (replace(TINY, init="none.safetensors"), slice(None), WeightsError),
        (replace(TINY, freeze_stages=99), slice(None), ModelError),
        (replace(TINY, backbone="resnet9"), slice(None), ModelError),
    ],
)
def test_runs_that_cannot_start(settings, images, error, drawn_images, tmp_path):
    with pytest.raises(error):
        trainer(settings, drawn_images[images], tmp_path / "vpm.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_an_unreadable_image_stops_the_run(drawn_images, tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8")
    images = [*drawn_images[:-1], LabelledImage(tmp_path / "broken.jpg", pid=15)]
    for workers in (0, 2):
        with pytest.raises(DataError, match=r"broken\.jpg"):
            trainer(TINY, images, tmp_path / "vpm.safetensors", workers=workers).run()


# ---------------------------------------------------------------------------------------------------- learning rate


def rates(monkeypatch, settings, images, output):
    """(epoch, step, rate of the new layers, rate of the trunk) of every step of a run that trains nothing."""
    run, found = trainer(settings, images, output), []

    def step(batch, epoch, step):
        new, trunk = (group["lr"] for group in run.optimizer.param_groups)
        found.append((epoch, step, new, trunk))
        return LossRow(epoch, step, *[0.0] * 6, new)

    monkeypatch.setattr(run, "_step", step)
    monkeypatch.setattr(run, "_save", lambda progress, rows: None)
    run.run()
    return found


@pytest.fixture
def uneven_images(drawn_images):
    """Epochs of such a set are not all of the same number of batches."""
    return drawn_images[:12] + drawn_images[12:14] + drawn_images[16:18] + drawn_images[20:22]


def test_the_papers_schedule(monkeypatch, uneven_images, tmp_path):
    """0.1, and 0.01 after 30 epochs, however many steps those had."""
    paper = get_preset("paper")
    settings = replace(
        TINY,
        **{name: getattr(paper, name) for name in ("optimizer", "learning_rate", "trunk_learning_rate", "schedule")},
        **{name: getattr(paper, name) for name in ("step_epoch", "epochs", "warmup_steps")},
    )
    found = rates(monkeypatch, settings, uneven_images, tmp_path / "vpm.safetensors")
    lengths = {sum(epoch == row[0] for row in found) for epoch in range(60)}
    assert len(lengths) > 1, "the test needs epochs of different lengths"
    for epoch, _, new, trunk in found:
        factor = 1 if epoch < 30 else 0.1
        assert new == pytest.approx(0.1 * factor)
        assert trunk == pytest.approx(paper.trunk_learning_rate * factor)


def test_cosine_with_a_warm_up(monkeypatch, uneven_images, tmp_path):
    settings = replace(TINY, epochs=12, warmup_steps=5, learning_rate=0.2, trunk_learning_rate=0.05)
    found = rates(monkeypatch, settings, uneven_images, tmp_path / "vpm.safetensors")
    lengths = [sum(epoch == row[0] for row in found) for epoch in range(12)]
    for epoch, step, new, trunk in found:
        done = (epoch + (step - sum(lengths[:epoch])) / lengths[epoch]) / 12
        factor = (1 + math.cos(math.pi * done)) / 2 * min(1, (step + 1) / 5)
        assert new == pytest.approx(0.2 * factor)
        assert trunk == pytest.approx(0.05 * factor)
    assert found[0][2] == pytest.approx(0.2 / 5)
    assert found[-1][2] < 0.02 * max(row[2] for row in found)


# ---------------------------------------------------------------------------------------------------- what it writes


def test_the_log_has_one_row_a_step(unbroken):
    with unbroken.files.log.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert ",".join(rows[0]) == COLUMNS
    assert [int(row["step"]) for row in rows] == list(range(len(unbroken.rows)))
    assert read_log(unbroken.files.log) == unbroken.rows
    assert read_log(unbroken.files.log.with_name("none.csv")) == []


def test_the_weights_file_alone_is_enough(unbroken):
    loaded = read_weights(unbroken.files.weights)
    config = loaded.config
    assert (config.backbone, config.num_regions) == (unbroken.settings.backbone, (3, 1))
    assert config.embedding_dim == 16
    assert (config.input_size, config.num_classes, config.dataset) == ((64, 32), 6, "drawn")
    assert (config.mean, config.std) == (IMAGENET.mean, IMAGENET.std)
    assert config.training == json.loads(json.dumps(unbroken.settings.to_json()))
    assert config.source_revision == "0.1.0+test"
    with torch.inference_mode():
        assert loaded.model(torch.rand(1, 3, 64, 32)).embeddings.shape == (1, 3, 16)


def test_the_checkpoint_is_safetensors(unbroken):
    metadata = json.loads(read_metadata(unbroken.files.checkpoint)["checkpoint"])
    assert metadata["progress"] == {"epochs": 3, "steps": len(unbroken.rows), "within": 0}
    tensors = load_file(unbroken.files.checkpoint)
    assert any(name.startswith("module.model.backbone.") for name in tensors)
    assert any(name.startswith("module.classifiers.") for name in tensors)
    assert any(name.startswith("optimizer.") for name in tensors)


def test_half_precision_weights_are_smaller(stopped, drawn_images):
    whole = sum(tensor.nbytes for tensor in load_file(stopped.weights).values())
    train(TINY, drawn_images, stopped.weights, resume=True, half=True)
    assert sum(tensor.nbytes for tensor in load_file(stopped.weights).values()) < 0.6 * whole
    assert read_weights(stopped.weights).model.training is False


def test_nothing_but_the_named_files_is_written(unbroken):
    found = {path.name for path in unbroken.files.weights.parent.iterdir()}
    assert found == {"vpm.safetensors", "vpm.log.csv", "vpm.checkpoint.safetensors"}


def test_progress_is_told(drawn_images, tmp_path):
    told = []
    run = trainer(replace(TINY, epochs=2), drawn_images, tmp_path / "new" / "folder" / "vpm.safetensors")

    def on_epoch(epoch, model):
        assert not model.training
        assert run.files.weights.is_file(), "an epoch is told of when its files are there"
        told.append(epoch)

    run.run(on_epoch=on_epoch)
    assert told == [0, 1]


def test_frozen_stages_stay_as_they_were(drawn_images, tmp_path):
    run = trainer(replace(TINY, freeze_stages=1, epochs=1), drawn_images, tmp_path / "vpm.safetensors")
    frozen = {name for name, parameter in run.model.named_parameters() if not parameter.requires_grad}
    before = {name: tensor.clone() for name, tensor in run.model.state_dict().items()}
    run.run()
    after = run.model.state_dict()
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    kept = {name.rsplit(".", 1)[0] for name in frozen}
    assert frozen
    assert changed
    assert not any(name.rsplit(".", 1)[0] in kept for name in changed), "statistics too"


def test_every_image_may_be_seen_by_the_whole_trunk_frozen(drawn_images, tmp_path):
    """Only the new layers learn: there is no group of parameters without any."""
    stages = trainer(TINY, drawn_images, tmp_path / "vpm.safetensors").model.backbone.num_stages
    train(replace(TINY, freeze_stages=stages, epochs=1), drawn_images, tmp_path / "vpm.safetensors")
    assert Path(tmp_path / "vpm.safetensors").is_file()


def test_the_end_of_a_run_may_be_moved(drawn_images, tmp_path):
    """Rates fall to 0 by the new end; what was learnt before is what an unbroken run learns."""
    settings = replace(TINY, steps=5, warmup_steps=0)
    short = train(settings, drawn_images, tmp_path / "short.safetensors")
    assert [row.step for row in short] == list(range(5))
    rates = [row.lr / settings.learning_rate for row in short]
    assert rates == pytest.approx([0.5 * (1 + math.cos(math.pi * step / 5)) for step in range(5)])
    first = trainer(settings, drawn_images, tmp_path / "a.safetensors")
    epoch = len(first._order(0))
    assert 0 < epoch < 5, "it ends within an epoch"
    longer = train(replace(settings, steps=7), drawn_images, tmp_path / "short.safetensors", resume=True)
    assert [row.step for row in longer] == [5, 6]
    assert longer[0].lr == pytest.approx(settings.learning_rate * 0.5 * (1 + math.cos(math.pi * 5 / 7)))
    once = replace(TINY, epochs=1, warmup_steps=0)
    rows = train(once, drawn_images, tmp_path / "once.safetensors")
    twice = train(replace(once, epochs=2), drawn_images, tmp_path / "once.safetensors", resume=True)
    assert {row.epoch for row in rows} == {0}
    assert {row.epoch for row in twice} == {1}
    with pytest.raises(TrainingError, match=r"other settings \(margin"):
        train(replace(once, epochs=2, margin=0.7), drawn_images, tmp_path / "once.safetensors", resume=True)


FROZEN = get_preset(
    "fast", init="random", input_size=(64, 32), num_regions=(2, 1), embedding_dim=8, freeze_stages=2, steps=2,
    pids_per_batch=2, images_per_pid=2, warmup_steps=0, consistency_weight=1.0, average_decay=0.5, teacher=True,
)  # fmt: skip
"""OSNet with two frozen stages."""


def test_frozen_stages_apart_learn_what_the_whole_trunk_learns(drawn_images, tmp_path):
    """In bfloat16, by threads and chunks; and as it is."""
    plain = train(FROZEN, drawn_images, tmp_path / "plain.safetensors")
    half = train(replace(FROZEN, bfloat16=True), drawn_images, tmp_path / "half.safetensors")
    assert half[0].loss == pytest.approx(plain[0].loss, rel=0.05)
    with pytest.raises(TrainingError, match="frozen stages of osnet on a CPU"):
        trainer(TINY, drawn_images, tmp_path / "tiny.safetensors", frozen_runtime="openvino")


@pytest.mark.slow
def test_frozen_stages_in_openvino_learn_what_the_whole_trunk_learns(drawn_images, tmp_path):
    """In float32, and so nearer."""
    pytest.importorskip("openvino")
    plain = train(FROZEN, drawn_images, tmp_path / "plain.safetensors")
    apart = train(FROZEN, drawn_images, tmp_path / "apart.safetensors", frozen_runtime="openvino")
    for ours, theirs in zip(apart, plain, strict=True):
        assert ours.loss == pytest.approx(theirs.loss, rel=2e-3)
