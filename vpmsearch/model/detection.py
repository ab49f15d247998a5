"""Finding people in photographs and films: what a detector is, which there are, and its people as images."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vpmsearch.data import not_taken
from vpmsearch.data.boxes.found import FoundBox
from vpmsearch.data.boxes.pictures import Pictures
from vpmsearch.data.boxes.read import as_images
from vpmsearch.data.fragment import Part
from vpmsearch.data.labelled import LabelledImage
from vpmsearch.data.reading import SceneReader
from vpmsearch.errors import DataError, ImageError

VARIABLE = "VPMSEARCH_DETECTOR"
"""Environment variable that names the detector where nobody does."""
DEFAULT = "fasterrcnn_mobilenet_v3_large_fpn"
"""torchvision's detector that is taken where none is named: trained on COCO, 74 MB, fetched by torchvision once."""
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


def open_detector(name: str = "", device: str = "auto") -> Detector:
    """A detector by its file, or by its name in torchvision.

    Args:
        name: a path that ends in .onnx, or a name; "" is $VPMSEARCH_DETECTOR, else `DEFAULT`. device: for torchvision.

    Raises:
        DataError: there is no such detector, its file cannot be used, or its weights cannot be fetched.
    """
    name = name or os.environ.get(VARIABLE, "") or DEFAULT
    if name.lower().endswith(".onnx"):
        from vpmsearch.model.detection_onnx import OnnxDetector

        return OnnxDetector(Path(name))
    from vpmsearch.model.detection_torchvision import TorchvisionDetector

    return TorchvisionDetector(name, device)


def detected_people(
    detector: Detector,
    pictures: Pictures,
    *,
    min_score: float | None = None,
    on_progress: Callable[[int], None] = lambda pictures: None,
) -> list[LabelledImage]:
    """The people of all pictures as images, each with its score.

    Args:
        min_score: None is the detector's own. on_progress: told how many more pictures were looked at.

    Raises:
        DataError: there is nobody.
    """
    least = detector.least if min_score is None else min_score
    people = as_images(_found(detector, pictures, least, on_progress), pictures)
    if not people:
        raise DataError(f"{detector.name} finds no person (score {least:g} or more) in {len(pictures)} pictures")
    return people


def _found(
    detector: Detector, pictures: Pictures, least: float, on_progress: Callable[[int], None]
) -> Iterator[tuple[Part, FoundBox]]:
    with SceneReader(1) as reader:
        for frame, part in pictures.every():
            try:
                _, image = reader.read(part.path, reader.ahead(part.path))
            except ImageError as error:
                not_taken.note(f"pictures that cannot be read ({error.reason})", part.path)
                on_progress(1)
                continue
            found = detector.people(image)
            for (left, top, right, bottom), score in zip(found.boxes.tolist(), found.scores.tolist(), strict=True):
                if score >= least:
                    yield part, FoundBox(left, top, right - left, bottom - top, part.path, frame, score=score)
            on_progress(1)


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
