#!/bin/sh
# torchreid 0.2.5 (the pip package of Torchreid 1.4.0) and BoxMOT 25.0.0 read one digit of the camera from names of
# Market-1501's form, so the cameras 10 to 19 are camera 1, and 20 to 29 camera 2. Sets of more than nine cameras are kept
# under such names. torchreid checks that cameras are 1 to 6, which 10 passes, as it has become 1. A right answer from
# camera 10 is then left out for a query of camera 1, as if it came from the query's own camera; and samplers and losses
# that know cameras see other ones. No warning. (fastreid 1.4.0 has the same expression; it does not run beside this torch.)
# Seen, cameras read of c1, c2, c10, c12, c27: 0, 1, 0, 0, 1 by both. Of a query of camera 1 with its person seen by cameras
# 10 (nearest) and 2 (third), BoxMOT's evaluation says rank 1: 0.0 and mAP 0.5 of true 1.0 and 0.833.
# Runs torchreid==0.2.5 boxmot==25.0.0 torch==2.13.0 torchvision==0.28.0 opencv-python-headless==5.0.0.93 numpy==2.4.6 in a
# temporary folder, without vpmsearch; exits non-zero when one of them behaves otherwise. (torchvision does not load its
# operators beside a torch for the CPU; the two that are then missed are declared, and nothing here uses them.)
set -eu
T=$(mktemp -d) && trap 'rm -rf "$T"' EXIT
python3 -m venv --without-pip "$T/venv"
python3 -m pip --python "$T/venv/bin/python" install --quiet --no-compile --disable-pip-version-check \
    torch==2.13.0 numpy==2.4.6 pillow==13.0.0 scipy==1.17.1 tqdm==4.70.1 rich==15.0.0 requests==2.34.2 tensorboard==2.21.0 \
    h5py==3.16.0 six==1.17.0 gdown==6.5.1
python3 -m pip --python "$T/venv/bin/python" install --quiet --no-compile --no-deps --disable-pip-version-check \
    boxmot==25.0.0 torchvision==0.28.0 opencv-python-headless==5.0.0.93
python3 -m pip download --quiet --no-deps --no-binary torchreid --disable-pip-version-check --dest "$T" torchreid==0.2.5
tar -xzf "$T/torchreid-0.2.5.tar.gz" -C "$T"
cd "$T" && PYTHONPATH="$T/torchreid-0.2.5" HOME="$T" "$T/venv/bin/python" -W ignore - <<'PYTHON'
import torch

try:
    import torchvision
except RuntimeError:
    operators = torch.library.Library("torchvision", "FRAGMENT")
    for name in ("nms", "qnms"):
        operators.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

from importlib.metadata import version
from pathlib import Path

import numpy as np
import torchreid
from boxmot.reid.datasets.market1501 import Market1501 as ByBoxmot
from boxmot.reid.training.evaluator import evaluate_ranking
from PIL import Image
from torchreid.reid.data.datasets.image.market1501 import Market1501 as ByTorchreid

CAMERAS = [1, 2, 10, 12, 27]
root = Path("data/market1501")
for folder in ("bounding_box_train", "bounding_box_test", "query"):
    (root / folder).mkdir(parents=True)
    for camera in CAMERAS:
        Image.new("RGB", (64, 128)).save(root / folder / f"0002_c{camera}s1_000001_00.jpg")

print("torchreid", torchreid.__version__, "boxmot", version("boxmot"))
rows = {
    "torchreid": [row[::2] for row in ByTorchreid(root="data", download_data=False, verbose=False).gallery],
    "boxmot": [(sample.img_path, sample.camid) for sample in ByBoxmot(str(root)).gallery.samples],
}
read = {}
for tool, pairs in rows.items():
    by_name = {Path(path).name: camera for path, camera, *_ in pairs}
    read[tool] = [by_name[f"0002_c{camera}s1_000001_00.jpg"] for camera in CAMERAS]
print("cameras", CAMERAS, "read as", read)

# A gallery of four, nearest first: the person by camera 10, somebody else by 2, the person by 2, somebody else by 1.
people, distances = np.array([2, 3, 2, 4]), np.array([[0.1, 0.2, 0.3, 0.4]])
scores = {}
for kind, cameras in (("as read", [0, 1, 1, 0]), ("true", [9, 1, 1, 0])):
    cmc, mean = evaluate_ranking(distances, np.array([2]), people, np.array([0]), np.array(cameras))
    scores[kind] = round(float(cmc[0]), 3), round(mean, 3)
print("(rank 1, mAP):", scores)
assert read == {"torchreid": [0, 1, 0, 0, 1], "boxmot": [0, 1, 0, 0, 1]}
assert scores == {"as read": (0.0, 0.5), "true": (1.0, 0.833)}
PYTHON
