"""Where a trunk starts from. Nothing here touches the network."""

from __future__ import annotations

import urllib.error

import pytest
import torch
import torchvision.models
from safetensors.torch import load_file, save_file

from vpmsearch.errors import ModelError, WeightsError
from vpmsearch.models.backbones import build_backbone
from vpmsearch.models.initial import IMAGENET, OSNET, OSNET_TRUNK, initialise, normalisation
from vpmsearch.models.vpm import Vpm
from vpmsearch.models.weights import WeightsConfig, save_weights

NAME = "tiny"
DOWNLOADED = "mobilenet_v3_small"

pytestmark = pytest.mark.usefixtures("tiny")


@pytest.fixture(scope="module")
def trained(tiny):
    """A trunk that no fresh one equals, and its state."""
    torch.manual_seed(7)
    return build_backbone(NAME).trunk.state_dict()


def assert_filled(backbone, expected):
    actual = backbone.trunk.state_dict()
    assert all(torch.equal(actual[name], expected[name]) for name in actual)


def test_random_leaves_the_trunk_as_built():
    backbone = build_backbone(NAME)
    before = {name: tensor.clone() for name, tensor in backbone.trunk.state_dict().items()}
    initialise(backbone, "random")
    assert_filled(backbone, before)


def test_osnet_starts_from_the_package():
    backbone = build_backbone("osnet")
    initialise(backbone, "osnet")
    assert_filled(backbone, {name: tensor.float() for name, tensor in load_file(OSNET_TRUNK).items()})


@pytest.mark.parametrize("init", ["osnet", str(OSNET_TRUNK)])
def test_osnets_weights_fit_no_other_trunk(init):
    with pytest.raises(ModelError, match=r"osnet|does not fit"):
        initialise(build_backbone(NAME), init)


def test_a_classifier_in_the_file_is_left_out(tmp_path, trained):
    """As torchvision saves its models: the trunk's names, with a classifier on top."""
    path = tmp_path / "trunk.safetensors"
    save_file(trained | {"fc.weight": torch.rand(1000, 12), "classifier.3.bias": torch.rand(1000)}, path)
    backbone = build_backbone(NAME)
    initialise(backbone, str(path))
    assert_filled(backbone, trained)


def test_a_file_without_the_counters_of_old_torch_is_enough(tmp_path, trained):
    path = tmp_path / "old.safetensors"
    save_file({name: tensor for name, tensor in trained.items() if not name.endswith("num_batches_tracked")}, path)
    backbone = build_backbone(NAME)
    initialise(backbone, str(path))
    assert_filled(backbone, trained)


def test_a_half_precision_file_is_widened(tmp_path, trained):
    path = tmp_path / "half.safetensors"
    save_file({name: t.half() if t.is_floating_point() else t for name, t in trained.items()}, path)
    backbone = build_backbone(NAME)
    initialise(backbone, str(path))
    assert all(parameter.dtype == torch.float32 for parameter in backbone.parameters())
    assert_filled(backbone, {name: t.half().float() if t.is_floating_point() else t for name, t in trained.items()})


def test_a_vpmsearch_model_is_a_start(tmp_path, trained):
    path = tmp_path / "vpm.safetensors"
    model = Vpm(NAME, (3, 1), 8)
    model.backbone.trunk.load_state_dict(trained)
    config = WeightsConfig(
        NAME, (3, 1), 8, False, (64, 32), IMAGENET.mean, IMAGENET.std, name="test", dataset="none", num_classes=3
    )
    save_weights(path, model, config)
    backbone = build_backbone(NAME)
    initialise(backbone, str(path))
    assert_filled(backbone, trained)


def wrong_shape(state):
    return state | {"conv1.weight": torch.zeros(8, 3, 5, 5)}


def missing(state):
    return {name: tensor for name, tensor in state.items() if name != "conv1.weight"}


def renamed(state):
    return {f"module.{name}": tensor for name, tensor in state.items()}


@pytest.mark.parametrize("change", [wrong_shape, missing, renamed, lambda state: {}])
def test_a_file_that_does_not_fit_is_an_error_that_changes_nothing(tmp_path, trained, change):
    path = tmp_path / "trunk.safetensors"
    save_file(change(trained), path)
    backbone = build_backbone(NAME)
    before = {name: tensor.clone() for name, tensor in backbone.trunk.state_dict().items()}
    with pytest.raises(WeightsError, match=r"trunk\.safetensors does not fit the tiny trunk: conv1"):
        initialise(backbone, str(path))
    assert_filled(backbone, before)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(WeightsError, match=r"none\.safetensors"):
        initialise(build_backbone(NAME), str(tmp_path / "none.safetensors"))


@pytest.mark.parametrize(
    "error", [urllib.error.URLError("no route to host"), TimeoutError("timed out"), RuntimeError("invalid hash value")]
)
def test_a_download_that_fails_names_the_ways_out(monkeypatch, error):
    def unreachable(*args, **kwargs):
        raise error

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", unreachable)
    with pytest.raises(WeightsError, match="--init FILE") as raised:
        initialise(build_backbone(DOWNLOADED), "imagenet")
    assert raised.value.__cause__ is error


def test_imagenet_weights_fill_the_trunk(monkeypatch):
    """What torchvision would download, classifier and all."""
    torch.manual_seed(3)
    published = torchvision.models.mobilenet_v3_small(weights=None).state_dict()
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", lambda *args, **kwargs: published)
    backbone = build_backbone(DOWNLOADED)
    initialise(backbone, "imagenet")
    assert_filled(backbone, published)


@pytest.mark.parametrize("name", ["osnet", "resnet10"])
def test_no_imagenet_weights_for_our_own_trunks(name):
    with pytest.raises(ModelError, match="--init"):
        initialise(build_backbone(name), "imagenet")


def test_normalisation_goes_with_the_trunk():
    assert normalisation("resnet50") == normalisation(DOWNLOADED) == IMAGENET
    assert normalisation("osnet") == OSNET
    # The published trunk's: RGB in 0…255, minus these, over those.
    assert [value * 255 for value in OSNET.mean] == pytest.approx([123.6875, 116.25, 103.5])
    assert [value * 255 for value in OSNET.std] == pytest.approx([58.41, 57.137, 57.387])
