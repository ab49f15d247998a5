"""Detectors of people: each kind of output against what was put into it, and files that are something else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vpmsearch.data.boxes.pictures import Every, pictures_of
from vpmsearch.data.not_taken import counting_not_taken
from vpmsearch.data.synthetic import DrawnSettings, draw_pedestrian
from vpmsearch.errors import DataError
from vpmsearch.model.detection import People, without_doubles
from vpmsearch.model.detection_onnx import OnnxDetector
from vpmsearch.model.detection_torchvision import TorchvisionDetector
from vpmsearch.model.detectors import SHIPPED, VARIABLE, detected_people, open_detector

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64
PICTURE = Image.new("RGB", (320, 160), (90, 90, 90))
"""Seen by a model of 64 × 64 pixels at a fifth of its size."""


def save(
    path: Path,
    outputs: dict[str, np.ndarray],
    *,
    shape: tuple[Any, ...] = (1, 3, 64, 64),
    kind: int = FLOAT,
    names: str = "",
) -> Path:
    """A model that gives constants, whatever it sees; its input is used, so that its shape is checked."""
    nodes, infos = [], []
    for name, value in outputs.items():
        nodes.append(helper.make_node("Constant", [], [f"c_{name}"], value=numpy_helper.from_array(value)))
        nodes.append(helper.make_node("Identity", [f"c_{name}"], [name]))
        element = INT64 if value.dtype == np.int64 else FLOAT
        infos.append(helper.make_tensor_value_info(name, element, value.shape))
    graph = helper.make_graph(nodes, "constants", [helper.make_tensor_value_info("images", kind, shape)], infos)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    if names:
        helper.set_model_props(model, {"names": names})
    path.write_bytes(model.SerializeToString())
    return path


def yolox(*people: tuple[int, float, float, float, float, float]) -> np.ndarray:
    """(1, 84, 85) before decoding: cells of strides 8, 16 and 32 of 64 × 64; people are (cell, x, y, w, h, score)."""
    rows = np.zeros((1, 64 + 16 + 4, 85), np.float32)
    for cell, x, y, width, height, score in people:
        rows[0, cell, :4] = x, y, np.log(width), np.log(height)
        rows[0, cell, 4:6] = score, 1
    return rows


def test_yolox(tmp_path: Path) -> None:
    # Cell 10 of stride 8 is column 2, row 1; cell 64 + 5 of stride 16 is column 1, row 1.
    out = yolox(
        (10, 0.5, 0.25, 2, 3, 0.9), (69, 0.5, 0.5, 0.5, 1, 0.5), (11, -0.5, 0.25, 2, 3, 0.8), (0, 0, 0, 1, 1, 0.01)
    )
    detector = OnnxDetector(save(tmp_path / "x.onnx", {"output": out}))
    assert detector.kind == "YOLOX"
    assert "x.onnx (YOLOX" in detector.name
    found = detector.people(PICTURE)
    # Centre (20, 10), size (16, 24) on the canvas; 5 times as much in the picture, whose corner is the canvas's.
    assert found.boxes[0] == pytest.approx([5 * 12, 5 * -2, 5 * 28, 5 * 22])
    assert found.boxes[1] == pytest.approx([5 * 20, 5 * 16, 5 * 28, 5 * 32])
    assert found.scores == pytest.approx([0.9, 0.5])  # the third is the first once more


def test_yolox_that_decodes_itself(tmp_path: Path) -> None:
    y, x = np.mgrid[:8, :8]
    out = np.zeros((1, 84, 85), np.float32)
    out[0, :64, 0], out[0, :64, 1] = x.ravel() * 8 + 4, y.ravel() * 8 + 4
    out[0, 64:, :2] = 32
    out[0, :, 2:4] = 10, 20
    out[0, 10, 4:6] = 0.9, 1
    found = OnnxDetector(save(tmp_path / "x.onnx", {"output": out})).people(PICTURE)
    assert found.boxes[0] == pytest.approx([5 * 15, 5 * 2, 5 * 25, 5 * 22])


def test_yolov8(tmp_path: Path) -> None:
    out = np.zeros((1, 4 + 2, 84), np.float32)
    out[0, :, 7] = 20, 30, 10, 20, 0.1, 0.8
    out[0, :, 8] = 20, 30, 10, 20, 0.9, 0
    path = save(tmp_path / "x.onnx", {"output0": out}, names="{0: 'car', 1: 'person'}")
    found = OnnxDetector(path).people(PICTURE)
    # 320 × 160 is 64 × 32 in the middle of the canvas: 16 rows of grey above it.
    assert found.boxes == pytest.approx(np.array([[5 * 15, 5 * 4, 5 * 25, 5 * 24]]))
    assert found.scores == pytest.approx([0.8])
    with pytest.raises(DataError, match="no class person"):
        OnnxDetector(save(tmp_path / "y.onnx", {"output0": out}, names="{0: 'car', 1: 'dog'}"))


def test_end_to_end(tmp_path: Path) -> None:
    out = np.zeros((1, 300, 6), np.float32)
    out[0, :3] = [[10, 20, 30, 40, 0.9, 0], [1, 20, 9, 40, 0.8, 3], [40, 20, 50, 40, 0.7, 0]]
    found = OnnxDetector(save(tmp_path / "x.onnx", {"output0": out})).people(PICTURE)
    assert found.boxes == pytest.approx(5 * np.array([[10, 4, 30, 24], [40, 4, 50, 24]]))


@pytest.mark.parametrize("shape", [(1, 3, 64, 64), (3, "h", "w"), (1, 3, "h", "w")])
def test_torchvisions_outputs(tmp_path: Path, shape: tuple[Any, ...]) -> None:
    outputs = {
        "scores": np.array([0.9, 0.8, 0.02], np.float32),
        "boxes": np.array([[10, 20, 30, 40], [1, 2, 3, 4], [0, 0, 9, 9]], np.float32),
        "labels": np.array([1, 5, 1], np.int64),
    }
    found = OnnxDetector(save(tmp_path / "x.onnx", outputs, shape=shape)).people(PICTURE)
    scale = [5, 2.5, 5, 2.5] if shape[-1] == 64 else [1, 1, 1, 1]
    assert found.boxes == pytest.approx(np.array([[10, 20, 30, 40]]) * scale)


@pytest.mark.parametrize(
    ("outputs", "how", "says"),
    [
        ({"a": np.zeros((1, 7), np.float32)}, {}, "is understood|are understood"),
        ({"a": np.zeros((1, 84, 85), np.float32)}, {"shape": (1, 1, 64, 64)}, "no picture"),
        ({"a": np.zeros((1, 84, 85), np.float32)}, {"kind": INT64}, "no picture"),
        ({"a": np.zeros((1, 84, 85), np.float32)}, {"shape": (1, 3, 8, 8)}, "pixels are understood"),
        ({"a": np.zeros((1, 84, 85), np.float32)}, {"shape": (1, 3, 1 << 20, 1 << 20)}, "pixels are understood"),
    ],
)
def test_models_of_other_things(tmp_path: Path, outputs: dict[str, np.ndarray], how: dict[str, Any], says: str) -> None:
    with pytest.raises(DataError, match=says):
        OnnxDetector(save(tmp_path / "x.onnx", outputs, **how))


def test_files_that_are_no_models(tmp_path: Path) -> None:
    path = tmp_path / "x.onnx"
    with pytest.raises(DataError, match="cannot be read"):
        open_detector(str(path))
    good = save(path, {"output": yolox()}).read_bytes()
    for content in (b"", b"nothing", good[: len(good) // 2]):
        path.write_bytes(content)
        with pytest.raises(DataError):
            open_detector(str(path))
    tensor = numpy_helper.from_array(np.zeros((1, 84, 85), np.float32), "c")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")
    graph = helper.make_graph(
        [helper.make_node("Identity", ["c"], ["output"])],
        "elsewhere",
        [helper.make_tensor_value_info("images", FLOAT, (1, 3, 64, 64))],
        [helper.make_tensor_value_info("output", FLOAT, (1, 84, 85))],
        [tensor],
    )
    path.write_bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9).SerializeToString()
    )
    with pytest.raises(DataError, match="other files"):
        open_detector(str(path))


def test_doubles_against_a_loop() -> None:
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 50, (60, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(1, 40, (60, 2))], axis=1).astype(np.float32)
    scores = rng.uniform(0, 1, 60).astype(np.float32)

    def overlap(a: np.ndarray, b: np.ndarray) -> float:
        wide, high = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
        shared = max(wide, 0) * max(high, 0)
        return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)

    kept: list[int] = []
    for row in np.argsort(-scores):
        if all(overlap(boxes[row], boxes[other]) <= 0.6 for other in kept):
            kept.append(int(row))
    found = without_doubles(boxes, scores)
    assert 5 < len(kept) < 60
    assert np.array_equal(found.boxes, boxes[kept])
    assert np.array_equal(found.scores, scores[kept])
    assert len(without_doubles(boxes[:0], scores[:0]).boxes) == 0


def test_torchvisions_detector(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch
    from torchvision import models

    class Model(torch.nn.Module):
        def forward(self, images: list[torch.Tensor]) -> list[dict[str, torch.Tensor]]:
            assert images[0].shape == (3, 160, 320)
            assert float(images[0].max()) == pytest.approx(90 / 255)
            boxes = torch.tensor([[1.0, 2, 30, 40], [50, 2, 60, 40]])
            return [{"boxes": boxes, "labels": torch.tensor([1, 2]), "scores": torch.tensor([0.9, 0.8])}]

    asked = []
    monkeypatch.setattr(models, "get_model", lambda name, weights: asked.append((name, weights)) or Model())
    monkeypatch.setenv(VARIABLE, "fasterrcnn_mobilenet_v3_large_fpn")
    found = open_detector(device="cpu").people(PICTURE)
    assert asked == [("fasterrcnn_mobilenet_v3_large_fpn", "DEFAULT")]
    assert found.boxes.tolist() == [[1, 2, 30, 40]]
    with pytest.raises(DataError, match="there is no detector nothing"):
        open_detector("nothing", "cpu")

    def offline(name: str, weights: str) -> Model:
        raise OSError("Name or service not known")

    monkeypatch.setattr(models, "get_model", offline)
    with pytest.raises(DataError, match="--detector FILE"):
        open_detector("ssdlite320_mobilenet_v3_large", "cpu")


def test_the_detector_in_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is there without torch and the internet, and decodes boxes as NanoDet does: at the size of the picture."""
    monkeypatch.delenv(VARIABLE, raising=False)
    detector = open_detector()
    assert detector.name.startswith("NanoDet-g, trained on COCO (")
    assert SHIPPED.stat().st_size < 10e6
    assert SHIPPED.with_name("LICENSE-nanodet-g.txt").is_file()
    drawn = draw_pedestrian(1, 1, 0, settings=DrawnSettings()).resize((100, 200))
    scene = Image.new("RGB", (640, 480), drawn.resize((1, 1)).getpixel((0, 0)))
    scene.paste(drawn, (300, 100))
    found = detector.people(scene)
    (left, top, right, bottom), score = found.boxes[0].tolist(), float(found.scores[0])
    assert score >= detector.least
    shared = (min(right, 400) - max(left, 300)) * (min(bottom, 300) - max(top, 100))
    assert shared > 0.5 * (100 * 200 + (right - left) * (bottom - top) - shared), "the box is that of the drawn person"
    empty = detector.people(Image.new("RGB", (640, 480), (120, 130, 120)))
    assert not (empty.scores >= detector.least).any()


@pytest.mark.slow
def test_a_real_detector_without_its_weights() -> None:
    from torchvision import models

    model = models.detection.ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None)
    found = TorchvisionDetector("ssdlite320", "cpu", model=model).people(PICTURE)
    assert found.boxes.shape == (len(found.scores), 4)


class Fixed:
    """Finds the same people everywhere."""

    name, least = "fixed", 0.5

    def people(self, image: Image.Image) -> People:
        boxes = np.array([[10, 10, 30, 50], [-5, 0, 20, 20], [0, 0, 9, 9]], np.float32)
        return People(boxes, np.array([0.9, 0.6, 0.4], np.float32))


def test_people_of_a_folder(tmp_path: Path) -> None:
    for name in ("a.png", "b7.png"):
        PICTURE.save(tmp_path / name)
    (tmp_path / "c.png").write_bytes(b"no picture")
    told: list[int] = []
    with counting_not_taken() as aside:
        found = detected_people(Fixed(), pictures_of(tmp_path, Every()), on_progress=told.append)
    assert [image.path.name for image in found] == [
        f"{name}.png#xywh={box}" for name in ("a", "b7") for box in ("10,10,20,40", "0,0,20,20")
    ]
    assert dict(found[0].attributes)["score"] == "0.9"
    assert sum(told) == 3
    assert sum(aside.values() if isinstance(aside, dict) else aside.counts.values()) == 1
    assert len(detected_people(Fixed(), pictures_of(tmp_path, Every()), min_score=0.8)) == 2
    unread: list[str] = []
    assert detected_people(Fixed(), pictures_of(tmp_path, Every()), min_score=0.95, on_unread=unread.append) == []
    assert unread == [str(tmp_path / "c.png")]
