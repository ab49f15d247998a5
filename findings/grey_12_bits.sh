#!/bin/sh
# Infrared of 12 bits has another scale in each reader and each format, and nothing says which. Pillow 12.3.0 gives a
# JPEG 2000 in the scale of 16 bits (65520 for the highest level, 4095) and a TIFF as it is; OpenCV 5.0.0 gives the
# JPEG 2000 as it is and the TIFF in the scale of 16 bits. Both files hold the same levels. Who trains with one and
# searches with the other, or converts a set from one format to the other, is wrong by a factor of 16.
# Seen, highest level read: JPEG 2000: Pillow 65520, OpenCV 4095; TIFF: Pillow 4095, OpenCV 65520.
# Runs pillow==12.3.0 opencv-python-headless==5.0.0.93 imagecodecs==2026.3.6 tifffile==2026.3.3 numpy==2.4.6 in a
# temporary folder, without vpmsearch; exits non-zero when it behaves otherwise.
set -eu
T=$(mktemp -d) && trap 'rm -rf "$T"' EXIT
python3 -m venv --without-pip "$T/venv"
python3 -m pip --python "$T/venv/bin/python" install --quiet --no-compile --no-deps --disable-pip-version-check \
    pillow==12.3.0 opencv-python-headless==5.0.0.93 imagecodecs==2026.3.6 tifffile==2026.3.3 numpy==2.4.6
cd "$T" && "$T/venv/bin/python" - <<'PYTHON'
import struct
from pathlib import Path

import cv2
import imagecodecs
import numpy as np
import tifffile
from PIL import Image


def packed_tiff(grey: np.ndarray) -> bytes:
    """A TIFF of 12 bits, two levels in three bytes (TIFF 6.0, BitsPerSample 12)."""
    even, odd = grey.reshape(-1, 2).astype(int).T
    pixels = np.stack([even >> 4, (even & 15) << 4 | odd >> 8, odd & 255], axis=1).astype(np.uint8).tobytes()
    height, width = grey.shape
    start = 8 + 2 + 9 * 12 + 4
    numbers = {256: width, 257: height, 258: 12, 259: 1, 262: 1, 273: start, 277: 1, 278: height, 279: len(pixels)}
    tags = b"".join(struct.pack("<HHII", tag, 4, 1, number) for tag, number in numbers.items())
    return b"II*\0" + struct.pack("<IH", 8, len(numbers)) + tags + bytes(4) + pixels


grey = np.arange(4096, dtype=np.uint16).reshape(64, 64)
Path("grey.jp2").write_bytes(imagecodecs.jpeg2k_encode(grey, level=0, reversible=True, bitspersample=12))
Path("grey.tif").write_bytes(packed_tiff(grey))
assert (imagecodecs.jpeg2k_decode(Path("grey.jp2").read_bytes()) == grey).all()
assert (tifffile.imread("grey.tif") == grey).all()
seen = {
    name: (int(np.asarray(Image.open(name)).max()), int(cv2.imread(name, cv2.IMREAD_UNCHANGED).max()))
    for name in ("grey.jp2", "grey.tif")
}
print("(Pillow, OpenCV):", seen)
assert seen == {"grey.jp2": (65520, 4095), "grey.tif": (4095, 65520)}
PYTHON
