#!/bin/sh
# safetensors 0.8.0: safetensors.numpy.save_file and save write an array's memory from its first number on, whatever its
# strides. An array that does not lie row by row (a transposed one, the first columns of a matrix, every second column, one
# in Fortran's order) comes back with its shape and other values. No error and no warning; the docstring says that
# arrays "need to be contiguous". 0.7.0 writes the same arrays rightly, and safetensors.torch refuses them. Embeddings that
# were cut to their first numbers so belong to nobody. numpy.ascontiguousarray before saving helps. (Reported as issue 825 of
# safetensors.)
# Seen, [[0, 1, 2], [3, 4, 5]]: transposed, 0.7.0 [[0, 3], [1, 4], [2, 5]], 0.8.0 [[0, 1], [2, 3], [4, 5]]; first two columns
# 0.7.0 [[0, 1], [3, 4]], 0.8.0 [[0, 1], [2, 3]].
# Runs safetensors 0.7.0 and 0.8.0 with numpy==2.4.6 in a temporary folder, without vpmsearch; exits non-zero when one of them
# behaves otherwise.
set -eu
T=$(mktemp -d) && trap 'rm -rf "$T"' EXIT
python3 -m venv --without-pip "$T/venv"
python3 -m pip --python "$T/venv/bin/python" install --quiet --no-compile --no-deps --disable-pip-version-check numpy==2.4.6
for version in 0.7.0 0.8.0; do
    python3 -m pip --python "$T/venv/bin/python" install --quiet --no-compile --no-deps --disable-pip-version-check \
        "safetensors==$version"
    cd "$T" && "$T/venv/bin/python" - <<'PYTHON'
import numpy as np
import safetensors
from safetensors.numpy import load_file, save_file

matrix = np.arange(6, dtype=np.float32).reshape(2, 3)
arrays = {
    "transposed": matrix.T, "first columns": matrix[:, :2], "every second": matrix[:, ::2], "by columns": np.asfortranarray(matrix),
}  # fmt: skip
save_file(arrays, "arrays.safetensors")
read = load_file("arrays.safetensors")
print(safetensors.__version__, {name: values.tolist() for name, values in read.items()})
same = [np.array_equal(read[name], array) for name, array in arrays.items()]
save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, "arrays.safetensors")
read = load_file("arrays.safetensors")
assert all(np.array_equal(read[name], array) for name, array in arrays.items())
assert same == [safetensors.__version__ == "0.7.0"] * 4
PYTHON
done
