#!/bin/sh
# faiss-cpu 1.15.1: a search that is given parameters, as a filter needs (SearchParametersIVF(sel=...)), forgets the nprobe
# that was set on the index and looks into one list; a graph forgets its efSearch and takes 16. So a filter by camera that
# keeps every vector still loses neighbours. No error and no warning; nprobe and efSearch must be given once more.
# Seen, share of the true 5 nearest, nprobe 20 of 20 lists and efSearch 200 set on the index: without a filter 1.0 and 1.0;
# with one that keeps everything 0.5 (nprobe 1) and 0.98 (efSearch 16); with both given again 1.0 and 1.0.
# Runs faiss-cpu==1.15.1 numpy==2.4.6 in a temporary folder, without vpmsearch; exits non-zero when it behaves otherwise.
set -eu
T=$(mktemp -d) && trap 'rm -rf "$T"' EXIT
python3 -m venv --without-pip "$T/venv"
python3 -m pip --python "$T/venv/bin/python" install --quiet --no-compile --disable-pip-version-check \
    faiss-cpu==1.15.1 numpy==2.4.6
cd "$T" && "$T/venv/bin/python" - <<'PYTHON'
import faiss
import numpy as np

faiss.omp_set_num_threads(1)
rng = np.random.default_rng(0)
vectors = rng.normal(size=(2000, 16)).astype(np.float32)
queries = vectors[:20] + 0.1 * rng.normal(size=(20, 16)).astype(np.float32)
flat, graph = faiss.IndexFlatL2(16), faiss.IndexHNSWFlat(16, 8)
lists = faiss.IndexIVFFlat(faiss.IndexFlatL2(16), 16, 20)
lists.train(vectors)
for index in (flat, graph, lists):
    index.add(vectors)
lists.nprobe, graph.hnsw.efSearch = 20, 200
true = flat.search(queries, 5)[1]
everything = faiss.IDSelectorRange(0, 2000)


def share(index: faiss.Index, parameters: faiss.SearchParameters | None = None) -> float:
    found = index.search(queries, 5, params=parameters)[1]
    return round(float(np.mean([len({*a} & {*b}) / 5 for a, b in zip(true.tolist(), found.tolist())])), 2)


seen = {
    "no filter": (share(lists), share(graph)),
    "filter": (
        share(lists, faiss.SearchParametersIVF(sel=everything)),
        share(graph, faiss.SearchParametersHNSW(sel=everything)),
    ),
    "filter, given again": (
        share(lists, faiss.SearchParametersIVF(sel=everything, nprobe=20)),
        share(graph, faiss.SearchParametersHNSW(sel=everything, efSearch=200)),
    ),
}
print(seen)
assert seen["no filter"] == seen["filter, given again"] == (1.0, 1.0)
assert seen["filter"][0] < 0.7
assert seen["filter"][1] < 1.0
PYTHON
