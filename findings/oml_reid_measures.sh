#!/bin/sh
# open-metric-learning 4.0.0:
# 1. RetrievalResults.from_embeddings_qg leaves out of each answer what belongs to the query's sequence (photos of one moment).
#    It numbers the sequences of queries and of the gallery each for itself, so number 0 of one is compared with number 0
#    of the other. Right images of other sequences are left out, and the query's own sequence stays in. Only sets with the
#    same sequences on both sides go well. from_embeddings, with one data set for both, is not touched.
# 2. map@k is divided by the right images that were found, not by those there are. One of four right images found, at rank
#    1, is 1.0; with another at rank 5 it falls to 0.7. (The documentation has the formula.) Precision is divided by four.
# 3. A query without a right image has precision nan, and so the mean over all queries is nan; CMC and map count it as 0.
# Seen: gallery of the sequences s2, s5, s9, query of s5: answers s5, s9 (s2, the nearest, is gone). (precision@5, map@5) of
# the ranks 1: (0.25, 1.0); 1 and 5: (0.5, 0.7); none of none: (nan, 0.0).
# Runs open-metric-learning==4.0.0 torch==2.13.0 omegaconf==2.3.0 (which it imports and does not ask for) in a temporary
# folder, without vpmsearch; exits non-zero when it behaves otherwise. (torchvision, which OML imports, does not load its
# operators beside a torch for the CPU; the two that are then missed are declared, and nothing here uses them.)
set -eu
T=$(mktemp -d) && trap 'rm -rf "$T"' EXIT
python3 -m venv --without-pip "$T/venv"
python3 -m pip --python "$T/venv/bin/python" install --quiet --no-compile --disable-pip-version-check \
    open-metric-learning==4.0.0 torch==2.13.0 omegaconf==2.3.0
cd "$T" && "$T/venv/bin/python" - <<'PYTHON'
import math

import torch

try:
    import torchvision
except RuntimeError:
    operators = torch.library.Library("torchvision", "FRAGMENT")
    for name in ("nms", "qnms"):
        operators.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

from oml.functional.metrics import calc_retrieval_metrics
from oml.interfaces.datasets import ILabeledDataset
from oml.retrieval.retrieval_results import RetrievalResults


class Photos(ILabeledDataset):
    def __init__(self, people, sequences):
        self.people, self.extra_data = torch.tensor(people), {"sequence": sequences}

    def __len__(self):
        return len(self.people)

    def __getitem__(self, number):
        return {}

    def get_labels(self):
        return self.people


sequences = ["s2", "s5", "s9"]
found = RetrievalResults.from_embeddings_qg(
    torch.tensor([[1.0, 0.0]]),
    torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0]]),
    Photos([7], ["s5"]),
    Photos([7, 7, 8], sequences),
    n_items=3,
)
answers = [sequences[number] for number in found.retrieved_ids[0].tolist()]


def measures(ranking, right):
    made = calc_retrieval_metrics([torch.LongTensor(ranking)], [torch.LongTensor(right)], verbose=False)
    return round(float(made["precision"][5]), 3), round(float(made["map"][5]), 3)


one, two = measures([0, 1, 2, 3, 4], [0, 10, 11, 12]), measures([0, 1, 2, 3, 10], [0, 10, 11, 12])
none = measures([1, 2, 3, 4, 5], [])
print(answers, one, two, none)
assert answers == ["s5", "s9"]
assert (one, two) == ((0.25, 1.0), (0.5, 0.7))
assert math.isnan(none[0])
assert none[1] == 0.0
PYTHON
