"""Write the exported model of the weights in the package anew: after other weights, or another export, were put there.

`tests/model/test_onnx_runtime.py` fails where it is not that of the weights.
"""

from __future__ import annotations

import sys

from vpmsearch.model.export import compact_bytes, onnx_bytes
from vpmsearch.model.onnx_file import PACKAGED
from vpmsearch.model.weights import PRETRAINED, read_weights

if __name__ == "__main__":
    PACKAGED.write_bytes(compact_bytes(onnx_bytes(read_weights(PRETRAINED))))
    sys.stdout.write(f"{PACKAGED}: {PACKAGED.stat().st_size / 1e6:.1f} MB\n")
