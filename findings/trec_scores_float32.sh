#!/bin/sh
# pytrec_eval-terrier 0.5.11 (trec_eval) rounds scores to float32 and then breaks ties by name, the last in the alphabet
# first. Two images whose distances differ in the eighth digit are so ranked by their file names: of two scores that
# differ, the higher one comes second, and average precision halves, or not, by what the right image is called.
# Seen, average precision of a right image with the score 0.90000000001 against 0.9: called a.jpg 0.5, called z.jpg 1.0;
# with the score 0.9001 it is 1.0 for both.
# Runs pytrec-eval-terrier==0.5.11 numpy==2.4.6 in a temporary folder, without vpmsearch; exits non-zero when it behaves
# otherwise.
set -eu
T=$(mktemp -d) && trap 'rm -rf "$T"' EXIT
python3 -m venv --without-pip "$T/venv"
python3 -m pip --python "$T/venv/bin/python" install --quiet --no-compile --no-deps --disable-pip-version-check \
    pytrec-eval-terrier==0.5.11 numpy==2.4.6
cd "$T" && "$T/venv/bin/python" - <<'PYTHON'
import pytrec_eval


def average_precision(right: str, score: float) -> float:
    evaluator = pytrec_eval.RelevanceEvaluator({"query": {right: 1}}, {"map"})
    return evaluator.evaluate({"query": {right: score, "m.jpg": 0.9}})["query"]["map"]


seen = {score: [average_precision(right, score) for right in ("a.jpg", "z.jpg")] for score in (0.90000000001, 0.9001)}
print(seen)
assert seen == {0.90000000001: [0.5, 1.0], 0.9001: [1.0, 1.0]}
PYTHON
