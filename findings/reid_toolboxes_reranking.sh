#!/bin/sh
# Re-ranking by k-reciprocal neighbours (Zhong and others, 2017; k1 20, k2 6, lambda 0.3) gives other rankings by the
# toolbox, from the same features and settings.
# torchreid 0.2.5 squares the distances twice: its compute_distance_matrix("euclidean"), the default, gives squared
#   distances, and its re_ranking, to which its engine hands them, squares what it is given. Given the roots it agrees
#   with the paper's formula, written here as loops in float64, to 3e-7. metric="cosine" is squared once more as well.
# BoxMOT 25.0.0 weighs neighbours by 1 - cosine that is not divided by the largest, averages 7 neighbours for k2 = 6, and
#   adds that same 1 - cosine to the Jaccard distance.
# So lambda and the gain of a paper do not carry over from one to the other.
# Seen, 60 queries and 360 images of 60 people drawn with noise, against the formula: torchreid: distances off by up to
# 0.078, another first answer for 8 % of the queries; with the roots 0 %; BoxMOT: 43 %.
# Runs torchreid==0.2.5 boxmot==25.0.0 torch==2.13.0 numpy==2.4.6 in a temporary folder, without vpmsearch; exits non-zero
# when one of them behaves otherwise. (Of torchreid the two files are loaded alone; the package asks for much more.)
set -eu
T=$(mktemp -d) && trap 'rm -rf "$T"' EXIT
python3 -m venv --without-pip "$T/venv"
python3 -m pip --python "$T/venv/bin/python" install --quiet --no-compile --disable-pip-version-check \
    torch==2.13.0 numpy==2.4.6 tqdm==4.70.1
python3 -m pip --python "$T/venv/bin/python" install --quiet --no-compile --no-deps --disable-pip-version-check boxmot==25.0.0
python3 -m pip download --quiet --no-deps --no-binary torchreid --disable-pip-version-check --dest "$T" torchreid==0.2.5
tar -xzf "$T/torchreid-0.2.5.tar.gz" -C "$T"
cd "$T" && "$T/venv/bin/python" - <<'PYTHON'
import importlib.util

import numpy as np
import torch
from boxmot.reid.training.evaluator import re_ranking as by_boxmot


def load(name):
    path = f"torchreid-0.2.5/torchreid/reid/{name}.py"
    spec = importlib.util.spec_from_file_location(name.replace("/", "_"), path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def by_formula(queries, gallery, k1=20, k2=6, weight=0.3):
    features = np.concatenate([queries, gallery]).astype(np.float64)
    number = len(queries)
    squared = ((features[:, None] - features[None]) ** 2).sum(axis=-1)
    distances = (squared / squared.max(axis=0)).T
    order = np.argsort(distances, axis=1)

    def reciprocal(row, k):
        near = order[row, : k + 1]
        return [other for other in near if row in order[other, : k + 1]]

    encoded = np.zeros_like(distances)
    for row in range(len(features)):
        near = reciprocal(row, k1)
        wider = set(near)
        for other in near:
            more = reciprocal(other, round(k1 / 2))
            if len(set(more) & set(near)) > 2 / 3 * len(more):
                wider |= set(more)
        for other in wider:
            encoded[row, other] = np.exp(-distances[row, other])
        encoded[row] /= encoded[row].sum()
    encoded = np.stack([encoded[order[row, :k2]].mean(axis=0) for row in range(len(features))])
    shared = np.minimum(encoded[:number, None], encoded[None]).sum(axis=-1)
    return ((1 - weight) * (1 - shared / (2 - shared)) + weight * distances[:number])[:, number:]


rng = np.random.default_rng(0)
people = rng.normal(size=(60, 32))
queries = people + 1.6 * rng.normal(size=(60, 32))
gallery = np.repeat(people, 6, axis=0) + 1.6 * rng.normal(size=(360, 32))
queries, gallery = (
    (each / np.linalg.norm(each, axis=1, keepdims=True)).astype(np.float32) for each in (queries, gallery)
)
distance, re_ranking = load("metrics/distance").compute_distance_matrix, load("utils/rerank").re_ranking
pairs = ((queries, gallery), (queries, queries), (gallery, gallery))
squared = [distance(torch.from_numpy(one), torch.from_numpy(other)).numpy() for one, other in pairs]
true = by_formula(queries, gallery)
seen = {}
for name, found in (
    ("torchreid", re_ranking(*squared)),
    ("torchreid given roots", re_ranking(*(np.sqrt(np.maximum(each, 0)) for each in squared))),
    ("boxmot", by_boxmot(queries, gallery)),
):
    seen[name] = round(float((found.argmin(axis=1) != true.argmin(axis=1)).mean()), 2), float(np.abs(found - true).max())
print("(share of other first answers, largest difference):", seen)
assert seen["torchreid"][0] == 0.08 and 0.05 < seen["torchreid"][1] < 0.1
assert seen["torchreid given roots"][0] == 0 and seen["torchreid given roots"][1] < 3e-7
assert seen["boxmot"][0] == 0.43
PYTHON
