"""Indexing against the bare model: images a second of `index_gallery`, everything included, and of the forward pass.

    python benchmarks/extraction.py --images 512 --rounds 3
    python benchmarks/extraction.py --gallery Market-1501-v15.09.15/bounding_box_test
    python benchmarks/extraction.py --onnx      # in turns with `index --runtime onnx`; needs vpmsearch[onnx]

Expected on two CPU cores with the weights in the package: a ratio of 0.9 or more.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch
from machine import report

from vpmsearch.data.datasets import LabelledImage, read_gallery
from vpmsearch.data.synthetic import DrawnSettings, draw_pedestrian
from vpmsearch.indexing.indexer import index_gallery
from vpmsearch.model.device import choose_device
from vpmsearch.model.extraction import Extractor
from vpmsearch.model.onnx_runtime import OnnxRuntime
from vpmsearch.model.weights import find_weights, read_weights
from vpmsearch.store import GalleryStore


def drawn(folder: Path, images: int) -> None:
    """Write drawn pedestrians, each of another identity, to a folder."""
    settings = DrawnSettings(identities=images, cameras=1, shots=1)
    for pid in range(1, images + 1):
        draw_pedestrian(pid, 1, 0, settings=settings).save(folder / f"{pid:05d}.jpg", quality=92)


def forward_rate(extractor: Extractor, images: int) -> float:
    """Images a second of the model alone, on pixels already there."""
    height, width = extractor.weights.config.input_size
    batch = torch.randn(extractor.batch_size, 3, height, width, device=extractor.torch_device)
    batch = batch.contiguous(memory_format=torch.channels_last)
    batches = max(1, images // extractor.batch_size)
    with torch.inference_mode():
        start = time.perf_counter()
        for _ in range(batches):
            extractor.model(batch)
        if extractor.device.type == "cuda":
            torch.cuda.synchronize()
    return batches * extractor.batch_size / (time.perf_counter() - start)


def index_rate(extractor: Extractor, images: list[LabelledImage]) -> float:
    """Images a second of indexing: reading, decoding, seeing, committing."""
    with (
        tempfile.TemporaryDirectory() as folder,
        GalleryStore.create(f"{folder}/index", extractor.weights.info) as store,
    ):
        start = time.perf_counter()
        done = index_gallery(store, extractor, images)
        return done.images / (time.perf_counter() - start)


def onnx_extractor(weights: Path | None) -> Extractor:
    """By onnxruntime, with a model of its own: the other one may be on a GPU."""
    loaded = read_weights(find_weights(weights))
    return Extractor(loaded, choose_device("cpu"), runtime=OnnxRuntime(loaded, print))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gallery", type=Path, help="a folder of images; default: drawn pedestrians")
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--onnx", action="store_true", help="index by onnxruntime too")
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    extractor = Extractor(read_weights(find_weights(args.weights)), choose_device(args.device))
    with tempfile.TemporaryDirectory() as folder:
        if args.gallery is None:
            drawn(Path(folder), args.images)
        images = read_gallery("folder", args.gallery or folder)[: args.images]
        forward_rate(extractor, extractor.batch_size)  # warm up
        by_onnx = onnx_extractor(args.weights) if args.onnx else None
        rows = []
        for _ in range(args.rounds):
            forward, index = forward_rate(extractor, len(images)), index_rate(extractor, images)
            row = {"forward_per_s": forward, "index_per_s": index, "ratio": index / forward}
            if by_onnx:
                rate = index_rate(by_onnx, images)
                row |= {"onnx_index_per_s": rate, "onnx_ratio": rate / index}
            rows.append(row)
    median = {key: statistics.median(row[key] for row in rows) for key in rows[0]}
    report([*rows, median], args.output)


if __name__ == "__main__":
    main()
