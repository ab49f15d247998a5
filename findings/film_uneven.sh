#!/bin/sh
# A film whose pictures come at uneven times (phones, cameras that record on motion): 20 pictures in bursts of 40 ms, with
# pauses of one second. PyAV 18.1.0 gives 20 pictures with their true times. Two others give times that are not the film's:
# OpenCV 5.0.0: CAP_PROP_POS_MSEC tells the right time of a picture, but set to that same time it jumps to another one, as it
#   divides by the mean rate: 17 of 20 pictures are missed, two of them are not read at all.
# imageio-ffmpeg 0.8.1: read_frames gives 112 pictures (ffmpeg repeats the last one in each pause), while its own "fps"
#   (5.43) and count_frames_and_secs (20) speak of the 20. Number / fps so puts the last picture at 20.4 s of 3.7.
# Runs av==18.1.0 opencv-python-headless==5.0.0.93 imageio-ffmpeg==0.8.1 numpy==2.4.6 in a temporary folder, without
# vpmsearch; exits non-zero when it behaves otherwise.
set -eu
T=$(mktemp -d) && trap 'rm -rf "$T"' EXIT
python3 -m venv --without-pip "$T/venv"
python3 -m pip --python "$T/venv/bin/python" install --quiet --no-compile --no-deps --disable-pip-version-check \
    av==18.1.0 opencv-python-headless==5.0.0.93 imageio-ffmpeg==0.8.1 numpy==2.4.6
cd "$T" && "$T/venv/bin/python" - <<'PYTHON'
from fractions import Fraction

import av
import cv2
import imageio_ffmpeg
import numpy as np

TIMES = [burst + 40 * i for burst, pictures in ((0, 6), (1200, 4), (2320, 5), (3480, 5)) for i in range(pictures)]  # ms
with av.open("film.mp4", "w") as film:
    stream = film.add_stream("libx264", rate=25)
    stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
    stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
    for number, time in enumerate(TIMES):
        grey = np.full((72, 64), 128, np.uint8)  # Y, then U and V
        grey[:48] = 20 + 7 * number
        picture = av.VideoFrame.from_ndarray(grey, format="yuv420p")
        picture.pts, picture.time_base = time, Fraction(1, 1000)
        film.mux(stream.encode(picture))
    film.mux(stream.encode())

with av.open("film.mp4") as film:
    assert [round(picture.time * 1000) for picture in film.decode(video=0)] == TIMES

film = cv2.VideoCapture("film.mp4")
told, levels = [], []
while (read := film.read())[0]:
    told.append(round(film.get(cv2.CAP_PROP_POS_MSEC)))
    levels.append(int(read[1][5, 5, 0]))
assert told == TIMES
jumped = {}
for time in TIMES:
    film.set(cv2.CAP_PROP_POS_MSEC, time)
    found, picture = film.read()
    jumped[time] = TIMES[levels.index(int(picture[5, 5, 0]))] if found else None
print("OpenCV, asked: given", jumped)

frames = imageio_ffmpeg.read_frames("film.mp4")
meta, count = next(frames), sum(1 for _ in frames)
told_count = imageio_ffmpeg.count_frames_and_secs("film.mp4")[0]
print("imageio-ffmpeg:", count, "pictures, fps", meta["fps"], "counted", told_count)
assert sum(jumped[time] != time for time in TIMES) == 17
assert list(jumped.values()).count(None) == 2
assert (count, meta["fps"], told_count) == (112, 5.43, 20)
PYTHON
