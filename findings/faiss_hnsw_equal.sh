#!/bin/sh
# A faiss-cpu 1.15.1 IndexHNSWFlat loses most of its neighbours when a part of the vectors is equal, at any place far from
# what is searched: the equal ones link only to each other, and a search that comes among them (they are many of the entry
# points) does not get out. 200 queries, efSearch 200, share of the 10 nearest found (ties counted as found): without equal
# vectors 1.0; 1,000 of 10,000 equal 0.6; half of them 0.16. IndexFlatL2 over the same vectors is the measure.
# Seen: {0: 1.0, 1000: 0.6, 5000: 0.16}
# Runs faiss-cpu==1.15.1 numpy==2.2.6 in a temporary folder, without vpmsearch; exits non-zero when it behaves otherwise.
set -eu
T=$(mktemp -d) && trap 'rm -rf "$T"' EXIT
python3 -m venv "$T/venv" && "$T/venv/bin/pip" install --quiet --disable-pip-version-check faiss-cpu==1.15.1 numpy==2.2.6
cd "$T" && "$T/venv/bin/python" - <<'PYTHON'
import faiss
import numpy as np

faiss.omp_set_num_threads(1)
rng = np.random.default_rng(0)
centres = rng.normal(size=(400, 16))


def near_centres(n: int) -> np.ndarray:
    return (centres[rng.integers(0, 400, n)] + 0.5 * rng.normal(size=(n, 16))).astype(np.float32)


vectors, queries, order = near_centres(10_000), near_centres(200), rng.permutation(10_000)


def share_found(equal: int) -> float:
    some = vectors.copy()
    some[order[:equal]] = 0.1
    flat, graph = faiss.IndexFlatL2(16), faiss.IndexHNSWFlat(16, 32)
    graph.hnsw.efSearch = 200
    flat.add(some)
    graph.add(some)
    right, found = flat.search(queries, 10)[0], graph.search(queries, 10)[0]
    return round(float((found <= right[:, -1:] * (1 + 1e-5)).mean()), 2)


seen = {equal: share_found(equal) for equal in (0, 1000, 5000)}
print(seen)
assert seen[0] > 0.98
assert seen[1000] < 0.8
assert seen[5000] < 0.5
PYTHON
