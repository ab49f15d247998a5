#!/bin/sh
# datasets 5.2.0 (Hugging Face): with_format("numpy") gives a number of float64 as it is where one row is read, and as
# float32 where several are: a column, a slice, a batch of map or filter. Times in seconds since 1970 are then multiples of
# 128 seconds, so two moments of different people are one. Sums, differences and sorting by a column "captured_at" go wrong;
# a map writes the rounded times back, and filter reads in batches even for a function of one row. The column's own type is
# float64 all along. (with_format("torch") gives float32 for one row too, as PyTorch's default suggests.)
# Seen for 1774747800.5 and 1774747801.5: rows [...800.5, ...801.5]; column [...776.0, ...776.0]; after a batched map that
# copies the column: [...776.0, ...776.0]. Filter "later than ...801", of which there is one: none.
# Runs datasets==5.2.0 numpy==2.4.6 in a temporary folder, without vpmsearch; exits non-zero when it behaves otherwise.
set -eu
T=$(mktemp -d) && trap 'rm -rf "$T"' EXIT
python3 -m venv --without-pip "$T/venv"
python3 -m pip --python "$T/venv/bin/python" install --quiet --no-compile --disable-pip-version-check \
    datasets==5.2.0 numpy==2.4.6
cd "$T" && HF_HOME="$T/home" HF_HUB_OFFLINE=1 HF_DATASETS_DISABLE_PROGRESS_BARS=1 "$T/venv/bin/python" - <<'PYTHON'
from datasets import Dataset, Value

times = [1774747800.5, 1774747801.5]
images = Dataset.from_dict({"captured_at": times}).with_format("numpy")
by_row = [float(row["captured_at"]) for row in images]
by_column = images[:]["captured_at"]
print(by_row, by_column.tolist(), by_column.dtype, images.features)
assert by_row == times
assert by_column.tolist() == [1774747776.0, 1774747776.0]
assert images.features["captured_at"] == Value("float64")

copied = images.map(lambda batch: {"copy": batch["captured_at"]}, batched=True).with_format(None)
print(copied["copy"][:])
assert copied["copy"][:] == [1774747776.0, 1774747776.0]

later = [len(images.filter(lambda some: some["captured_at"] > 1774747801, batched=batched)) for batched in (False, True)]
print("later than ...801:", later)
assert later == [0, 0]
PYTHON
