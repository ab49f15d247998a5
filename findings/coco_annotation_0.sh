#!/bin/sh
# pycocotools 2.0.11 takes the annotation with id 0 for "no match": its detection, however right, counts as wrong. The
# COCO format only asks that ids differ, and tools that number from 0 write it. Of four people that are all found
# exactly, AP is 0.564 where ids begin with 0 and 1.0 where they begin with 1.
# Seen: {0: 0.564, 1: 1.0}
# Runs pycocotools==2.0.11 numpy==2.2.6 in a temporary folder, without vpmsearch; exits non-zero when it behaves otherwise.
set -eu
T=$(mktemp -d) && trap 'rm -rf "$T"' EXIT
python3 -m venv "$T/venv" && "$T/venv/bin/pip" install --quiet --disable-pip-version-check pycocotools==2.0.11 numpy==2.2.6
cd "$T" && "$T/venv/bin/python" - <<'PYTHON'
import contextlib
import io
import json
from pathlib import Path

from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval


def average_precision(first_id: int) -> float:
    box = {"category_id": 1, "bbox": [10, 10, 20, 40]}
    truth = {
        "images": [{"id": i, "width": 100, "height": 100, "file_name": f"{i}.jpg"} for i in range(1, 5)],
        "categories": [{"id": 1, "name": "person"}],
        "annotations": [{"id": first_id + i - 1, "image_id": i, "area": 800, "iscrowd": 0, **box} for i in range(1, 5)],
    }
    Path("truth.json").write_text(json.dumps(truth))
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO("truth.json")
        found = coco.loadRes([{"image_id": i, "score": 0.9, **box} for i in range(1, 5)])
        evaluation = COCOeval(coco, found, "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return round(float(evaluation.stats[0]), 3)


seen = {first: average_precision(first) for first in (0, 1)}
print(seen)
assert seen == {0: 0.564, 1: 1.0}
PYTHON
