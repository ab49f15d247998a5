#!/bin/sh
# scikit-learn 1.9.1: label_ranking_average_precision_score, which without ties is the mean average precision of queries
# (rows) over a gallery (columns), counts a query without any right image as 1.0, the best value. Its documentation does
# not say so (a comment in its code does). Queries of people whom the gallery does not hold so raise the mean. Evaluation of
# re-ID leaves such queries out. average_precision_score gives 0.0 for the same row, with a warning; ndcg_score 0.0.
# Seen, a query whose right image is last of four, and one without a right image: the first alone 0.25; both 0.625; nine
# without and the first 0.925.
# Runs scikit-learn==1.9.1 scipy==1.17.1 numpy==2.4.6 in a temporary folder, without vpmsearch; exits non-zero when it behaves
# otherwise.
set -eu
T=$(mktemp -d) && trap 'rm -rf "$T"' EXIT
python3 -m venv --without-pip "$T/venv"
python3 -m pip --python "$T/venv/bin/python" install --quiet --no-compile --disable-pip-version-check \
    scikit-learn==1.9.1 scipy==1.17.1 numpy==2.4.6
cd "$T" && "$T/venv/bin/python" -W ignore - <<'PYTHON'
import sklearn
from sklearn.metrics import average_precision_score, label_ranking_average_precision_score, ndcg_score

found, absent = ([1, 0, 0, 0], [0.1, 0.9, 0.8, 0.7]), ([0, 0, 0, 0], [0.4, 0.3, 0.2, 0.1])


def mean(queries):
    right, scores = zip(*queries)
    return round(float(label_ranking_average_precision_score(right, scores)), 3)


seen = [mean([found]), mean([found, absent]), mean([found] + [absent] * 9)]
others = float(average_precision_score(*absent)), float(ndcg_score([absent[0]], [absent[1]]))
print("scikit-learn", sklearn.__version__, "mean of 1, 2 and 10 queries:", seen, "others of the absent one:", others)
assert seen == [0.25, 0.625, 0.925]
assert others == (0.0, 0.0)
PYTHON
