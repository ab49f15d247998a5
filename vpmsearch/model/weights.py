"""Finds weights files, and says what an index must know of them. Models and tensors need torch and are in `tensors`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from vpmsearch.errors import WeightsError
from vpmsearch.model.weights_file import (
    FORMAT,
    MAX_NUMBER,
    WeightsConfig,
    fingerprint,
    read_config,
    read_metadata,
    tensor_shapes,
)
from vpmsearch.system import lazy
from vpmsearch.types import ModelInfo

if TYPE_CHECKING:
    from vpmsearch.model.tensors import (
        check_tensors,
        first_not_finite,
        load_tensors,
        read_tensors,
        save_weights,
        write_tensors,
    )
    from vpmsearch.model.vpm import Vpm

__all__ = [
    "DEFAULT_WEIGHTS",
    "DRAWN",
    "ENVIRONMENT",
    "FORMAT",
    "PRETRAINED",
    "LoadedWeights",
    "Precision",
    "WeightsConfig",
    "check_tensors",
    "find_by_fingerprint",
    "find_weights",
    "fingerprint",
    "first_not_finite",
    "load_tensors",
    "or_shipped",
    "precision_of",
    "read_metadata",
    "read_tensors",
    "read_weights",
    "save_weights",
    "write_tensors",
]

_TENSORS = ("check_tensors", "first_not_finite", "load_tensors", "read_tensors", "save_weights", "write_tensors")
__getattr__ = lazy.names(__name__, dict.fromkeys(_TENSORS, "vpmsearch.model.tensors"))

PRETRAINED = Path(__file__).parent.parent / "pretrained" / "vpm-osnet-market1501-cuhk03.safetensors"
SHIPPED = {
    "efb7aae0bce1": "vpm-osnet-market1501.safetensors, the third version of the weights in the package",
    "d2827bddc82d": "vpm-osnet-market1501-cuhk03.safetensors as it first was, the fourth version of the weights",
    "7637a9bb4acf": "vpm-osnet-market1501-cuhk03.safetensors as it was next, the fifth version of the weights",
    "2ad7208e754c": "vpm-osnet-market1501-cuhk03.safetensors as it was then, the sixth version of the weights",
    "654fc92ace0e": "vpm-osnet-market1501-cuhk03.safetensors as it was before, the seventh version of the weights",
    "4ccdea704d2a": "vpm-osnet-market1501-cuhk03.safetensors, the eighth version of the weights in the package",
}
"""Every weights file that ever shipped: the beginning of its fingerprint, and its name for messages."""
EARLIER = tuple(dict.fromkeys(PRETRAINED.with_name(name.split()[0].strip(",")) for name in SHIPPED.values()))
"""The weights files that stay in the package, for indexes that were built with them."""
DEFAULT_WEIGHTS = Path("weights/vpm.safetensors")
ENVIRONMENT = "VPMSEARCH_WEIGHTS"
DRAWN = "drawn pedestrians"
"""The data set name of weights that were trained on drawn images only."""


Precision = Literal["float32", "bfloat16"]
"""The number type in which a model's layers compute. Features are float32 in any case."""


@dataclass(frozen=True)
class LoadedWeights:
    """A weights file that was read; its model is built on demand.

    fingerprint: of the file. precision: in which the model shall run.
    """

    path: Path
    config: WeightsConfig
    fingerprint: str
    precision: Precision = "float32"

    @property
    def info(self) -> ModelInfo:
        """What an index stores about the model.

        Another precision gives other features, so the stored fingerprint includes it: `FINGERPRINT+bfloat16`.
        """
        return ModelInfo(
            num_regions=self.config.num_regions,
            embedding_dim=self.embedding_dim,
            fingerprint=self.fingerprint + ("" if self.precision == "float32" else f"+{self.precision}"),
            weights=str(self.path.resolve()),
            name=self.config.name,
            dataset=self.config.dataset,
            input_size=self.config.input_size,
        )

    @cached_property
    def model(self) -> Vpm:
        """The model in evaluation mode, on the CPU.

        Raises:
            WeightsError: a tensor is missing, of a wrong shape or not finite.
        """
        from vpmsearch.model.tensors import build_model

        return build_model(self.path, self.config)

    @property
    def is_built(self) -> bool:
        """Whether `model` has been built, and so torch is imported."""
        return "model" in vars(self)

    @property
    def embedding_dim(self) -> int:
        """d, the length of an embedding: as configured, else the channels of T, read from the locator's shape."""
        if self.config.embedding_dim is not None:
            return self.config.embedding_dim
        shape = None if self.is_built else tensor_shapes(self.path).get("locator.weight")  # (p, channels, 1, 1)
        if shape is not None and len(shape) == 4 and 1 <= shape[1] <= MAX_NUMBER:
            return shape[1]
        return self.model.embedding_dim


def read_weights(path: Path | str) -> LoadedWeights:
    """Read a weights file's configuration and fingerprint. The tensors are read when `.model` is first used.

    Raises:
        WeightsError: there is no such file, or it is no safetensors file, not vpmsearch's, or of a later version.
    """
    path = Path(path)
    metadata = read_metadata(path)
    if "checkpoint" in metadata:
        raise WeightsError(
            f"{path} is a checkpoint, from which a training goes on; its weights lie beside it, called the same "
            "without `.checkpoint`"
        )
    if "vpmsearch" not in metadata:
        raise WeightsError(
            f"{path} holds no vpmsearch model (a bare trunk goes to `vpmsearch train --init`); use another file"
        )
    return LoadedWeights(path, read_config(path, metadata["vpmsearch"]), fingerprint(path))


def find_weights(given: Path | None = None) -> Path:
    """The path of the weights: `given`, else $VPMSEARCH_WEIGHTS, else weights/vpm.safetensors, else the package's.

    Raises:
        WeightsError: the named file does not exist.
    """
    named = given or _from_environment()
    if named is not None:
        named = or_shipped(named)
        if not named.is_file():
            where = "" if given else f" (from ${ENVIRONMENT})"
            raise WeightsError(f"no weights file at {named}{where}; train one with `vpmsearch train`")
        return named
    return DEFAULT_WEIGHTS if DEFAULT_WEIGHTS.is_file() else PRETRAINED


def or_shipped(named: Path) -> Path:
    """The file of that path, or the one in the package if it is the name of one and no such file is here."""
    shipped = PRETRAINED.parent / named
    return shipped if shipped in EARLIER and not named.is_file() else named


def find_by_fingerprint(wanted: str, recorded: str, given: Path | None = None) -> LoadedWeights:
    """The weights that an index was built with, in the index's precision.

    Args:
        wanted: the fingerprint in the index, see `LoadedWeights.info`. recorded: the path in the index; it is tried
            first, then the usual places (see `find_weights`). given: if set, only this file is tried.

    Raises:
        WeightsError: none of those files has that fingerprint, or only a later version knows the precision.
    """
    precision = precision_of(wanted)
    wanted = wanted.partition("+")[0]
    found: dict[Path, str] = {}
    for place in [given] if given else _places(recorded):
        found[place] = _fingerprint_there(place)
        if found[place] == wanted:
            return replace(read_weights(place), precision=precision)
    tried = ", ".join(f"{place} ({there[:12] or 'not there'})" for place, there in found.items())
    known = f"; that is {SHIPPED[wanted[:12]]}" if wanted[:12] in SHIPPED else ""
    raise WeightsError(
        f"the index was built with weights {wanted[:12]} ({recorded}), and none of these is that file: {tried}{known}; "
        "give it with --weights FILE, or index again with other weights"
    )


def precision_of(wanted: str) -> Precision:
    """The precision in an index's fingerprint.

    Raises:
        WeightsError: this version knows no such precision.
    """
    named = wanted.partition("+")[2]
    if named in ("", "float32"):
        return "float32"
    if named == "bfloat16":
        return "bfloat16"
    raise WeightsError(f"the index was built in {named[:20]!r}, which this version does not know; update vpmsearch")


def _fingerprint_there(place: Path) -> str:
    """The file's fingerprint, or "" if there is none or it cannot be read (in somebody else's folder, for example)."""
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
