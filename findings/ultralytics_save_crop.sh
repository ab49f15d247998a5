#!/bin/sh
# Ultralytics 8.4.190: what save_crop (yolo predict save_crop=True) writes is not the box. The box is made 2 % and 10 pixels
# wider and higher, so a person of 10 x 30 pixels becomes a crop of 21 x 41, of which two thirds are background and
# other people. Small, far people grow most. save_txt and the boxes in memory have the box as it is, so a model that is
# trained on one and searched with the other sees people of another size.
# Seen, box and crop: 10 x 30: 21 x 41; 30 x 100: 41 x 112; 100 x 300: 112 x 316. save_txt: the box.
# Runs ultralytics==8.4.190 torch==2.13.0 torchvision==0.28.0 opencv-python-headless==5.0.0.93 numpy==2.4.6 in a temporary
# folder, without vpmsearch; exits non-zero when it behaves otherwise. (torchvision does not load its operators beside a
# torch for the CPU; the two that are then missed are declared, and nothing here uses them.)
set -eu
T=$(mktemp -d) && trap 'rm -rf "$T"' EXIT
python3 -m venv --without-pip "$T/venv"
python3 -m pip --python "$T/venv/bin/python" install --quiet --no-compile --disable-pip-version-check \
    torch==2.13.0 numpy==2.4.6 pillow==12.3.0 matplotlib==3.11.2 pyyaml==6.0.3 requests==2.34.2 psutil==7.2.2
python3 -m pip --python "$T/venv/bin/python" install --quiet --no-compile --no-deps --disable-pip-version-check \
    ultralytics==8.4.190 opencv-python-headless==5.0.0.93 torchvision==0.28.0
cd "$T" && YOLO_CONFIG_DIR="$T" YOLO_OFFLINE=1 YOLO_AUTOINSTALL=false "$T/venv/bin/python" - <<'PYTHON'
from pathlib import Path

import numpy as np
import torch
from PIL import Image

try:
    import torchvision
except RuntimeError:
    operators = torch.library.Library("torchvision", "FRAGMENT")
    for name in ("nms", "qnms"):
        operators.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

from ultralytics.engine.results import Results

scene = np.zeros((600, 800, 3), dtype=np.uint8)
seen = {}
for wide, high in ((10, 30), (30, 100), (100, 300)):
    found = torch.tensor([[300.0, 100, 300 + wide, 100 + high, 0.9, 0]])
    result = Results(scene, "street.jpg", {0: "person"}, boxes=found)
    folder = Path(f"crops{wide}")
    result.save_crop(folder)
    result.save_txt(f"{wide}.txt")
    (crop,) = folder.rglob("*.jpg")
    left, top, width, height = map(float, Path(f"{wide}.txt").read_text().split()[1:])
    seen[wide, high] = Image.open(crop).size, (round(width * 800), round(height * 600))
print(seen)
for box, (crop, text) in seen.items():
    assert text == box
    assert crop == {(10, 30): (21, 41), (30, 100): (41, 112), (100, 300): (112, 316)}[box]
PYTHON
