#!/bin/sh
# LanceDB 0.40.0: the cosine distance of two vectors is twice as large when the table has an index that quantises to bytes
# (IvfSq, HnswSq) than without one. It is then the squared distance of the normalised vectors. One row that is added
# afterwards, whatever it is, halves all distances again, until optimize() brings it into the index. So a threshold that was
# chosen on a table misses matches after create_index, finds them after an add and misses them after optimize.
# distance_range compares its bounds with the doubled distances as well, and does so even while the answer has the others.
# The order is right all along, IvfFlat is right, l2 and dot are right, and so is everything with refine_factor. No warning.
# Seen, the nearest at a cosine distance of 0.052, and how many of 500 lie within 0.6 (truly 31): no index 0.052, 31;
# IvfSq 0.104, 2; one row added 0.052, 2; optimize 0.104, 2; index dropped 0.052, 31.
# Runs lancedb==0.40.0 numpy==2.4.6 in a temporary folder, without vpmsearch; exits non-zero when it behaves otherwise.
set -eu
T=$(mktemp -d) && trap 'rm -rf "$T"' EXIT
python3 -m venv --without-pip "$T/venv"
python3 -m pip --python "$T/venv/bin/python" install --quiet --no-compile --disable-pip-version-check \
    lancedb==0.40.0 numpy==2.4.6
cd "$T" && "$T/venv/bin/python" - <<'PYTHON'
import lancedb
import numpy as np
from lancedb.index import HnswSq, IvfFlat, IvfSq

rng = np.random.default_rng(0)
vectors = rng.normal(size=(500, 16)).astype(np.float32)
query = vectors[0] + 0.5 * vectors[1]
true = 1 - vectors @ query / np.linalg.norm(vectors, axis=1) / np.linalg.norm(query)
truth = (round(float(true.min()), 3), int((true < 0.6).sum()))
database = lancedb.connect("database")


def asked(table, **how):
    search = table.search(query).distance_type("cosine")
    search = search.refine_factor(10) if how else search
    nearest = search.limit(1).to_list()[0]["_distance"]
    within = table.search(query).distance_type("cosine").distance_range(upper_bound=0.6).limit(500).to_list()
    return round(nearest, 3), len(within)


for config in (IvfSq, HnswSq):
    table = database.create_table("people", [{"id": n, "vector": v} for n, v in enumerate(vectors)], mode="overwrite")
    seen = {"no index": asked(table)}
    table.create_index("vector", config=config(distance_type="cosine", num_partitions=1))
    seen["index"], refined = asked(table), asked(table, refine=True)[0]
    table.add([{"id": 500, "vector": -query}])
    seen["one row more"] = asked(table)
    table.optimize()
    seen["optimize"] = asked(table)
    table.drop_index("vector_idx")
    seen["index dropped"] = asked(table)
    print(config.__name__, seen, "truly", truth, "refined", refined)
    assert seen["no index"] == seen["index dropped"] == truth == (0.052, 31)
    assert refined == truth[0]
    for state in ("index", "optimize"):
        assert abs(seen[state][0] / truth[0] - 2) < 0.1 and seen[state][1] == 2, state
    assert seen["one row more"] == (0.052, 2)

table = database.create_table("people", [{"id": n, "vector": v} for n, v in enumerate(vectors)], mode="overwrite")
table.create_index("vector", config=IvfFlat(distance_type="cosine", num_partitions=1))
print("IvfFlat", asked(table))
assert asked(table) == truth
PYTHON
