"""Finding people in photographs and films: opens a detector by its name, and turns what it finds into images."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

from vpmsearch.data import not_taken
from vpmsearch.data.boxes.found import FoundBox
from vpmsearch.data.boxes.pictures import Pictures
from vpmsearch.data.boxes.read import as_images
from vpmsearch.data.fragment import Part
from vpmsearch.data.labelled import LabelledImage
from vpmsearch.data.reading import SceneReader
from vpmsearch.errors import ImageError
from vpmsearch.model.detection import Detector
from vpmsearch.model.detection_onnx import OnnxDetector

VARIABLE = "VPMSEARCH_DETECTOR"
"""Environment variable with the name of the detector, used where no name is given."""
SHIPPED = Path(__file__).parents[1] / "pretrained" / "nanodet-g.onnx"
"""The default: NanoDet-g, trained on COCO (docs/decisions/0022-a-detector-that-is-there.md)."""
SHIPPED_LEAST = 0.45
"""Its lowest score that counts as a person."""


def check_detector(name: str) -> None:
    """Refuse what names no detector: neither a path that ends in .onnx nor a name in torchvision.

    Where torchvision is not installed every name passes, and `open_detector` says what to install.

    Raises:
        DetectorError: says which names there are.
    """
    if name and not name.lower().endswith(".onnx") and find_spec("torchvision"):
        from vpmsearch.model.detection_torchvision import check_known

        check_known(name)


def open_detector(name: str = "", device: str = "auto") -> Detector:
    """Open a detector from its file, or by its name in torchvision.

    Args:
        name: a path that ends in .onnx, or a name; "" is $VPMSEARCH_DETECTOR, else the one in the package. device: used
            by torchvision's detectors only.

    Raises:
        DetectorError: there is no such detector, its file cannot be used, or its weights cannot be fetched.
    """
    name = name or os.environ.get(VARIABLE, "")
    if not name:
        return OnnxDetector(SHIPPED, called="NanoDet-g, trained on COCO", least=SHIPPED_LEAST)
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
    on_unread: Callable[[str], None] = lambda file: None,
) -> list[LabelledImage]:
    """The people of all pictures as images, each with its score.

    Args:
        min_score: lowest score that counts as a person; None is the detector's own. on_progress: called with the number
            of pictures that were searched since the last call. on_unread: called with the file of each picture that
            cannot be read.
    """
    least = detector.least if min_score is None else min_score
    return as_images(_found(detector, pictures, least, on_progress, on_unread), pictures)


def _found(
    detector: Detector,
    pictures: Pictures,
    least: float,
    on_progress: Callable[[int], None],
    on_unread: Callable[[str], None],
) -> Iterator[tuple[Part, FoundBox]]:
    with SceneReader(1) as reader:
        for frame, part in pictures.every():
            try:
                _, image = reader.read(part.path, reader.ahead(part.path))
            except ImageError as error:
                not_taken.note(f"pictures that cannot be read ({error.reason})", part.path)
                on_unread(part.file)
                on_progress(1)
                continue
            found = detector.people(image)
            for (left, top, right, bottom), score in zip(found.boxes.tolist(), found.scores.tolist(), strict=True):
                if score >= least:
                    yield part, FoundBox(left, top, right - left, bottom - top, part.path, frame, score=score)
            on_progress(1)
