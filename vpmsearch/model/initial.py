"""Where a trunk starts from, and the input normalisation that goes with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torchvision.models as tv
from torch import Tensor

from vpmsearch.errors import ModelError, WeightsError
from vpmsearch.model.trunks import Backbone
from vpmsearch.model.vpm import Vpm
from vpmsearch.model.weights import read_metadata, read_tensors, read_weights

PUBLISHED = ("random", "imagenet", "osnet")
"""Starts that are no file."""
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
    """How a trunk wants its input."""
    return OSNET if backbone == "osnet" else IMAGENET


def initialise(backbone: Backbone, init: str) -> None:
    """Fill a trunk.

    Args:
        backbone: changed in place.
        init: "random" leaves it as built; "imagenet" is torchvision's download (its first weights, as PCB and the paper
            had them); "osnet" the trunk in the package; else the path of a safetensors file with a trunk (torchvision's
            or OSNet's names) or a vpmsearch model.

    Raises:
        ModelError: no such start for this trunk. WeightsError: it cannot be had, or does not fit.
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


def initialise_model(model: Vpm, init: str) -> None:
    """Fill a model's trunk as `initialise` does, and where `init` is a vpmsearch model its other layers too.

    A layer of another shape there (another grid or embedding_dim) stays random.

    Raises:
        ModelError, WeightsError: as `initialise`.
    """
    if init in PUBLISHED or "vpmsearch" not in read_metadata(Path(init)):
        initialise(model.backbone, init)
    else:
        fill_model(model, read_tensors(Path(init)), read_weights(Path(init)).config.num_regions, Path(init))


def fill_model(model: Vpm, tensors: Mapping[str, Tensor], grid: tuple[int, ...] | None, path: Path) -> None:
    """Fill a model with the tensors of another with that grid; a layer of another shape there stays as it is.

    Raises:
        WeightsError: the trunk does not fit; `path` is named.
    """
    _load(model.backbone, _trunk(tensors), path)
    if grid != model.grid:  # as many regions may still be other ones
        tensors = {name: t for name, t in tensors.items() if not name.startswith("locator.")}
    for head, layer in (("locator.", model.locator), ("reduction.", model.reduction)):
        wanted = layer.state_dict()
        found = {name: tensors.get(head + name) for name in wanted}
        if all(t is not None and t.shape == wanted[name].shape for name, t in found.items()):
            layer.load_state_dict(found)


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


def _load(backbone: Backbone, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Load the trunk's own tensors; a classifier on top is left out, anything else missing is an error."""
    wanted = backbone.trunk.state_dict()
    missing = [name for name in wanted if name not in tensors and not name.endswith("num_batches_tracked")]
    wrong = [name for name in wanted if name in tensors and tensors[name].shape != wanted[name].shape]
    if missing or wrong:
        raise WeightsError(
            f"{path} does not fit the {backbone.name} trunk: {(missing + wrong)[0]} is missing or differs"
        )
    backbone.trunk.load_state_dict({name: tensors.get(name, wanted[name]) for name in wanted})
