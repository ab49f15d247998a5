#!/bin/sh
# labelformat 0.1.17 and globox 2.9.0 read CVAT's XML, but of the format "CVAT for video 1.1", which is how tracks of people
# leave CVAT, nothing. Both look for <image> alone, and tracks stand under <track>. The answer is an empty data set without
# an error; `labelformat convert` writes a COCO file with the category and no picture, and says "Done!".
# Of "CVAT for images 1.1" both take a rotated rectangle as it was before its rotation, and leave the degrees out.
# Seen for a track of three pictures: labelformat 0 pictures, globox 0. For a rectangle of 40 x 120 turned by 90 degrees,
# (left, top, right, bottom): true -30, 60, 90, 100; both 10, 20, 50, 140.
# Runs labelformat==0.1.17 globox==2.9.0 in a temporary folder, without vpmsearch; exits non-zero when one of them behaves
# otherwise.
set -eu
T=$(mktemp -d) && trap 'rm -rf "$T"' EXIT
python3 -m venv --without-pip "$T/venv"
python3 -m pip --python "$T/venv/bin/python" install --quiet --no-compile --disable-pip-version-check \
    labelformat==0.1.17 globox==2.9.0 numpy==2.4.6 pillow==13.0.0 pydantic-xml==2.22.0
cd "$T" && "$T/venv/bin/python" - <<'PYTHON'
import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from globox import AnnotationSet
from labelformat.formats.cvat import CVATObjectDetectionInput

HEAD = """<?xml version="1.0" encoding="utf-8"?>
<annotations><version>1.1</version><meta><task><name>gate</name><size>3</size><labels><label><name>person</name>
<attributes/></label></labels><original_size><width>640</width><height>480</height></original_size></task></meta>"""
BOX = 'occluded="0" z_order="0" xtl="10.0" ytl="20.0" xbr="50.0" ybr="140.0"'
rows = "".join(f'<box frame="{frame}" keyframe="1" outside="0" {BOX}/>' for frame in range(3))
Path("video.xml").write_text(f'{HEAD}<track id="0" label="person" source="manual">{rows}</track></annotations>')
Path("images.xml").write_text(
    f'{HEAD}<image id="0" name="a.jpg" width="640" height="480"><box label="person" {BOX} rotation="90.0"/></image>'
    "</annotations>"
)

print("labelformat", version("labelformat"), "globox", version("globox"))
pictures = {
    "labelformat": len(list(CVATObjectDetectionInput(Path("video.xml")).get_labels())),
    "globox": len(AnnotationSet.from_cvat("video.xml")),
}
print("pictures of a track of three:", pictures)
convert = "labelformat convert --task object-detection --input-format cvat --input-file video.xml".split()
done = subprocess.run(
    [Path(sys.executable).parent / convert[0], *convert[1:], "--output-format", "coco", "--output-file", "coco.json"],
    capture_output=True, text=True, check=True,
)
coco = json.loads(Path("coco.json").read_text())
print("converted:", (done.stdout + done.stderr).split()[-1], {key: len(value) for key, value in coco.items()})

(label,) = CVATObjectDetectionInput(Path("images.xml")).get_labels()
(annotation,) = AnnotationSet.from_cvat("images.xml")
box = label.objects[0].box
boxes = [(box.xmin, box.ymin, box.xmax, box.ymax), annotation.boxes[0].ltrb]
print("rotated:", boxes)
assert pictures == {"labelformat": 0, "globox": 0}
assert (coco["images"], coco["annotations"], len(coco["categories"])) == ([], [], 1)
assert boxes == [(10, 20, 50, 140)] * 2
PYTHON
