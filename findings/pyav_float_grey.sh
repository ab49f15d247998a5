#!/bin/sh
# PyAV 18.1.0 gives a film's grey in two scales, by the format asked for. "gray" and "gray16le" are stretched to the whole
# range, as RGB is: black 0, white 255 and 65535. "grayf32le" (0 to 1) is not: black is 0.063 and white 0.918, the film's 16
# and 235 of 255. Whoever takes floating-point grey has less contrast than who divides "gray" by 255, and no warning.
# Seen for black, middle and white of one film: gray 0, 128, 255; grayf32le 0.063, 0.492, 0.918.
# Runs av==18.1.0 numpy==2.4.6 in a temporary folder, without vpmsearch; exits non-zero when it behaves otherwise.
set -eu
T=$(mktemp -d) && trap 'rm -rf "$T"' EXIT
python3 -m venv --without-pip "$T/venv"
python3 -m pip --python "$T/venv/bin/python" install --quiet --no-compile --no-deps --disable-pip-version-check \
    av==18.1.0 numpy==2.4.6
cd "$T" && "$T/venv/bin/python" - <<'PYTHON'
import av
import numpy as np

with av.open("film.mp4", "w") as film:
    stream = film.add_stream("libx264", rate=25, options={"crf": "1"})
    stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
    for luma in (16, 126, 235):
        grey = np.full((72, 64), 128, np.uint8)  # Y, then U and V
        grey[:48] = luma
        film.mux(stream.encode(av.VideoFrame.from_ndarray(grey, format="yuv420p")))
    film.mux(stream.encode())
seen = {name: [] for name in ("gray", "gray16le", "grayf32le")}
with av.open("film.mp4") as film:
    for picture in film.decode(video=0):
        for name, values in seen.items():
            values.append(round(float(picture.to_ndarray(format=name)[5, 5]), 3))
print(seen)
assert seen["gray"] == [0, 128, 255]
assert seen["gray16le"][::2] == [0, 65535]
assert seen["grayf32le"] == [0.063, 0.492, 0.918]
PYTHON
