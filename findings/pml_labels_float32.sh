#!/bin/sh
# pytorch-metric-learning 2.9.0: AccuracyCalculator turns labels into float32 before it compares them. Above 16,777,216 not
# every whole number is one of those, so identities whose numbers lie close become one: numbers of nine digits (a date, a
# camera and a counter) fall together by about 8, those of 10^9 by 64. Precision at 1, MAP and R-precision
# are then too high, without a warning: up to 1.0 for features that are noise. Numbers from 0 give the right values.
# Seen for noise, 20 people of two images each, (precision at 1, MAP): numbered from 0 (0.0, 0.08), from 100,000,000
# (0.225, 0.378), from 1,000,000,000 (1.0, 1.0).
# Runs pytorch-metric-learning==2.9.0 torch==2.13.0 faiss-cpu==1.15.1 numpy==2.4.6 in a temporary folder, without vpmsearch;
# exits non-zero when it behaves otherwise.
set -eu
T=$(mktemp -d) && trap 'rm -rf "$T"' EXIT
python3 -m venv --without-pip "$T/venv"
python3 -m pip --python "$T/venv/bin/python" install --quiet --no-compile --disable-pip-version-check \
    pytorch-metric-learning==2.9.0 torch==2.13.0 faiss-cpu==1.15.1 numpy==2.4.6
cd "$T" && "$T/venv/bin/python" - <<'PYTHON'
import torch
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator

noise = torch.randn(40, 8, generator=torch.Generator().manual_seed(0))
people = torch.arange(20).repeat(2)
names = ("precision_at_1", "mean_average_precision")
calculator = AccuracyCalculator(include=names, device=torch.device("cpu"))
seen = {}
for first in (0, 100_000_000, 1_000_000_000):
    found = calculator.get_accuracy(noise, people + first)
    seen[first] = tuple(round(found[name], 3) for name in names)
print(seen)
assert seen[0] == (0.0, 0.08)
assert seen[100_000_000] == (0.225, 0.378)
assert seen[1_000_000_000] == (1.0, 1.0)
PYTHON
