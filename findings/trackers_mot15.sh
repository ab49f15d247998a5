#!/bin/sh
# The evaluation of trackers 2.6.1 (Roboflow) gives a perfect tracker 0 on MOT15. The ground truth of MOT15, and of tools
# that follow its format, has -1 in the field where later years have the class (1: pedestrian). trackers counts only rows of
# class 1, so no ground truth is left, every box is a false positive, and MOTA, IDF1 and HOTA are 0, without a word.
# TrackEval 1.3.0 (benchmark MOT15) gives 1.0 for each on the same files.
# Seen, (MOTA, IDF1, HOTA, false positives) of the ground truth against itself: class 1: (1.0, 1.0, 1.0, 0);
# class -1: (0.0, 0.0, 0.0, 8).
# Runs trackers==2.6.1 with supervision==0.31.2 in a temporary folder, without vpmsearch; exits non-zero when it behaves
# otherwise.
set -eu
T=$(mktemp -d) && trap 'rm -rf "$T"' EXIT
python3 -m venv --without-pip "$T/venv"
python3 -m pip --python "$T/venv/bin/python" install --quiet --no-compile --disable-pip-version-check \
    trackers==2.6.1 supervision==0.31.2 numpy==2.4.6 scipy==1.17.1
cd "$T" && "$T/venv/bin/python" - <<'PYTHON'
from pathlib import Path

from trackers.eval import evaluate_mot_sequence


def measured(label: int) -> tuple[float, float, float, int]:
    rows = [f"{frame},{person},{100 * person},10,20,40" for frame in range(1, 5) for person in (1, 2)]
    Path("gt.txt").write_text("".join(f"{row},1,{label},-1,-1\n" for row in rows))
    Path("found.txt").write_text("".join(f"{row},0.9,-1,-1,-1\n" for row in rows))
    result = evaluate_mot_sequence("gt.txt", "found.txt", metrics=["CLEAR", "Identity", "HOTA"])
    return result.CLEAR.MOTA, result.Identity.IDF1, result.HOTA.HOTA, result.CLEAR.CLR_FP


seen = {label: measured(label) for label in (1, -1)}
print(seen)
assert seen == {1: (1.0, 1.0, 1.0, 0), -1: (0.0, 0.0, 0.0, 8)}
PYTHON
