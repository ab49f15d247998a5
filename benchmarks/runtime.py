"""torch and onnxruntime on the same pixels, turn by turn: images a second, CPU seconds an image, largest difference.

    pip install 'vpmsearch[onnx]' && python benchmarks/runtime.py --images 64 --rounds 5 --threads 2

Wall-clock time is what one waits on an idle machine; CPU time is what to compare on one that does other work as well.
The ratio is torch over onnxruntime: above 1, onnxruntime is faster.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from machine import report

from vpmsearch.model.device import choose_device
from vpmsearch.model.extraction import Extractor
from vpmsearch.model.onnx_runtime import OnnxRuntime
from vpmsearch.model.weights import find_weights, read_weights


def timed(run: Callable[[np.ndarray], Any], batches: list[np.ndarray]) -> tuple[float, float]:
    """Wall-clock and CPU seconds an image."""
    wall, cpu = time.perf_counter(), time.process_time()
    for batch in batches:
        run(batch)
    count = sum(map(len, batches))
    return (time.perf_counter() - wall) / count, (time.process_time() - cpu) / count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    loaded = read_weights(find_weights(args.weights))
    extractor = Extractor(loaded, choose_device("cpu"))
    rng = np.random.default_rng(0)
    size = (args.batch_size, *loaded.config.input_size, 3)
    batches = [rng.integers(0, 256, size, dtype=np.uint8) for _ in range(max(1, args.images // args.batch_size))]
    runs = {"torch": extractor._features, "onnxruntime": OnnxRuntime(loaded)}
    by_torch, by_onnx = runs["torch"](batches[0]), runs["onnxruntime"](batches[0])  # and warm up
    differs = {
        "visibility": float(np.abs(by_torch.visibility - by_onnx.visibility).max()),
        "embeddings": float(np.abs(by_torch.embeddings - by_onnx.embeddings).max()),
    }
    rows = []
    for _ in range(args.rounds):
        (torch_wall, torch_cpu), (onnx_wall, onnx_cpu) = (timed(runs[name], batches) for name in runs)
        rows.append(
            {"torch_per_s": 1 / torch_wall, "onnx_per_s": 1 / onnx_wall, "wall_ratio": torch_wall / onnx_wall}
            | {"torch_cpu_ms": 1e3 * torch_cpu, "onnx_cpu_ms": 1e3 * onnx_cpu, "cpu_ratio": torch_cpu / onnx_cpu}
        )
    median = {key: statistics.median(row[key] for row in rows) for key in rows[0]}
    print(f"largest difference: {differs}; onnxruntime {onnxruntime.__version__}")
    report([*rows, median], args.output)


if __name__ == "__main__":
    main()
