"""Runs the frozen stages of a trunk apart from the stages that learn.

The frozen stages take most of a step's time and need no gradient. Worker threads run them ahead of the step. A few
images at a time keep the results in a core's cache. torch or OpenVINO computes; in bfloat16 OpenVINO needs a third of
torch's time.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vpmsearch.errors import TrainingError
from vpmsearch.model.trunks import Backbone

CHUNK = 8
"""Images at a time on a CPU. In torch 8 is the fastest of 4, 8, 16, 32 and 64; with 64 an image takes twice as long."""


class FrozenPart:
    """Normalised images (B, 3, H, W) -> output of the frozen stages, on the same device and without gradient.

    Several threads may call it at the same time.

    Args:
        backbone: one that splits (`Backbone.splits`). runtime: "torch", or "openvino" on a CPU. half: compute in
            bfloat16. input_size: (H, W).

    Raises:
        TrainingError: OpenVINO is not installed or cannot run the stages.
    """

    def __init__(self, backbone: Backbone, runtime: str, input_size: tuple[int, int], *, half: bool) -> None:
        self._backbone, self._half = backbone, half
        self._run: Callable[[Tensor], Tensor] = self._torch
        if runtime == "openvino":
            self._run = _OpenVino(backbone, input_size, half=half)

    def __call__(self, images: Tensor) -> Tensor:
        """See the class."""
        return torch.cat([self._run(part) for part in torch.split(images, CHUNK)])

    def _torch(self, images: Tensor) -> Tensor:
        with torch.no_grad(), torch.autocast(images.device.type, torch.bfloat16, enabled=self._half):
            return self._backbone.frozen_part(images)


class _Stages(nn.Module):
    """A module of the frozen stages only, for OpenVINO to convert."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, images: Tensor) -> Tensor:
        return self.backbone.frozen_part(images)


class _OpenVino:
    """The frozen stages, converted once, in batches of `CHUNK` images. A shorter batch is filled up with zeros."""

    def __init__(self, backbone: Backbone, input_size: tuple[int, int], *, half: bool) -> None:
        try:
            import openvino
        except ImportError as error:
            raise TrainingError(
                "--frozen-runtime openvino needs OpenVINO: pip install 'vpmsearch[openvino]'"
            ) from error
        example = torch.zeros(CHUNK, 3, *input_size)
        try:
            with torch.no_grad(), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # OpenVINO traces with functions that torch calls deprecated
                model = openvino.convert_model(_Stages(backbone).eval(), example_input=example)
            precision = "bf16" if half else "f32"
            # Each thread has its own request and computes by itself.
            settings = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": 2, "NUM_STREAMS": 2}
            self._core, self._model, self._settings = openvino.Core(), model, settings
            self._compiled: dict[tuple[int, int], Any] = {}
            self._lock = threading.Lock()
            self._program(input_size)
        except Exception as error:  # its own exceptions are RuntimeErrors and others, by version
            raise TrainingError(
                f"OpenVINO cannot run the frozen stages ({str(error)[:200]}); train with --frozen-runtime torch"
            ) from error
        self._half = half
        self._requests = threading.local()

    def _program(self, size: tuple[int, int]) -> Any:
        """The stages, compiled for `CHUNK` images of one size. The low images of a second look have others."""
        with self._lock:
            if size not in self._compiled:
                model = self._model.clone()
                model.reshape({0: [CHUNK, 3, *size]})
                self._compiled[size] = self._core.compile_model(model, "CPU", self._settings)
            return self._compiled[size]

    def __call__(self, images: Tensor) -> Tensor:
        count = len(images)
        if count < CHUNK:
            images = torch.cat([images, images.new_zeros(CHUNK - count, *images.shape[1:])])
        size = (int(images.shape[2]), int(images.shape[3]))
        known: dict[str, Any] = vars(self._requests)  # of this thread
        request = known.get(name := f"of_{size}")
        if request is None:
            request = known[name] = self._program(size).create_infer_request()
        request.infer({0: np.ascontiguousarray(images.numpy())})
        found = torch.from_numpy(request.get_output_tensor(0).data[:count].copy())
        kind = torch.bfloat16 if self._half else torch.float32
        return found.to(kind, memory_format=torch.channels_last)
