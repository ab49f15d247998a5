"""Finding people in photographs and films: which detectors there are, and the people that one finds as images."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from vpmsearch.data import not_taken
from vpmsearch.data.boxes.found import FoundBox
from vpmsearch.data.boxes.pictures import Pictures
from vpmsearch.data.boxes.read import as_images
from vpmsearch.data.fragment import Part
from vpmsearch.data.labelled import LabelledImage
from vpmsearch.data.reading import SceneReader
from vpmsearch.errors import DataError, ImageError
from vpmsearch.model.detection import Detector
from vpmsearch.model.detection_onnx import OnnxDetector

VARIABLE = "VPMSEARCH_DETECTOR"
"""Environment variable that names the detector where nobody does."""
DEFAULT = "fasterrcnn_mobilenet_v3_large_fpn"
"""torchvision's detector that is taken where none is named: trained on COCO, 74 MB, fetched by torchvision once."""


def open_detector(name: str = "", device: str = "auto") -> Detector:
    """A detector by its file, or by its name in torchvision.

    Args:
        name: a path that ends in .onnx, or a name; "" is $VPMSEARCH_DETECTOR, else `DEFAULT`. device: for torchvision.

    Raises:
        DataError: there is no such detector, its file cannot be used, or its weights cannot be fetched.
    """
    name = name or os.environ.get(VARIABLE, "") or DEFAULT
    if name.lower().endswith(".onnx"):
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
