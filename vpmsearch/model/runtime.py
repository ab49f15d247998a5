"""What computes features: the values that a runtime gives. Runtimes: torch, onnxruntime and OpenVINO. No torch here."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from vpmsearch.types import Float32, RegionFeatures

Pixels = NDArray[np.uint8]  # (B, H, W, 3) RGB, resized to the input size of the weights


@dataclass(frozen=True)
class Sight:
    """What a model sees in B images, float32.

    visibility: (B, p), Eq. 2 over h·w. embeddings: (B, p, d), Eq. 3. probabilities: (B, p, h, w), Eq. 1.
    """

    visibility: Float32
    embeddings: Float32
    probabilities: Float32

    @property
    def features(self) -> RegionFeatures:
        """What is compared."""
        return RegionFeatures(self.visibility, self.embeddings)

    @property
    def labels(self) -> NDArray[np.int64]:
        """The likeliest region of each pixel of T: (B, h, w)."""
        labels: NDArray[np.int64] = self.probabilities.argmax(axis=1)
        return labels


class Runtime(Protocol):
    """A model, ready to see images."""

    @property
    def name(self) -> str:
        """What computes, as `--runtime` has it."""

    def features(self, pixels: Pixels) -> RegionFeatures:
        """Visibility (B, p) and embeddings (B, p, d) of B ≥ 1 images."""

    def see(self, pixels: Pixels) -> Sight:
        """And where the regions are."""


def threads() -> int:
    """Threads for one model: $OMP_NUM_THREADS, as torch has it, else the processors that this process may use."""
    given = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
    if given.isdigit() and 0 < int(given) < 1024:
        return int(given)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
