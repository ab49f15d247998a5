#!/bin/sh
# chromadb 1.5.9: get(ids=...) gives embeddings in the order in which they were stored, not in the order of the ids asked
# for, and leaves out what is not there. Whoever asks for the embeddings of a list of images and puts them beside that
# list has other people's, as many as were asked for. Only the answer's own "ids" tell. upsert keeps a row's old place.
# where={"cam": {"$ne": 1}} also gives rows that have no cam, so "other cameras than the query's" includes unknown ones.
# Seen, stored c, a, b: asked for b, a, c: c, a, b; asked for b, x, c: c, b. Of cameras 1, 2 and none, $ne 1: 2 and none.
# Runs chromadb==1.5.9 numpy==2.4.6 in a temporary folder, without vpmsearch; exits non-zero when it behaves otherwise.
set -eu
T=$(mktemp -d) && trap 'rm -rf "$T"' EXIT
python3 -m venv --without-pip "$T/venv"
python3 -m pip --python "$T/venv/bin/python" install --quiet --no-compile --disable-pip-version-check \
    chromadb==1.5.9 numpy==2.4.6
cd "$T" && HOME="$T" ANONYMIZED_TELEMETRY=False "$T/venv/bin/python" -W ignore - <<'PYTHON'
import chromadb

client = chromadb.EphemeralClient(settings=chromadb.Settings(anonymized_telemetry=False))
gallery = client.create_collection("gallery", embedding_function=None)
gallery.add(
    ids=["c", "a", "b"], embeddings=[[3, 0], [1, 0], [2, 0]], metadatas=[{"pid": 1, "cam": 1}, {"pid": 2, "cam": 2}, {"pid": 3}]
)
gallery.upsert(ids=["c"], embeddings=[[4, 0]])
seen = {}
for asked in (["b", "a", "c"], ["b", "x", "c"]):
    answer = gallery.get(ids=asked, include=["embeddings"])
    seen["".join(asked)] = "".join(answer["ids"]), [float(row[0]) for row in answer["embeddings"]]
others = sorted(gallery.query(query_embeddings=[[0, 0]], n_results=3, where={"cam": {"$ne": 1}})["ids"][0])
print("chromadb", chromadb.__version__, "asked and given:", seen, "not of camera 1:", others)
assert seen == {"bac": ("cab", [4.0, 1.0, 2.0]), "bxc": ("cb", [4.0, 2.0])}
assert others == ["a", "b"]
PYTHON
