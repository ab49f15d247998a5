"""The interface of a person detector, and what all detectors share. `vpmsearch.model.detectors` opens one."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

OVERLAP = 0.6
"""Two boxes whose intersection over union is larger are taken for one person."""

Floats = NDArray[np.float32]


class People(NamedTuple):
    """boxes: (n, 4) left, top, right, bottom in pixels of the picture. scores: (n,) in [0, 1], descending."""

    boxes: Floats
    scores: Floats


class Detector(Protocol):
    """Finds people. name: its description for the user. least: default of the lowest score that counts as a person."""

    name: str
    least: float

    def people(self, image: Image.Image) -> People:
        """The people in a picture of mode RGB, of any score, each of them once."""


def without_doubles(boxes: Floats, scores: Floats, overlap: float = OVERLAP) -> People:
    """Greedy non-maximum suppression: of boxes that overlap, the one with the best score stays.

    Args:
        boxes: (n, 4) left, top, right, bottom. scores: (n,). overlap: boxes with a larger intersection over union are
            taken for one person.
    """
    order = np.argsort(-scores, kind="stable")
    areas = np.maximum(boxes[:, 2] - boxes[:, 0], 0) * np.maximum(boxes[:, 3] - boxes[:, 1], 0)
    kept = []
    while len(order):
        best, rest = order[0], order[1:]
        kept.append(best)
        corner = np.maximum(boxes[best, :2], boxes[rest, :2]), np.minimum(boxes[best, 2:], boxes[rest, 2:])
        shared = np.prod(np.maximum(corner[1] - corner[0], 0), axis=1)
        order = rest[shared <= overlap * (areas[best] + areas[rest] - shared)]
    return People(boxes[kept], scores[kept])
