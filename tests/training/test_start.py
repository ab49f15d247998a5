"""A second stretch of training: from the checkpoint of another run, with its identity classifiers where they fit."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_runs import run, trainer
from tiny_settings import TINY

from vpmsearch.errors import TrainingError, WeightsError
from vpmsearch.model.weights import PRETRAINED, read_metadata
from vpmsearch.training.trainer import Trainer

FIRST = replace(TINY, epochs=6, learning_rate=1e-2, trunk_learning_rate=1e-2, consistency_weight=1.0, memory_weight=0.5)

pytestmark = pytest.mark.usefixtures("tiny")


@pytest.fixture(scope="module")
def first(tiny, drawn_images, tmp_path_factory):
    """A finished run."""
    ended = trainer(FIRST, drawn_images, tmp_path_factory.mktemp("first"))
    run(ended)
    return ended


@pytest.fixture
def second(first):
    """Settings of a run that starts from its checkpoint, with other rates, losses and a seed of its own."""
    return replace(FIRST, init=str(first.files.checkpoint), seed=7, learning_rate=1e-3, epochs=2, margin=0.3)


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def copy(module):
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def test_a_run_that_averaged_its_weights_is_followed_by_what_it_wrote(drawn_images, tmp_path):
    averaging = replace(FIRST, average_decay=0.9, epochs=1)
    ended = trainer(averaging, drawn_images, tmp_path, "first")
    run(ended)
    started = trainer(replace(FIRST, init=str(ended.files.checkpoint)), drawn_images, tmp_path)
    assert started.kept_classifiers
    assert equal(copy(started.model), copy(ended.result))
    assert not equal(copy(started.model), copy(ended.model))


def test_model_and_classifiers_are_the_checkpoints_and_nothing_else_is(first, second, drawn_images, tmp_path):
    started = trainer(second, drawn_images, tmp_path)
    assert started.kept_classifiers
    assert equal(copy(started.model), copy(first.model))
    assert equal(copy(started.classifiers), copy(first.classifiers))
    assert started.optimizer.state_dict()["state"] == {}
    assert (started.memory.visibility == 0).all()
    assert (first.memory.visibility > 0).any()
    rows = run(started)
    assert [row.epoch for row in (rows[0], rows[-1])] == [0, 1]
    assert rows[0].step == 0
    assert rows[0].lr == pytest.approx(1e-3 / 2), "the warm-up is done again"


def test_nothing_has_to_be_learned_anew(first, second, drawn_images, tmp_path):
    ended = run(trainer(FIRST, drawn_images, tmp_path))[-1]
    kept = run(trainer(replace(second, epochs=1), drawn_images, tmp_path, "kept"))[0]
    weights = replace(second, epochs=1, init=str(first.files.weights))
    anew = trainer(weights, drawn_images, tmp_path, "anew")
    assert not anew.kept_classifiers
    assert kept.loss_id - ended.loss_id < 0.3 * (run(anew)[0].loss_id - ended.loss_id)


@pytest.mark.parametrize(
    ("change", "images", "whole"),
    [
        ({}, slice(0, 20), True),  # five identities of the six
        ({}, slice(0, 23), True),  # an image less
        ({"classifier": "two-layer"}, slice(None), True),
        ({"normalize_embeddings": True}, slice(None), True),
        ({"num_regions": (1, 3)}, slice(None), False),
        ({"num_regions": (2, 1)}, slice(None), False),
        ({"embedding_dim": 12}, slice(None), False),
        ({"embedding_dim": None}, slice(None), False),
    ],
)
def test_classifiers_of_something_else_start_anew(first, second, drawn_images, tmp_path, change, images, whole):
    started = trainer(replace(second, **change), drawn_images[images], tmp_path)
    assert not started.kept_classifiers
    assert equal(copy(started.model), copy(first.model)) == whole
    assert equal(copy(started.model.backbone), copy(first.model.backbone))
    # Exactly as a run without a file to start from has them.
    fresh = trainer(replace(second, **change, init="random"), drawn_images[images], tmp_path)
    assert equal(copy(started.classifiers), copy(fresh.classifiers))
    run(started)


def test_as_many_other_people_are_other_people(second, drawn_images, tmp_path):
    others = [
        replace(image, pid=15 if image.pid == 10 else 10 if image.pid == 15 else image.pid) for image in drawn_images
    ]
    started = trainer(second, others, tmp_path)
    assert started.data.num_classes == 6
    assert not started.kept_classifiers


def test_other_losses_samples_and_versions_are_no_hindrance(first, second, drawn_images, tmp_path):
    path = tmp_path / "old.checkpoint.safetensors"
    meta = json.loads(read_metadata(first.files.checkpoint)["checkpoint"])
    for name in ("memory_weight", "memory_temperature", "consistency_weight"):
        del meta["run"]["settings"][name]
    meta["run"]["settings"]["of_a_later_version"] = [1]
    save_file(load_file(first.files.checkpoint), path, {"checkpoint": json.dumps(meta)})
    settings = replace(second, init=str(path), memory_weight=0.0, consistency_weight=0.0, gamma=(0.3, 0.7))
    assert trainer(settings, drawn_images, tmp_path).kept_classifiers


def test_another_trunk_is_an_error(second, drawn_images, tmp_path):
    with pytest.raises(WeightsError, match=r"vpm\.checkpoint\.safetensors does not fit the resnet8 trunk"):
        trainer(replace(second, backbone="resnet8"), drawn_images, tmp_path)


def changed(first, path, change=None, metadata=None):
    """The checkpoint with some tensors changed (None: left out) or another header."""
    tensors = load_file(first.files.checkpoint) | (change or {})
    tensors = {name: tensor for name, tensor in tensors.items() if tensor is not None}
    save_file(tensors, path, metadata or read_metadata(first.files.checkpoint))
    return str(path)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"progress": {}, "run": {}}', "[" * 100_000])
def test_a_damaged_header_is_an_error(first, second, drawn_images, tmp_path, text):
    init = changed(first, tmp_path / "c.safetensors", metadata={"checkpoint": text})
    with pytest.raises(TrainingError, match="damaged checkpoint"):
        trainer(replace(second, init=init), drawn_images, tmp_path)


@pytest.mark.parametrize("value", ["null", "3", '"x"', "[]", '{"num_regions": 3}', '{"num_regions": [[], {}]}'])
@pytest.mark.parametrize("name", ["settings", "data"])
def test_a_header_that_says_nothing_of_use_leaves_classifiers_new(first, second, drawn_images, tmp_path, name, value):
    meta = json.loads(read_metadata(first.files.checkpoint)["checkpoint"])
    meta["run"][name] = json.loads(value)
    init = changed(first, tmp_path / "c.safetensors", metadata={"checkpoint": json.dumps(meta)})
    assert not trainer(replace(second, init=init), drawn_images, tmp_path).kept_classifiers


@pytest.mark.parametrize(
    "change",
    [
        {"module.classifiers.classify": None},
        {"module.classifiers.classify": torch.zeros(3, 16, 7)},
        {"module.classifiers.classify": torch.zeros(3, 16, 6, dtype=torch.int64)},
        {"module.classifiers.more": torch.zeros(1)},
        {"module.model.locator.weight": None},
        {"module.model.reduction.1.weight": torch.zeros(3)},
    ],
)
def test_classifiers_are_taken_whole_and_with_a_whole_model_only(first, second, drawn_images, tmp_path, change):
    init = changed(first, tmp_path / "c.safetensors", change)
    started = trainer(replace(second, init=init), drawn_images, tmp_path)
    assert not started.kept_classifiers
    fresh = trainer(replace(second, init="random"), drawn_images, tmp_path)
    assert equal(copy(started.classifiers), copy(fresh.classifiers))


@pytest.mark.parametrize("name", ["module.model.backbone.trunk.conv1.weight", "module.classifiers.classify"])
def test_values_that_are_not_finite_are_an_error(first, second, drawn_images, tmp_path, name):
    spoilt = load_file(first.files.checkpoint)[name]
    spoilt.view(-1)[0] = torch.nan
    init = changed(first, tmp_path / "c.safetensors", {name: spoilt})
    with pytest.raises(WeightsError, match="not finite"):
        trainer(replace(second, init=init), drawn_images, tmp_path)


def test_a_second_stretch_over_the_first_ones_files_goes_on_too(first, second, drawn_images, tmp_path):
    """Its own checkpoint takes the place of the one it started from, and is what it goes on from."""
    (tmp_path / "here").mkdir()
    files = [first.files.weights, first.files.checkpoint, first.files.log]
    for path in files:
        (tmp_path / "here" / path.name).write_bytes(path.read_bytes())
    settings = replace(second, init=str(tmp_path / "here" / first.files.checkpoint.name))
    unbroken = run(trainer(second, drawn_images, tmp_path, "elsewhere"))

    def stop(row):
        if row.epoch == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trainer(settings, drawn_images, tmp_path / "here").run(on_step=stop)
    rest = run(trainer(settings, drawn_images, tmp_path / "here"), resume=True)
    assert rest == [row for row in unbroken if row.epoch == 1]


def test_the_packages_weights_are_found_by_their_name(drawn_images, tmp_path):
    """As the commands of the model card start from them."""
    settings = replace(
        TINY, backbone="osnet", init="vpm-osnet-market1501.safetensors", num_regions=(6, 1), embedding_dim=256
    )
    started = trainer(settings, drawn_images, tmp_path)
    shipped = load_file(PRETRAINED.with_name(settings.init))
    assert started.anew == ()
    assert equal(copy(started.model.locator), {"weight": shipped["locator.weight"].float()})
    assert trainer(replace(settings, num_regions=(1, 6)), drawn_images, tmp_path).anew == ("locator",)


def test_a_run_that_goes_on_begins_with_its_own_weights(first, drawn_images, tmp_path):
    """What it first started from may be gone, or be another file by now; frozen stages are converted from it."""
    init = tmp_path / "init.safetensors"
    shutil.copy(first.files.weights, init)
    settings = replace(FIRST, init=str(init), epochs=1)
    ended = trainer(settings, drawn_images, tmp_path)
    run(ended)
    init.unlink()
    with pytest.raises(WeightsError, match="there is no file"):
        trainer(settings, drawn_images, tmp_path)
    again = Trainer(
        settings, drawn_images, dataset="drawn", output=ended.files.weights, device=torch.device("cpu"), resume=True
    )
    assert equal(copy(again.model), copy(ended.model))
    with pytest.raises(TrainingError, match=r"of a run with other settings \(margin null, now 0\.5\)"):
        Trainer(
            replace(settings, margin=0.5), drawn_images, dataset="drawn", output=ended.files.weights,
            device=torch.device("cpu"), resume=True,
        )  # fmt: skip
