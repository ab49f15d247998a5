"""Features and labels of the same images: the input of every way to rank."""

from __future__ import annotations

from dataclasses import dataclass

from vpmsearch.evaluation.helpers import Text
from vpmsearch.types import Int64, RegionFeatures


@dataclass(frozen=True)
class LabelledFeatures:
    """Features of n images with their labels.

    pids: (n,). camids: (n,), or (n, m) keys (see `metrics.shares_key`). contents: (n,) content hashes of their files,
    "" for an unknown one; None if all are unknown.
    """

    features: RegionFeatures
    pids: Int64
    camids: Int64
    contents: Text | None = None

    @property
    def labels(self) -> tuple[Int64, Int64, Text | None]:
        """(pids, camids, contents)."""
        return self.pids, self.camids, self.contents

    def __getitem__(self, rows: Int64) -> LabelledFeatures:
        contents = None if self.contents is None else self.contents[rows]
        return LabelledFeatures(self.features[rows], self.pids[rows], self.camids[rows], contents)
