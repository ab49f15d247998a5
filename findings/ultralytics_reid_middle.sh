#!/bin/sh
# Ultralytics 8.4.190: its trackers' ReID (with_reid: True, model: a classification checkpoint such as yolo11n-cls.pt, as the
# documentation shows) sees the middle of a person alone. The crop goes through the transforms of classification: the
# shorter side is scaled to the model's size and a square is cut from the middle. Of a standing person, three times as high
# as wide, head, shoulders, legs and shoes are cut off. Exported models (.onnx) get the whole crop, squeezed to a square.
# So the same network gives other embeddings, and other tracks, as .pt and as .onnx. No warning.
# Seen for a person of 80 x 240 pixels: of the crop's rows 36 % reach the network. An embedding does not change by one bit
# when everything above and below is painted over.
# Runs ultralytics==8.4.190 torch==2.13.0 torchvision==0.28.0 opencv-python-headless==5.0.0.93 lap==0.5.13 numpy==2.4.6 in a
# temporary folder, without vpmsearch; exits non-zero when it behaves otherwise. The network is not trained; where it looks
# does not depend on that. (torchvision does not load its operators beside a torch for the CPU; the two that are then missed
# are declared, and nothing here uses them.)
set -eu
T=$(mktemp -d) && trap 'rm -rf "$T"' EXIT
python3 -m venv --without-pip "$T/venv"
python3 -m pip --python "$T/venv/bin/python" install --quiet --no-compile --disable-pip-version-check \
    torch==2.13.0 numpy==2.4.6 pillow==12.3.0 matplotlib==3.11.2 pyyaml==6.0.3 requests==2.34.2 psutil==7.2.2 scipy==1.17.1
python3 -m pip --python "$T/venv/bin/python" install --quiet --no-compile --no-deps --disable-pip-version-check \
    ultralytics==8.4.190 opencv-python-headless==5.0.0.93 torchvision==0.28.0 lap==0.5.13
cd "$T" && YOLO_CONFIG_DIR="$T" YOLO_OFFLINE=1 YOLO_AUTOINSTALL=false "$T/venv/bin/python" - <<'PYTHON'
import numpy as np
import torch

try:
    import torchvision
except RuntimeError:
    operators = torch.library.Library("torchvision", "FRAGMENT")
    for name in ("nms", "qnms"):
        operators.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

from ultralytics import YOLO
from ultralytics.trackers.utils.reid import ReID

torch.manual_seed(0)
network = YOLO("yolo11n-cls.yaml")
network.model.train()  # a few pictures of noise give its normalisation means and variances
with torch.no_grad():
    for _ in range(10):
        network.model(torch.rand(4, 3, 64, 64))
network.model.eval()
network.model.args = {"imgsz": 224, "task": "classify"}  # what the published checkpoints say
network.save("network.pt")
reid = ReID("network.pt")

scene = np.random.default_rng(0).integers(0, 256, (600, 400, 3), dtype=np.uint8)
person = np.array([[200, 300, 80, 240]], dtype=np.float32)  # centre, width, height: rows 180 to 420
first = reid(scene, person)[0]


def changed(rows: slice) -> float:
    painted = scene.copy()
    painted[rows, 160:240] = 0
    return float(np.abs(reid(painted, person)[0] - first).max())


above, below, middle = changed(slice(180, 250)), changed(slice(350, 420)), changed(slice(270, 330))
needed = [row for row in range(180, 420, 10) if changed(slice(row, row + 10)) > 0]
print("embedding changes by:", {"head": above, "legs": below, "middle": middle}, "rows seen:", needed[0], "to", needed[-1] + 10)
assert above == below == 0
assert middle > 0
assert 250 <= needed[0] and needed[-1] + 10 <= 350
PYTHON
