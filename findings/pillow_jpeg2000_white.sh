#!/bin/sh
# Pillow 12.3.0 and 13.0.0 show the brightest parts of a JPEG 2000 image of more than 8 bits a channel as black. It divides
# by rounding, and the top half step, which rounds to 256, is stored as 0: in colour of 12 bits the levels 4088 to 4095,
# so every part that is overexposed (sky, lamps, white shirts). 9 and 16 bits do the same. Grey of 10 bits and more is not
# touched by it. imagecodecs reads the same bytes as they were written.
# Seen, level in the file -> level by Pillow: 4086 -> 255, 4087 -> 255, 4088 -> 0, 4095 -> 0.
# Runs pillow==13.0.0 imagecodecs==2026.3.6 (which writes the file) numpy==2.4.6 in a temporary folder, without
# vpmsearch; exits non-zero when it behaves otherwise.
set -eu
T=$(mktemp -d) && trap 'rm -rf "$T"' EXIT
python3 -m venv --without-pip "$T/venv"
python3 -m pip --python "$T/venv/bin/python" install --quiet --no-compile --no-deps --disable-pip-version-check \
    pillow==13.0.0 imagecodecs==2026.3.6 numpy==2.4.6
cd "$T" && "$T/venv/bin/python" - <<'PYTHON'
import io

import imagecodecs
import numpy as np
from PIL import Image

levels = [0, 2047, 4086, 4087, 4088, 4095]
colour = np.repeat(np.resize(levels, (16, 18))[..., None], 3, axis=2).astype(np.uint16)
data = imagecodecs.jpeg2k_encode(colour, level=0, reversible=True, bitspersample=12)
assert (imagecodecs.jpeg2k_decode(data) == colour).all()  # what was written is in the file
image = Image.open(io.BytesIO(data))
seen = dict(zip(levels, np.asarray(image)[0, : len(levels), 0].tolist()))
print(image.mode, seen)
assert seen == {0: 0, 2047: 128, 4086: 255, 4087: 255, 4088: 0, 4095: 0}
PYTHON
