"""Training for a second look: the last cut of each image keeps its own height, with labels to match."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_runs import run, trainer
from tiny_settings import TINY

from vpmsearch.data.training_set import IGNORED, CropSettings, TrainingSet
from vpmsearch.errors import ModelError
from vpmsearch.model.vpm import Vpm
from vpmsearch.model.weights import read_weights
from vpmsearch.training.learning import LearningPart
from vpmsearch.training.step import joined
from vpmsearch.training.trainer import Trainer

LOOK = replace(
    TINY, epochs=1, consistency_weight=1.0, memory_weight=0.5, cuts=2, average_decay=0.8, teacher=True,
    second_look=True, gamma=(0.4, 0.8), whole_share=0.3, crops=("bilateral", "random"),
)  # fmt: skip
CROPS = CropSettings(
    (64, 32), (16, 8), (6, 1), ("bilateral", "random"), (0.4, 0.8), True, True, cuts=2, second_look=True
)

pytestmark = pytest.mark.usefixtures("tiny")


@pytest.mark.parametrize("change", [{}, {"occlude": 1.0, "occluder_class": True}, {"erase": 0.5, "box_jitter": 0.1}])
def test_a_run_ends_and_its_weights_take_the_second_look(drawn_images, tmp_path, change):
    ended = trainer(replace(LOOK, **change), drawn_images, tmp_path)
    rows = run(ended)
    assert np.isfinite([[row.loss, row.loss_region, row.loss_id, row.loss_consistency] for row in rows]).all()
    config = read_weights(ended.files.weights).config
    assert config.second_look
    assert config.training["second_look"] is True


def test_the_last_cut_of_each_image_is_low(drawn_images):
    images = TrainingSet(drawn_images, CROPS)
    heights = set()
    for seed in range(12):
        batch = images.batch(np.arange(3), (seed, 0))
        assert batch.pixels.shape == (6, 3, 64, 32)
        rows = batch.low.shape[2] // 4
        heights.add(rows)
        assert batch.low.shape == (3, 3, 4 * rows, 32)
        assert batch.labels.shape == (9, 16, 8)
        assert (batch.labels[6:, rows:] == IGNORED).all()
        assert (batch.labels[:6] >= 0).all()
        assert (batch.labels[6:, :rows] >= 0).all()
        for labels, visible in zip(batch.labels[6:, :rows], batch.visible[6:], strict=True):
            shown = np.unique(labels)
            assert np.flatnonzero(visible).tolist() == shown.tolist()
            # The cut has the height that these rows have on a person of 16, up to half a row.
            assert abs(len(shown) - rows * 6 / 16) <= 1.5
        np.testing.assert_array_equal(batch.targets, np.tile(images.targets[:3], 3))
    assert heights <= set(range(6, 14))
    assert len(heights) > 3


@pytest.mark.parametrize(
    ("gamma", "expected"), [((0.98, 1.0), 15), ((0.97, 0.97), 15), ((0.01, 0.02), 1), ((0.5, 0.5), 8)]
)
def test_gammas_near_nothing_and_near_the_whole_image_have_low_images(drawn_images, gamma, expected):
    batch = TrainingSet(drawn_images, replace(CROPS, gamma=gamma)).batch(np.arange(2), (0, 0))
    assert batch.low.shape == (2, 3, 4 * expected, 32)


def test_low_images_are_not_compiled(drawn_images, tmp_path, monkeypatch):
    """They have many heights, and torch compiles each shape anew."""
    shapes = []
    monkeypatch.setattr(
        torch, "compile", lambda model, **options: lambda images: shapes.append(images.shape) or model(images)
    )
    output, cpu = tmp_path / "vpm.safetensors", torch.device("cpu")
    rows = run(Trainer(LOOK, drawn_images, dataset="drawn", output=output, device=cpu, workers=0, compiled=True))
    assert np.isfinite([row.loss for row in rows]).all()
    assert len(shapes) == len(rows)
    assert set(shapes) == {(2 * LOOK.pids_per_batch * LOOK.images_per_pid, 3, 64, 32)}


def test_without_it_a_batch_is_as_before(drawn_images):
    batch = TrainingSet(drawn_images, replace(CROPS, second_look=False)).batch(np.arange(3), (0, 0))
    assert batch.low is None
    assert batch.pixels.shape[0] == batch.labels.shape[0] == 9


def test_low_images_have_their_part_in_the_region_loss():
    """Rows that a low image lacks add nothing, whatever the logits there are."""
    torch.manual_seed(0)
    model = Vpm("resnet8", (3, 1), 8)
    images, low = torch.randn(2, 3, 64, 32), torch.randn(1, 3, 32, 32)
    first, second = model(images), model(low)
    both = joined([first, second])
    rows = second.locator_logits.shape[2]
    torch.testing.assert_close(both.embeddings, torch.cat([first.embeddings, second.embeddings]))
    torch.testing.assert_close(both.locator_logits[2:, :, :rows], second.locator_logits)
    assert (both.locator_logits[2:, :, rows:] == 0).all()


def test_gradients_of_two_heights_add_up():
    torch.manual_seed(0)
    model = Vpm("osnet", num_regions=(2, 1), embedding_dim=8)
    model.backbone.freeze(3)
    features = [model.backbone.frozen_part(torch.randn(3, 3, height, 32)) for height in (64, 32)]
    model.zero_grad()
    sum(model.backbone.learning_part(each).square().mean() for each in features).backward()
    learning = {name: one for name, one in model.backbone.named_parameters() if one.requires_grad}
    expected = {name: one.grad.clone() for name, one in learning.items()}
    model.zero_grad()
    part = LearningPart(model.backbone, half=False, threads=2)
    sum(part.forward(each).square().mean() for each in features).backward()
    part.backward()
    for name, one in learning.items():
        torch.testing.assert_close(one.grad, expected[name], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cuts": 1}, "second_look needs at least two cuts"),
        ({"gamma": (1.0, 1.0)}, "second_look needs cuts with a gamma below 1"),
        ({"architecture": "stripes", "region_loss_weight": 0.0}, "stripes takes no second_look"),
    ],
)
def test_settings_that_do_not_fit(change, message):
    with pytest.raises(ModelError, match=message):
        replace(LOOK, **change)
