#!/bin/sh
# h5py 3.16.0 gives the members of a group by name, not in the order in which they were written. Features kept one
# data set an image (hloc's and many re-ID exports) come back in the order 10.jpg, 2.jpg, 9.jpg, so a list of pids that
# was kept beside them in the order of writing belongs to other images. track_order=True must be given when writing.
# Seen: written 9.jpg, 10.jpg, 2.jpg; read 10.jpg, 2.jpg, 9.jpg.
# Runs h5py==3.16.0 in a temporary folder, without vpmsearch; exits non-zero when it behaves otherwise.
set -eu
T=$(mktemp -d) && trap 'rm -rf "$T"' EXIT
python3 -m venv "$T/venv" && "$T/venv/bin/pip" install --quiet --disable-pip-version-check h5py==3.16.0
cd "$T" && "$T/venv/bin/python" - <<'PYTHON'
import h5py

written = ["9.jpg", "10.jpg", "2.jpg"]
orders = {}
for track in (None, True):
    with h5py.File("features.h5", "w", track_order=track) as file:
        for name in written:
            file[name] = [1.0]
    with h5py.File("features.h5") as file:
        orders[track] = list(file)
print("written", written, "read", orders[None], "with track_order", orders[True])
assert orders[None] == ["10.jpg", "2.jpg", "9.jpg"]
assert orders[True] == written
PYTHON
