#!/bin/sh
# OpenCV 5.0.0 turns a picture upright as its file says for JPEG, PNG and WebP, and not for AVIF: the same photograph, saved
# by Pillow in the four formats, is upright in three and lies on its side in one. A gallery of phone photographs that was
# converted to AVIF is so read as people who lie. Pillow tells the orientation of all four (and ImageOps.exif_transpose
# turns all), as it writes AVIF's own mark for it. IMREAD_COLOR is the default, and its documentation says that the
# orientation is applied. A TIFF with an orientation is not read at all by imread: None, and an error on stderr; Pillow turns
# it upright by itself.
# Seen, a picture of 60 x 40 with the orientation 6 (upright: 40 x 60), width and height: OpenCV: JPEG, PNG, WebP 40 x 60,
# AVIF 60 x 40, TIFF none. Pillow with exif_transpose: 40 x 60 for each of the five.
# Runs opencv-python-headless==5.0.0.93 pillow==12.3.0 tifffile==2026.3.3 numpy==2.4.6 in a temporary folder, without
# vpmsearch; exits non-zero when it behaves otherwise.
set -eu
T=$(mktemp -d) && trap 'rm -rf "$T"' EXIT
python3 -m venv --without-pip "$T/venv"
python3 -m pip --python "$T/venv/bin/python" install --quiet --no-compile --no-deps --disable-pip-version-check \
    opencv-python-headless==5.0.0.93 pillow==12.3.0 tifffile==2026.3.3 numpy==2.4.6
cd "$T" && "$T/venv/bin/python" - <<'PYTHON'
import cv2
import numpy as np
import tifffile
from PIL import Image, ImageOps

picture = np.zeros((40, 60, 3), dtype=np.uint8)
picture[:, :30] = 255
told = Image.Exif()
told[274] = 6  # the orientation: turned by 90 degrees
seen = {}
for name in ("jpg", "png", "webp", "avif", "tif"):
    path = f"photograph.{name}"
    if name == "tif":
        tifffile.imwrite(path, picture, photometric="rgb", extratags=[(274, 3, 1, 6, True)])
    else:
        Image.fromarray(picture).save(path, exif=told)
    with Image.open(path) as opened:
        by_pillow = ImageOps.exif_transpose(opened).size
    by_opencv = cv2.imread(path)
    seen[name] = by_pillow, None if by_opencv is None else by_opencv.shape[1::-1]
print(seen)
assert {by_pillow for by_pillow, _ in seen.values()} == {(40, 60)}
assert [seen[name][1] for name in ("jpg", "png", "webp", "avif", "tif")] == [(40, 60)] * 3 + [(60, 40), None]
PYTHON
