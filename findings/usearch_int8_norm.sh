#!/bin/sh
# USearch 2.26.6 divides every vector by its length before it stores it in a byte a number (dtype="i8"), whatever the
# metric. For "l2sq" the lengths of the vectors are thus gone: the ranking is by angle, and distances are numbers of
# thousands. dtype="f16" ranks the same vectors as float32 does. No error, no warning, and Index.get gives the bytes.
# Seen, share of the true 5 nearest by Euclidean distance (200 vectors of lengths 1 to 3): f16 1.0, i8 0.61; and the
# squared distance of (1, 0) and (3, 0) is 4.0 in f16 and 1.0 (a rounding, of 127) in i8.
# Runs usearch==2.26.6 numpy==2.4.6 in a temporary folder, without vpmsearch; exits non-zero when it behaves otherwise.
set -eu
T=$(mktemp -d) && trap 'rm -rf "$T"' EXIT
python3 -m venv --without-pip "$T/venv"
python3 -m pip --python "$T/venv/bin/python" install --quiet --no-compile --no-deps --disable-pip-version-check \
    usearch==2.26.6 numkong==7.8.6 numpy==2.4.6 tqdm==4.70.1
cd "$T" && "$T/venv/bin/python" - <<'PYTHON'
import numpy as np
from usearch.index import Index

rng = np.random.default_rng(0)
directions = rng.normal(size=(200, 16))
lengths = rng.uniform(1, 3, size=(200, 1))
vectors = (directions / np.linalg.norm(directions, axis=1, keepdims=True) * lengths).astype(np.float32)
true = ((vectors[:, None] - vectors) ** 2).sum(axis=2).argsort(axis=1)[:, :5]
shares, distances = {}, {}
for dtype in ("f16", "i8"):
    index = Index(ndim=16, metric="l2sq", dtype=dtype)
    index.add(np.arange(200), vectors)
    found = index.search(vectors, 5, exact=True).keys.astype(int)
    shares[dtype] = round(float(np.mean([len({*a} & {*b}) / 5 for a, b in zip(true.tolist(), found.tolist())])), 2)
    pair = Index(ndim=2, metric="l2sq", dtype=dtype)
    pair.add(7, np.array([3, 0], dtype=np.float32))
    distances[dtype] = float(pair.search(np.array([1, 0], dtype=np.float32), 1).distances[0])
print("found", shares, "distance", distances)
assert shares["f16"] > 0.98
assert shares["i8"] < 0.7
assert distances == {"f16": 4.0, "i8": 1.0}
PYTHON
