#!/bin/sh
# ranx 0.3.21 pairs queries by their place where it is given dictionaries, which evaluate() takes beside its own Qrels and
# Run. It only checks that both name the same queries. A perfect run whose queries stand in another order (as they came
# back from workers) is so scored by the answers of other queries, without a word. Qrels sorts its queries by name, so a
# dictionary beside it goes wrong too, unless it is sorted. Two dictionaries in one order, and Qrels with Run, are right.
# Seen, MAP of a perfect run of two queries: one order 1.0; another order 0.5; Qrels and a dictionary 0.5; Qrels and Run 1.0.
# Runs ranx==0.3.21 numpy==2.4.6 in a temporary folder, without vpmsearch; exits non-zero when it behaves otherwise.
# (NUMBA_DISABLE_JIT spares a minute of compiling.)
set -eu
T=$(mktemp -d) && trap 'rm -rf "$T"' EXIT
python3 -m venv --without-pip "$T/venv"
python3 -m pip --python "$T/venv/bin/python" install --quiet --no-compile --disable-pip-version-check ranx==0.3.21 numpy==2.4.6
cd "$T" && NUMBA_DISABLE_JIT="${NUMBA_DISABLE_JIT-1}" "$T/venv/bin/python" - <<'PYTHON'
from ranx import Qrels, Run, evaluate

right = {"q1": {"a": 1}, "q2": {"b": 1}}
run = {"q1": {"a": 0.9, "b": 0.1}, "q2": {"b": 0.9, "a": 0.1}}
turned = {"q2": run["q2"], "q1": run["q1"]}
seen = {
    "one order": evaluate(right, run, "map"),
    "another order": evaluate(right, turned, "map"),
    "Qrels and a dictionary": evaluate(Qrels(right), turned, "map"),
    "Qrels and Run": evaluate(Qrels(right), Run(turned), "map"),
}
print({what: float(value) for what, value in seen.items()})
assert seen == {"one order": 1.0, "another order": 0.5, "Qrels and a dictionary": 0.5, "Qrels and Run": 1.0}
PYTHON
