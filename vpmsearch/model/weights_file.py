"""The part of weights files that can be read without torch: the configuration, in the metadata of a safetensors file.

Nothing is unpickled. A hostile file is refused or gives wrong answers, but it cannot run code.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from io import BufferedReader
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from vpmsearch.errors import WeightsError
from vpmsearch.system.regular import UnfitFileError, open_regular

FORMAT = 1
MAX_HEADER_BYTES = 1 << 20
MAX_FILE_BYTES = 512 << 20
"""Larger files are refused. The largest weights, those of resnet50, have 0.1 GiB."""
MAX_INPUT_PIXELS = 1 << 20
"""Largest height times width of a model's input; every image is resized to it."""
MAX_TEXT = 200
"""Most characters of a name in a configuration; names are printed."""
EXTENSIONS = ("occluder_class", "second_look")
"""Settings beyond the paper. Files from before one of them do not have its key."""
LEAST_HEIGHT = 32
"""Fewest rows of pixels of an input that is seen a second time, as in training."""
MAX_NUMBER = 1 << 16
"""A configuration with a larger size or count is taken for damaged: building its model would take all memory."""


@dataclass(frozen=True)
class WeightsConfig:
    """The configuration of a model, stored beside its tensors.

    input_size: (height, width). mean, std: of RGB values in 0-1. num_classes: identities of the training set.
    training: the settings of the training. source_revision: of the vpmsearch that wrote the file.
    occluder_class: as in `Vpm`. second_look: see `vpmsearch.model.second_look`. Files from before them have neither.
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
    occluder_class: bool = False
    second_look: bool = False

    def problem(self) -> str | None:
        """What is wrong with the configuration, or None. It comes from a file, so every value is checked.

        Only the names of architecture and backbone are not: they are looked up when the model is built.
        """
        texts = (self.backbone, self.name, self.dataset, self.source_revision, self.architecture)
        checks = [
            (all(isinstance(text, str) for text in texts), "a name is not text"),
            (all(_printable(text) for text in texts), f"a name is not one line of at most {MAX_TEXT} characters"),
            (_sizes(self.num_regions, 2), f"num_regions {cut(self.num_regions)} is no grid"),
            (
                self.embedding_dim is None or _sizes((self.embedding_dim,), 1),
                f"embedding_dim {cut(self.embedding_dim)}",
            ),
            (_count(self.num_classes), f"num_classes {cut(self.num_classes)}"),
            (
                _sizes(self.input_size, 2) and math.prod(self.input_size) <= MAX_INPUT_PIXELS,
                f"input_size {cut(self.input_size)} is no (height, width) of at most {MAX_INPUT_PIXELS} pixels",
            ),
            (isinstance(self.normalize_embeddings, bool), "normalize_embeddings is neither true nor false"),
            (_finite(self.mean) and _finite(self.std), "mean or std is not three finite numbers"),
            (_finite(self.std) and min(self.std) > 0, "std is not positive"),
            (isinstance(self.training, Mapping), "training is no table of settings"),
            (isinstance(self.occluder_class, bool), "occluder_class is neither true nor false"),
            (self.architecture == "vpm" or not self.occluder_class, "only the architecture vpm has an occluder_class"),
            (isinstance(self.second_look, bool), "second_look is neither true nor false"),
            (self.architecture == "vpm" or not self.second_look, "only the architecture vpm takes a second_look"),
            (
                not self.second_look or (_sizes(self.input_size, 2) and self.input_size[0] >= LEAST_HEIGHT),
                f"second_look needs an input_size of at least {LEAST_HEIGHT} rows",
            ),
        ]
        return next((message for fine, message in checks if not fine), None)

    @property
    def heights_to_check(self) -> tuple[int, ...]:
        """Heights in pixels of images on which two runtimes of the model are compared."""
        height = self.input_size[0]
        return (height, height // 2) if self.second_look else (height,)

    def to_json(self) -> dict[str, Any]:
        """The configuration as plain values, as it is written.

        An extension that is off is left out: versions from before it refuse a key that they do not know.
        """
        values = asdict(self)
        return {key: value for key, value in values.items() if key not in EXTENSIONS or value}


def _printable(text: Any) -> bool:
    return isinstance(text, str) and text.isprintable() and len(text) <= MAX_TEXT


def _count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 31


def cut(value: Any) -> str:
    """A value for a message, cut to 80 characters: in a file it may be a megabyte long."""
    return repr(value)[:80]


def tensor_name(name: str) -> str:
    """A tensor's name from a file, as one line of ASCII."""
    return ascii(name[:80])[1:-1]


def one_line(error: BaseException) -> str:
    """The text of an error about a damaged file, as one line without the file's control characters."""
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


def read_config(path: Path, text: str) -> WeightsConfig:
    """The configuration in a weights file's metadata.

    Raises:
        WeightsError: it is no configuration, or of a later version.
    """
    try:
        values = json.loads(text)
        if values.get("format", 0) > FORMAT:
            raise WeightsError(
                f"{path} was written by a later vpmsearch (format {cut(values['format'])}); upgrade vpmsearch"
            )
        if unknown := sorted(set(values) - {item.name for item in fields(WeightsConfig)}):
            raise WeightsError(f"{path}: unknown configuration keys {', '.join(map(tensor_name, unknown[:10]))}")
        plain: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}
        config = WeightsConfig(**plain)
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise WeightsError(
            f"{path}: its configuration cannot be read ({one_line(error)}); the file is damaged"
        ) from error
    if problem := config.problem():
        raise WeightsError(f"{path}: {problem}; the file is damaged or of another vpmsearch")
    return config


def read_metadata(path: Path, largest: int = MAX_FILE_BYTES) -> dict[str, str]:
    """The metadata of a safetensors file. Its sizes are checked first.

    Args:
        largest: bytes that the file may have.

    Raises:
        WeightsError: the file is missing, unreadable, too large or damaged.
    """
    try:
        with _opened(path, largest) as file:
            size = os.fstat(file.fileno()).st_size
            header = int.from_bytes(file.read(8), "little")
        if size < 8 or header > min(MAX_HEADER_BYTES, size - 8):
            raise WeightsError(
                f"{path} is not a safetensors file of sane size; vpmsearch reads no other kind of weights"
            )
        with safe_open(path, framework="np") as opened:
            return dict(opened.metadata() or {})
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{path} cannot be read as safetensors: {one_line(error)}") from error


def _opened(path: Path, largest: int) -> BufferedReader:
    """A weights file, open for reading. It may be a link, as in the caches of model hubs.

    Raises:
        WeightsError: there is none, it is no regular file, or it has more than `largest` bytes. OSError: it cannot be
            read.
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


def fingerprint(path: Path) -> str:
    """SHA-256 of the file, in hex. Two files with the same fingerprint hold the same model.

    Raises:
        WeightsError: it cannot be read.
    """
    try:
        with _opened(path, MAX_FILE_BYTES) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error}") from error


def tensor_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """The shapes of the tensors in a safetensors file by name, read from its header.

    Raises:
        WeightsError: it cannot be read.
    """
    try:
        with safe_open(path, framework="np") as opened:
            return {name: tuple(opened.get_slice(name).get_shape()) for name in opened.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{path} cannot be read as safetensors: {one_line(error)}") from error
