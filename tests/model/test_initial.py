"""Where a trunk starts from. Nothing here touches the network."""

from __future__ import annotations

import urllib.error

import pytest
import torch
import torchvision.models
from safetensors.torch import load_file, save_file

from vpmsearch.errors import ModelError, WeightsError
from vpmsearch.model.initial import IMAGENET, OSNET, OSNET_TRUNK, initialise, initialise_model, normalisation
from vpmsearch.model.trunks import build_backbone
from vpmsearch.model.vpm import Vpm
from vpmsearch.model.weights import WeightsConfig, save_weights

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
    model = Vpm(NAME, (3, 1), 8)
    model.backbone.trunk.load_state_dict(trained)
    backbone = build_backbone(NAME)
    initialise(backbone, written(tmp_path / "vpm.safetensors", model))
    assert_filled(backbone, trained)


def written(path, model, dtype=torch.float32):
    """A weights file of the model, to start from."""
    dim = None if isinstance(model.reduction, torch.nn.Identity) else model.embedding_dim
    config = WeightsConfig(
        NAME, model.grid, dim, False, (64, 32), IMAGENET.mean, IMAGENET.std, name="test", dataset="none", num_classes=3
    )
    save_weights(path, model, config, dtype)
    return str(path)


def unlike_fresh(grid=(3, 1), embedding_dim=8):
    """A model no tensor of which a fresh one has, batch normalisation and its counters included."""
    torch.manual_seed(11)
    model = Vpm(NAME, grid, embedding_dim)
    for tensor in model.state_dict().values():
        tensor.copy_(torch.rand(tensor.shape) + 1 if tensor.is_floating_point() else tensor + 5)
    return model


def filled(model, init):
    """Start the model; which of its layers then hold the file's tensors, and which are as they were built."""
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    initialise_model(model, init)
    taken, kept = set(), set()
    for name, tensor in model.state_dict().items():
        (kept if torch.equal(tensor, before[name]) else taken).add(name.split(".")[0])
    assert not taken & kept, "a layer is taken whole or not at all"
    return taken, kept


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("embedding_dim", [8, None])
def test_a_model_starts_from_one_of_its_shape(tmp_path, embedding_dim, dtype):
    source = unlike_fresh(embedding_dim=embedding_dim)
    model = Vpm(NAME, (3, 1), embedding_dim)
    initialise_model(model, written(tmp_path / "vpm.safetensors", source, dtype))
    expected = {n: t.to(dtype).float() if t.is_floating_point() else t for n, t in source.state_dict().items()}
    actual = model.state_dict()
    assert actual.keys() == expected.keys()
    assert all(torch.equal(actual[name], expected[name]) for name in actual)
    assert {tensor.dtype for tensor in model.parameters()} == {torch.float32}


@pytest.mark.parametrize(
    ("grid", "embedding_dim", "taken"),
    [
        ((3, 1), 8, {"backbone", "locator", "reduction"}),
        ((6, 1), 8, {"backbone", "reduction"}),
        ((1, 3), 8, {"backbone", "reduction"}),  # as many regions, but other ones
        ((3, 1), 9, {"backbone", "locator"}),
        ((3, 1), None, {"backbone", "locator"}),
        ((6, 1), 9, {"backbone"}),
    ],
)
def test_a_layer_of_another_shape_stays_random(tmp_path, grid, embedding_dim, taken):
    init = written(tmp_path / "vpm.safetensors", unlike_fresh())
    model = Vpm(NAME, grid, embedding_dim)
    everything = {name.split(".")[0] for name in model.state_dict()}
    assert filled(model, init) == (taken, everything - taken)


def test_a_reduction_that_the_file_has_not_stays_random(tmp_path):
    init = written(tmp_path / "vpm.safetensors", unlike_fresh(embedding_dim=None))
    assert filled(Vpm(NAME, (3, 1), 12), init) == ({"backbone", "locator"}, {"reduction"})


def test_a_trunk_alone_leaves_the_heads_as_they_were(tmp_path):
    """Whatever else the file holds under the heads' names: it does not say that it is a vpmsearch model."""
    source = unlike_fresh()
    heads = {name: tensor for name, tensor in source.state_dict().items() if not name.startswith("backbone.")}
    assert heads
    save_file(source.backbone.trunk.state_dict() | heads, tmp_path / "trunk.safetensors")
    model = Vpm(NAME, (3, 1), 8)
    assert filled(model, str(tmp_path / "trunk.safetensors")) == ({"backbone"}, {"locator", "reduction"})
    assert_filled(model.backbone, source.backbone.trunk.state_dict())


def test_random_leaves_the_whole_model_as_built():
    assert filled(Vpm(NAME, (3, 1), 8), "random") == (set(), {"backbone", "locator", "reduction"})


@pytest.mark.parametrize(("name", "init"), [("osnet", "osnet"), (DOWNLOADED, "imagenet")])
def test_a_published_trunk_leaves_the_heads_as_they_were(monkeypatch, name, init):
    published = torchvision.models.mobilenet_v3_small(weights=None).state_dict()
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", lambda *args, **kwargs: published)
    model = Vpm(name, (3, 1), 8)
    heads = {n: tensor.clone() for n, tensor in model.state_dict().items() if not n.startswith("backbone.")}
    first = next(model.backbone.parameters()).clone()
    initialise_model(model, init)
    assert not torch.equal(next(model.backbone.parameters()), first)
    assert all(torch.equal(model.state_dict()[n], tensor) for n, tensor in heads.items())


def test_a_model_of_another_trunk_is_an_error_that_changes_nothing(tmp_path):
    init = written(tmp_path / "vpm.safetensors", unlike_fresh())
    model = Vpm("resnet8", (3, 1), 8)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(WeightsError, match="does not fit the resnet8 trunk"):
        initialise_model(model, init)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


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


def test_they_are_the_first_that_were_published(monkeypatch):
    """torchvision's default for resnet50 is of a later recipe, with which the paper and PCB did not start."""
    asked = []

    def download(url, **kwargs):
        asked.append(url)
        return torchvision.models.resnet50(weights=None).state_dict()

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", download)
    initialise(build_backbone("resnet50"), "imagenet")
    assert asked == [torchvision.models.ResNet50_Weights.IMAGENET1K_V1.url]


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
