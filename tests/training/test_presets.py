"""Presets: the paper's figures line by line, and settings that travel as JSON."""

from __future__ import annotations

import json
import math
from dataclasses import fields, replace

import pytest

from vpmsearch.data.crops import STRATEGIES
from vpmsearch.errors import ModelError
from vpmsearch.model.trunks import BACKBONES
from vpmsearch.model.weights import PRETRAINED, read_weights
from vpmsearch.training.presets import PRESETS, changed, get_preset
from vpmsearch.training.settings import TrainSettings


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("backbone", "resnet50"),  # p. 395
        ("num_regions", (6, 1)),  # "6×1 in most experiments"
        ("embedding_dim", None),  # f_i has the channels of T
        ("gamma", (0.5, 1.0)),  # p. 397: γ ~ U(0.5, 1)
        ("optimizer", "sgd"),
        ("learning_rate", 0.1),
        ("schedule", "step"),
        ("step_epoch", 30),
        ("pids_per_batch", 8),
        ("images_per_pid", 8),
        ("margin", 1.0),
        ("classifier", "two-layer-bn"),  # Eq. 6, and as PCB
        ("region_loss_weight", 1.0),  # Eq. 8
        ("label_smoothing", 0.0),
        ("input_size", (384, 128)),  # not stated; as PCB
        ("epochs", 60),
        ("init", "imagenet"),
        ("warmup_steps", 0),
        ("freeze_stages", 0),
        ("normalize_embeddings", True),  # not stated; without, and without the next, it diverges
        ("gradient_clip", 1.0),
        ("flip", True),
        ("color_jitter", 0.0),
        ("erase", 0.0),
        ("consistency_weight", 0.0),  # identities alone bring whole and cut images together
        ("memory_weight", 0.0),  # a batch is compared with itself alone
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


def test_anywhere_is_how_the_default_weights_were_last_trained():
    """So whoever goes on from them keeps what they have, such as the occluder class and the second look."""
    weights = read_weights(PRETRAINED).config
    preset = get_preset("anywhere").to_json()
    of_a_run = ("init", "steps", "seed", "bfloat16")
    trained = {name: list(v) if isinstance(v, tuple) else v for name, v in weights.training.items()}
    wanted = {name: list(v) if isinstance(v, tuple) else v for name, v in preset.items() if name not in of_a_run}
    assert {name: trained[name] for name in wanted} == wanted


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
        ({"num_regions": (33, 32)}, "num_regions must be 1 to 1024 regions"),
        ({"num_regions": (0, 6)}, "num_regions must be 1 to 1024 regions"),
        ({"pids_per_batch": 1}, "two identities"),
        ({"images_per_pid": 1}, "two images"),
        ({"optimizer": "adam"}, "optimizer must be one of sgd, adamw"),
        ({"schedule": "linear"}, "schedule must be one of"),
        ({"classifier": "three-layer"}, "classifier must be one of"),
        ({"region_loss_reduction": "none"}, "region_loss_reduction must be one of"),
        ({"seed": -1}, "seed"),
        ({"consistency_weight": -0.1}, "consistency_weight"),
        ({"color_jitter": -0.1}, "color_jitter"),
        ({"color_jitter": 1.0}, "color_jitter"),
        ({"color_jitter": math.nan}, "color_jitter"),
        ({"erase": -0.1}, "erase"),
        ({"erase": 1.1}, "erase"),
        ({"erase": math.nan}, "erase"),
        ({"label_smoothing": 1.1}, "label_smoothing"),
        ({"gradient_clip": 0.0}, "gradient_clip"),
        ({"memory_weight": 1.0}, "memory_weight needs a consistency_weight"),
        ({"memory_weight": -1.0, "consistency_weight": 1.0}, "memory_weight must be at least 0"),
        ({"memory_temperature": 0.0}, "memory_temperature must be above 0"),
        ({"memory_temperature": -0.1}, "memory_temperature"),
        ({"gamma": (0.5, math.nan)}, "gamma must be finite"),
        ({"gamma": (-math.inf, 1.0)}, "gamma must be finite"),
        ({"epochs": 10**400}, "epochs must be finite"),
    ],
)
def test_settings_that_cannot_be(change, message):
    with pytest.raises(ModelError, match=message):
        get_preset("small", **change)


NUMBERS = [
    item.name
    for item in fields(TrainSettings)
    if any(isinstance(getattr(preset, item.name), int | float) for preset in PRESETS.values())
    and not isinstance(getattr(PRESETS["small"], item.name), bool)
]


def test_every_number_is_finite_and_none_is_below_0():
    for name in NUMBERS:
        for value in (math.nan, math.inf, -math.inf, 10**400):
            with pytest.raises(ModelError, match=f"{name} must be finite"):
                get_preset("strong", **{name: value})
        with pytest.raises(ModelError, match=name):
            get_preset("strong", **{name: -1})


def test_all_the_numbers_are_looked_at():
    assert {"learning_rate", "trunk_learning_rate", "momentum", "weight_decay", "margin", "gradient_clip"} <= set(
        NUMBERS
    )
    assert {"region_loss_weight", "consistency_weight", "memory_weight", "memory_temperature"} <= set(NUMBERS)
    assert not {"preset", "crops", "flip", "normalize_embeddings"} & set(NUMBERS)


@pytest.mark.parametrize(
    "change",
    [
        {"consistency_weight": 20.0},
        {"color_jitter": 0.99},
        {"erase": 1.0},
        {"erase": 0.3, "flip": False},
        {"consistency_weight": 1.0, "memory_weight": 0.5, "memory_temperature": 0.1},
    ],
)
def test_augmentation_and_two_views_travel_as_json(change):
    settings = get_preset("small", **change)
    values = json.loads(json.dumps(settings.to_json()))
    assert {name: values[name] for name in change} == change
    assert TrainSettings.from_json(values) == settings


def test_settings_of_before_two_views_are_those_without():
    values = get_preset("small").to_json()
    for name in ("color_jitter", "erase", "consistency_weight", "memory_weight"):
        assert values.pop(name) == 0
    del values["memory_temperature"]
    assert TrainSettings.from_json(values) == get_preset("small")


def test_json_with_unknown_or_missing_keys():
    values = get_preset("small").to_json()
    with pytest.raises(ModelError, match="colour"):
        TrainSettings.from_json(values | {"colour": "red"})
    del values["backbone"]
    with pytest.raises(ModelError, match="backbone"):
        TrainSettings.from_json(values)


def test_settings_are_changed_by_text():
    settings = changed(get_preset("fast"), ["epochs=4", "gamma=[0.35, 0.9]", 'crops=["top", "random"]', "margin=1"])
    assert settings == get_preset("fast", epochs=4, gamma=(0.35, 0.9), crops=("top", "random"), margin=1)
    assert changed(settings, ["init=a/file.safetensors", "flip=false", "margin=null"]) == replace(
        settings, init="a/file.safetensors", flip=False, margin=None
    )
    assert changed(settings, []) == settings


@pytest.mark.parametrize(
    "assignment",
    ["epochs", "epoch=4", "epochs=four", "epochs=4.5", "epochs=true", "gamma=0.5", "gamma=[]", "flip=1", "seed=[1]",
     "crops=[1]", "gamma=[0.5, \"x\"]", "epochs=", "init=3", "gamma=[0, 1]", "epochs=0", "gamma=[0.1, 0.2, 0.3]",
     "learning_rate=NaN", "margin=Infinity", "gradient_clip=1e999", "memory_weight=1e999", "gamma=[0.5, NaN]",
     "preset=fast"],
)  # fmt: skip
def test_a_text_that_sets_nothing_is_refused(assignment):
    with pytest.raises(ModelError, match=assignment.partition("=")[0]):
        changed(get_preset("fast"), [assignment])


def test_what_may_be_nothing_can_be_set_to_nothing():
    """The paper's settings without ours: nothing clipped."""
    settings = changed(get_preset("paper"), ["gradient_clip=null", "margin=null", "embedding_dim=null"])
    assert (settings.gradient_clip, settings.margin, settings.embedding_dim) == (None, None, None)
    with pytest.raises(ModelError, match="epochs cannot be 'null'"):
        changed(get_preset("paper"), ["epochs=null"])
