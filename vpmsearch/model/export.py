"""A model as an ONNX file, from pixels to visibility and embeddings. It can be used without Python.

The file holds the normalisation of pixels, the network and Eq. 1 to 3. It does not resize: `vpmsearch.data.images` uses
Pillow's antialiased bilinear filter. The caller resizes the image. ONNX's Resize (antialias, exclude_outside) is within
one level of 255 of that filter in onnxruntime, but OpenVINO passes antialias over (`findings/openvino_antialias.sh`).
"""

from __future__ import annotations

import contextlib
import json
import logging
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vpmsearch.errors import DataError, WeightsError
from vpmsearch.model.onnx_file import INPUT, METADATA, OUTPUTS
from vpmsearch.model.vpm import Vpm
from vpmsearch.model.weights import LoadedWeights
from vpmsearch.system.atomic import replacing

OPSET = 18
_WORTH_HALVING = 64  # numbers; a cast costs a node


class PixelModel(nn.Module):
    """A model that takes the pixels of resized images.

    Args:
        model: in evaluation mode. mean, std: of RGB values in 0-1, those that the weights were trained with.
    """

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(self, model: Vpm, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("pixel_mean", torch.tensor(mean).view(1, 3, 1, 1) * 255)
        self.register_buffer("pixel_std", torch.tensor(std).view(1, 3, 1, 1) * 255)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, H, W, 3) uint8 RGB -> visibility (B, p), C_i / (h·w) of Eq. 2, embeddings (B, p, d), f_i of Eq. 3, and
        probabilities (B, p, h, w) of Eq. 1.
        """
        images = (pixels.permute(0, 3, 1, 2).float() - self.pixel_mean) / self.pixel_std  # -> (B, 3, H, W)
        output = self.model(images)
        return output.visibility, output.embeddings, output.probabilities


def export_onnx(weights: LoadedWeights, output: Path) -> Path:
    """Write a model as an ONNX file, whole or not at all.

    Input `pixels` (batch, H, W, 3) uint8 RGB, resized to the weights' input size; outputs `visibility` (batch, p),
    `embeddings` (batch, p, d) and `probabilities` (batch, p, h, w), float32. The batch may have any size, and H too if
    the weights take a second look (`vpmsearch.model.second_look`, which the file itself does not take). The metadata
    entry "vpmsearch" holds the weights' configuration, their fingerprint and `min_visibility`, as JSON.

    Args:
        weights: of the model. output: a file that ends in .onnx.

    Returns:
        `output`.

    Raises:
        DataError: the suffix is not .onnx, there is no such folder, the file cannot be written, or a package is not
            installed.
        WeightsError: the weights are damaged.
    """
    check_onnx(output)
    content = onnx_bytes(weights)
    try:
        with replacing(output) as temporary:
            temporary.write_bytes(content)
    except OSError as error:
        raise DataError(f"cannot write {output}: {error.strerror or error}") from error
    return output


def onnx_bytes(weights: LoadedWeights) -> bytes:
    """The content of the file that `export_onnx` writes. It takes some 15 seconds.

    Raises:
        DataError: a package is not installed.
        WeightsError: the weights are damaged.
    """
    check_packages()
    import onnx

    config = weights.config
    module = PixelModel(weights.model, config.mean, config.std).eval()
    # Two images: the exporter would take a batch of one for a constant.
    example = torch.zeros(2, *config.input_size, 3, dtype=torch.uint8)
    with _quiet(), torch.inference_mode():
        program = torch.onnx.export(
            module,
            (example,),
            input_names=[INPUT],
            output_names=list(OUTPUTS),
            opset_version=OPSET,
            dynamic_shapes=(_free(weights),),
            dynamo=True,
            optimize=False,  # onnxruntime does that when it loads the file
            verbose=False,
        )
    if program is None:
        raise WeightsError(f"{weights.path} cannot be exported; please report it")
    made = program.model_proto
    entry = made.metadata_props.add()
    entry.key, entry.value = METADATA, json.dumps(_described(weights))
    onnx.checker.check_model(made)
    return bytes(made.SerializeToString())


def _free(weights: LoadedWeights) -> dict[int, Any]:
    """The axes of `pixels` that may have any size: the batch, and the height if the weights take a second look."""
    free: dict[int, Any] = {0: torch.export.Dim("batch", min=1)}
    if weights.config.second_look:
        free[1] = torch.export.Dim("height", min=16)
    return free


def compact_bytes(content: bytes) -> bytes:
    """An exported model with its constants folded, and its tensors in float16 where that loses nothing.

    It opens in half the time. Weights that were stored as float16 take half the bytes. It uses standard operators only,
    so any reader of ONNX can read it.

    Raises:
        DataError: a package is not installed.
    """
    check_packages()
    import onnx
    import onnxruntime

    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.optimized_model_filepath = str(Path(folder) / "folded.onnx")
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.log_severity_level = 3
        onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        model = onnx.load(options.optimized_model_filepath)
    model.metadata_props.MergeFrom(onnx.load_from_string(content).metadata_props[len(model.metadata_props) :])
    casts = []
    for tensor in model.graph.initializer:
        numbers = onnx.numpy_helper.to_array(tensor)
        if numbers.dtype != np.float32 or numbers.size < _WORTH_HALVING:
            continue
        with np.errstate(over="ignore"):
            half = numbers.astype(np.float16)
        if np.array_equal(half.astype(np.float32), numbers):
            name, narrow = tensor.name, f"{tensor.name}.float16"
            tensor.CopyFrom(onnx.numpy_helper.from_array(half, narrow))
            casts.append(onnx.helper.make_node("Cast", [narrow], [name], to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    used = {node.domain for node in nodes}
    kept = [each for each in model.opset_import if each.domain in used]  # onnxruntime lists every set that it knows
    del model.opset_import[:]
    model.opset_import.extend(kept)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def check_packages() -> None:
    """Check before the work that the packages for an export are installed.

    Raises:
        DataError: a package is not installed.
    """
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401 (torch.onnx needs it)
    except ModuleNotFoundError as error:
        raise DataError(f"exporting a model needs {error.name}: pip install 'vpmsearch[onnx]'") from error


def check_onnx(output: Path) -> None:
    """Check before the work that the output can be written.

    Raises:
        DataError: the suffix is not .onnx, or there is no such folder.
    """
    if output.suffix.lower() != ".onnx":
        raise DataError(f"{output}: an ONNX model is a file that ends in .onnx")
    if not output.parent.is_dir():
        raise DataError(f"{output}: there is no folder {output.parent}")


def _described(weights: LoadedWeights) -> dict[str, object]:
    info = weights.info
    return {"config": weights.config.to_json(), "fingerprint": weights.fingerprint, "min_visibility": info.threshold}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter's log and its warnings."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)
