"""The weights that a trunk starts from, and the input normalisation that belongs to them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
import torchvision.models as tv
from torch import Tensor

from vpmsearch.errors import ModelError, WeightsError
from vpmsearch.model.trunks import Backbone
from vpmsearch.model.vpm import Vpm
from vpmsearch.model.weights import read_metadata, read_tensors, read_weights

PUBLISHED = ("random", "imagenet", "osnet")
"""The values of `init` that are not the path of a file."""
FIRST_BIAS = -6.0
"""Bias of a new occluder class. The class then gets at most e^−6 / p of a pixel, 4e-4 with six regions."""
OSNET_TRUNK = Path(__file__).parent.parent / "pretrained" / "osnet-lct-x1_0.safetensors"
_TORCHVISION = {
    "resnet18": tv.ResNet18_Weights,
    "resnet34": tv.ResNet34_Weights,
    "resnet50": tv.ResNet50_Weights,
    "mobilenet_v3_small": tv.MobileNet_V3_Small_Weights,
}


@dataclass(frozen=True)
class Normalisation:
    """(x − mean) / std for RGB values in 0-1."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


IMAGENET = Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
OSNET = Normalisation((123.6875 / 255, 116.25 / 255, 103.5 / 255), (58.41 / 255, 57.137 / 255, 57.387 / 255))


def normalisation(backbone: str) -> Normalisation:
    """The normalisation that a trunk expects of its input."""
    return OSNET if backbone == "osnet" else IMAGENET


def initialise(backbone: Backbone, init: str) -> None:
    """Load a trunk's first weights.

    Args:
        backbone: changed in place.
        init: "random" leaves the trunk as built. "imagenet" downloads torchvision's weights (their first version, which
            PCB and the paper used). "osnet" is the trunk in the package. Anything else is the path of a safetensors
            file: a trunk (with torchvision's or OSNet's names) or a vpmsearch model.

    Raises:
        ModelError: this trunk has no such weights. WeightsError: they cannot be read or downloaded, or do not fit.
    """
    if init == "random":
        return
    if init == "imagenet":
        _load(backbone, _torchvision(backbone.name), Path("torchvision's weights"))
        return
    if init == "osnet" and backbone.name != "osnet":
        raise ModelError(f"--init osnet is for the osnet trunk, not {backbone.name}")
    path = OSNET_TRUNK if init == "osnet" else Path(init)
    tensors = read_tensors(path)
    _load(backbone, _trunk(tensors) if "vpmsearch" in read_metadata(path) else tensors, path)


def initialise_model(model: Vpm, init: str) -> tuple[str, ...]:
    """Load a model's first weights: the trunk as `initialise` does, and the other layers of a vpmsearch model.

    A layer that has another shape in that model (another grid or embedding_dim) stays random. If only this model has an
    occluder class, the class is added to that model's locator (`with_occluder_class`).

    Returns:
        The layers of a vpmsearch model that stay random, as `fill_model`.

    Raises:
        ModelError, WeightsError: as `initialise`.
    """
    if init in PUBLISHED or "vpmsearch" not in read_metadata(Path(init)):
        initialise(model.backbone, init)
        return ()
    tensors = with_occluder_class(read_tensors(Path(init)), model)
    return fill_model(model, tensors, read_weights(Path(init)).config.num_regions, Path(init))


def with_occluder_class(tensors: Mapping[str, Tensor], model: Vpm) -> dict[str, Tensor]:
    """The tensors of a model without an occluder class, with the class added if `model` has one.

    The class's row is the mean of the regions' rows and its bias is `FIRST_BIAS`. exp(mean) is at most the mean of exp,
    so the regions lose at most e^−6 / p of a pixel, whatever it shows: the model sees what it saw before.
    """
    weight, p = tensors.get("locator.weight"), model.num_regions
    wanted = (p, model.backbone.channels, 1, 1)
    if not model.occluder_class or "locator.bias" in tensors or weight is None or weight.shape != wanted:
        return dict(tensors)
    bias = weight.new_zeros(p + 1)
    bias[-1] = FIRST_BIAS
    wider = torch.cat([weight, weight.mean(dim=0, keepdim=True)])  # (p, c, 1, 1) -> (p + 1, c, 1, 1)
    return {**tensors, "locator.weight": wider, "locator.bias": bias}


def fill_model(model: Vpm, tensors: Mapping[str, Tensor], grid: tuple[int, ...] | None, path: Path) -> tuple[str, ...]:
    """Load the tensors of another model. A layer that has another shape there stays as it is.

    Args:
        grid: of the other model; None where it is not known. path: of its file, for messages.

    Returns:
        The layers that stay as they are, of "locator" and "reduction".

    Raises:
        WeightsError: the trunk does not fit.
    """
    _load(model.backbone, _trunk(tensors), path)
    if grid != model.grid:  # two grids may have the same number of regions, in other places
        tensors = {name: t for name, t in tensors.items() if not name.startswith("locator.")}
    kept = []
    for head, layer in (("locator", model.locator), ("reduction", model.reduction)):
        wanted = layer.state_dict()
        found = {name: tensors.get(f"{head}.{name}") for name in wanted}
        if all(t is not None and t.shape == wanted[name].shape for name, t in found.items()):
            layer.load_state_dict(found)
        else:
            kept.append(head)
    return tuple(kept)


def _trunk(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A model's tensors -> its trunk's, under the trunk's names."""
    prefix = "backbone.trunk."
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}


def _torchvision(name: str) -> Mapping[str, Tensor]:
    if name not in _TORCHVISION:
        raise ModelError(f"torchvision has no ImageNet weights for {name}; use --init random or --init FILE")
    try:
        state: Mapping[str, Tensor] = _TORCHVISION[name].IMAGENET1K_V1.get_state_dict(progress=False, check_hash=True)
    except (OSError, RuntimeError) as error:
        raise WeightsError(
            f"ImageNet weights for {name} could not be downloaded ({error}); "
            "give a file with --init FILE or start from nothing with --init random"
        ) from error
    return state


def misfits(backbone: Backbone, tensors: Mapping[str, Tensor]) -> list[str]:
    """The names of the trunk's tensors that are missing, then of those that have another shape."""
    wanted = backbone.trunk.state_dict()
    missing = [name for name in wanted if name not in tensors and not name.endswith("num_batches_tracked")]
    return missing + [name for name in wanted if name in tensors and tensors[name].shape != wanted[name].shape]


def _load(backbone: Backbone, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Load the trunk's tensors. A classifier on top is ignored; a tensor that is missing or of another shape raises."""
    if unlike := misfits(backbone, tensors):
        raise WeightsError(f"{path} does not fit the {backbone.name} trunk: {unlike[0]} is missing or differs")
    wanted = backbone.trunk.state_dict()
    backbone.trunk.load_state_dict({name: tensors.get(name, wanted[name]) for name in wanted})
