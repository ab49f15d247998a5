#!/bin/sh
# SciPy 1.17.1 writes a list of names into a .mat file as a rectangle of characters: shorter names are filled with spaces
# at their end, and loadmat gives them so. Evaluation code of video re-ID (MARS: train_name, test_name) keeps file names
# in such files; junk is called 00-1C1T0001F001.jpg and may be shorter, so its files are then not found.
# A list of numbers comes back as one row of two dimensions, (1, n).
# Seen: '00-1C1T0001F1.jpg' -> '00-1C1T0001F1.jpg  '; [1, 2, 3] -> shape (1, 3).
# Runs scipy==1.17.1 in a temporary folder, without vpmsearch; exits non-zero when it behaves otherwise.
set -eu
T=$(mktemp -d) && trap 'rm -rf "$T"' EXIT
python3 -m venv "$T/venv" && "$T/venv/bin/pip" install --quiet --disable-pip-version-check scipy==1.17.1
cd "$T" && "$T/venv/bin/python" - <<'PYTHON'
import scipy.io

names = ["0001C1T0001F001.jpg", "00-1C1T0001F1.jpg"]
scipy.io.savemat("info.mat", {"test_name": names, "query_IDX": [1, 2, 3]})
read = scipy.io.loadmat("info.mat")
print(read["test_name"].tolist(), read["query_IDX"].shape)
assert read["test_name"].tolist() == ["0001C1T0001F001.jpg", "00-1C1T0001F1.jpg  "]
assert read["query_IDX"].shape == (1, 3)
PYTHON
