#!/bin/sh
# torchmetrics 1.9.0: RetrievalMAP, RetrievalMRR, RetrievalRecall and RetrievalPrecision take every relevant image whose
# score is 0 or less for irrelevant; the order of the scores does not matter. Scored by negated distance, as re-ID ranks,
# a perfect ranking has MAP 0. Scored by cosine similarity, right images with a negative cosine are left out of MAP, which
# is then too high. RetrievalHitRate and RetrievalNormalizedDCG count them. No warning; the docstring says "probabilities".
# Seen: scores -0.1, -0.2, of which the first is relevant: MAP 0.0, recall 0.0, hit rate 1.0; plus ten: 1.0 each.
# Cosines 0.9, 0.1, -0.2, of which the first and the last are relevant: MAP 1.0; plus ten: 0.833 (the right value).
# Runs torchmetrics==1.9.0 torch==2.13.0 numpy==2.4.6 in a temporary folder, without vpmsearch; exits non-zero when it
# behaves otherwise.
set -eu
T=$(mktemp -d) && trap 'rm -rf "$T"' EXIT
python3 -m venv --without-pip "$T/venv"
python3 -m pip --python "$T/venv/bin/python" install --quiet --no-compile --disable-pip-version-check \
    torchmetrics==1.9.0 torch==2.13.0 numpy==2.4.6
cd "$T" && "$T/venv/bin/python" - <<'PYTHON'
import torch
from torchmetrics.functional.retrieval import (
    retrieval_average_precision,
    retrieval_hit_rate,
    retrieval_recall,
)
from torchmetrics.retrieval import RetrievalMAP

METRICS = (retrieval_average_precision, retrieval_recall, retrieval_hit_rate)
scores, relevant = torch.tensor([-0.1, -0.2]), torch.tensor([1, 0])
negative = [float(metric(scores, relevant)) for metric in METRICS]
positive = [float(metric(scores + 10, relevant)) for metric in METRICS]
print("MAP, recall, hit rate:", negative, "plus ten:", positive)
cosines, relevant, query = torch.tensor([0.9, 0.1, -0.2]), torch.tensor([1, 0, 1]), torch.tensor([0, 0, 0])
mixed = [round(float(RetrievalMAP()(cosines + more, relevant, indexes=query)), 3) for more in (0, 10)]
print("MAP of cosines:", mixed)
assert negative == [0.0, 0.0, 1.0]
assert positive == [1.0, 1.0, 1.0]
assert mixed == [1.0, 0.833]
PYTHON
