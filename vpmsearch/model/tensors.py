"""The part of weights files that needs torch: reading and writing tensors, and building models from them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from vpmsearch.errors import WeightsError
from vpmsearch.model.baselines import ARCHITECTURES
from vpmsearch.model.trunks import BACKBONES
from vpmsearch.model.vpm import Vpm
from vpmsearch.model.weights_file import (
    MAX_FILE_BYTES,
    WeightsConfig,
    cut,
    one_line,
    read_metadata,
    tensor_name,
    tensor_shapes,
)
from vpmsearch.system.atomic import replacing

_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def build_model(path: Path, config: WeightsConfig) -> Vpm:
    """The model of a weights file, in evaluation mode on the CPU.

    Raises:
        WeightsError: the architecture or backbone is unknown; a tensor is missing, of a wrong shape or not finite.
    """
    for kind, name, known in (
        ("architecture", config.architecture, list(ARCHITECTURES)),
        ("backbone", config.backbone, list(BACKBONES)),
    ):
        if name not in known:
            raise WeightsError(f"{path}: {kind} {cut(name)} is not known; the file is damaged or of another vpmsearch")
    with torch.device("meta"):  # no memory yet: the configuration may ask for more than the file holds
        model = ARCHITECTURES[config.architecture](
            config.backbone,
            config.num_regions,
            config.embedding_dim,
            config.normalize_embeddings,
            config.occluder_class,
        )
    check_shapes(model, path)  # before the tensors are loaded: float16 takes twice as much memory as in the file
    tensors = read_tensors(path)
    check_tensors(model, tensors, path)
    # `assign` replaces the "meta" tensors. `to_empty` would import sympy, which takes half a second.
    model.load_state_dict({name: tensor.clone() for name, tensor in tensors.items()}, assign=True)
    return model.eval()


def save_weights(path: Path, model: Vpm, config: WeightsConfig, dtype: torch.dtype = torch.float32) -> None:
    """Write a weights file atomically. Floating tensors become `dtype`, or stay if a value is out of its range.

    Raises:
        WeightsError: a tensor is not finite, or the folder cannot be written.
    """
    tensors = {name: tensor.detach().cpu() for name, tensor in model.state_dict().items()}
    if bad := first_not_finite(tensors):
        raise WeightsError(f"{path} is not written: tensor {bad} is not finite; training diverged")
    tensors = {name: _narrowed(tensor, dtype).contiguous() for name, tensor in tensors.items()}
    write_tensors(path, tensors, {"vpmsearch": json.dumps(config.to_json())})


def _narrowed(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """The tensor as `dtype`, or unchanged if a value would become infinite (a variance above 65504 in float16)."""
    narrow = tensor.to(dtype) if tensor.is_floating_point() else tensor
    return narrow if torch.isfinite(narrow).all() else tensor


def first_not_finite(tensors: Mapping[str, Tensor]) -> str | None:
    """The name of the first tensor that holds NaN or infinity, or None."""
    return next((name for name, t in tensors.items() if t.is_floating_point() and not torch.isfinite(t).all()), None)


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write a safetensors file atomically. Its folder is created if missing.

    Raises:
        WeightsError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            save_file(dict(tensors), temporary, dict(metadata))
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"cannot write {path}: {error}") from error


def read_tensors(path: Path, largest: int = MAX_FILE_BYTES) -> dict[str, Tensor]:
    """All tensors of a safetensors file, floating ones as float32.

    Args:
        largest: bytes that the file may have.

    Raises:
        WeightsError: the file is missing, damaged or too large, or a value is not finite.
    """
    read_metadata(path, largest)
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{path} cannot be read as safetensors: {one_line(error)}") from error
    for name, tensor in tensors.items():  # safetensors can store types of a few bits, which torch cannot compute with
        if tensor.is_floating_point() and tensor.dtype not in _FLOATS:
            raise WeightsError(
                f"{path}: tensor {tensor_name(name)} is {tensor.dtype}; store it as float16, bfloat16 or float32"
            )
    tensors = {name: t.float() if t.is_floating_point() else t for name, t in tensors.items()}
    if bad := first_not_finite(tensors):
        raise WeightsError(f"{path}: tensor {tensor_name(bad)} is not finite; the file is damaged or training diverged")
    return tensors


def check_shapes(module: torch.nn.Module, path: Path) -> None:
    """Compare the names and shapes in a file's header with those of the module.

    Raises:
        WeightsError: the file lacks a tensor, has one too many, or has one of another shape.
    """
    found = tensor_shapes(path)
    wanted = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    if differing := sorted(name for name in {*wanted, *found} if wanted.get(name) != found.get(name)):
        name = differing[0]
        what = "missing" if name not in found else "not part of it"
        if name in wanted and name in found:
            what = f"{found[name]}, not {wanted[name]}"
        raise WeightsError(f"{path} does not fit the model it names: {tensor_name(name)} is {what}")


def check_tensors(module: torch.nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Compare the tensors' names, shapes and kinds (floating or not) with those of the module, on any device.

    Raises:
        WeightsError: a tensor is missing, one too many, or of another shape or kind.
    """
    wanted = module.state_dict()
    if differing := sorted(wanted.keys() ^ tensors.keys()):
        what = "missing" if differing[0] in wanted else "not part of it"
        raise WeightsError(f"{path} does not fit the model it names: {tensor_name(differing[0])} is {what}")
    for name, tensor in tensors.items():
        if tensor.shape != wanted[name].shape or tensor.is_floating_point() != wanted[name].is_floating_point():
            raise WeightsError(
                f"{path} does not fit the model it names: {name} is {tuple(tensor.shape)} {tensor.dtype}, "
                f"not {tuple(wanted[name].shape)} {wanted[name].dtype}"
            )


def load_tensors(module: torch.nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Load the tensors into the module, as strict `load_state_dict` does, with an error that names the file.

    Raises:
        WeightsError: names or shapes do not fit.
    """
    try:
        module.load_state_dict(dict(tensors), strict=True)
    except RuntimeError as error:
        raise WeightsError(f"{path} does not fit the model it names: {str(error).splitlines()[-1].strip()}") from error
