#!/bin/sh
# Voyager 2.2.3: get_distance of an index of Space.InnerProduct is not the distance that query gives for the same two
# vectors, unless all are equally long. It is smaller by an amount that grows with the longest vector in the index, so
# that adding a third vector changes the distance of two others. (Voyager gives stored vectors one more number, which makes
# them equally long; query leaves it out, get_distance does not.) A threshold that was measured with get_distance does
# not fit the answers of query.
# Seen for (1, 0) and (2, 0), whose distance is 1 - 2 = -1, in an index whose longest vector has the length 3 or 10, as
# (query, get_distance): 3: (-1.0, -5.0); 10: (-1.0, -82.0).
# Runs voyager==2.2.3 numpy==2.4.6 in a temporary folder, without vpmsearch; exits non-zero when it behaves otherwise.
set -eu
T=$(mktemp -d) && trap 'rm -rf "$T"' EXIT
python3 -m venv --without-pip "$T/venv"
python3 -m pip --python "$T/venv/bin/python" install --quiet --no-compile --no-deps --disable-pip-version-check \
    voyager==2.2.3 numpy==2.4.6
cd "$T" && "$T/venv/bin/python" - <<'PYTHON'
import numpy as np
from voyager import Index, Space

asked, kept = np.array([1, 0], dtype=np.float32), np.array([2, 0], dtype=np.float32)
seen = {}
for longest in (3, 10):
    index = Index(Space.InnerProduct, 2)
    index.add_items(np.stack([kept, np.array([0, longest], dtype=np.float32)]))
    ids, distances = index.query(asked, 2)
    by_query = dict(zip(ids.tolist(), distances.tolist()))[0]
    seen[longest] = (round(by_query, 2), round(index.get_distance(asked, kept), 2))
print(seen)
assert seen == {3: (-1.0, -5.0), 10: (-1.0, -82.0)}
PYTHON
