"""A model run by onnxruntime instead of torch: on a CPU it is the faster of the two (docs/decisions/0008-onnx.md).

The exported model is kept in the user's cache folder, as an export takes longer than a small gallery. A file there is
used if nobody but this user can write it, and if it gives what torch gives for two images of noise, other ones
at each start. That comparison notices a damaged file and another model's. It is no defence against who means harm: a
model may be made to differ for some images only.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vpmsearch.errors import DataError, WeightsError
from vpmsearch.model.export import INPUT, OUTPUTS, PixelModel, check_packages, onnx_bytes
from vpmsearch.model.weights import LoadedWeights
from vpmsearch.system.atomic import replacing
from vpmsearch.types import Float32, RegionFeatures

CACHE = "XDG_CACHE_HOME"
"""Environment variable with the folder of all programs' caches; where it is not set, that is ~/.cache."""
TOLERANCE = 1e-4
"""Largest difference from torch, as a share of the largest number of an output. Seen: 1e-6."""
_OTHERS_MAY_WRITE = 0o022


class OnnxRuntime:
    """A model on the CPU, by onnxruntime.

    Args:
        weights: of the model.
        tell: told, in one line, of an export, which takes some 15 seconds, and why an exported model is not kept.

    Raises:
        DataError: onnxruntime or what an export needs is not installed.
        WeightsError: the weights are damaged, or onnxruntime gives other numbers than torch.
    """

    def __init__(self, weights: LoadedWeights, tell: Callable[[str], None] = lambda line: None) -> None:
        try:
            import onnxruntime
        except ModuleNotFoundError as error:
            raise DataError(f"the runtime onnx needs {error.name}: pip install 'vpmsearch[onnx]'") from error
        self._onnxruntime = onnxruntime
        noise, expected = _by_torch(weights)
        kept = _read(weights.fingerprint)
        session = self._open(kept) if kept else None
        if session is None or not _agrees(session, noise, expected):
            check_packages()
            path = _place(weights.fingerprint, tell)
            content = onnx_bytes(weights)
            session = self._open(content)
            if session is None or not _agrees(session, noise, expected):
                raise WeightsError(
                    f"onnxruntime does not give what torch gives for {weights.path}; use --runtime torch"
                )
            if path:
                _keep(path, content, tell)
        self._session = session

    def __call__(self, pixels: NDArray[np.uint8]) -> RegionFeatures:
        """(B, H, W, 3) uint8 RGB of the weights' input size -> visibility (B, p) and embeddings (B, p, d); B ≥ 1."""
        return RegionFeatures(*_outputs(self._session, pixels))

    def _open(self, content: bytes) -> Any | None:
        """A session, or None where the content is damaged."""
        options = self._onnxruntime.SessionOptions()
        options.log_severity_level = 4  # what is wrong with a file is said by us
        # Its own default counts physical cores, of which two virtual ones may share one.
        options.intra_op_num_threads = torch.get_num_threads()
        try:
            return self._onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception:  # its errors have no other base; whatever it is, the file is made anew
            return None


def exported_path(fingerprint: str) -> Path:
    """Where the exported model of the weights with this fingerprint is kept.

    Raises:
        OSError: this user has no home.
    """
    given = os.environ.get(CACHE, "")
    try:
        # A relative path is to be ignored, says the XDG base directory specification.
        caches = Path(given) if Path(given).is_absolute() else Path.home() / ".cache"
    except RuntimeError as error:
        raise FileNotFoundError(errno.ENOENT, "this user has no home folder", "~/.cache") from error
    return caches / "vpmsearch" / f"{fingerprint}.onnx"


def _read(fingerprint: str) -> bytes | None:
    """What is kept, or None where that is nothing or others may have written it."""
    try:
        path = exported_path(fingerprint)
        if not _is_ours(path.parent.stat()):
            return None
        with path.open("rb") as file:
            return file.read() if _is_ours(os.fstat(file.fileno())) else None
    except OSError:
        return None


def _place(fingerprint: str, tell: Callable[[str], None]) -> Path | None:
    """Where an export will be kept, its folder made; None where it cannot be."""
    try:
        path = exported_path(fingerprint)
        _make(path.parent)
    except OSError as error:
        tell(f"exporting the model: some 15 seconds at each start, as {_not_kept(error)}")
        return None
    tell(f"exporting the model, once, to {path}: some 15 seconds")
    return path


def _keep(path: Path, content: bytes, tell: Callable[[str], None]) -> None:
    """Write the file, whole or not at all; others may be writing the same one."""
    try:
        with replacing(path) as temporary:
            temporary.write_bytes(content)
        path.chmod(0o600)  # under a umask of 002 the group could write it, and it would not be read again
    except OSError as error:
        tell(f"the exported model is used now, but {_not_kept(error)}")


def _make(folder: Path) -> None:
    """A folder of this user's alone.

    Raises:
        OSError: it cannot be made, others may write to it, or this user may not.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not _is_ours(folder.stat()):
        raise PermissionError(errno.EPERM, "another user's, or others may write to it (chmod go-w)", str(folder))
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, "it cannot be written", str(folder))


def _is_ours(status: os.stat_result) -> bool:
    return status.st_uid == os.geteuid() and not status.st_mode & _OTHERS_MAY_WRITE


def _not_kept(error: OSError) -> str:
    where = f"{error.filename}: " if error.filename else ""
    return f"it is not kept ({where}{error.strerror or error}); ${CACHE} may name another folder"


def _outputs(session: Any, pixels: NDArray[np.uint8]) -> tuple[Float32, Float32]:
    visibility, embeddings = session.run(list(OUTPUTS), {INPUT: pixels})
    return visibility, embeddings


def _by_torch(weights: LoadedWeights) -> tuple[NDArray[np.uint8], list[Float32]]:
    """Two images of noise, (2, H, W, 3), other ones each time, and what torch gives for them.

    Raises:
        WeightsError: that is not finite.
    """
    config = weights.config
    noise = np.random.default_rng().integers(0, 256, (2, *config.input_size, 3), dtype=np.uint8)
    module = PixelModel(weights.model, config.mean, config.std).eval()
    with torch.inference_mode():
        expected = [output.numpy() for output in module(torch.from_numpy(noise))]
    if not all(np.isfinite(output).all() for output in expected):
        raise WeightsError(f"{weights.path}: the model's output is not finite; the weights are damaged")
    return noise, expected


def _agrees(session: Any, noise: NDArray[np.uint8], expected: list[Float32]) -> bool:
    """Whether it gives what torch gives."""
    try:
        found = _outputs(session, noise)
    except Exception:  # another model's file has other inputs and outputs
        return False
    return all(
        ours.shape == theirs.shape and np.allclose(ours, theirs, rtol=0, atol=TOLERANCE * np.abs(theirs).max())
        for ours, theirs in zip(found, expected, strict=True)
    )
