#!/bin/sh
# Albumentations 2.0.8 and AlbumentationsX 2.5.1 carry the labels of boxes and key points (label_fields) in an array of
# float32 beside the coordinates. Labels that are numbers so come back rounded: a track id or pid above 16,777,216 becomes
# another one, and two people can become one. Small ids come back as floats. Text is kept. Nothing warns of it.
# Seen, pids 16777217, 20230001 and 20230002: 16777216.0, 20230000.0 and 20230002.0; as text: the same text.
# Runs albumentations==2.0.8 albumentationsx==2.5.1 (which needs torch==2.13.0) opencv-python-headless==5.0.0.93
# numpy==2.4.6 in a temporary folder, without vpmsearch; exits non-zero when one of them behaves otherwise.
set -eu
T=$(mktemp -d) && trap 'rm -rf "$T"' EXIT
export ALBUMENTATIONS_OFFLINE=1 NO_ALBUMENTATIONS_UPDATE=1
for package in albumentations==2.0.8 "albumentationsx==2.5.1 torch==2.13.0"; do
    python3 -m venv --without-pip "$T/${package%%=*}"
    python3 -m pip --python "$T/${package%%=*}/bin/python" install --quiet --no-compile --disable-pip-version-check \
        $package opencv-python-headless==5.0.0.93 numpy==2.4.6
    cd "$T" && "$T/${package%%=*}/bin/python" - <<'PYTHON'
import albumentations as A
import numpy as np

pids = [16777217, 20230001, 20230002]
picture = np.zeros((100, 200, 3), dtype=np.uint8)
boxes = [(10, 20, 50, 80), (3, 4, 30, 40), (60, 5, 90, 95)]
points = [box[:2] for box in boxes]
form = "coord_format" if A.__version__ == "2.5.1" else "format"


def of_boxes(labels):
    params = A.BboxParams(label_fields=["pids"], **{form: "pascal_voc"})
    return list(A.Compose([A.HorizontalFlip(p=1)], bbox_params=params)(image=picture, bboxes=boxes, pids=labels)["pids"])


def of_points(labels):
    params = A.KeypointParams(label_fields=["pids"], **{form: "xy"})
    flip = A.Compose([A.HorizontalFlip(p=1)], keypoint_params=params)
    return list(flip(image=picture, keypoints=points, pids=labels)["pids"])


rounded, text = [16777216, 20230000, 20230002], [str(pid) for pid in pids]
print(A.__version__, "boxes:", of_boxes(pids), of_boxes(text), "key points:", of_points(np.array(pids)))
assert of_boxes(pids) == of_points(pids) == of_points(np.array(pids)) == rounded
assert of_boxes(text) == of_points(text) == text
assert isinstance(of_boxes(pids)[0], float)
PYTHON
done
