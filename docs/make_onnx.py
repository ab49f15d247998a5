"""Write the exported models of the weights in the package anew: after other weights, or another export, were put there.

`tests/model/test_onnx_runtime.py` fails where they are not those of the weights.
"""

from __future__ import annotations

import sys

from vpmsearch.model.export import compact_bytes, onnx_bytes
from vpmsearch.model.weights import EARLIER, read_weights

if __name__ == "__main__":
    for weights in EARLIER:
        path = weights.with_suffix(".onnx")
        path.write_bytes(compact_bytes(onnx_bytes(read_weights(weights))))
        sys.stdout.write(f"{path.name}: {path.stat().st_size / 1e6:.1f} MB\n")
