"""What a detector of people is, and what its ways have in common. `vpmsearch.model.detectors` opens one."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

OVERLAP = 0.6
"""Intersection over union from which on two boxes are of one person."""

Floats = NDArray[np.float32]


class People(NamedTuple):
    """boxes: (n, 4) left, top, right, bottom in pixels of the picture. scores: (n,) in [0, 1], descending."""

    boxes: Floats
    scores: Floats


class Detector(Protocol):
    """Finds people. name: what is said of it. least: the score from which on it is believed where nobody says."""

    name: str
    least: float

    def people(self, image: Image.Image) -> People:
        """The people of a picture in mode RGB, of any score; doubles are left out."""


def without_doubles(boxes: Floats, scores: Floats, overlap: float = OVERLAP) -> People:
    """Greedy non-maximum suppression: of boxes that overlap by more, the one of the best score.

    Args:
        boxes: (n, 4) left, top, right, bottom. scores: (n,).
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
