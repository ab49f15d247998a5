"""The paper's other systems: what differs from VPM, and that nothing else does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import oracles
import pytest
import torch

from vpmsearch.data.datasets import LabelledImage
from vpmsearch.errors import ModelError
from vpmsearch.model.baselines import Stripes
from vpmsearch.model.vpm import VpmOutput
from vpmsearch.model.weights import read_weights
from vpmsearch.training.losses import vpm_loss
from vpmsearch.training.presets import PRESETS, get_preset
from vpmsearch.training.systems import SYSTEMS, with_system
from vpmsearch.training.trainer import Trainer


@pytest.mark.parametrize("preset", sorted(set(PRESETS) - {"strong"}))
@pytest.mark.parametrize("name", SYSTEMS)
def test_only_what_the_system_is_about_changes(preset, name):
    before, after = get_preset(preset).to_json(), with_system(get_preset(preset), name).to_json()
    changed = {key for key in before if before[key] != after[key]}
    assert changed <= set(SYSTEMS[name])
    assert all(after[key] == value for key, value in SYSTEMS[name].items())


def test_checkpoints_from_before_these_settings_go_on():
    """A run's identity names them only where they change something."""
    systems = {"architecture", "triplet_weight", "identity_visibility", "triplet_visibility"}
    later = {"box_jitter", "degrade", "grey", "cuts", "whole_share", "domains", "across_cameras", "teacher", "bfloat16"}
    later |= {"occlude", "second_look", "style_mixing", "class_means", "occluder_class", "locator_learning_rate"}
    new = {*systems, *later, "detach_locator", "epochs", "steps"}
    plain = get_preset("fast")
    assert set(plain.to_json()) - set(plain.identity()) == new
    assert all(plain.identity()[key] == value for key, value in plain.to_json().items() if key not in new)
    assert set(with_system(plain, "pcb").identity()) & new == systems - {"triplet_weight"}
    assert set(get_preset("fast", detach_locator=True).identity()) & new == {"detach_locator"}
    assert with_system(plain, "mvpm-2").identity() != with_system(plain, "mvpm-3").identity() != plain.identity()


def test_a_system_that_is_none():
    with pytest.raises(ModelError, match="unknown system 'mvpm-1'"):
        with_system(get_preset("small"), "mvpm-1")


@pytest.mark.parametrize("change", [{}, {"region_loss_weight": 0.0}, {"identity_visibility": False}])
def test_stripes_that_would_learn_a_locator_are_refused(change):
    with pytest.raises(ModelError, match="stripes need"):
        get_preset("small", architecture="stripes", **change)


@pytest.fixture
def batch():
    """B 6, p 4, T 3 × 2, d 5, K 3."""
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(6, 4, 3, 2, generator=generator)
    probabilities = torch.softmax(maps, dim=1)
    output = VpmOutput(
        maps, maps, probabilities, probabilities.mean(dim=(2, 3)), torch.randn(6, 4, 5, generator=generator)
    )
    labels = torch.randint(0, 4, (6, 3, 2), generator=generator)
    visible = torch.rand(6, 4, generator=generator) < 0.6
    return output, torch.randn(6, 4, 3, generator=generator), labels, visible, torch.tensor([0, 0, 1, 1, 2, 2])


@pytest.mark.parametrize("name", ["vpm", "no-triplet", "mvpm-2", "mvpm-3", "mvpm-4", "pcb"])
def test_losses_are_the_definitions(batch, name):
    settings = with_system(get_preset("paper"), name)
    output, logits, labels, visible, targets = batch
    terms = vpm_loss(output, logits, labels, visible, targets, settings)
    every = torch.ones_like(visible)
    in_id = every if name in ("mvpm-3", "mvpm-4", "pcb") else visible
    in_triplet = every if name in ("mvpm-2", "mvpm-4", "pcb") else visible
    identity = oracles.visible_identity_loss(logits.numpy(), targets, in_id)
    triplet = oracles.region_selective_triplet_loss(
        output.embeddings.numpy(), targets.tolist(), in_triplet.tolist(), settings.margin
    )
    region = 0 if name == "pcb" else oracles.region_label_loss(output.locator_logits.numpy(), labels, "mean")
    expected = region + identity + (0 if name == "no-triplet" else triplet)
    assert triplet > 0
    assert terms.total.item() == pytest.approx(expected, rel=1e-5)
    assert terms.region.item() == pytest.approx(region, rel=1e-5)


@pytest.mark.parametrize("name", ["baseline", "pcb"])
def test_a_ruler_trains_and_comes_back_from_its_file(tmp_path: Path, name):
    from PIL import Image

    images = []
    for pid in range(4):
        for shot in range(2):
            path = tmp_path / f"{pid}-{shot}.png"
            noise = np.random.default_rng(pid).integers(0, 255, (64, 32, 3), dtype=np.uint8)
            Image.fromarray(noise).save(path)
            images.append(LabelledImage(path, pid, shot))
    small = get_preset("small", epochs=1, pids_per_batch=4, images_per_pid=2, embedding_dim=8)
    trainer = Trainer(
        with_system(small, name), images, dataset="noise", output=tmp_path / "w.safetensors", device=torch.device("cpu")
    )
    before = {key: value.clone() for key, value in trainer.model.state_dict().items()}
    rows = []
    loaded = read_weights(trainer.run(on_step=rows.append))
    assert [row.loss_region for row in rows] == [0]
    assert rows[0].loss_triplet > 0
    assert loaded.config.architecture == "stripes"
    assert loaded.config.name.startswith("stripes-")
    model = loaded.model
    assert isinstance(model, Stripes)
    assert model.grid == SYSTEMS[name]["num_regions"]
    after = model.state_dict()
    assert not any(key.startswith("locator") for key in after)
    assert not torch.equal(after["reduction.0.weight"], before["reduction.0.weight"])
    with torch.no_grad():
        seen = model(torch.randn(2, 3, 64, 32))
    assert set(seen.probabilities.unique().tolist()) <= {0.0, 1.0}
    assert torch.isfinite(seen.embeddings).all()
