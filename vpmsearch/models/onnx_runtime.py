"""A model run by onnxruntime instead of torch: on a CPU it is the faster of the two (docs/decisions/0008-onnx.md).

The exported model is kept in the user's cache folder, as an export takes longer than a small gallery. What is found
there is not believed: it has to give what torch gives before it is used.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vpmsearch.errors import DataError, WeightsError
from vpmsearch.models.export import INPUT, OUTPUTS, PixelModel, export_onnx
from vpmsearch.models.weights import LoadedWeights
from vpmsearch.types import Float32, RegionFeatures

CACHE = "XDG_CACHE_HOME"
"""Environment variable with the folder of all programs' caches; where it is not set, that is ~/.cache."""
TOLERANCE = 1e-4
"""Largest difference from torch, as a share of the largest number of an output. Seen: 1e-6."""


class OnnxRuntime:
    """A model on the CPU, by onnxruntime.

    Args:
        weights: of the model. on_export: told the file that is about to be made, which takes some 15 seconds.

    Raises:
        DataError: onnxruntime or what an export needs is not installed, or the cache folder cannot be written.
        WeightsError: onnxruntime gives other numbers than torch.
    """

    def __init__(self, weights: LoadedWeights, on_export: Callable[[Path], None] = lambda path: None) -> None:
        try:
            import onnxruntime
        except ModuleNotFoundError as error:
            raise DataError("the runtime onnx needs onnxruntime: pip install 'vpmsearch[onnx]'") from error
        self._onnxruntime = onnxruntime
        path = exported_path(weights)
        session = self._open(path) if path.is_file() else None
        if session is None or not _agrees(session, weights):
            on_export(path)
            session = self._exported(weights, path)
        self._session = session

    def __call__(self, pixels: NDArray[np.uint8]) -> RegionFeatures:
        """(B, H, W, 3) uint8 RGB of the weights' input size -> visibility (B, p) and embeddings (B, p, d); B ≥ 1."""
        return RegionFeatures(*_outputs(self._session, pixels))

    def _exported(self, weights: LoadedWeights, path: Path) -> Any:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(
                f"{path.parent} cannot be made ({error.strerror}); name another folder in ${CACHE}"
            ) from error
        session = self._open(export_onnx(weights, path))
        if session is None or not _agrees(session, weights):
            raise WeightsError(f"onnxruntime does not give what torch gives for {weights.path}; use --runtime torch")
        return session

    def _open(self, path: Path) -> Any | None:
        """A session, or None where the file is damaged."""
        options = self._onnxruntime.SessionOptions()
        options.log_severity_level = 4  # what is wrong with a file is said by us
        # Its own default counts physical cores, of which two virtual ones may share one.
        options.intra_op_num_threads = torch.get_num_threads()
        try:
            return self._onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception:  # its errors have no other base; whatever it is, the file is made anew
            return None


def exported_path(weights: LoadedWeights) -> Path:
    """Where the exported model of these weights is kept."""
    given = os.environ.get(CACHE, "")
    # A relative path is to be ignored, says the XDG base directory specification.
    caches = Path(given) if Path(given).is_absolute() else Path.home() / ".cache"
    return caches / "vpmsearch" / f"{weights.fingerprint}.onnx"


def _outputs(session: Any, pixels: NDArray[np.uint8]) -> tuple[Float32, Float32]:
    visibility, embeddings = session.run(list(OUTPUTS), {INPUT: pixels})
    return visibility, embeddings


def _agrees(session: Any, weights: LoadedWeights) -> bool:
    """Whether it gives what torch gives, for two images of noise."""
    config = weights.config
    pixels = np.random.default_rng(0).integers(0, 256, (2, *config.input_size, 3), dtype=np.uint8)
    module = PixelModel(weights.model, config.mean, config.std).eval()
    with torch.inference_mode():
        expected = [output.numpy() for output in module(torch.from_numpy(pixels))]
    try:
        found = _outputs(session, pixels)
    except Exception:  # another model's file has other inputs and outputs
        return False
    return all(
        ours.shape == theirs.shape and np.allclose(ours, theirs, rtol=0, atol=TOLERANCE * np.abs(theirs).max())
        for ours, theirs in zip(found, expected, strict=True)
    )
