#!/bin/sh
# OpenVINO 2026.4.1 reads an ONNX model whose Resize has antialias=1 and resizes without it: as if it were 0, and with no
# word. exclude_outside and keep_aspect_ratio_policy are passed over as well: what should keep its proportions is stretched.
# A network that makes its input smaller itself (a crop of 512 x 256 to its 256 x 128) so sees other pixels in OpenVINO than in
# onnxruntime 1.32.0 or in training. onnxruntime, onnx's own reference and Pillow 13.0.0 agree.
# Seen, grey of 255: noise of 120 x 100 to 50 x 40, largest difference to Pillow: onnxruntime 0.0, reference 0.0, OpenVINO
# 100 and more, which is what all three give with antialias=0 (linear; cubic too). A picture with every eighth row white, at
# an eighth of the height: onnxruntime 31, OpenVINO 0: the stripes are gone. 90 x 70 into 50 x 60 with "not_larger":
# onnxruntime 50 x 39, OpenVINO 50 x 60.
# Runs openvino==2026.4.1 onnxruntime==1.32.0 onnx==1.23.2 pillow==13.0.0 numpy==2.4.6 in a temporary folder, without
# vpmsearch; exits non-zero when one of them behaves otherwise.
set -eu
T=$(mktemp -d) && trap 'rm -rf "$T"' EXIT
python3 -m venv --without-pip "$T/venv"
python3 -m pip --python "$T/venv/bin/python" install --quiet --no-compile --disable-pip-version-check \
    openvino==2026.4.1 onnxruntime==1.32.0 onnx==1.23.2 pillow==13.0.0 numpy==2.4.6
cd "$T" && HOME="$T" "$T/venv/bin/python" - <<'PYTHON'
import numpy as np
import onnxruntime
import openvino
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator
from PIL import Image


def network(before, after, **settings):
    """One Resize of the last two axes."""
    node = helper.make_node("Resize", ["x", "", "", "sizes"], ["y"], axes=[2, 3], **settings)
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, *before])
    found = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    sizes = helper.make_tensor("sizes", TensorProto.INT64, [2], after)
    graph = helper.make_graph([node], "resize", [given], [found], [sizes])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)


def by_openvino(model, picture):
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(model), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return compiled(picture)[0][0, 0]


def answers(picture, after, **settings):
    model, given = network(picture.shape, after, **settings), picture[None, None]
    return {
        "onnxruntime": onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": given})[0][0, 0],
        "reference": ReferenceEvaluator(model).run(None, {"x": given})[0][0, 0],
        "openvino": by_openvino(model.SerializeToString(), given),
    }


print("openvino", openvino.__version__, "onnxruntime", onnxruntime.__version__)
noise = np.random.default_rng(0).integers(0, 256, (120, 100)).astype(np.float32)
for kind, resample in (("linear", Image.Resampling.BILINEAR), ("cubic", Image.Resampling.BICUBIC)):
    true = np.asarray(Image.fromarray(noise).resize((40, 50), resample))
    smooth = answers(noise, (50, 40), mode=kind, antialias=1, exclude_outside=1, cubic_coeff_a=-0.5)  # as Pillow's
    rough = answers(noise, (50, 40), mode=kind, cubic_coeff_a=-0.5)
    errors = {tool: round(float(np.abs(found - true).max()), 1) for tool, found in smooth.items()}
    same = float(np.abs(smooth["openvino"] - rough["onnxruntime"]).max())
    print(kind, "differences to Pillow:", errors, "OpenVINO to antialias=0:", round(same, 3))
    assert errors["onnxruntime"] == errors["reference"] == 0 and errors["openvino"] > 90 and same < 0.01

stripes = np.zeros((64, 16), dtype=np.float32)
stripes[::8] = 255
middle = {tool: int(found[4, 8]) for tool, found in answers(stripes, (8, 16), mode="linear", antialias=1).items()}
print("every eighth row white, at an eighth of the height:", middle)
assert middle == {"onnxruntime": 31, "reference": 31, "openvino": 0}
kept = answers(np.zeros((90, 70), np.float32), (50, 60), mode="linear", keep_aspect_ratio_policy="not_larger")
shapes = {tool: found.shape for tool, found in kept.items()}
print("90 x 70 into 50 x 60, not larger:", shapes)
assert shapes == {"onnxruntime": (50, 39), "reference": (50, 39), "openvino": (50, 60)}
PYTHON
