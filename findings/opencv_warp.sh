#!/bin/sh
# cv2.warpAffine, warpPerspective and remap give other pixels in OpenCV 5.0.0 than in 4.14.0, for the same call. 4.14 rounds
# the place of a pixel in the source to 1/32 and so errs by some levels; 5.0.0 gives exact interpolation, rounded. About half
# of all pixels change. resize, cvtColor, GaussianBlur and imread of a JPEG gave the same bytes in both. Crops that were
# aligned or augmented by a warp under version 4 are not the crops of version 5, and `pip install opencv-python` now
# gives 5.
# Seen, largest error against bilinear interpolation in float64 (levels of 255): 4.14.0 4.44, 5.0.0 0.5.
# Runs opencv-python-headless 4.14.0.94 and 5.0.0.93 with numpy==2.4.6 in a temporary folder, without vpmsearch; exits
# non-zero when it behaves otherwise.
set -eu
T=$(mktemp -d) && trap 'rm -rf "$T"' EXIT
cat > "$T/warp.py" <<'PYTHON'
import cv2
import numpy as np

source = np.random.default_rng(0).integers(0, 256, (100, 60), dtype=np.uint8)
matrix = np.array([[0.7, 0.1, 3], [-0.1, 0.8, 6]])  # from the warped image to the source
warped = cv2.warpAffine(source, matrix, (32, 64), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
y, x = np.mgrid[:64, :32]
from_x = matrix[0, 0] * x + matrix[0, 1] * y + matrix[0, 2]
from_y = matrix[1, 0] * x + matrix[1, 1] * y + matrix[1, 2]
left, top = np.floor(from_x).astype(int), np.floor(from_y).astype(int)
right, down = from_x - left, from_y - top
values = source.astype(float)
assert left.min() >= 0 <= top.min() and left.max() < 59 and top.max() < 99  # all of it lies inside
exact = (1 - down) * ((1 - right) * values[top, left] + right * values[top, left + 1]) + down * (
    (1 - right) * values[top + 1, left] + right * values[top + 1, left + 1]
)
error = float(np.abs(warped - exact).max())
print("OpenCV", cv2.__version__, "largest error", round(error, 2))
assert error > 3 if cv2.__version__.startswith("4.") else error < 0.51
PYTHON
for version in 4.14.0.94 5.0.0.93; do
    python3 -m venv --without-pip "$T/$version"
    python3 -m pip --python "$T/$version/bin/python" install --quiet --no-compile --no-deps \
        --disable-pip-version-check opencv-python-headless==$version numpy==2.4.6
    "$T/$version/bin/python" "$T/warp.py"
done
