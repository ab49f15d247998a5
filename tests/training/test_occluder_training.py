"""Training with occluders and a class for them: both are learned, a run resumes, and one from before is continued."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny_runs import run, trainer
from tiny_settings import TINY

from vpmsearch.errors import ModelError
from vpmsearch.model.weights import read_weights
from vpmsearch.training.presets import PRESETS, get_preset

VIEWS = {"consistency_weight": 1.0, "memory_weight": 0.5, "cuts": 2, "average_decay": 0.8, "teacher": True}
PLAIN = replace(TINY, whole_share=0.3, box_jitter=0.1, epochs=2, **VIEWS)
BOTH = replace(PLAIN, occlude=0.5, occluder_class=True, locator_learning_rate=5e-3)

pytestmark = pytest.mark.usefixtures("tiny")


@pytest.mark.parametrize("change", [{"occluder_class": False}, {}, {"detach_locator": True, "occlude": 1.0}])
def test_the_settings_run_together(drawn_images, tmp_path, change):
    ended = trainer(replace(BOTH, epochs=1, **change), drawn_images, tmp_path)
    rows = run(ended)
    assert np.isfinite([[row.loss, row.loss_region, row.loss_id, row.loss_triplet] for row in rows]).all()
    crops = ended.data.settings
    assert (crops.occlude, crops.occluder_class) == (ended.settings.occlude, ended.settings.occluder_class)
    config = read_weights(ended.files.weights).config
    assert config.occluder_class == ended.settings.occluder_class
    assert config.training["occlude"] == ended.settings.occlude


def test_a_step_changes_the_class(drawn_images, tmp_path):
    ended = trainer(replace(BOTH, epochs=1, occlude=1.0), drawn_images, tmp_path)
    before = ended.model.locator.weight.detach().clone()
    run(ended)
    assert (ended.model.locator.weight[-1] != before[-1]).any()
    assert ended.model.locator.bias[-1] != 0


def test_the_locator_may_learn_at_a_rate_of_its_own(drawn_images, tmp_path):
    """Every parameter that learns is in one group."""
    for rate, rates in ((0.0, [2e-3, 1e-4]), (0.01, [2e-3, 1e-4, 0.01])):
        settings = replace(BOTH, learning_rate=2e-3, trunk_learning_rate=1e-4, locator_learning_rate=rate)
        built = trainer(settings, drawn_images, tmp_path)
        groups = built.optimizer.param_groups
        assert [group["base_lr"] for group in groups] == rates
        assert any(each is built.model.locator.bias for each in groups[2 if rate else 0]["params"])
        held = [id(each) for group in groups for each in group["params"]]
        learning = [*built.model.parameters(), *built.classifiers.parameters()]
        assert sorted(held) == sorted(id(each) for each in learning if each.requires_grad)


def test_a_stopped_run_goes_on_as_if_it_never_stopped(drawn_images, tmp_path):
    unbroken = trainer(BOTH, drawn_images, tmp_path, "unbroken")
    rows = run(unbroken)

    def stop(row):
        if row.epoch == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trainer(BOTH, drawn_images, tmp_path).run(on_step=stop)
    again = trainer(BOTH, drawn_images, tmp_path)
    assert run(again, resume=True) == [row for row in rows if row.epoch == 1]
    ours, theirs = (load_file(each.files.weights) for each in (again, unbroken))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_a_run_of_before_goes_on_with_the_settings_off(drawn_images, tmp_path):
    identity = PLAIN.identity()
    assert not {"occlude", "occluder_class", "locator_learning_rate"} & set(identity)
    assert {"occlude", "occluder_class", "locator_learning_rate"} <= set(BOTH.identity())
    assert {each.preset for each in PRESETS.values() if each.occlude or each.occluder_class} == {"anywhere"}


def test_a_run_without_the_class_is_gone_on_with(drawn_images, tmp_path):
    """Its model sees what it saw, and its identity classifiers are kept."""
    first = trainer(replace(PLAIN, epochs=1), drawn_images, tmp_path, "first")
    run(first)
    second = trainer(replace(BOTH, init=str(first.files.checkpoint)), drawn_images, tmp_path)
    assert second.kept_classifiers
    kept, old = second.classifiers.state_dict(), first.classifiers.state_dict()
    assert all(torch.equal(kept[name], old[name]) for name in old)
    images = torch.rand(4, 3, 64, 32, generator=torch.Generator().manual_seed(1))
    for ours in (second.model, second.result):
        with torch.no_grad():
            found, expected = ours.eval()(images), first.result.eval()(images)
        torch.testing.assert_close(found.visibility, expected.visibility, rtol=0, atol=1e-3)
        torch.testing.assert_close(found.embeddings, expected.embeddings, rtol=1e-3, atol=1e-3)
    run(second)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"occlude": -0.1}, "occlude"),
        ({"occlude": 1.1}, r"occlude must be in \[0, 1\]"),
        (
            {
                "architecture": "stripes",
                "region_loss_weight": 0.0,
                "identity_visibility": False,
                "triplet_visibility": False,
                "occluder_class": True,
            },
            "stripes have no occluder_class",
        ),
    ],
)
def test_settings_that_cannot_be(change, message):
    with pytest.raises(ModelError, match=message):
        get_preset("small", **change)
