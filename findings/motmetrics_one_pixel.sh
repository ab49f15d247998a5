#!/bin/sh
# py-motmetrics 1.4.0 subtracts 1 from the left and top of every box that it reads from a MOTChallenge file, since the
# format counts pixels from 1. Tools that write such files (trackers, CVAT) mostly count from 0, so a box at the left edge
# comes back at -1: who cuts crops by what loadtxt gives cuts them one pixel up and left, or out of the picture.
# Rows with the flag 0 ("to be ignored") are kept among the others too.
# Seen: left, top 0, 10 -> -1, 9; and 3 rows of 3, one of them flagged 0.
# Runs motmetrics==1.4.0 in a temporary folder, without vpmsearch; exits non-zero when it behaves otherwise.
set -eu
T=$(mktemp -d) && trap 'rm -rf "$T"' EXIT
python3 -m venv "$T/venv" && "$T/venv/bin/pip" install --quiet --disable-pip-version-check motmetrics==1.4.0
cd "$T" && "$T/venv/bin/python" - <<'PYTHON'
from pathlib import Path

import motmetrics

Path("gt.txt").write_text("1,1,0,10,71,174,1,1,0.8\n1,2,100,20,30,40,0,1,1.0\n2,1,5,12,71,174,1,1,0.8\n")
frame = motmetrics.io.loadtxt("gt.txt", fmt="mot16")
first = frame.loc[(1, 1)]
print("0, 10 ->", int(first.X), int(first.Y), "; rows", len(frame), "; flags", sorted(frame.Confidence.tolist()))
assert (first.X, first.Y, first.Width, first.Height) == (-1, 9, 71, 174)
assert len(frame) == 3
PYTHON
