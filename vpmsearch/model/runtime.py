"""The interface of a runtime, which computes features: torch, onnxruntime or OpenVINO. No torch is imported here."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from vpmsearch.types import Float32, RegionFeatures

Floats = NDArray[np.floating[Any]]
Pixels = NDArray[np.uint8]  # (B, H, W, 3) RGB, resized to the input size of the weights


@dataclass(frozen=True)
class Sight:
    """The output of a model for B images, float32.

    visibility: (B, p), Eq. 2 over h·w. embeddings: (B, p, d), Eq. 3. probabilities: (B, p, h, w), Eq. 1. The sums over
    p are 1; with an occluder class at most 1.
    """

    visibility: Float32
    embeddings: Float32
    probabilities: Float32

    @property
    def features(self) -> RegionFeatures:
        """Visibility and embeddings, the part that is compared."""
        return RegionFeatures(self.visibility, self.embeddings)

    @property
    def labels(self) -> NDArray[np.int64]:
        """The likeliest region of each pixel of T, (B, h, w); −1 where an occluder is likelier."""
        return likeliest_regions(self.probabilities)


def likeliest_regions(probabilities: Floats) -> NDArray[np.int64]:
    """The likeliest region of each pixel: (…, p, h, w), Eq. 1 -> (…, h, w); −1 where an occluder is likelier than it.

    What the probabilities of the p regions lack to 1 is that of an occluder (`Vpm`).
    """
    labels: NDArray[np.int64] = probabilities.argmax(axis=-3)
    occluder = 1 - probabilities.sum(axis=-3)
    return np.where(occluder > probabilities.max(axis=-3), -1, labels)


class Runtime(Protocol):
    """A model that is ready to compute."""

    @property
    def name(self) -> str:
        """The runtime's name, as `--runtime` takes it."""

    def features(self, pixels: Pixels) -> RegionFeatures:
        """Visibility (B, p) and embeddings (B, p, d) of B ≥ 1 images."""

    def see(self, pixels: Pixels) -> Sight:
        """Features of B ≥ 1 images, and where the regions are."""


def threads() -> int:
    """Threads for one model: $OMP_NUM_THREADS (torch obeys it too), else the processors that this process may use."""
    given = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
    if given.isdigit() and 0 < int(given) < 1024:
        return int(given)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
