"""Chooses the runtime that computes features. No other place does."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from vpmsearch.errors import DataError, DeviceError
from vpmsearch.model import onnx_file
from vpmsearch.model.device import Device
from vpmsearch.model.onnx_runtime import OnnxRuntime, exported, ready
from vpmsearch.model.runtime import Runtime
from vpmsearch.model.weights import LoadedWeights, read_weights
from vpmsearch.system.extras import needed_for

if TYPE_CHECKING:
    import torch

EXPORT = "VPMSEARCH_EXPORT"
"""Environment variable: with "never", no model is exported in the background."""
_PATIENCE = 19  # niceness of a background export: everything else goes first


def choose_runtime(
    weights: LoadedWeights,
    device: Device | torch.device,
    name: str = "auto",
    tell: Callable[[str], None] = lambda line: None,
) -> Runtime:
    """A model that is ready to compute.

    Weights in bfloat16 need OpenVINO and a CPU with bfloat16. Elsewhere they are computed in float32, which changes
    every f_i by some hundredths.

    Args:
        weights: of the model. device: where it runs.
        name: auto, torch, onnx or openvino. On a GPU, auto is torch. On the CPU, auto is onnx if there is an exported
            model already and the torch module has not been built; otherwise it is torch.
        tell: gets a line before an export that takes a while, and a line if float32 replaces bfloat16.

    Raises:
        DeviceError: the runtime does not run on the device. DataError: a package is not installed.
        WeightsError: the weights are damaged.
    """
    if name in ("onnx", "openvino") and device.type != "cpu":
        raise DeviceError(f"the runtime {name} runs on the CPU and not on {device}; use --device cpu or auto")
    if weights.precision != "float32":
        found = _in_its_precision(weights, device, name, tell)
        if found is not None:
            return found
        weights = replace(weights, precision="float32")
    if name == "openvino":
        with needed_for("the runtime openvino"):
            from vpmsearch.model.openvino_runtime import OpenVinoRuntime

        return OpenVinoRuntime(weights, tell=tell)
    if name == "onnx":
        return OnnxRuntime(weights, tell)
    if name == "auto" and device.type == "cpu" and not weights.is_built:
        at_hand = OnnxRuntime.if_ready(weights)
        if at_hand is not None:
            return at_hand
    with needed_for(f"to run {weights.path.name}, which is not the package's own model,"):
        from vpmsearch.model.torch_runtime import TorchRuntime

    return TorchRuntime(weights, device)


def _in_its_precision(
    weights: LoadedWeights, device: Device | torch.device, name: str, tell: Callable[[str], None]
) -> Runtime | None:
    """A model in another precision than float32. None if this machine cannot; `tell` gets the reason."""
    from vpmsearch.model.openvino_runtime import OpenVinoRuntime

    if device.type == "cpu" and name in ("auto", "openvino"):
        try:
            return OpenVinoRuntime(weights, tell=tell)
        except DataError as error:
            reason = str(error)
    else:
        reason = f"{name if device.type == 'cpu' else device} does not"
    tell(
        f"the index was built in {weights.precision}, queries are seen in float32 ({reason}): distances differ a little"
    )
    return None


def export_in_background(weights: LoadedWeights, tell: Callable[[str], None]) -> None:
    """Start a process that exports a model, so that later commands need no torch. It does not wait for the process.

    Nothing happens if the model is exported already, cannot be kept, or the packages for it are not installed.
    """
    missing = any(find_spec(package) is None for package in ("torch", "onnx", "onnxscript", "onnxruntime"))
    if os.environ.get(EXPORT) == "never" or missing or not sys.executable or ready(weights) is not None:
        return
    problems: list[str] = []
    if onnx_file.place_to_keep(weights.fingerprint, problems.append) is None:
        return
    root = str(Path(__file__).parents[2])  # the child must import this same package, from any folder
    paths = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH", "")])])
    code = f"from {__name__} import keep_export; keep_export({str(weights.path.resolve())!r})"
    with contextlib.suppress(OSError):
        child = subprocess.Popen(
            [sys.executable, "-P", "-c", code],
            env=os.environ | {"PYTHONPATH": paths},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        threading.Thread(target=child.wait, daemon=True).start()  # so that it does not stay a zombie beside a server
        tell(
            "exporting the model in the background, once, so that later commands start without torch "
            f"(some 15 seconds; {EXPORT}=never keeps it from that)"
        )


def keep_export(weights: str) -> None:
    """Export a model and keep it, unless another process is doing so. `export_in_background` runs this."""
    from filelock import FileLock, Timeout

    os.nice(_PATIENCE)
    loaded = read_weights(Path(weights))
    path = onnx_file.exported_path(loaded.fingerprint)
    with contextlib.suppress(Timeout), FileLock(path.with_suffix(".lock"), timeout=0, mode=0o600):
        if ready(loaded) is None:
            exported(loaded, lambda line: None)
