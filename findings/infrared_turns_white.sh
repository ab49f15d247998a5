#!/bin/sh
# Pillow 12.3.0 clips 16-bit grey when it is converted to L or RGB: every value above 255 is white. Loaders of re-ID code
# begin with Image.open(path).convert('RGB'), so an infrared crop of raw counts (7000 to 8500) is a white rectangle, of
# one value, without a word; one of 12 bits keeps the darkest sixteenth of its levels.
# Seen: 256 levels of 7000-8500 -> the one level 255; 4096 levels of 0-4095 -> 256, of which 94 % of the pixels are 255.
# Runs pillow==12.3.0 numpy==2.2.6 in a temporary folder, without vpmsearch; exits non-zero when it behaves otherwise.
set -eu
T=$(mktemp -d) && trap 'rm -rf "$T"' EXIT
python3 -m venv "$T/venv" && "$T/venv/bin/pip" install --quiet --disable-pip-version-check pillow==12.3.0 numpy==2.2.6
cd "$T" && "$T/venv/bin/python" - <<'PYTHON'
import numpy as np
from PIL import Image

shown = {}
for name, low, high, count in (("raw counts", 7000, 8500, 256), ("12 bits", 0, 4095, 4096)):
    values = np.linspace(low, high, count).round().astype(np.uint16).reshape(-1, 16)
    Image.fromarray(values).save("infrared.png")
    image = Image.open("infrared.png")
    pixels = np.asarray(image.convert("RGB"))[..., 0]
    shown[name] = (image.mode, len(np.unique(values)), len(np.unique(pixels)), round(float((pixels == 255).mean()), 2))
print(shown)
assert shown == {"raw counts": ("I;16", 256, 1, 1.0), "12 bits": ("I;16", 4096, 256, 0.94)}
PYTHON
