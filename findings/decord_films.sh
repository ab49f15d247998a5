#!/bin/sh
# decord 0.6.0 gives other pictures than a film has for three kinds of film. The first two hold the same packets of H.264
# (30 pictures, a key picture every 12) as an MP4 that it reads well; ffmpeg rewrote them without encoding.
# 1. MPEG-TS, as recorders write: picture 0 is the second key picture, 12. The first twelve cannot be reached, and the last
#    is given twelve times more, so that len() is still 30. decord prints a warning. OpenCV 5.0.0 reads the same file in
#    order, but CAP_PROP_POS_FRAMES 5 gives picture 13.
# 2. MP4 that was cut without encoding (an edit list hides the pictures before the cut): 30 pictures are announced, 25 are
#    there, the last is repeated for the others, and times begin at -0.2 s. OpenCV and ffmpeg give 25.
# 3. A film of crops of 48 x 128 (the size of VIPeR's images): frames have four channels, and from them colours and places
#    are mixed up: a film that is red everywhere has 4 different pixels. Widths of 16 and 32 give four channels as well.
# Runs decord==0.6.0 opencv-python-headless==5.0.0.93 imageio-ffmpeg==0.8.1 (for its ffmpeg) numpy==2.4.6 in a temporary
# folder, without vpmsearch; exits non-zero when it behaves otherwise.
set -eu
T=$(mktemp -d) && trap 'rm -rf "$T"' EXIT
python3 -m venv --without-pip "$T/venv"
python3 -m pip --python "$T/venv/bin/python" install --quiet --no-compile --no-deps --disable-pip-version-check \
    decord==0.6.0 opencv-python-headless==5.0.0.93 imageio-ffmpeg==0.8.1 numpy==2.4.6
cd "$T" && "$T/venv/bin/python" - <<'PYTHON'
import subprocess

import cv2
import decord
import imageio_ffmpeg
import numpy as np


def ffmpeg(*words: str, given: bytes = b"") -> None:
    subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-loglevel", "error", *words], input=given, check=True)


def number(picture: np.ndarray) -> int:
    return round((float(picture[5, 5, 0]) - 10) / 8)  # every picture is grey, of the level 10 + 8 × its number


pictures = b"".join(bytes([10 + 8 * i]) * (64 * 48 * 3) for i in range(30))
raw = "-f rawvideo -pix_fmt rgb24 -s 64x48 -r 25 -i -".split()
ffmpeg(*raw, *"-c:v libx264 -crf 4 -g 12 -sc_threshold 0 -bf 2 -pix_fmt yuv420p film.mp4".split(), given=pictures)
ffmpeg(*"-i film.mp4 -c copy film.ts".split())
ffmpeg(*"-ss 0.2 -i film.mp4 -c copy cut.mp4".split())
red = bytes([200, 40, 40]) * (48 * 128) * 3
crops = "-f rawvideo -pix_fmt rgb24 -s 48x128 -r 25 -i - -c:v libx264 -crf 4 -pix_fmt yuv420p crops.mp4".split()
ffmpeg(*crops, given=red)


def by_decord(name: str) -> list[int]:
    return [number(picture.asnumpy()) for picture in decord.VideoReader(name)]


def by_opencv(name: str, first: int = 0) -> list[int]:
    film = cv2.VideoCapture(name)
    if first:
        film.set(cv2.CAP_PROP_POS_FRAMES, first)
    numbers = []
    while (picture := film.read())[0]:
        numbers.append(number(picture[1]))
    return numbers


every = list(range(30))
assert by_decord("film.mp4") == by_opencv("film.mp4") == by_opencv("film.ts") == every
seen = {
    "ts": by_decord("film.ts"),
    "ts, OpenCV, frame 5": by_opencv("film.ts", 5)[0],
    "cut": by_decord("cut.mp4"),
    "cut, OpenCV": by_opencv("cut.mp4"),
    "cut, first time": round(float(decord.VideoReader("cut.mp4").get_frame_timestamp(0)[0]), 2),
}
crop = decord.VideoReader("crops.mp4")[0].asnumpy()
seen |= {"crops": crop.shape, "pixels": len(np.unique(crop.reshape(-1, crop.shape[-1]), axis=0))}
print(seen)
assert seen == {
    "ts": every[12:] + [29] * 12,
    "ts, OpenCV, frame 5": 13,
    "cut": every[5:] + [29] * 5,
    "cut, OpenCV": every[5:],
    "cut, first time": -0.2,
    "crops": (128, 48, 4),
    "pixels": 4,
}
PYTHON
