"""The stages of a trunk that stay as they are, run apart from the ones that learn.

They are most of a step's time and need no gradient: worker threads run them ahead of the step, a few images at a time
so that what they compute stays in a core's cache, in torch or in OpenVINO (a third of torch's time in bfloat16).
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
"""Images at a time on a CPU. Of 4, 8, 16, 32 and 64 the quickest in torch, where 64 take twice the time an image."""


class FrozenPart:
    """Images (B, 3, H, W), normalised -> what the frozen stages make of them, on the same device, without gradient.

    May be called from several threads.

    Args:
        backbone: one that splits. runtime: "torch", or "openvino" on a CPU. half: compute in bfloat16.
        input_size: (H, W).

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
    """The frozen stages alone, as OpenVINO converts them."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, images: Tensor) -> Tensor:
        return self.backbone.frozen_part(images)


class _OpenVino:
    """The frozen stages, converted once; batches of `CHUNK` images, a shorter one filled up."""

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
                warnings.simplefilter("ignore")  # it traces by what torch is about to give up
                model = openvino.convert_model(_Stages(backbone).eval(), example_input=example)
            precision = "bf16" if half else "f32"
            # A request for each thread that asks; each computes by itself.
            settings = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": 2, "NUM_STREAMS": 2}
            self._compiled = openvino.Core().compile_model(model, "CPU", settings)
        except Exception as error:  # its own exceptions are RuntimeErrors and others, by version
            raise TrainingError(
                f"OpenVINO cannot run the frozen stages ({str(error)[:200]}); train with --frozen-runtime torch"
            ) from error
        self._half = half
        self._requests = threading.local()

    def __call__(self, images: Tensor) -> Tensor:
        count = len(images)
        if count < CHUNK:
            images = torch.cat([images, images.new_zeros(CHUNK - count, *images.shape[1:])])
        request: Any = getattr(self._requests, "request", None)
        if request is None:
            request = self._requests.request = self._compiled.create_infer_request()
        request.infer({0: np.ascontiguousarray(images.numpy())})
        found = torch.from_numpy(request.get_output_tensor(0).data[:count].copy())
        kind = torch.bfloat16 if self._half else torch.float32
        return found.to(kind, memory_format=torch.channels_last)
