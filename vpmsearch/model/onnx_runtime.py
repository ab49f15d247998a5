"""A model run by onnxruntime on a CPU, without torch and faster than torch (docs/decisions/0008-onnx.md).

The weights in the package have their exported model beside them. For other weights the kept export is used; if there is
none, the model is exported now. An export is compared with torch before it is used or kept.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vpmsearch.errors import DataError, WeightsError
from vpmsearch.model import onnx_file
from vpmsearch.model.onnx_file import INPUT, METADATA, OUTPUTS
from vpmsearch.model.runtime import Pixels, Sight, threads
from vpmsearch.model.weights import LoadedWeights
from vpmsearch.types import Float32, RegionFeatures

TOLERANCE = 1e-4
"""Largest difference from torch, as a share of the largest number of an output. Seen: 1e-6."""


class OnnxRuntime:
    """A model on the CPU, run by onnxruntime.

    Images are computed one at a time, so the features of an image depend on that image alone. It is also faster: the
    output of a layer for one image fits into the cache.

    Args:
        weights: of the model.
        tell: gets a line before an export, which takes some 15 seconds, and a line if the export cannot be kept.

    Raises:
        DataError: a package is not installed.
        WeightsError: the weights are damaged, or onnxruntime gives other numbers than torch.
    """

    name = "onnx"

    def __init__(self, weights: LoadedWeights, tell: Callable[[str], None] = lambda line: None) -> None:
        _package()
        self._session: Any = _ready_session(weights) or open_session(exported(weights, tell))

    @classmethod
    def if_ready(cls, weights: LoadedWeights) -> OnnxRuntime | None:
        """The runtime if it needs no export, else None. None also if onnxruntime is not installed."""
        try:
            session = _ready_session(weights)
        except DataError:
            return None
        if session is None:
            return None
        runtime = cls.__new__(cls)
        runtime._session = session
        return runtime

    def features(self, pixels: Pixels) -> RegionFeatures:
        """Visibility (B, p) and embeddings (B, p, d)."""
        seen = [self._outputs(pixels[row : row + 1], OUTPUTS[:2]) for row in range(len(pixels))]
        return RegionFeatures(*(np.concatenate(each) for each in zip(*seen, strict=True)))

    def see(self, pixels: Pixels) -> Sight:
        """And where the regions are."""
        seen = [self._outputs(pixels[row : row + 1], OUTPUTS) for row in range(len(pixels))]
        return Sight(*(np.concatenate(each) for each in zip(*seen, strict=True)))

    def _outputs(self, pixels: Pixels, names: tuple[str, ...]) -> list[Float32]:
        outputs: list[Float32] = self._session.run(list(names), {INPUT: pixels})
        return outputs


def ready(weights: LoadedWeights) -> bytes | None:
    """The exported model of these weights in the package or in the cache folder; None if there is none."""
    return onnx_file.packaged(weights) or onnx_file.read_kept(weights.fingerprint)


def exported_model(weights: LoadedWeights, tell: Callable[[str], None]) -> bytes:
    """The exported model of these weights. It is exported now if there is none, or only one of another version.

    Raises:
        DataError, WeightsError: as `exported`.
    """
    packaged = onnx_file.packaged(weights)
    if packaged is None and _ready_session(weights) is not None:
        packaged = ready(weights)
    return packaged or exported(weights, tell)


def exported(weights: LoadedWeights, tell: Callable[[str], None]) -> bytes:
    """Export a model, compare its output with torch's and keep it.

    Raises:
        DataError: a package is not installed.
        WeightsError: the weights are damaged, or onnxruntime gives other numbers than torch.
    """
    from vpmsearch.model.export import check_packages, compact_bytes, onnx_bytes

    examples = _by_torch(weights)
    check_packages()
    path = onnx_file.place_to_keep(weights.fingerprint, tell)
    content = compact_bytes(onnx_bytes(weights))
    session = open_session(content)
    if session is None or not all(_agrees(session, *example) for example in examples):
        raise WeightsError(f"onnxruntime does not give what torch gives for {weights.path}; use --runtime torch")
    if path:
        onnx_file.keep(path, content, tell)
    return content


def _package() -> Any:
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        raise DataError(f"the runtime onnx needs {error.name}: pip install onnxruntime") from error
    return onnxruntime


def _ready_session(weights: LoadedWeights) -> Any | None:
    """A session of the model that is there. None if there is none, or it is damaged or of another version.

    Raises:
        DataError: onnxruntime is not installed.
    """
    _package()
    content = ready(weights)
    session = open_session(content) if content else None
    if session is None:
        return None
    try:
        told = json.loads(session.get_modelmeta().custom_metadata_map[METADATA])
        ours = told["fingerprint"] == weights.fingerprint
    except (KeyError, ValueError, TypeError):
        return None
    return session if ours and [output.name for output in session.get_outputs()] == list(OUTPUTS) else None


def open_session(content: bytes) -> Any | None:
    """A session, or None where the content is damaged."""
    onnxruntime = _package()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # we report what is wrong with a file
    # onnxruntime's default counts physical cores; two virtual cores may share one.
    options.intra_op_num_threads = threads()
    # Threads that spin while they wait take the processor from others, and go on for a while after a query.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception:  # onnxruntime's errors have no other base; the model is exported again in any case
        return None


def _by_torch(weights: LoadedWeights) -> list[tuple[NDArray[np.uint8], list[Float32]]]:
    """Two images of random noise, (2, H, W, 3), new ones each time, and torch's outputs for them.

    With a second look also two images of half that height.

    Raises:
        WeightsError: the outputs are not finite.
    """
    import torch

    from vpmsearch.model.export import PixelModel

    config = weights.config
    module = PixelModel(weights.model, config.mean, config.std).eval()
    examples = []
    for height in config.heights_to_check:
        noise = np.random.default_rng().integers(0, 256, (2, height, config.input_size[1], 3), dtype=np.uint8)
        with torch.inference_mode():
            expected = [output.numpy() for output in module(torch.from_numpy(noise))]
        if not all(np.isfinite(output).all() for output in expected):
            raise WeightsError(f"{weights.path}: the model's output is not finite; the weights are damaged")
        examples.append((noise, expected))
    return examples


def _agrees(session: Any, noise: NDArray[np.uint8], expected: list[Float32]) -> bool:
    """Whether the session's outputs equal torch's, up to `TOLERANCE`."""
    try:
        found = session.run(list(OUTPUTS), {INPUT: noise})
    except Exception:  # another model's file has other inputs and outputs
        return False
    return all(
        ours.shape == theirs.shape and np.allclose(ours, theirs, rtol=0, atol=TOLERANCE * np.abs(theirs).max())
        for ours, theirs in zip(found, expected, strict=True)
    )
