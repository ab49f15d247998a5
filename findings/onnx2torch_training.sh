#!/bin/sh
# onnx2torch 1.5.15 gives a converted network in training mode, also one that was exported for inference. Its batch
# normalisations then use the means of the batch at hand instead of those in the file: an image's embedding depends on which
# others are in the batch, and each call changes the stored means, so that even eval() later is wrong. The example in its
# README does not call eval(). (Exports by PyTorch mostly have no batch normalisation left; those of other tools do.)
# Seen for the input 4, stored mean 1 and variance 4 (so the output is 1.5): in a batch with 0: 1.0; with 12: -1.0; alone
# after eval(): 1.5; after eval() of a network that was first called as converted: 0.882.
# Runs onnx2torch==1.5.15 onnx==1.20.0 torch==2.13.0 torchvision==0.28.0 numpy==2.4.6 in a temporary folder, without
# vpmsearch; exits non-zero when it behaves otherwise. (torchvision does not load its operators beside a torch for the CPU;
# the two that are then missed are declared, and nothing here uses them.)
set -eu
T=$(mktemp -d) && trap 'rm -rf "$T"' EXIT
python3 -m venv --without-pip "$T/venv"
python3 -m pip --python "$T/venv/bin/python" install --quiet --no-compile --disable-pip-version-check \
    onnx==1.20.0 torch==2.13.0 numpy==2.4.6 pillow==12.3.0
python3 -m pip --python "$T/venv/bin/python" install --quiet --no-compile --no-deps --disable-pip-version-check \
    onnx2torch==1.5.15 torchvision==0.28.0
cd "$T" && "$T/venv/bin/python" - <<'PYTHON'
import numpy as np
import onnx
import torch

try:
    import torchvision
except RuntimeError:
    operators = torch.library.Library("torchvision", "FRAGMENT")
    for name in ("nms", "qnms"):
        operators.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

from onnx import TensorProto, helper, numpy_helper
from onnx2torch import convert

values = {"scale": 1.0, "shift": 0.0, "mean": 1.0, "variance": 4.0}
stored = [numpy_helper.from_array(np.array([value], dtype=np.float32), name) for name, value in values.items()]
node = helper.make_node("BatchNormalization", ["x", *values], ["y"], epsilon=1e-9)
shape = ["batch", 1, 1, 1]
graph = helper.make_graph(
    [node],
    "network",
    [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
    [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
    stored,
)
network = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
onnx.checker.check_model(network)


def first(converted, *batch: float) -> float:
    return round(converted(torch.tensor(batch)[:, None, None, None]).flatten()[0].item(), 3)


seen = {"with 0": first(convert(network), 4.0, 0.0), "with 12": first(convert(network), 4.0, 12.0)}
seen["eval"] = first(convert(network).eval(), 4.0)
used = convert(network)
first(used, 4.0, 12.0)
seen["eval after use"] = first(used.eval(), 4.0)
print(convert(network).training, seen)
assert convert(network).training
assert (seen["with 0"], seen["with 12"], seen["eval"]) == (1.0, -1.0, 1.5)
assert seen["eval after use"] == 0.882
PYTHON
