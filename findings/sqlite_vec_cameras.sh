#!/bin/sh
# sqlite-vec 0.1.9 gives k neighbours for each partition, and not k in all, when the partition key is asked for with IN.
# A gallery that is partitioned by camera, asked for its 4 nearest on two cameras, gives 8 rows, one camera after the other:
# whoever takes the first 4 has the first camera's alone. A plain column gives 4 for the same question.
# Seen, k = 4 and cam IN ('c1', 'c2'): partition key: c1 c1 c1 c1 c2 c2 c2 c2; plain column: the 4 nearest.
# Runs sqlite-vec==0.1.9 apsw==3.54.1.0 numpy==2.4.6 in a temporary folder, without vpmsearch; exits non-zero when it
# behaves otherwise. (apsw, since Python's own sqlite3 is often built without loading of extensions.)
set -eu
T=$(mktemp -d) && trap 'rm -rf "$T"' EXIT
python3 -m venv --without-pip "$T/venv"
python3 -m pip --python "$T/venv/bin/python" install --quiet --no-compile --no-deps --disable-pip-version-check \
    sqlite-vec==0.1.9 apsw==3.54.1.0 numpy==2.4.6
cd "$T" && "$T/venv/bin/python" - <<'PYTHON'
import apsw
import numpy as np
import sqlite_vec

vectors = np.random.default_rng(0).normal(size=(200, 16)).astype(np.float32)
cameras = [f"c{i % 4}" for i in range(200)]
distances = ((vectors - vectors[0]) ** 2).sum(axis=1)
true = [(int(i), cameras[i]) for i in distances.argsort() if cameras[i] in ("c1", "c2")][:4]
database = apsw.Connection(":memory:")
database.enable_load_extension(True)
database.load_extension(sqlite_vec.loadable_path())
seen = {}
for name, kind in (("partition key", "text partition key"), ("plain column", "text")):
    database.execute("DROP TABLE IF EXISTS gallery")
    database.execute(f"CREATE VIRTUAL TABLE gallery USING vec0(cam {kind}, embedding float[16])")
    database.executemany(
        "INSERT INTO gallery(rowid, cam, embedding) VALUES (?, ?, ?)",
        [(i, camera, vector.tobytes()) for i, (camera, vector) in enumerate(zip(cameras, vectors))],
    )
    found = database.execute(
        "SELECT rowid, cam FROM gallery WHERE embedding MATCH ? AND k = 4 AND cam IN ('c1', 'c2')",
        (vectors[0].tobytes(),),
    )
    seen[name] = found.fetchall()
print("true", true, seen)
assert [camera for _, camera in seen["partition key"]] == ["c1"] * 4 + ["c2"] * 4
assert seen["plain column"] == true
assert {i for i, _ in seen["partition key"][:4]} != {i for i, _ in true}
PYTHON
