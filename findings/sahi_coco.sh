#!/bin/sh
# SAHI 0.12.8 changes what a COCO data set says, without a word.
# 1. Its YOLO export (export_as_yolo, `sahi coco yolo`) writes COCO's category number as YOLO's class. COCO counts from 1,
#    the list of names in the same data.yml is read from 0: every person is a bicycle. With `person` alone, the class 1
#    does not exist. (update_categories can number from 0 before.)
#    For a picture called ….jpg.jpg, as 24 of Market-1501 are, the labels are called ….txt.txt.
# 2. What was marked as a crowd (iscrowd 1) comes back as one person of that size.
# 3. merge (and merge_from_file) drops the annotations of the second set whose category the first set does not have.
# 4. get_subsampled_coco(category_id=0), in which person is 0 as 1. asks for, thins out all pictures, as if no category
#    had been given. Any other number thins out the pictures with that category alone.
# Seen: "1 0.25 0.25 0.3 0.3" beside [person, bicycle, car]; iscrowd 0; annotations 1 + 2 -> 2; of 6 pictures with people
# and 6 with cars every third kept: category 0: 4 pictures, category 1: 8.
# Runs sahi==0.12.8 in a temporary folder, without vpmsearch; exits non-zero when it behaves otherwise.
set -eu
T=$(mktemp -d) && trap 'rm -rf "$T"' EXIT
python3 -m venv --without-pip "$T/venv"
python3 -m pip --python "$T/venv/bin/python" install --quiet --no-compile --no-deps --disable-pip-version-check \
    sahi==0.12.8 opencv-python-headless==5.0.0.93 shapely==2.2.0 numpy==2.4.6 pillow==13.0.0 pyyaml==6.0.4 tqdm==4.70.1 \
    requests==2.34.2 click==8.5.1 fire==0.7.1 termcolor==3.3.0 pybboxes==0.2.0
cd "$T" && "$T/venv/bin/python" - <<'PYTHON'
from importlib.metadata import version
from pathlib import Path

from PIL import Image
from sahi.utils.coco import Coco, merge

CATEGORIES = [{"id": 1, "name": "person"}, {"id": 2, "name": "bicycle"}, {"id": 3, "name": "car"}]


def data_set(kinds, categories=CATEGORIES, names=None, crowd=0):
    """A data set with one box in each picture."""
    names = names or [f"{n}.jpg" for n in range(len(kinds))]
    return {
        "images": [{"id": n, "file_name": name, "width": 100, "height": 200} for n, name in enumerate(names, 1)],
        "annotations": [
            {"id": n, "image_id": n, "category_id": kind, "bbox": [10, 20, 30, 60], "area": 1800, "iscrowd": crowd}
            for n, kind in enumerate(kinds, 1)
        ],
        "categories": [dict(each) for each in categories],
    }


print("sahi", version("sahi"))
for name in ("a.jpg", "b.jpg.jpg"):
    Image.new("RGB", (100, 200)).save(name)
Coco.from_coco_dict_or_path(data_set([1, 1], names=["a.jpg", "b.jpg.jpg"]), image_dir=".").export_as_yolo("yolo")
labels = {path.name: path.read_text().strip() for path in sorted(Path("yolo/train").glob("*.txt"))}
names = Path("yolo/data.yml").read_text().splitlines()[0]
print("yolo:", labels, names)

crowd = Coco.from_coco_dict_or_path(data_set([1], crowd=1)).json["annotations"][0]["iscrowd"]
print("iscrowd 1 ->", crowd)

first, second = [{"id": 1, "name": "person"}], [{"id": 1, "name": "car"}, {"id": 2, "name": "person"}]
merged = merge(data_set([1], first), data_set([1, 2], second))
print("merged:", len(merged["annotations"]), "annotations of 1 + 2, pictures", len(merged["images"]))

from_0 = [{"id": 0, "name": "person"}, {"id": 1, "name": "car"}]
thinned = [
    len(Coco.from_coco_dict_or_path(data_set([0, 1] * 6, from_0)).get_subsampled_coco(3, category_id=kind).images)
    for kind in (0, 1)
]
print("every third of category 0 and of category 1:", thinned)
assert labels == {"a.txt": "1 0.25 0.25 0.3 0.3", "b.txt.txt": "1 0.25 0.25 0.3 0.3"}
assert names == "names: [person, bicycle, car]"
assert (crowd, len(merged["annotations"]), len(merged["images"]), thinned) == (0, 2, 3, [4, 8])
PYTHON
