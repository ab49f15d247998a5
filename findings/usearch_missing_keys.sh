#!/bin/sh
# USearch 2.26.6 fills the answers of a batch with the key 0 where an index has fewer vectors than were asked for. 0 is a
# key like any other (the first image of whoever numbers from 0), so matches.keys names it where nothing was found, even
# if it is not in the index. FAISS gives -1 there. Only `counts`, or a distance that is not a number, tells; a search for
# one vector gives fewer keys.
# Seen: index with the keys 10, 11, 12; 5 asked: [10, 11, 12] for one query, [10, 11, 12, 0, 0] for a query of a batch.
# Runs usearch==2.26.6 numpy==2.4.6 in a temporary folder, without vpmsearch; exits non-zero when it behaves otherwise.
set -eu
T=$(mktemp -d) && trap 'rm -rf "$T"' EXIT
python3 -m venv --without-pip "$T/venv"
python3 -m pip --python "$T/venv/bin/python" install --quiet --no-compile --no-deps --disable-pip-version-check \
    usearch==2.26.6 numkong==7.8.6 numpy==2.4.6 tqdm==4.70.1
cd "$T" && "$T/venv/bin/python" - <<'PYTHON'
import numpy as np
from usearch.index import Index

vectors = np.eye(3, 4, dtype=np.float32) + np.array([[0], [0.1], [0.2]], dtype=np.float32)
index = Index(ndim=4, metric="cos", dtype="f32")
index.add(np.arange(10, 13), vectors)
one, batch = index.search(vectors[0], 5), index.search(vectors[:2], 5)
print(one.keys.tolist(), batch.keys.tolist(), batch.counts.tolist(), batch.distances.tolist())
assert sorted(one.keys.tolist()) == [10, 11, 12]
assert batch.keys[:, 3:].tolist() == [[0, 0], [0, 0]]
assert np.isnan(batch.distances[:, 3:]).all()
assert 0 not in index
PYTHON
