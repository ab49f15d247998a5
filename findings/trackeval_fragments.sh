#!/bin/sh
# TrackEval 1.3.0 (the code behind the MOTChallenge tables) counts fragmentations ("Frag") otherwise than their definition
# says: how often a person who is annotated is found, then lost, then found again.
# 1. A tracker that gives the ground truth back exactly has a fragmentation for each person who leaves and comes back,
#    if somebody else is annotated meanwhile: frames without an annotation count as lost.
# 2. A person lost for two frames is one fragmentation only if the tracker found somebody else in those frames. If it
#    found nobody, none is counted, although more was lost.
# py-motmetrics 1.4.0 counts by the definition on the same files (it needs another NumPy, so it is not run here); its
# MOTA, IDF1 and IDSW were the same as TrackEval's in eight random sequences, its Frag in one of them.
# Seen, (TrackEval, definition): perfect (1, 0); one of two lost (1, 1); both lost (0, 2).
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

SEQUENCE = Path("gt/MOT17-train/S1")
FOUND = Path("trackers/MOT17-train/mine/data/S1.txt")
GAP = (4, 5)  # frames


def write(path: Path, rows: list[tuple[int, int]], rest: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{frame},{person},{100 * person},10,20,40,{rest}\n" for frame, person in rows))


def by_trackeval() -> int:
    quiet = {"PRINT_CONFIG": False}
    settings = dict.fromkeys(("PRINT_RESULTS", "OUTPUT_SUMMARY", "OUTPUT_DETAILED", "PLOT_CURVES"), False) | quiet
    with contextlib.redirect_stdout(io.StringIO()):
        data = trackeval.datasets.MotChallenge2DBox(
            quiet | {"GT_FOLDER": "gt", "TRACKERS_FOLDER": "trackers", "SEQ_INFO": {"S1": 8}}
        )
        result, _ = trackeval.Evaluator(settings).evaluate([data], [trackeval.metrics.CLEAR(quiet)])
    return int(result["MotChallenge2DBox"]["mine"]["S1"]["pedestrian"]["CLEAR"]["Frag"])


def by_definition(truth: list[tuple[int, int]], found: list[tuple[int, int]]) -> int:
    fragments = 0
    for person in (1, 2):
        states = [row in found for row in truth if row[1] == person]
        gaps = "".join("x" if state else " " for state in states).strip().split("x")
        fragments += sum(gap != "" for gap in gaps)
    return fragments


every = [(frame, person) for frame in range(1, 9) for person in (1, 2)]
one_away = [(frame, person) for frame, person in every if person == 1 or frame not in GAP]
both_away = [(frame, person) for frame, person in every if frame not in GAP]
seen = {}
for name, truth, found in (
    ("perfect", one_away, one_away),
    ("one of two lost", every, one_away),
    ("both lost", every, both_away),
):
    write(SEQUENCE / "gt/gt.txt", truth, "1,1,1.0")
    write(FOUND, found, "0.9,-1,-1,-1")
    seen[name] = (by_trackeval(), by_definition(truth, found))
print(seen)
assert seen == {"perfect": (1, 0), "one of two lost": (1, 1), "both lost": (0, 2)}
PYTHON
