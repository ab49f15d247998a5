"""Detectors as ONNX files, run by onnxruntime on the CPU.

The kind of a file is recognised by the shapes of its input and outputs:

    YOLOX           (1, 3, H, W) -> (1, N, 5 + C): centre, size, objectness, classes; N cells of strides 8, 16 and 32
                    (https://github.com/Megvii-BaseDetection/YOLOX, Apache-2.0); boxes decoded or not
    YOLOv8 and on   (1, 3, H, W) -> (1, 4 + C, N): centre, size, classes
    end to end      (1, 3, H, W) -> (1, N, 6): corners, score, class, as YOLOv10 gives them
    torchvision     (1, 3, H, W) or (3, H, W) -> boxes (n, 4), labels (n,), scores (n,): class 1 is a person

There are C classes. A person is the class called "person" where the file names its classes (Ultralytics' metadata),
else the first class.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from vpmsearch.errors import DetectorError
from vpmsearch.model.detection import Floats, People, without_doubles
from vpmsearch.model.onnx_runtime import open_session
from vpmsearch.system.regular import open_regular
from vpmsearch.words import printable

LARGEST = 512 * 2**20
"""Largest size of a file, in bytes."""
SIDES = (640, 1280)
"""Side in pixels to which a picture is resized where the file leaves it open: for a YOLO, for torchvision's models."""
LARGEST_SIDE = 2048
WORTH = 0.05
"""Boxes with a lower score are dropped at once."""

_STRIDES = (8, 16, 32)
_PAD = 114  # grey that YOLOs were trained to see around a picture
_ELSEWHERE = b"\n\x08location\x12"  # the key that names another file with the weights
_INSTEAD = "give another .onnx file, or leave the detector out: then the one in the package is used"
_UNDERSTOOD = "YOLOX, YOLOv8 and later, end-to-end (N, 6) and torchvision's boxes, labels and scores are understood"


class OnnxDetector:
    """A person detector in a file.

    Args:
        path: the file. called: its name for people; "" is that of the file. least: see `Detector`.

    Raises:
        DetectorError: the file cannot be read, is no ONNX model, or has outputs of no known kind.
    """

    def __init__(self, path: Path, *, called: str = "", least: float = 0.4) -> None:
        self._path, self.least = path, least
        self._session: Any = _session(path)
        self._side = self._input_side()
        self.kind = self._kind()
        self._person = 1 if self.kind == "torchvision" else _person(self._session, path)
        size = f"{path.stat().st_size / 1e6:.1f} MB, onnxruntime"
        self.name = f"{called} ({size})" if called else f"{printable(path.name)} ({self.kind}, {size})"

    def people(self, image: Image.Image) -> People:
        """See `vpmsearch.model.detection.Detector`."""
        if self.kind == "torchvision":
            return self._by_torchvision(image)
        height, width = self._side
        scale = min(height / image.height, width / image.width)
        small = image.resize(
            (max(round(image.width * scale), 1), max(round(image.height * scale), 1)), Image.Resampling.BILINEAR
        )
        corner = (0, 0) if self.kind == "YOLOX" else ((width - small.width) // 2, (height - small.height) // 2)
        canvas = Image.new("RGB", (width, height), (_PAD,) * 3)
        canvas.paste(small, corner)
        pixels = np.asarray(canvas, np.float32).transpose(2, 0, 1)[None]  # (1, 3, H, W)
        pixels = pixels[:, ::-1] if self.kind == "YOLOX" else pixels / np.float32(255)  # YOLOX: blue first, 0 to 255
        boxes, scores = self._boxes(self._run(np.ascontiguousarray(pixels))[0])
        shift = np.array(corner * 2, np.float32)
        return without_doubles(((boxes - shift) / scale).astype(np.float32), scores)

    def _boxes(self, output: Floats) -> tuple[Floats, Floats]:
        """Corners in pixels of the canvas and scores, of the boxes with a score of `WORTH` or more."""
        rows = output[0].T if self.kind == "YOLOv8" else output[0]
        if self.kind == "end to end":
            scores = np.where(rows[:, 5] == self._person, rows[:, 4], 0)
            boxes = rows[:, :4]
        else:
            rows = _decoded(rows, self._side) if self.kind == "YOLOX" else rows
            first = 5 if self.kind == "YOLOX" else 4
            if first + self._person >= rows.shape[1]:
                raise DetectorError(f"{printable(self._path)}: no class {self._person} of {rows.shape[1] - first}")
            scores = rows[:, first + self._person] * (rows[:, 4] if self.kind == "YOLOX" else 1)
            boxes = np.concatenate([rows[:, :2] - rows[:, 2:4] / 2, rows[:, :2] + rows[:, 2:4] / 2], axis=1)
        worth = (scores >= WORTH) & np.isfinite(boxes).all(axis=1)
        return boxes[worth].astype(np.float32), scores[worth].astype(np.float32)

    def _by_torchvision(self, image: Image.Image) -> People:
        height, width = self._side
        shown = image.resize((width, height), Image.Resampling.BILINEAR) if self._fixed else image
        if not self._fixed and max(shown.size) > LARGEST_SIDE:
            shown = image.copy()
            shown.thumbnail((LARGEST_SIDE, LARGEST_SIDE))
        pixels = np.asarray(shown, np.float32).transpose(2, 0, 1) / np.float32(255)
        boxes, labels, scores = self._three(self._run(pixels[None] if self._rank == 4 else pixels))
        kept = (labels == 1) & (scores >= WORTH) & np.isfinite(boxes).all(axis=1)
        scale = np.array([image.width / shown.width, image.height / shown.height] * 2, np.float32)
        return without_doubles((boxes[kept] * scale).astype(np.float32), scores[kept].astype(np.float32))

    def _three(self, outputs: list[Any]) -> tuple[Floats, Any, Floats]:
        """Boxes, labels and scores. The file may give them in any order, with or without a batch axis of 1."""
        flat = [
            output[0] if output.ndim > 1 and output.shape[0] == 1 and output.shape[-1] != 4 else output
            for output in outputs
        ]
        flat = [output[0] if output.ndim == 3 else output for output in flat]
        boxes = next((each for each in flat if each.ndim == 2 and each.shape[1] == 4), None)
        labels = next((each for each in flat if each.ndim == 1 and each.dtype.kind in "iu"), None)
        scores = next((each for each in flat if each.ndim == 1 and each.dtype.kind == "f"), None)
        if boxes is None or labels is None or scores is None or not len(boxes) == len(labels) == len(scores):
            raise self._strange([output.shape for output in outputs])
        return boxes, labels, scores

    def _input_side(self) -> tuple[int, int]:
        inputs = self._session.get_inputs()
        shape = list(inputs[0].shape) if inputs else []
        self._rank = len(shape)
        fits = (
            len(inputs) == 1 and self._rank in (3, 4) and inputs[0].type == "tensor(float)" and shape[-3] in (3, None)
        )
        if not fits and not (len(inputs) == 1 and self._rank in (3, 4) and isinstance(shape[-3], str)):
            raise DetectorError(
                f"{printable(self._path)} takes {[(each.name, each.type, each.shape) for each in inputs][:3]}, no "
                f"picture (1, 3, height, width) of float32; {_UNDERSTOOD}"
            )
        self._fixed = all(isinstance(side, int) for side in shape[-2:])
        side = (int(shape[-2]), int(shape[-1])) if self._fixed else (SIDES[0], SIDES[0])
        if not all(32 <= each <= LARGEST_SIDE for each in side):
            raise DetectorError(
                f"{printable(self._path)} takes pictures of {side}; 32 to {LARGEST_SIDE} pixels are understood"
            )
        return side

    def _kind(self) -> str:
        """The kind of detector, found by running it on a grey picture."""
        if len(self._session.get_outputs()) == 3:
            return "torchvision"
        grey = np.full((1, 3, *self._side)[4 - self._rank :], 0.5, np.float32)
        outputs = self._run(grey)
        shapes = [output.shape for output in outputs]
        if len(outputs) >= 1 and outputs[0].ndim == 3 and outputs[0].shape[0] == 1:
            _, rows, columns = outputs[0].shape
            if rows == _cells(self._side) and columns > 5:
                return "YOLOX"
            if columns == 6 and rows <= 1000:
                return "end to end"
            if 4 < rows < columns:
                return "YOLOv8"
        raise self._strange(shapes)

    def _strange(self, shapes: list[Any]) -> DetectorError:
        return DetectorError(f"{printable(self._path)} gives arrays of {shapes[:5]}; {_UNDERSTOOD}")

    def _run(self, pixels: Floats) -> list[Any]:
        try:
            outputs: list[Any] = self._session.run(None, {self._session.get_inputs()[0].name: pixels})
        except Exception as error:  # its errors have no other base
            text = " ".join(str(error).split())[:200]
            raise DetectorError(f"{printable(self._path)} cannot be run ({text}); {_UNDERSTOOD}") from error
        return outputs


def _session(path: Path) -> Any:
    try:
        with open_regular(path, LARGEST, follow=True) as file:
            content = file.read(LARGEST)
    except OSError as error:
        raise DetectorError(
            f"the detector {printable(path)} cannot be read ({error.strerror or error}); {_INSTEAD}"
        ) from error
    if _ELSEWHERE in content:
        raise DetectorError(f"the detector {printable(path)} keeps its weights in other files; save it as one file")
    session = open_session(content)
    if session is None:
        raise DetectorError(
            f"the detector {printable(path)} is no ONNX model that onnxruntime can run, or damaged; {_INSTEAD}"
        )
    return session


def _person(session: Any, path: Path) -> int:
    """The number of the class "person", from 0."""
    text = str(session.get_modelmeta().custom_metadata_map.get("names", ""))[: 1 << 20]
    if not text:
        return 0
    try:
        told = ast.literal_eval(text)  # as Ultralytics writes it: {0: 'person', …}
        names = told if isinstance(told, dict) else dict(enumerate(told))
        people = [int(number) for number, name in names.items() if str(name).strip().lower() == "person"]
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        return 0
    if not people:
        raise DetectorError(f"the detector {printable(path)} has no class person, only: {printable(text)[:200]}")
    return people[0]


def _cells(side: tuple[int, int]) -> int:
    return sum((side[0] // stride) * (side[1] // stride) for stride in _STRIDES)


def _decoded(rows: Floats, side: tuple[int, int]) -> Floats:
    """YOLOX's rows with centre and size in pixels of the canvas. Some files give them so; those stay as they are."""
    grids, strides = [], []
    for stride in _STRIDES:
        y, x = np.mgrid[: side[0] // stride, : side[1] // stride]
        grids.append(np.stack([x.ravel(), y.ravel()], axis=1))
        strides.append(np.full((x.size, 1), stride))
    cells, steps = np.concatenate(grids).astype(np.float32), np.concatenate(strides).astype(np.float32)
    centres = (cells + 0.5) * steps
    undecoded = (rows[:, :2] + cells) * steps
    if np.abs(rows[:, :2] - centres).mean() <= np.abs(undecoded - centres).mean():
        return rows
    sizes = np.exp(np.minimum(rows[:, 2:4], 10)) * steps
    return np.concatenate([undecoded, sizes, rows[:, 4:]], axis=1)
