"""Frozen and learning stages of a trunk run apart: what they give, and their gradients, are those of the whole."""

from __future__ import annotations

import pytest
import torch

from vpmsearch.errors import ModelError, TrainingError
from vpmsearch.model.trunks import build_backbone
from vpmsearch.model.vpm import Vpm
from vpmsearch.training.frozen import FrozenPart
from vpmsearch.training.learning import LearningPart

SIZE = (64, 32)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    model = Vpm("osnet", num_regions=(2, 1), embedding_dim=8)
    model.backbone.freeze(2)
    return model.train()


@pytest.fixture(scope="module")
def images():
    return torch.randn(11, 3, *SIZE, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("stages", [1, 2, 3, 4])
def test_both_parts_are_the_trunk(images, stages):
    backbone = build_backbone("osnet")
    backbone.freeze(stages)
    with torch.no_grad():
        found = backbone.learning_part(backbone.frozen_part(images[:2]))
        assert torch.equal(found, backbone(images[:2]))


@pytest.mark.parametrize(("name", "stages"), [("osnet", 0), ("resnet8", 2)])
def test_a_trunk_that_does_not_split(images, name, stages):
    backbone = build_backbone(name)
    backbone.freeze(stages)
    assert not backbone.splits
    with pytest.raises(ModelError, match=f"{name} with {stages} frozen stages does not split"):
        backbone.frozen_part(images)


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("runtime", ["torch", pytest.param("openvino", marks=pytest.mark.slow)])
def test_the_frozen_part(model, images, runtime, half):
    """11 images: a chunk and a part of one."""
    if runtime == "openvino":
        pytest.importorskip("openvino")
    found = FrozenPart(model.backbone, runtime, SIZE, half=half)(images)
    with torch.no_grad():
        expected = model.backbone.frozen_part(images)
    assert not found.requires_grad
    tolerance = 0.05 if half else 1e-4
    assert (found.float() - expected).norm() <= tolerance * expected.norm()


def test_without_openvino(model, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "openvino", None)
    with pytest.raises(TrainingError, match="pip install 'vpmsearch\\[openvino\\]'"):
        FrozenPart(model.backbone, "openvino", SIZE, half=True)


@pytest.mark.parametrize(("threads", "half"), [(1, False), (2, False), (2, True)])
def test_gradients_of_threads_are_those_of_the_batch(model, images, threads, half):
    features = FrozenPart(model.backbone, "torch", SIZE, half=False)(images)

    towards = torch.randn(2, 8, generator=torch.Generator().manual_seed(2))

    def loss(feature_map):
        output = model.see_regions(feature_map)
        return (output.embeddings * towards).sum() + output.visibility.square().sum()

    learning = {name: p for name, p in model.named_parameters() if p.requires_grad}
    model.zero_grad()
    loss(model.backbone.learning_part(features)).backward()
    expected = {name: p.grad.clone() for name, p in learning.items()}
    model.zero_grad()
    part = LearningPart(model.backbone, half=half, threads=threads)
    loss(part.forward(features)).backward()
    part.backward()
    assert all(parameter.grad.dtype == torch.float32 for parameter in learning.values())
    found, wanted = (
        torch.cat([each.flatten() for each in grads])
        for grads in ([parameter.grad for parameter in learning.values()], expected.values())
    )
    assert (found - wanted).norm() <= (0.2 if half else 1e-4) * wanted.norm()
    of_another = part.of_another(model.backbone, features)
    torch.testing.assert_close(
        of_another, model.backbone.learning_part(features), rtol=0.1, atol=0.02 if half else 1e-5
    )
