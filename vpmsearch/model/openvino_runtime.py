"""A model run by OpenVINO instead of torch, in float32 on a CPU (docs/decisions/0015-openvino.md)."""

from __future__ import annotations

import threading
import warnings
from typing import Any

import numpy as np
import torch

from vpmsearch.errors import DataError, WeightsError
from vpmsearch.model.export import PixelModel
from vpmsearch.model.runtime import Pixels, Sight
from vpmsearch.model.weights import LoadedWeights
from vpmsearch.types import Float32, RegionFeatures

BATCH = 16
"""Images at a time, so that a program of one shape serves all."""
TOLERANCE = 1e-4
"""Largest difference from torch, as a share of the largest number of an output. Seen: 2e-6."""


class OpenVinoRuntime:
    """A model on the CPU, by OpenVINO.

    Args:
        weights: of the model. threads: None is as many as torch uses.

    Raises:
        DataError: OpenVINO is not installed. WeightsError: it cannot run the model, or gives other numbers than torch.
    """

    name = "openvino"

    def __init__(self, weights: LoadedWeights, threads: int | None = None) -> None:
        try:
            import openvino
        except ModuleNotFoundError as error:
            raise DataError("the runtime openvino needs OpenVINO: pip install 'vpmsearch[openvino]'") from error
        config = weights.config
        module = PixelModel(weights.model, config.mean, config.std).eval()
        noise = np.random.default_rng(0).integers(0, 256, (BATCH, *config.input_size, 3), dtype=np.uint8)
        settings = {
            "INFERENCE_PRECISION_HINT": "f32",  # where the CPU has it, bfloat16 is the default and moves every f_i
            "INFERENCE_NUM_THREADS": threads or torch.get_num_threads(),
            "NUM_STREAMS": 1,
        }
        try:
            with torch.no_grad(), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # it traces by what torch is about to give up
                model = openvino.convert_model(module, example_input=torch.from_numpy(noise))
            self._compiled = openvino.Core().compile_model(model, "CPU", settings)
        except Exception as error:  # its own errors are RuntimeErrors and others, by version
            raise WeightsError(
                f"OpenVINO cannot run {weights.path} ({str(error)[:200]}); use --runtime torch"
            ) from error
        self._requests = threading.local()
        with torch.inference_mode():
            expected = [output.numpy() for output in module(torch.from_numpy(noise))]
        found = self.see(noise)
        for ours, theirs in zip(vars(found).values(), expected, strict=True):
            if not np.allclose(ours, theirs, rtol=0, atol=TOLERANCE * np.abs(theirs).max()):
                raise WeightsError(f"OpenVINO does not give what torch gives for {weights.path}; use --runtime torch")

    def features(self, pixels: Pixels) -> RegionFeatures:
        """Visibility (B, p) and embeddings (B, p, d)."""
        return self.see(pixels).features

    def see(self, pixels: Pixels) -> Sight:
        """And where the regions are."""
        parts = [self._run(pixels[start : start + BATCH]) for start in range(0, len(pixels), BATCH)]
        return Sight(*(np.concatenate(each) for each in zip(*parts, strict=True)))

    def _run(self, pixels: Pixels) -> list[Float32]:
        request: Any = getattr(self._requests, "request", None)
        if request is None:
            request = self._requests.request = self._compiled.create_infer_request()
        count = len(pixels)
        if count < BATCH:
            pixels = np.concatenate([pixels, np.zeros((BATCH - count, *pixels.shape[1:]), np.uint8)])
        request.infer({0: np.ascontiguousarray(pixels)})
        return [request.get_output_tensor(place).data[:count].copy() for place in range(3)]
