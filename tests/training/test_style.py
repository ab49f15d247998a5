"""Mixed styles against loops over images and channels in float64."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_runs import run, trainer

import vpmsearch.training.trainer as trainer_module
from vpmsearch.errors import TrainingError
from vpmsearch.training.presets import get_preset
from vpmsearch.training.style import mixed_styles
from vpmsearch.training.trainer import Trainer


def drawn(shape, seed=0, dtype=torch.float32):
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.gamma(1.0, 2.0, shape)).to(dtype)


def spread_of(channel):
    return np.sqrt(np.mean((channel - channel.mean()) ** 2) + 1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("shape", [(2, 1, 1, 1), (5, 3, 4, 2), (16, 7, 1, 3)])
def test_each_image_has_a_style_between_its_own_and_one_other(shape, dtype):
    features = drawn(shape, dtype=dtype)
    torch.manual_seed(3)
    mixed = mixed_styles(features, 1.0)
    torch.manual_seed(3)  # what is drawn, in this order: shares, who is changed, whose style
    own = torch.distributions.Beta(0.1, 0.1).sample((shape[0],)).double().numpy()
    torch.rand(shape[0])
    other = torch.randperm(shape[0]).numpy()
    assert (mixed.shape, mixed.dtype) == (features.shape, dtype)
    plain = features.double().numpy()
    for image in range(shape[0]):
        for channel in range(shape[1]):
            a, b = plain[image, channel], plain[other[image], channel]
            mean = own[image] * a.mean() + (1 - own[image]) * b.mean()
            spread = own[image] * spread_of(a) + (1 - own[image]) * spread_of(b)
            expected = (a - a.mean()) / spread_of(a) * spread + mean
            tolerance = 0.05 if dtype == torch.bfloat16 else 1e-4
            np.testing.assert_allclose(mixed[image, channel].double().numpy(), expected, rtol=tolerance, atol=tolerance)


@given(st.integers(0, 6), st.floats(0, 1), st.integers(0, 2**20))
@settings(max_examples=40, deadline=None)
def test_only_some_images_are_changed(count, share, seed):
    features = drawn((count, 3, 2, 2), seed)
    torch.manual_seed(seed)
    mixed = mixed_styles(features, share)
    assert mixed.shape == features.shape
    assert torch.isfinite(mixed).all()
    if share == 0 or count < 2:
        assert torch.equal(mixed, features)


def test_about_the_share_is_changed():
    features = drawn((4000, 2, 2, 2))
    torch.manual_seed(0)
    changed = (mixed_styles(features, 0.3) != features).flatten(1).any(dim=1).double().mean()
    assert 0.25 < changed < 0.33  # of the shares of Beta(0.1, 0.1) some are 1 to float's precision


def test_the_gradient_passes_and_the_statistics_get_none():
    features = drawn((4, 2, 3, 2)).requires_grad_()
    torch.manual_seed(1)
    mixed_styles(features, 1.0).sum().backward()
    gradient = features.grad
    # f · factor + constant: so every pixel of a channel has one gradient.
    assert torch.equal(gradient, gradient[:, :, :1, :1].expand_as(gradient))
    assert (gradient > 0).all()


# ---------------------------------------------------------------------------------------------------- in a run

SETTINGS = get_preset(
    "fast", init="random", input_size=(64, 32), num_regions=(2, 1), embedding_dim=8, freeze_stages=2, epochs=1, steps=3,
    pids_per_batch=2, images_per_pid=2, warmup_steps=0, style_mixing=1.0,
)  # fmt: skip


def test_styles_are_mixed_wherever_the_frozen_stages_run(drawn_images, tmp_path, monkeypatch):
    monkeypatch.setattr(trainer_module, "has_bfloat16", lambda device: False)  # so that both ways compute in float32
    losses = {}
    for name, change in {"whole": {}, "apart": {"bfloat16": True}, "plain": {"style_mixing": 0.0}}.items():
        began = trainer(replace(SETTINGS, **change), drawn_images, tmp_path, name)
        assert (began._frozen is not None) == (name == "apart")
        losses[name] = [row.loss for row in run(began)]
    assert losses["apart"] == pytest.approx(losses["whole"], rel=1e-3)
    assert abs(losses["plain"][0] - losses["whole"][0]) > 0.01


def test_a_compiled_model_mixes_no_styles(drawn_images, tmp_path):
    output = tmp_path / "vpm.safetensors"
    with pytest.raises(TrainingError, match="--compile"):
        Trainer(SETTINGS, drawn_images, dataset="drawn", output=output, device=torch.device("cpu"), compiled=True)


def test_a_run_that_goes_on_within_an_epoch_mixes_the_same_styles(drawn_images, tmp_path, monkeypatch):
    monkeypatch.setattr(trainer_module, "CHECKPOINT_SECONDS", 0.0)
    unbroken = run(trainer(SETTINGS, drawn_images, tmp_path, "unbroken"))

    def stop(row):
        if row.step == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trainer(SETTINGS, drawn_images, tmp_path, "parts").run(on_step=stop)
    assert run(trainer(SETTINGS, drawn_images, tmp_path, "parts"), resume=True) == unbroken[2:]
