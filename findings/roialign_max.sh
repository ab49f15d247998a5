#!/bin/sh
# ONNX's RoiAlign with mode "max" does not give the highest interpolated value: onnxruntime 1.32.0 and onnx 1.23.2's own
# reference take the highest of the four neighbours, each times its weight, without adding these up. A region of a map that
# is 1.0 everywhere so has the value 0.25 between four cells. "avg" gives 1.0. OpenVINO 2026.4.1 gives 1.0 for both. Features
# pooled for parts of a person are smaller, by the place of the box, in one runtime alone.
# onnxruntime logs that its sum "is incorrect and will be fixed in the next ORT 1.13 release"; the reference says nothing.
# Seen, box 0, 0, 8, 16 (left, top, right, bottom) of a map of ones: onnxruntime and reference 0.25, OpenVINO 1.0. Box 1.3,
# 2.2, 5.7, 11.1: 0.866 and 0.664, OpenVINO 1.0.
# Runs openvino==2026.4.1 onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6 in a temporary folder, without vpmsearch; exits non-zero
# when one of them behaves otherwise.
set -eu
T=$(mktemp -d) && trap 'rm -rf "$T"' EXIT
python3 -m venv --without-pip "$T/venv"
python3 -m pip --python "$T/venv/bin/python" install --quiet --no-compile --disable-pip-version-check \
    openvino==2026.4.1 onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6
cd "$T" && HOME="$T" "$T/venv/bin/python" - <<'PYTHON'
import numpy as np
import onnxruntime
import openvino
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

ONES = np.ones((1, 1, 16, 8), dtype=np.float32)


def pooled(box, mode):
    """The upper and the lower half of a box, by each tool."""
    node = helper.make_node("RoiAlign", ["x", "box", "image"], ["y"], mode=mode, sampling_ratio=2, output_height=2, output_width=1)
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, ONES.shape)
    found = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    fixed = [numpy_helper.from_array(np.array([box], np.float32), "box"), numpy_helper.from_array(np.array([0]), "image")]
    graph = helper.make_graph([node], "pool", [given], [found], fixed)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 16)], ir_version=9)
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(model.SerializeToString()), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    answers = {
        "onnxruntime": onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": ONES})[0],
        "reference": ReferenceEvaluator(model).run(None, {"x": ONES})[0],
        "openvino": compiled(ONES)[0],
    }
    return {tool: [round(float(value), 3) for value in answer.ravel()] for tool, answer in answers.items()}


onnxruntime.set_default_logger_severity(3)
print("onnxruntime", onnxruntime.__version__, "openvino", openvino.__version__)
whole, other = (0, 0, 8, 16), (1.3, 2.2, 5.7, 11.1)
seen = {(box, mode): pooled(box, mode) for box in (whole, other) for mode in ("avg", "max")}
for key, values in seen.items():
    print(*key, values)
true = [1.0, 1.0]
for box, low in ((whole, [0.25, 0.25]), (other, [0.866, 0.664])):
    assert seen[box, "avg"] == {"onnxruntime": true, "reference": true, "openvino": true}
    assert seen[box, "max"] == {"onnxruntime": low, "reference": low, "openvino": true}
PYTHON
