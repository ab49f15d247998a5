"""The trunks: what they are for the rest of the package, and OSNet against its published feature map."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from vpmsearch.errors import ModelError
from vpmsearch.model.initial import initialise
from vpmsearch.model.trunks import BACKBONES, build_backbone

STATED = {  # channels and stride of T
    "resnet8": (256, 8),
    "resnet10": (512, 16),
    "resnet18": (512, 16),
    "resnet34": (512, 16),
    "resnet50": (2048, 16),
    "mobilenet_v3_small": (576, 16),
    "osnet": (512, 16),
}
LIGHT = ("resnet8", "resnet10", "mobilenet_v3_small", "osnet")


@pytest.mark.parametrize("name", BACKBONES)
def test_the_feature_map_has_the_stated_stride_and_channels(name):
    backbone, (channels, stride) = build_backbone(name).eval(), STATED[name]
    assert (backbone.name, backbone.channels, backbone.stride) == (name, channels, stride)
    with torch.inference_mode():
        assert backbone(torch.rand(2, 3, 64, 32)).shape == (2, channels, 64 // stride, 32 // stride)
        if name in LIGHT:
            assert backbone(torch.rand(1, 3, 96, 48)).shape == (1, channels, 96 // stride, 48 // stride)


@pytest.mark.parametrize("name", ["resnet10", "resnet50"])
def test_a_resnet_keeps_torchvisions_names_and_has_last_stride_1(name):
    trunk = build_backbone(name).trunk
    names = set(trunk.state_dict())
    assert {"conv1.weight", "bn1.running_var", "layer1.0.conv1.weight", "layer4.0.downsample.0.weight"} <= names
    assert not any(name.startswith("fc.") for name in names)
    assert all(m.stride in (1, (1, 1)) for m in trunk.layer4.modules() if isinstance(m, nn.Conv2d))
    assert any(m.stride == (2, 2) for m in trunk.layer3.modules() if isinstance(m, nn.Conv2d))


@pytest.mark.parametrize("name", ["resnet", "", "RESNET50", "resnet152"])
def test_an_unknown_backbone_is_an_error_that_names_the_known(name):
    with pytest.raises(ModelError, match="resnet50"):
        build_backbone(name)


@pytest.mark.parametrize("stages", [-1, 99])
def test_more_stages_than_there_are_cannot_be_frozen(stages):
    with pytest.raises(ModelError, match="stages"):
        build_backbone("resnet10").freeze(stages)


def state(backbone):
    return {name: tensor.clone() for name, tensor in backbone.trunk.state_dict().items()}


def train_a_step(backbone):
    """One update with a gradient for everything; the names of what changed."""
    before = state(backbone)
    trainable = [parameter for parameter in backbone.parameters() if parameter.requires_grad]
    output = backbone(torch.randn(4, 3, 64, 32, generator=torch.Generator().manual_seed(0)))
    if trainable:
        optimizer = torch.optim.SGD(trainable, lr=0.1)
        output.square().mean().backward()
        optimizer.step()
    return {name for name, tensor in state(backbone).items() if not torch.equal(tensor, before[name])}


@pytest.mark.parametrize("name", [name for name in LIGHT if name in BACKBONES])
def test_a_frozen_stage_stays_as_it_is(name):
    torch.manual_seed(0)
    backbone = build_backbone(name)
    backbone.train()
    all_names = set(backbone.trunk.state_dict())
    parameters = {name for name, _ in backbone.trunk.named_parameters()}
    previous: set[str] = set()
    for stages in range(1, backbone.num_stages + 1):
        backbone.freeze(stages)
        backbone.train()  # what a training loop does each epoch must not thaw them
        frozen = {name for name, p in backbone.trunk.named_parameters() if not p.requires_grad}
        assert previous < frozen, "each stage adds parameters"
        previous = frozen
        frozen_modules = {name.rsplit(".", 1)[0] for name in frozen}
        kept = {name for name in all_names if name.rsplit(".", 1)[0] in frozen_modules}  # statistics too
        changed = train_a_step(backbone)
        assert not changed & kept
        assert changed or kept == all_names
    assert previous == parameters, "all stages together are the whole trunk"
    assert not train_a_step(backbone)


@pytest.mark.parametrize("name", BACKBONES)
def test_freezing_follows_the_input(name):
    backbone = build_backbone(name)
    backbone.freeze(1)
    frozen = [not p.requires_grad for p in backbone.trunk.parameters()]
    assert frozen == sorted(frozen, reverse=True), "the first stage is what the image meets first"
    assert any(frozen)
    assert not all(frozen)


def test_freezing_can_be_undone():
    backbone = build_backbone("resnet10").train()
    backbone.freeze(backbone.num_stages)
    assert not any(module.training for module in backbone.trunk.modules() if isinstance(module, nn.BatchNorm2d))
    backbone.freeze(0)
    assert all(parameter.requires_grad for parameter in backbone.parameters())
    assert all(module.training for module in backbone.trunk.modules() if isinstance(module, nn.BatchNorm2d))


def test_freezing_in_evaluation_mode_does_not_start_training():
    backbone = build_backbone("resnet10").eval()
    backbone.freeze(1)
    assert not any(module.training for module in backbone.modules())


def test_osnet_gives_its_published_feature_map(data_files: Path):
    check = load_file(data_files / "osnet-lct-x1_0-check.safetensors")
    backbone = build_backbone("osnet").eval()
    initialise(backbone, "osnet")
    with torch.inference_mode():
        feature_map = backbone(check["input"].float())
    expected = check["feature_map"].float()
    assert feature_map.shape == expected.shape == (2, 512, 16, 8)
    assert expected.abs().max() > 0.1
    assert (feature_map - expected).abs().max() <= 1e-4


@pytest.mark.parametrize(("size", "map_size"), [((90, 33), (5, 2)), ((95, 63), (6, 4))])
def test_osnet_takes_other_sizes(size, map_size):
    with torch.inference_mode():
        feature_map = build_backbone("osnet").eval()(torch.rand(1, 3, *size))
    assert feature_map.shape == (1, 512, *map_size)
    assert (feature_map >= 0).all()


@pytest.mark.parametrize("stages", [1, 2, 5])
def test_frozen_stages_stay_frozen_though_their_normalisation_is_replaced(stages):
    """As `--sync-norm` does on GPUs."""
    backbone = build_backbone("resnet10")
    backbone.freeze(stages)
    nn.SyncBatchNorm.convert_sync_batchnorm(backbone)
    backbone.train()
    norms = [(name, m) for name, m in backbone.trunk.named_modules() if isinstance(m, nn.SyncBatchNorm)]
    layers = ["bn1", *(f"layer{i}" for i in range(1, 5))]
    assert len(norms) > 5
    for name, norm in norms:
        assert norm.training == (layers.index(name.split(".")[0]) >= stages)
        assert norm.weight.requires_grad == norm.training
