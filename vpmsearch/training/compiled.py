"""A model's forward pass, compiled for training steps alone."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from vpmsearch.errors import TrainingError
from vpmsearch.model.vpm import Vpm, VpmOutput


class CompiledForward:
    """`torch.compile` of a model. The model itself, its tensors' names and all else that calls it stay as they are.

    The first call compiles, which takes a minute or two. Results differ in their last digits.
    """

    def __init__(self, model: Vpm) -> None:
        self._model = model
        self._forward: Callable[[Tensor], VpmOutput] | None = None

    def __call__(self, images: Tensor) -> VpmOutput:
        """As `Vpm.forward`.

        Raises:
            TrainingError: it cannot be compiled here.
        """
        if self._forward is not None:
            return self._forward(images)
        try:
            # Batches are all of one shape, and a program that takes any is slower.
            forward = torch.compile(self._model, dynamic=False)
            output: VpmOutput = forward(images)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # no compiler, no Triton, a cache that cannot be written: each another class
            raise TrainingError(
                f"the model cannot be compiled ({_reason(error)}); install a C++ compiler (g++ or clang; for a GPU "
                "Triton too), or train without --compile"
            ) from error
        self._forward = forward
        return output


def _reason(error: Exception) -> str:
    """The first line that says something: torch's messages run over pages."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:200]
