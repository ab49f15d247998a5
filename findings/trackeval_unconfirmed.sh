#!/bin/sh
# TrackEval 1.3.0 joins rows with the id -1 to the track with the highest id. Trackers write -1 for people of whom they are
# not sure yet: `trackers track --mot-output` (trackers 2.6.1) does in a person's first frame, and TrackEval is not the
# only reader (trackers' own evaluation drops such rows). The ids are renumbered by an array that they index, and -1
# indexes its last place. So the same wrong row is an identity switch if it lies on any person but the one of the highest
# id, for whom it counts as rightly identified. Only two such rows in one frame are refused ("predicts the same ID more
# than once").
# Two people in 8 frames, the row of frame 1 has the id -1. Seen, (identity switches, IDF1):
# on person 1: (1, 0.903); on person 2: (0, 0.968); with the id 9 instead: (1, 0.903) for either.
# Runs trackeval==1.3.0 in a temporary folder, without vpmsearch; exits non-zero when it behaves otherwise.
set -eu
T=$(mktemp -d) && trap 'rm -rf "$T"' EXIT
python3 -m venv --without-pip "$T/venv"
python3 -m pip --python "$T/venv/bin/python" install --quiet --no-compile --no-deps --disable-pip-version-check \
    trackeval==1.3.0 numpy==2.4.6 scipy==1.17.1
cd "$T" && "$T/venv/bin/python" - <<'PYTHON'
import contextlib
import io
from pathlib import Path

import trackeval


def write(path: Path, rows: list[tuple[int, int, int]], rest: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{frame},{track},{100 * person},10,20,40,{rest}\n" for frame, track, person in rows))


def measured() -> tuple[int, float]:
    quiet = {"PRINT_CONFIG": False}
    settings = dict.fromkeys(("PRINT_RESULTS", "OUTPUT_SUMMARY", "OUTPUT_DETAILED", "PLOT_CURVES"), False) | quiet
    metrics = [trackeval.metrics.CLEAR(quiet), trackeval.metrics.Identity(quiet)]
    with contextlib.redirect_stdout(io.StringIO()):
        data = trackeval.datasets.MotChallenge2DBox(
            quiet | {"GT_FOLDER": "gt", "TRACKERS_FOLDER": "trackers", "SEQ_INFO": {"S1": 8}}
        )
        result, _ = trackeval.Evaluator(settings).evaluate([data], metrics)
    found = result["MotChallenge2DBox"]["mine"]["S1"]["pedestrian"]
    return int(found["CLEAR"]["IDSW"]), round(float(found["Identity"]["IDF1"]), 3)


every = [(frame, person, person) for frame in range(1, 9) for person in (1, 2)]
write(Path("gt/MOT17-train/S1/gt/gt.txt"), every, "1,1,1.0")
seen = {}
for unconfirmed in (-1, 9):
    for person in (1, 2):
        rows = [(1, unconfirmed, person), *every[2:]]
        write(Path("trackers/MOT17-train/mine/data/S1.txt"), rows, "0.9,-1,-1,-1")
        seen[unconfirmed, person] = measured()
print(seen)
assert seen == {(-1, 1): (1, 0.903), (-1, 2): (0, 0.968), (9, 1): (1, 0.903), (9, 2): (1, 0.903)}
PYTHON
