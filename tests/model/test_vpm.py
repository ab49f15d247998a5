"""The model: its output against Eq. 1-3, for grids and embedding sizes."""

from __future__ import annotations

import numpy as np
import oracles
import pytest
import torch
from tiny_trunk import tiny_backbone
from torch import nn

from vpmsearch.errors import ModelError
from vpmsearch.model.trunks import build_backbone
from vpmsearch.model.vpm import Vpm


def images(batch=2, height=64, width=32):
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(1))


def settled(model):
    """In evaluation mode, with statistics and a locator that are not those of a fresh model."""
    generator = torch.Generator().manual_seed(2)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.copy_(torch.randn(module.num_features, generator=generator))
            module.running_var.copy_(torch.rand(module.num_features, generator=generator) + 0.5)
            nn.init.uniform_(module.weight, 0.5, 2, generator=generator)
            nn.init.normal_(module.bias, generator=generator)
    nn.init.normal_(model.locator.weight, generator=generator)
    return model.eval()


@pytest.mark.parametrize("grid", [(6, 1), (3, 2), (1, 1), (4, 3)])
@pytest.mark.parametrize("embedding_dim", [None, 5])
def test_output_is_that_of_the_equations(grid, embedding_dim):
    torch.manual_seed(0)
    model, p = settled(Vpm(tiny_backbone(), grid, embedding_dim)), grid[0] * grid[1]
    assert model.num_regions == p
    with torch.inference_mode():
        output = model(images())
        expected_map = model.backbone(images())
    assert torch.equal(output.feature_map, expected_map)
    assert output.locator_logits.shape == (2, p, 4, 2)
    assert output.visibility.shape == (2, p)
    assert output.embeddings.shape == (2, p, embedding_dim or 12) == (2, p, model.embedding_dim)
    feature_map, logits = output.feature_map.double().numpy(), output.locator_logits.double().numpy()
    weight = model.locator.weight.detach().double().numpy()[:, :, 0, 0]  # (p, c, 1, 1) -> (p, c)
    np.testing.assert_allclose(logits, np.einsum("pc,bchw->bphw", weight, feature_map), rtol=1e-4, atol=1e-5)
    probabilities = oracles.region_probabilities(logits)
    np.testing.assert_allclose(output.probabilities, probabilities, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(output.visibility, oracles.region_visibility(probabilities) / 8, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(output.visibility.sum(dim=1), 1, rtol=1e-6)
    pooled = oracles.region_embeddings(feature_map, probabilities)
    expected = pooled if embedding_dim is None else reduced(model, pooled)
    np.testing.assert_allclose(output.embeddings, expected, rtol=1e-4, atol=1e-5)


def reduced(model, pooled):
    """The learned reduction applied after pooling: linear, so it must not matter where it stands. (B, p, c) -> d."""
    convolution, norm = model.reduction
    weight = convolution.weight.detach().double().numpy()[:, :, 0, 0]
    scale = norm.weight.detach().double().numpy() / np.sqrt(norm.running_var.double().numpy() + norm.eps)
    return (pooled @ weight.T - norm.running_mean.double().numpy()) * scale + norm.bias.detach().double().numpy()


@pytest.mark.parametrize("embedding_dim", [None, 7])
def test_normalised_embeddings_have_length_1(embedding_dim):
    torch.manual_seed(0)
    plain = settled(Vpm(tiny_backbone(), (3, 1), embedding_dim))
    normalised = Vpm(tiny_backbone(), (3, 1), embedding_dim, normalize_embeddings=True).eval()
    normalised.load_state_dict(plain.state_dict())
    with torch.inference_mode():
        output, expected = normalised(images()), plain(images()).embeddings
    torch.testing.assert_close(output.embeddings.norm(dim=2), torch.ones(2, 3))
    torch.testing.assert_close(output.embeddings, expected / expected.norm(dim=2, keepdim=True))


def test_a_named_backbone_with_gradients_everywhere():
    torch.manual_seed(0)
    model = Vpm("resnet10", num_regions=(6, 1), embedding_dim=16)
    output = model(images())
    assert output.feature_map.shape == (2, 512, 4, 2)
    assert output.embeddings.shape == (2, 6, 16)
    (output.embeddings.square().sum() + output.locator_logits.square().sum()).backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in model.parameters())


@pytest.mark.parametrize("embedding_dim", [None, 4])
def test_a_detached_locator_learns_from_its_labels_alone(embedding_dim):
    """The output is the same; what is asked of embeddings moves the trunk and not the locator."""
    model = settled(Vpm(tiny_backbone(), 3, embedding_dim))
    before = model(images())
    model.detach_locator = True
    output = model(images())
    torch.testing.assert_close(output.embeddings, before.embeddings, rtol=0, atol=0)
    output.embeddings.square().sum().backward()
    assert model.locator.weight.grad is None
    assert all(parameter.grad is not None for parameter in model.backbone.parameters())
    before.embeddings.square().sum().backward()  # without the setting Eq. 3 leads back to it
    assert model.locator.weight.grad.abs().max() > 0
    model.locator.weight.grad = None
    model(images()).locator_logits.square().sum().backward()
    assert model.locator.weight.grad.abs().max() > 0


def test_defaults_are_the_papers():
    model = Vpm("resnet10")
    assert (model.grid, model.num_regions, model.embedding_dim) == ((6, 1), 6, 512)
    assert model.locator.bias is None, "Eq. 1 has no bias"
    assert Vpm(build_backbone("resnet10"), 4).grid == (4, 1)


def test_frozen_stages_stay_frozen_in_the_model():
    model = Vpm("resnet10")
    model.backbone.freeze(2)
    model.train()
    assert not model.backbone.trunk.layer1.training
    assert model.backbone.trunk.layer2.training


def test_one_image_is_as_in_a_batch():
    model = settled(Vpm(tiny_backbone(), (3, 2), 4))
    with torch.inference_mode():
        together, alone = model(images()), model(images()[1:])
    torch.testing.assert_close(alone.embeddings[0], together.embeddings[1], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(alone.visibility[0], together.visibility[1], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"backbone": "resnet9"}, "unknown backbone"),
        ({"num_regions": (0, 1)}, "num_regions"),
        ({"num_regions": (6, -1)}, "num_regions"),
        ({"num_regions": 0}, "num_regions"),
        ({"embedding_dim": 0}, "embedding_dim"),
    ],
)
def test_impossible_models(arguments, message):
    with pytest.raises(ModelError, match=message):
        Vpm(**({"backbone": tiny_backbone()} | arguments))
