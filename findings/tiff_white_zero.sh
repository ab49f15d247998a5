#!/bin/sh
# A TIFF may say that 0 is white (PhotometricInterpretation 0), as black-hot infrared is stored. Pillow 13.0.0 and OpenCV
# 5.0.0 turn such an image round when it has 8 bits, and do not when it has 16: the same picture comes as a positive or as
# a negative by its depth alone. Pillow's file still tells (tag_v2[262]); OpenCV's array does not.
# Seen for the levels 0, 64 and 255: of 8 bits 255, 191, 0 by both; of 16 bits 0, 64, 255 by both.
# Runs pillow==13.0.0 opencv-python-headless==5.0.0.93 tifffile==2026.3.3 (which writes the files) numpy==2.4.6 in a
# temporary folder, without vpmsearch; exits non-zero when it behaves otherwise.
set -eu
T=$(mktemp -d) && trap 'rm -rf "$T"' EXIT
python3 -m venv --without-pip "$T/venv"
python3 -m pip --python "$T/venv/bin/python" install --quiet --no-compile --no-deps --disable-pip-version-check \
    pillow==13.0.0 opencv-python-headless==5.0.0.93 tifffile==2026.3.3 numpy==2.4.6
cd "$T" && "$T/venv/bin/python" - <<'PYTHON'
import cv2
import numpy as np
import tifffile
from PIL import Image

seen = {}
for kind in (np.uint8, np.uint16):
    tifffile.imwrite("grey.tif", np.array([[0, 64, 255]], dtype=kind), photometric="miniswhite")
    by_pillow = np.asarray(Image.open("grey.tif"))[0].tolist()
    seen[kind.__name__] = (by_pillow, cv2.imread("grey.tif", cv2.IMREAD_UNCHANGED)[0].tolist())
print("(Pillow, OpenCV):", seen)
assert seen == {"uint8": ([255, 191, 0], [255, 191, 0]), "uint16": ([0, 64, 255], [0, 64, 255])}
PYTHON
