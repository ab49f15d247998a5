"""Presets: the paper's figures line by line, and settings that travel as JSON."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from vpmsearch.data.crops import STRATEGIES
from vpmsearch.errors import ModelError
from vpmsearch.models.backbones import BACKBONES
from vpmsearch.training.presets import PRESETS, TrainSettings, get_preset


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("backbone", "resnet50"),  # p. 395
        ("num_regions", (6, 1)),  # "6×1 in most experiments"
        ("embedding_dim", None),  # f_i has the channels of T
        ("normalize_embeddings", False),  # Eq. 4 compares f_i as pooled
        ("gamma", (0.5, 1.0)),  # p. 397: γ ~ U(0.5, 1)
        ("optimizer", "sgd"),
        ("learning_rate", 0.1),
        ("schedule", "step"),
        ("step_epoch", 30),
        ("pids_per_batch", 8),
        ("images_per_pid", 8),
        ("margin", 1.0),
        ("classifier", "two-layer"),  # Eq. 6
        ("region_loss_weight", 1.0),  # Eq. 8
        ("label_smoothing", 0.0),
        ("input_size", (384, 128)),  # not stated; as PCB
        ("epochs", 60),
        ("init", "imagenet"),
        ("warmup_steps", 0),
        ("freeze_stages", 0),
    ],
)
def test_the_paper_preset_is_the_papers(setting, value):
    assert getattr(get_preset("paper"), setting) == value


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_can_be_built_and_travels_as_json(name):
    settings = get_preset(name)
    assert settings.preset == name
    assert settings.backbone in BACKBONES
    assert set(settings.crops) <= set(STRATEGIES)
    assert TrainSettings.from_json(json.loads(json.dumps(settings.to_json()))) == settings


def test_a_preset_can_be_changed_without_changing_it():
    assert get_preset("small", epochs=3, seed=7) == replace(get_preset("small"), epochs=3, seed=7)
    assert get_preset("small").seed == 0


def test_an_unknown_preset_names_the_known():
    with pytest.raises(ModelError, match="paper"):
        get_preset("large")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"crops": ()}, "crops"),
        ({"crops": ("middle",)}, "crops"),
        ({"gamma": (0.0, 1.0)}, "gamma"),
        ({"gamma": (0.9, 0.5)}, "gamma"),
        ({"gamma": (0.5, 1.1)}, "gamma"),
        ({"epochs": 0}, "epochs"),
        ({"input_size": (16, 16)}, "input_size"),
        ({"pids_per_batch": 1}, "two identities"),
        ({"images_per_pid": 1}, "two images"),
        ({"optimizer": "adam"}, "optimizer must be one of sgd, adamw"),
        ({"schedule": "linear"}, "schedule must be one of"),
        ({"classifier": "three-layer"}, "classifier must be one of"),
        ({"region_loss_reduction": "none"}, "region_loss_reduction must be one of"),
        ({"seed": -1}, "seed"),
    ],
)
def test_settings_that_cannot_be(change, message):
    with pytest.raises(ModelError, match=message):
        get_preset("small", **change)


def test_json_with_unknown_or_missing_keys():
    values = get_preset("small").to_json()
    with pytest.raises(ModelError, match="colour"):
        TrainSettings.from_json(values | {"colour": "red"})
    del values["backbone"]
    with pytest.raises(ModelError, match="backbone"):
        TrainSettings.from_json(values)
