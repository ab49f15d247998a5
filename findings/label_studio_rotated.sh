#!/bin/sh
# label-studio-sdk 2.1.2 (its converter; label-studio-converter 0.0.59 has the same lines) exports a rotated rectangle with
# another box. Label Studio keeps places in per cent of the picture's sides, and the COCO export turns the rectangle before
# it goes to pixels: right only for square pictures. Crops of people by such boxes (tilted and ceiling cameras) lie
# elsewhere. The Pascal VOC export leaves the rotation out, so the same task has two different boxes.
# COCO annotations are numbered from 0 as well, which pycocotools takes for "no match" (see coco_annotation_0.sh).
# Seen for a rectangle of 192 x 432 turned by 90 degrees in a picture of 1920 x 1080, (left, top, width, height): true
# 528, 324, 432, 192; COCO 192, 324, 768, 108; VOC 960, 324, 192, 432. In a picture of 1000 x 1000 COCO is right.
# Runs label-studio-sdk==2.1.2 in a temporary folder, without vpmsearch; exits non-zero when it behaves otherwise.
set -eu
T=$(mktemp -d) && trap 'rm -rf "$T"' EXIT
python3 -m venv --without-pip "$T/venv"
python3 -m pip --python "$T/venv/bin/python" install --quiet --no-compile --disable-pip-version-check label-studio-sdk==2.1.2
cd "$T" && "$T/venv/bin/python" - <<'PYTHON'
import json
import math
import re
from pathlib import Path

from label_studio_sdk.converter import Converter

CONFIG = """<View><Image name="image" value="$image"/>
<RectangleLabels name="label" toName="image"><Label value="person"/></RectangleLabels></View>"""
TURNED = {"x": 50, "y": 30, "width": 10, "height": 40, "rotation": 90, "rectanglelabels": ["person"]}


def true(width: int, height: int) -> list[int]:
    """The box round the rectangle, which is turned about its upper left corner."""
    angle = math.radians(TURNED["rotation"])
    wide, high = TURNED["width"] * width / 100, TURNED["height"] * height / 100
    across = [a * math.cos(angle) - b * math.sin(angle) for a in (0, wide) for b in (0, high)]
    down = [a * math.sin(angle) + b * math.cos(angle) for a in (0, wide) for b in (0, high)]
    left, top = TURNED["x"] * width / 100 + min(across), TURNED["y"] * height / 100 + min(down)
    return [round(value) for value in (left, top, max(across) - min(across), max(down) - min(down))]


def exported(width: int, height: int) -> tuple[list[int], list[int], int]:
    """The boxes of COCO and of VOC, and the COCO annotation's id."""
    result = {"id": "x", "from_name": "label", "to_name": "image", "type": "rectanglelabels", "value": TURNED}
    result |= {"original_width": width, "original_height": height}
    annotation = {"id": 1, "completed_by": {"email": "a@b.c"}, "result": [result]}
    Path("tasks.json").write_text(json.dumps([{"id": 1, "data": {"image": "a.jpg"}, "annotations": [annotation]}]))
    converter, place = Converter(CONFIG, "project", download_resources=False), Path(f"out-{width}")
    converter.convert_to_coco("tasks.json", str(place / "coco"), is_dir=False)
    found = json.loads((place / "coco/result.json").read_text())["annotations"][0]
    converter.convert_to_voc("tasks.json", str(place / "voc"), is_dir=False)
    text = next((place / "voc/Annotations").iterdir()).read_text()
    left, top, right, bottom = (int(value) for value in re.findall(r"<[xy]m..>(\d+)<", text))
    return [round(value) for value in found["bbox"]], [left, top, right - left, bottom - top], found["id"]


for size in ((1000, 1000), (1920, 1080)):
    print(size, "true", true(*size), "COCO, VOC, id", exported(*size))
assert exported(1000, 1000)[0] == true(1000, 1000)
assert true(1920, 1080) == [528, 324, 432, 192]
assert exported(1920, 1080) == ([192, 324, 768, 108], [960, 324, 192, 432], 0)
PYTHON
