"""A model run by OpenVINO on a CPU, in float32 or bfloat16 (docs/decisions/0015-openvino.md). No torch here.

It runs the same exported model as onnxruntime, see `vpmsearch.model.onnx_runtime`. The compiled model is kept in the
user's cache folder beside the exported ones.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from vpmsearch.errors import DataError, WeightsError
from vpmsearch.model import onnx_file
from vpmsearch.model.onnx_runtime import exported_model, open_session
from vpmsearch.model.runtime import Pixels, Sight
from vpmsearch.model.runtime import threads as default_threads
from vpmsearch.model.weights import LoadedWeights, Precision
from vpmsearch.types import Float32, RegionFeatures

LOW = 0
"""Stands for images that are lower than H, see `_program`."""
BATCH = 16
"""Images in a batch. What remains is computed one image at a time, with the same numbers as in a batch."""
TOLERANCES: dict[Precision, float] = {"float32": 1e-4, "bfloat16": 0.1}
"""Largest difference from onnxruntime in float32, as a share of an output's largest number. Seen: 2e-6 and 0.03."""


class OpenVinoRuntime:
    """A model on the CPU, run by OpenVINO. The features of an image do not depend on the others in its batch.

    Args:
        weights: of the model; it is computed in their `precision`.
        threads: None is $OMP_NUM_THREADS, else the number of processors.
        tell: gets a line before an export, which takes some 15 seconds.

    Raises:
        DataError: OpenVINO is not installed, or this CPU does not compute in that precision.
        WeightsError: OpenVINO cannot run the model, or gives other numbers than onnxruntime.
    """

    name = "openvino"

    def __init__(
        self, weights: LoadedWeights, threads: int | None = None, tell: Callable[[str], None] = lambda line: None
    ) -> None:
        core = _core()
        if not _computes(core, weights.precision):
            raise DataError(f"this CPU does not compute in {weights.precision}")
        self._core, self._weights = core, weights
        self._content = exported_model(weights, tell)
        self._settings = {
            # OpenVINO's default is bfloat16 on CPUs that have it, which would change every f_i.
            "INFERENCE_PRECISION_HINT": "bf16" if weights.precision == "bfloat16" else "f32",
            "INFERENCE_NUM_THREADS": threads or default_threads(),
            "NUM_STREAMS": 1,
        }
        if (folder := onnx_file.cache_folder()) is not None:
            self._settings["CACHE_DIR"] = str(folder / "openvino")
        self._lock, self._compiled = threading.Lock(), dict[int, Any]()
        self._requests = threading.local()
        if not self._program(1).get_property("LOADED_FROM_CACHE"):
            self._check()

    def features(self, pixels: Pixels) -> RegionFeatures:
        """Visibility (B, p) and embeddings (B, p, d)."""
        return self.see(pixels).features

    def see(self, pixels: Pixels) -> Sight:
        """And where the regions are."""
        if pixels.shape[1] == self._weights.config.input_size[0]:
            parts = [self._run(part, len(part)) for part in _parts(pixels)]
        else:
            parts = [self._low(pixels[start : start + BATCH]) for start in range(0, len(pixels), BATCH)]
        return Sight(*(np.concatenate(each) for each in zip(*parts, strict=True)))

    def _low(self, pixels: Pixels) -> list[Float32]:
        """At most `BATCH` low images. A single one is computed twice.

        In bfloat16 OpenVINO 2026.4 gives an image alone other numbers (by 0.006) than beside others. From two images
        on they are the same for any number and place.
        """
        count = len(pixels)
        return [found[:count] for found in self._run(pixels.repeat(2, axis=0) if count == 1 else pixels, LOW)]

    def _run(self, pixels: Pixels, batch: int) -> list[Float32]:
        request: Any = getattr(self._requests, f"of_{batch}", None)
        if request is None:
            request = self._program(batch).create_infer_request()
            setattr(self._requests, f"of_{batch}", request)
        request.infer({0: np.ascontiguousarray(pixels)})
        return [request.get_output_tensor(place).data.copy() for place in range(3)]

    def _program(self, batch: int) -> Any:
        """The model, compiled for batches of this many images; `LOW` is up to `BATCH` images of any height up to H.

        One program for all heights starts in 0.5 s from the cache. One for each height and batch took 0.7 s each.
        """
        with self._lock:
            if batch not in self._compiled:
                height, width = self._weights.config.input_size
                try:
                    model = self._core.read_model(self._content)
                    sizes = [batch, height] if batch else [(1, BATCH), (1, height)]  # a pair is least and most
                    model.reshape({0: [*sizes, width, 3]})
                    self._compiled[batch] = self._core.compile_model(model, "CPU", self._settings)
                except Exception as error:  # its own errors are RuntimeErrors and others, by version
                    raise WeightsError(
                        f"OpenVINO cannot run {self._weights.path} ({str(error)[:200]}); use --runtime onnx"
                    ) from error
            return self._compiled[batch]

    def _check(self) -> None:
        """Compare with onnxruntime, once for each version of OpenVINO: a new version finds no compiled model kept."""
        config = self._weights.config
        session = open_session(self._content)
        tolerance = TOLERANCES[self._weights.precision]
        for height in config.heights_to_check:
            noise = np.random.default_rng(0).integers(0, 256, (2, height, config.input_size[1], 3), dtype=np.uint8)
            expected = session.run(list(onnx_file.OUTPUTS), {onnx_file.INPUT: noise}) if session else None
            if expected is None or not all(
                np.allclose(ours, theirs, rtol=0, atol=tolerance * np.abs(theirs).max())
                for ours, theirs in zip(vars(self.see(noise)).values(), expected, strict=True)
            ):
                raise WeightsError(
                    f"OpenVINO does not give what onnxruntime gives for {self._weights.path}; use --runtime onnx"
                )


def computes_in(precision: Precision) -> bool:
    """Whether OpenVINO is installed and this CPU computes in that precision."""
    try:
        return _computes(_core(), precision)
    except DataError:
        return False


def _core() -> Any:
    try:
        import openvino
    except ModuleNotFoundError as error:
        raise DataError("the runtime openvino needs OpenVINO: pip install 'vpmsearch[openvino]'") from error
    return openvino.Core()


def _computes(core: Any, precision: Precision) -> bool:
    return precision == "float32" or "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def _parts(pixels: Pixels) -> Iterator[Pixels]:
    """Batches of `BATCH`, then one by one."""
    whole = len(pixels) - len(pixels) % BATCH
    for start in range(0, whole, BATCH):
        yield pixels[start : start + BATCH]
    for row in range(whole, len(pixels)):
        yield pixels[row : row + 1]
