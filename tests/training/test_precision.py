"""bfloat16 only where a device computes it by itself: without, a step would take 10 to 50 times as long."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tiny_runs import run, trainer

import vpmsearch.training.trainer as trainer_module
from vpmsearch.training.precision import has_bfloat16
from vpmsearch.training.presets import get_preset

SPLIT = get_preset(
    "fast", init="random", input_size=(64, 32), num_regions=(2, 1), embedding_dim=8, freeze_stages=2, steps=1,
    pids_per_batch=2, images_per_pid=2, warmup_steps=0, bfloat16=True,
)  # fmt: skip
WHOLE = replace(SPLIT, backbone="resnet8", freeze_stages=0)


def test_a_gpu_has_it_and_a_cpu_what_onednn_says():
    assert has_bfloat16(torch.device("cuda"))
    if torch.backends.mkldnn.is_available():
        assert has_bfloat16(torch.device("cpu")) == torch.ops.mkldnn._is_mkldnn_bf16_supported()


def test_a_torch_without_onednn_has_it_on_no_cpu(monkeypatch):
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)  # such a build has no operator of the name
    assert not has_bfloat16(torch.device("cpu"))


@pytest.mark.parametrize("there", [False, True])
@pytest.mark.parametrize("settings", [SPLIT, WHOLE], ids=["split", "whole"])
def test_the_trunk_computes_in_what_the_device_has(settings, there, drawn_images, tmp_path, monkeypatch):
    monkeypatch.setattr(trainer_module, "has_bfloat16", lambda device: there)
    began = trainer(settings, drawn_images, tmp_path)
    assert began.half_precision == there
    kinds = set()
    layers = [module for module in began.model.backbone.modules() if isinstance(module, torch.nn.Conv2d)]
    for layer in (layers[0], layers[-1]):  # of a frozen and of a learning stage
        layer.register_forward_hook(lambda module, given, found: kinds.add(found.dtype))
    run(began)
    assert kinds == {torch.bfloat16 if there else torch.float32}
