#!/bin/sh
# milvus-lite 3.2.2 (pymilvus 3.0.2 with a file as its address) filters after it has searched a fixed number of neighbours:
# 1. Grouping (group_by_field="cam": the best image of each camera) looks at the 10 x limit nearest alone. Where these are
#    all of the query's own camera, which has the most images of that person, no other camera is in the answer.
# 2. A range of distances with an inner bound (range_filter) looks at the 5 x limit nearest alone. Where these all lie inside
#    the inner bound the answer is empty.
# Neither says that there is more, and the index is FLAT, where every vector is looked at anyway.
# Seen, 200 images of three cameras, the 100 nearest of camera 1: limit 3 by camera: camera 1 alone. 5 images at a squared
# distance of 1 or more, of which there are 100: none.
# Runs milvus-lite==3.2.2 pymilvus==3.0.2 faiss-cpu==1.15.1 numpy==2.4.6 in a temporary folder, without vpmsearch; exits
# non-zero when it behaves otherwise.
set -eu
T=$(mktemp -d) && trap 'rm -rf "$T"' EXIT
python3 -m venv --without-pip "$T/venv"
python3 -m pip --python "$T/venv/bin/python" install --quiet --no-compile --disable-pip-version-check \
    milvus-lite==3.2.2 pymilvus==3.0.2 faiss-cpu==1.15.1 numpy==2.4.6
cd "$T" && "$T/venv/bin/python" - <<'PYTHON'
import numpy as np
from pymilvus import DataType, MilvusClient

rng = np.random.default_rng(0)
vectors = rng.normal(size=(200, 8)).astype(np.float32)
vectors[:100] = vectors[0] + 0.01 * rng.normal(size=(100, 8))
cameras = [1] * 100 + [2, 3] * 50
client = MilvusClient("gallery.db")
schema, index = client.create_schema(), client.prepare_index_params()
schema.add_field("id", DataType.INT64, is_primary=True)
schema.add_field("vector", DataType.FLOAT_VECTOR, dim=8)
schema.add_field("cam", DataType.INT64)
index.add_index("vector", index_type="FLAT", metric_type="L2")
client.create_collection("gallery", schema=schema, index_params=index)
rows = zip(vectors.tolist(), cameras)
client.insert("gallery", [{"id": n, "vector": vector, "cam": cam} for n, (vector, cam) in enumerate(rows)])
query = [vectors[0].tolist()]
best = client.search("gallery", data=query, limit=3, group_by_field="cam", output_fields=["cam"])[0]
ring = client.search("gallery", data=query, limit=5, search_params={"params": {"radius": 1e6, "range_filter": 1.0}})[0]
there = int((((vectors - vectors[0]) ** 2).sum(axis=1) >= 1).sum())
print("cameras", [found["entity"]["cam"] for found in best], "in the ring", len(ring), "of", there)
assert [found["entity"]["cam"] for found in best] == [1]
assert (len(ring), there) == (0, 100)
PYTHON
