"""The moving average of the weights against a loop in float64, and that it is what a run writes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vpmsearch.errors import ModelError
from vpmsearch.model.weights import read_weights
from vpmsearch.training.average import WeightAverage
from vpmsearch.training.presets import get_preset
from vpmsearch.training.trainer import Trainer


def oracle(history, decay):
    """One number followed through its values after each step; the first is taken as it is."""
    average = history[0]
    for n, value in enumerate(history[1:], start=1):
        kept = min(decay, (1 + n) / (10 + n))
        average = kept * average + (1 - kept) * value
    return average


@given(st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=40), st.floats(0.01, 0.999))
def test_a_number_is_followed(history, decay):
    model = torch.nn.Linear(1, 1, bias=False)
    average = WeightAverage(model, decay)
    for value in history:
        torch.nn.init.constant_(model.weight, value)
        average.update_parameters(model)
    assert average.module.weight.item() == pytest.approx(oracle(history, decay), rel=1e-4, abs=1e-4)


def test_statistics_are_averaged_and_counts_are_taken_over():
    model = torch.nn.BatchNorm1d(2)
    average = WeightAverage(model, 0.9)
    means = []
    for step in range(7):
        model.train()(torch.full((4, 2), float(step)) + torch.arange(4)[:, None])
        means.append(model.running_mean[0].item())
        average.update_parameters(model)
    assert average.module.num_batches_tracked == 7
    assert average.module.running_mean[0].item() == pytest.approx(oracle(means, 0.9), rel=1e-5)


def test_it_learns_nothing_itself():
    assert not any(parameter.requires_grad for parameter in WeightAverage(torch.nn.Linear(2, 2), 0.5).parameters())


@pytest.mark.usefixtures("tiny")
def test_a_run_writes_and_measures_the_average(drawn_images, tmp_path):
    settings = get_preset(
        "small", backbone="tiny", num_regions=(3, 1), epochs=2, pids_per_batch=3, images_per_pid=2, warmup_steps=0
    )
    settings = replace(settings, embedding_dim=16, average_decay=0.7)
    run = Trainer(
        settings,
        drawn_images,
        dataset="drawn",
        output=tmp_path / "vpm.safetensors",
        device=torch.device("cpu"),
        workers=0,
    )
    history = []
    measured = []

    def on_step(row):
        history.append({name: value.double().numpy().copy() for name, value in run.model.state_dict().items()})

    run.run(on_step=on_step, on_epoch=lambda epoch, model: measured.append(model))
    written = read_weights(tmp_path / "vpm.safetensors").model.state_dict()
    changed = 0
    for name, value in written.items():
        if not value.is_floating_point():
            continue
        expected = oracle([step[name] for step in history], 0.7)
        np.testing.assert_allclose(value.double(), expected, rtol=1e-4, atol=1e-6, err_msg=name)
        changed += not np.allclose(value, history[-1][name], rtol=1e-4, atol=1e-6)
    assert changed > 3, "the average is not just the last step"
    assert all(not model.training for model in measured)
    assert measured[-1] is run.average.module


@pytest.mark.parametrize("decay", [1.0, 1.5, float("nan"), -0.1])
def test_decays_that_cannot_be(decay):
    with pytest.raises(ModelError, match="average_decay"):
        get_preset("small", average_decay=decay)
