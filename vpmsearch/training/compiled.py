"""A model's forward pass, compiled for the training steps only."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from vpmsearch.errors import TrainingError
from vpmsearch.model.vpm import Vpm, VpmOutput


class CompiledForward:
    """`torch.compile` of a model. The model itself and the names of its tensors do not change.

    The first call compiles, which takes a minute or two. The results differ from the model's in their last digits.
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
            # All batches have the same shape. A program for any shape is slower.
            forward = torch.compile(self._model, dynamic=False)
            output: VpmOutput = forward(images)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # no compiler, no Triton, no writable cache: each raises a class of its own
            raise TrainingError(
                f"the model cannot be compiled ({_reason(error)}); install a C++ compiler (g++ or clang; for a GPU "
                "Triton too), or train without --compile"
            ) from error
        self._forward = forward
        return output


def _reason(error: Exception) -> str:
    """The first line that is not empty: torch's messages are pages long."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:200]
