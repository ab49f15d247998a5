"""Weights files: safetensors with the whole configuration in the metadata, so that the file alone is enough.

Nothing is unpickled: a hostile file can be refused or give wrong answers, but it cannot run code.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from io import BufferedReader
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from vpmsearch.errors import WeightsError
from vpmsearch.model.baselines import ARCHITECTURES
from vpmsearch.model.trunks import BACKBONES
from vpmsearch.model.vpm import Vpm
from vpmsearch.system.atomic import replacing
from vpmsearch.system.regular import UnfitFileError, open_regular
from vpmsearch.types import ModelInfo

FORMAT = 1
MAX_HEADER_BYTES = 1 << 20
MAX_FILE_BYTES = 512 << 20
"""Larger weights are refused: those of resnet50, the largest, have 0.1 GiB."""
MAX_INPUT_PIXELS = 1 << 20
"""Height times width that a model may ask for: every image is resized to it."""
MAX_TEXT = 200
"""Characters of a name in a configuration; names are printed."""
MAX_NUMBER = 1 << 16
"""A configuration with a larger size or count in it is damaged: building its model would take all memory."""
PRETRAINED = Path(__file__).parent.parent / "pretrained" / "vpm-osnet-market1501.safetensors"
SHIPPED = {
    "efb7aae0bce1": "vpm-osnet-market1501.safetensors, the third version of the weights in the package",
    "d2827bddc82d": "vpm-osnet-market1501-cuhk03.safetensors, the fourth version of the weights in the package",
}
"""The beginning of the fingerprint of every weights file that ever shipped, and what it is called."""
EARLIER = tuple(PRETRAINED.with_name(name.split(",")[0]) for name in SHIPPED.values())
"""All weights that stay in the package, for the indexes that were built with them."""
DEFAULT_WEIGHTS = Path("weights/vpm.safetensors")
ENVIRONMENT = "VPMSEARCH_WEIGHTS"
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
DRAWN = "drawn pedestrians"
"""Data set name of weights that have never seen a photograph."""


@dataclass(frozen=True)
class WeightsConfig:
    """What the tensors mean.

    input_size: (height, width). mean, std: of RGB values in 0-1. num_classes: identities of the training set.
    training: the settings they were trained with. source_revision: of vpmsearch.
    """

    backbone: str
    num_regions: tuple[int, int]
    embedding_dim: int | None
    normalize_embeddings: bool
    input_size: tuple[int, int]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    name: str
    dataset: str
    num_classes: int
    training: Mapping[str, Any] = field(default_factory=dict)
    source_revision: str = ""
    architecture: str = "vpm"
    format: int = FORMAT

    def problem(self) -> str | None:
        """What is wrong with it, or None: it comes from a file, so nothing about it can be trusted."""
        texts = (self.backbone, self.name, self.dataset, self.source_revision, self.architecture)
        checks = [
            (all(isinstance(text, str) for text in texts), "a name is not text"),
            (all(_printable(text) for text in texts), f"a name is not one line of at most {MAX_TEXT} characters"),
            (self.architecture in list(ARCHITECTURES), f"architecture {_cut(self.architecture)} is not known"),
            (
                isinstance(self.backbone, str) and self.backbone in BACKBONES,
                f"backbone {_cut(self.backbone)} is not known",
            ),
            (_sizes(self.num_regions, 2), f"num_regions {_cut(self.num_regions)} is no grid"),
            (
                self.embedding_dim is None or _sizes((self.embedding_dim,), 1),
                f"embedding_dim {_cut(self.embedding_dim)}",
            ),
            (_count(self.num_classes), f"num_classes {_cut(self.num_classes)}"),
            (
                _sizes(self.input_size, 2) and math.prod(self.input_size) <= MAX_INPUT_PIXELS,
                f"input_size {_cut(self.input_size)} is no (height, width) of at most {MAX_INPUT_PIXELS} pixels",
            ),
            (isinstance(self.normalize_embeddings, bool), "normalize_embeddings is neither true nor false"),
            (_finite(self.mean) and _finite(self.std), "mean or std is not three finite numbers"),
            (_finite(self.std) and min(self.std) > 0, "std is not positive"),
            (isinstance(self.training, Mapping), "training is no table of settings"),
        ]
        return next((message for fine, message in checks if not fine), None)


def _printable(text: Any) -> bool:
    return isinstance(text, str) and text.isprintable() and len(text) <= MAX_TEXT


def _count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 31


def _cut(value: Any) -> str:
    """For a message: a value from a file may be a megabyte long."""
    return repr(value)[:80]


def _name(name: str) -> str:
    """A tensor's name, as a file gives it, on one line."""
    return ascii(name[:80])[1:-1]


def _one_line(error: BaseException) -> str:
    """What an error says of a damaged file, without what the file smuggled into it."""
    text = " ".join(str(error).split())[:300]
    return "".join(char if char.isprintable() else "?" for char in text)


def _sizes(values: Any, count: int) -> bool:
    """Whether `values` are `count` integers in [1, MAX_NUMBER]."""
    plain = isinstance(values, tuple) and len(values) == count and all(type(value) is int for value in values)
    return plain and all(1 <= value <= MAX_NUMBER for value in values)


def _finite(values: Any) -> bool:
    """Whether `values` are three finite numbers."""
    plain = isinstance(values, tuple) and len(values) == 3 and all(type(value) in (int, float) for value in values)
    return plain and all(math.isfinite(value) for value in values)


@dataclass(frozen=True)
class LoadedWeights:
    """A weights file read: what it is, and on demand the model."""

    path: Path
    config: WeightsConfig
    fingerprint: str

    @property
    def info(self) -> ModelInfo:
        """What an index needs to know of the model."""
        return ModelInfo(
            num_regions=self.config.num_regions,
            embedding_dim=self.model.embedding_dim,
            fingerprint=self.fingerprint,
            weights=str(self.path.resolve()),
            name=self.config.name,
            dataset=self.config.dataset,
            input_size=self.config.input_size,
        )

    @cached_property
    def model(self) -> Vpm:
        """The model in evaluation mode, on the CPU.

        Raises:
            WeightsError: tensors missing, of a wrong shape or not finite.
        """
        config = self.config
        with torch.device("meta"):  # no memory yet: the configuration may ask for more than the file holds
            model = ARCHITECTURES[config.architecture](
                config.backbone, config.num_regions, config.embedding_dim, config.normalize_embeddings
            )
        check_shapes(model, self.path)  # before they are in memory: float16 becomes twice as large there
        tensors = read_tensors(self.path)
        check_tensors(model, tensors, self.path)
        # Taken as they are: `to_empty` of what is on "meta" imports sympy, half a second of every query.
        model.load_state_dict({name: tensor.clone() for name, tensor in tensors.items()}, assign=True)
        return model.eval()


def save_weights(path: Path, model: Vpm, config: WeightsConfig, dtype: torch.dtype = torch.float32) -> None:
    """Write a weights file atomically; floating tensors are stored as `dtype` (float32 where they exceed its range).

    Raises:
        WeightsError: a tensor is not finite, or the folder cannot be written.
    """
    tensors = {name: tensor.detach().cpu() for name, tensor in model.state_dict().items()}
    if bad := first_not_finite(tensors):
        raise WeightsError(f"{path} is not written: tensor {bad} is not finite; training diverged")
    tensors = {name: _narrowed(tensor, dtype).contiguous() for name, tensor in tensors.items()}
    write_tensors(path, tensors, {"vpmsearch": json.dumps(asdict(config))})


def _narrowed(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """As `dtype`, or as it is where a value would become infinite (a variance beyond 65504 in float16)."""
    narrow = tensor.to(dtype) if tensor.is_floating_point() else tensor
    return narrow if torch.isfinite(narrow).all() else tensor


def first_not_finite(tensors: Mapping[str, Tensor]) -> str | None:
    """The name of the first tensor that holds NaN or infinity, or None."""
    return next((name for name, t in tensors.items() if t.is_floating_point() and not torch.isfinite(t).all()), None)


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """A safetensors file, written atomically, its folder made where missing.

    Raises:
        WeightsError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            save_file(dict(tensors), temporary, dict(metadata))
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"cannot write {path}: {error}") from error


def read_weights(path: Path | str) -> LoadedWeights:
    """Read a weights file's configuration and fingerprint; the tensors follow when `.model` is asked for.

    Raises:
        WeightsError: not there, not safetensors, not of vpmsearch, or of a later version.
    """
    path = Path(path)
    metadata = read_metadata(path)
    if "vpmsearch" not in metadata:
        raise WeightsError(
            f"{path} holds no vpmsearch model (a bare trunk goes to `vpmsearch train --init`); use another file"
        )
    return LoadedWeights(path, _config(path, metadata["vpmsearch"]), fingerprint(path))


def _config(path: Path, text: str) -> WeightsConfig:
    try:
        values = json.loads(text)
        if values.get("format", 0) > FORMAT:
            raise WeightsError(
                f"{path} was written by a later vpmsearch (format {_cut(values['format'])}); upgrade vpmsearch"
            )
        if unknown := sorted(set(values) - {item.name for item in fields(WeightsConfig)}):
            raise WeightsError(f"{path}: unknown configuration keys {', '.join(map(_name, unknown[:10]))}")
        plain: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}
        config = WeightsConfig(**plain)
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise WeightsError(
            f"{path}: its configuration cannot be read ({_one_line(error)}); the file is damaged"
        ) from error
    if problem := config.problem():
        raise WeightsError(f"{path}: {problem}; the file is damaged or of another vpmsearch")
    return config


def read_metadata(path: Path, largest: int = MAX_FILE_BYTES) -> dict[str, str]:
    """The metadata of a safetensors file of so many bytes at most, its sizes checked first.

    Raises:
        WeightsError: missing, unreadable, too large or damaged.
    """
    try:
        with _opened(path, largest) as file:
            size = os.fstat(file.fileno()).st_size
            header = int.from_bytes(file.read(8), "little")
        if size < 8 or header > min(MAX_HEADER_BYTES, size - 8):
            raise WeightsError(
                f"{path} is not a safetensors file of sane size; vpmsearch reads no other kind of weights"
            )
        with safe_open(path, framework="pt") as opened:
            return dict(opened.metadata() or {})
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{path} cannot be read as safetensors: {_one_line(error)}") from error


def _opened(path: Path, largest: int) -> BufferedReader:
    """A weights file, open for reading; a link to one is fine, as caches of models have them.

    Raises:
        WeightsError: there is none, or it is no regular file of at most so many bytes. OSError: it cannot be read.
    """
    try:
        return open_regular(path, largest, follow=True)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise WeightsError(
            f"no weights file at {path}; train one with `vpmsearch train` or give --weights FILE"
        ) from error
    except UnfitFileError as error:
        raise WeightsError(f"{path} cannot be weights: {error.strerror}; vpmsearch reads no other kind") from error
    except ValueError as error:  # a NUL in the name
        raise WeightsError(f"no weights file at {path!r}: no file has such a name") from error


def read_tensors(path: Path, largest: int = MAX_FILE_BYTES) -> dict[str, Tensor]:
    """All tensors of a safetensors file of so many bytes at most, floating ones as float32.

    Raises:
        WeightsError: missing, damaged, or a value is not finite.
    """
    read_metadata(path, largest)
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{path} cannot be read as safetensors: {_one_line(error)}") from error
    for name, tensor in tensors.items():  # a few bits a number are stored, but not computed with
        if tensor.is_floating_point() and tensor.dtype not in _FLOATS:
            raise WeightsError(
                f"{path}: tensor {_name(name)} is {tensor.dtype}; store it as float16, bfloat16 or float32"
            )
    tensors = {name: t.float() if t.is_floating_point() else t for name, t in tensors.items()}
    if bad := first_not_finite(tensors):
        raise WeightsError(f"{path}: tensor {_name(bad)} is not finite; the file is damaged or training diverged")
    return tensors


def check_shapes(module: torch.nn.Module, path: Path) -> None:
    """Compare names and shapes, as the header of a file gives them, with what the module would take.

    Raises:
        WeightsError: a tensor is missing, too many, or of another shape.
    """
    try:
        with safe_open(path, framework="pt") as opened:
            found = {name: tuple(opened.get_slice(name).get_shape()) for name in opened.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{path} cannot be read as safetensors: {_one_line(error)}") from error
    wanted = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    if differing := sorted(name for name in {*wanted, *found} if wanted.get(name) != found.get(name)):
        name = differing[0]
        what = "missing" if name not in found else "not part of it"
        if name in wanted and name in found:
            what = f"{found[name]}, not {wanted[name]}"
        raise WeightsError(f"{path} does not fit the model it names: {_name(name)} is {what}")


def check_tensors(module: torch.nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Compare names, shapes and kinds with what the module (on any device, "meta" too) would take.

    Raises:
        WeightsError: a tensor is missing, too many, or not what it should be.
    """
    wanted = module.state_dict()
    if differing := sorted(wanted.keys() ^ tensors.keys()):
        what = "missing" if differing[0] in wanted else "not part of it"
        raise WeightsError(f"{path} does not fit the model it names: {_name(differing[0])} is {what}")
    for name, tensor in tensors.items():
        if tensor.shape != wanted[name].shape or tensor.is_floating_point() != wanted[name].is_floating_point():
            raise WeightsError(
                f"{path} does not fit the model it names: {name} is {tuple(tensor.shape)} {tensor.dtype}, "
                f"not {tuple(wanted[name].shape)} {wanted[name].dtype}"
            )


def load_tensors(module: torch.nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """`load_state_dict`, strict, with an error that names the file.

    Raises:
        WeightsError: names or shapes do not fit.
    """
    try:
        module.load_state_dict(dict(tensors), strict=True)
    except RuntimeError as error:
        raise WeightsError(f"{path} does not fit the model it names: {str(error).splitlines()[-1].strip()}") from error


def fingerprint(path: Path) -> str:
    """SHA-256 of the file, hex: two files with the same one hold the same model.

    Raises:
        WeightsError: it cannot be read.
    """
    try:
        with _opened(path, MAX_FILE_BYTES) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error}") from error


def find_weights(given: Path | None = None) -> Path:
    """Where weights come from: `given`, else $VPMSEARCH_WEIGHTS, else weights/vpm.safetensors, else the package.

    Raises:
        WeightsError: a file that was named is not there.
    """
    named = given or _from_environment()
    if named is not None:
        if not named.is_file():
            where = "" if given else f" (from ${ENVIRONMENT})"
            raise WeightsError(f"no weights file at {named}{where}; train one with `vpmsearch train`")
        return named
    return DEFAULT_WEIGHTS if DEFAULT_WEIGHTS.is_file() else PRETRAINED


def find_by_fingerprint(wanted: str, recorded: str, given: Path | None = None) -> LoadedWeights:
    """The weights an index was built with: where they were then, or in any of the usual places.

    Raises:
        WeightsError: none of those files has that fingerprint.
    """
    found: dict[Path, str] = {}
    for place in [given] if given else _places(recorded):
        found[place] = _fingerprint_there(place)
        if found[place] == wanted:
            return read_weights(place)
    tried = ", ".join(f"{place} ({there[:12] or 'not there'})" for place, there in found.items())
    known = f"; that is {SHIPPED[wanted[:12]]}" if wanted[:12] in SHIPPED else ""
    raise WeightsError(
        f"the index was built with weights {wanted[:12]} ({recorded}), and none of these is that file: {tried}{known}; "
        "give it with --weights FILE, or index again with other weights"
    )


def _fingerprint_there(place: Path) -> str:
    """Its fingerprint, or "": somebody else's folder is as good as not there."""
    try:
        return fingerprint(place) if place.is_file() else ""
    except (OSError, WeightsError):
        return ""


def _places(recorded: str) -> Iterator[Path]:
    if recorded:
        yield Path(recorded)
    if named := _from_environment():
        yield named
    yield DEFAULT_WEIGHTS
    yield PRETRAINED
    yield from EARLIER


def _from_environment() -> Path | None:
    return Path(os.environ[ENVIRONMENT]) if os.environ.get(ENVIRONMENT) else None
