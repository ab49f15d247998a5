"""People inside photographs index nearly as fast as the same people as files of their own.

    python benchmarks/scenes.py --frames 1000 --people 10
    python benchmarks/scenes.py --frames 1000 --people 10 --no-model

Draws frames with people in them, saves the frames and, beside them, the same crops as files, and indexes both in turns
with the same weights. Compared are processor seconds, since machines are shared.

--no-model takes random features in place of the model's. What remains is what differs between the two: reading,
decoding, hashing, cutting, resizing; and what does not: the commits. Any model only brings the two nearer together.

Expected: boxes in frames run at ≥ 0.9 of the speed of crops as files.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from machine import report
from PIL import Image

from vpmsearch.commands.model import extractor_for
from vpmsearch.data.boxes.read import read_boxes
from vpmsearch.data.datasets import read_gallery
from vpmsearch.data.synthetic import DrawnSettings, draw_pedestrian
from vpmsearch.indexing.indexer import index_gallery
from vpmsearch.model.device import CPU
from vpmsearch.model.extraction import Extractor
from vpmsearch.model.runtime import Pixels, Sight
from vpmsearch.model.weights import find_weights, read_weights
from vpmsearch.store import GalleryStore
from vpmsearch.types import ModelInfo, RegionFeatures

DRAWN = 40
"""People that are drawn; each stands in many frames."""


class NoModel:
    """A runtime that computes nothing: every image gets the same visibility and random embeddings."""

    name = "none"

    def __init__(self, info: ModelInfo) -> None:
        self._info, self._rng = info, np.random.default_rng(0)

    def features(self, pixels: Pixels) -> RegionFeatures:
        """(B, p) and (B, p, d) of B images."""
        count, p, d = len(pixels), self._info.p, self._info.embedding_dim
        return RegionFeatures(np.full((count, p), 1 / p, np.float32), self._rng.random((count, p, d), np.float32))

    def see(self, pixels: Pixels) -> Sight:
        """Indexing does not ask for it."""
        raise NotImplementedError("indexing asks for no regions")


def draw(folder: Path, frames: int, people: int, size: tuple[int, int], seed: int) -> None:
    """frames/*.jpg with their boxes.csv, and crops/*.jpg."""
    rng, settings = np.random.default_rng(seed), DrawnSettings()
    drawn = [draw_pedestrian(1 + n, 1 + n % 6, 0, settings=settings) for n in range(DRAWN)]
    (folder / "frames").mkdir()
    (folder / "crops").mkdir()
    lines = ["path,x,y,w,h"]
    ground = Image.fromarray(rng.integers(0, 256, (27, 48, 3), dtype=np.uint8)).resize(size, Image.Resampling.BICUBIC)
    for frame in range(frames):
        scene = ground.copy()
        boxes = []
        for _ in range(people):
            height = int(rng.integers(120, 260))
            person = drawn[int(rng.integers(DRAWN))].resize((height // 2, height), Image.Resampling.BILINEAR)
            place = int(rng.integers(size[0] - height // 2)), int(rng.integers(size[1] - height))
            scene.paste(person, place)
            boxes.append((*place, *person.size))
        scene.save(folder / "frames" / f"{frame:06d}.jpg", quality=90)
        for who, (x, y, width, height) in enumerate(boxes):
            scene.crop((x, y, x + width, y + height)).save(folder / "crops" / f"{frame:06d}_{who}.jpg", quality=90)
            lines.append(f"{frame:06d}.jpg,{x},{y},{width},{height}")
    (folder / "boxes.csv").write_text("\n".join(lines))


def seconds(folder: Path, extractor: Extractor, boxes: bool) -> float:
    """Processor seconds of one run, the reading of the list included."""
    with (
        tempfile.TemporaryDirectory() as place,
        GalleryStore.create(f"{place}/index", extractor.weights.info, index_type="flat") as store,
    ):
        start = time.process_time()
        listed = (
            read_boxes(folder / "frames", folder / "boxes.csv") if boxes else read_gallery("folder", folder / "crops")
        )
        index_gallery(store, extractor, listed)
        spent = time.process_time() - start
        assert len(store.snapshot) >= 0.99 * len(listed)
        return spent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=1000)
    parser.add_argument("--people", type=int, default=10)
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--height", type=int, default=720)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--no-model", action="store_true", help="random features in place of the model's")
    parser.add_argument("--output", type=Path)
    given = parser.parse_args()
    loaded = read_weights(find_weights(given.weights))
    # With the model as `index` does: by onnxruntime.
    extractor = Extractor(loaded, CPU, runtime=NoModel(loaded.info)) if given.no_model else extractor_for(loaded, CPU)
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        draw(folder, given.frames, given.people, (given.width, given.height), given.seed)
        for number in range(given.rounds):
            crops, boxes = seconds(folder, extractor, False), seconds(folder, extractor, True)
            rows.append({"round": number, "crops_s": crops, "boxes_s": boxes, "speed_ratio": crops / boxes})
    images = given.frames * given.people
    best = {"crops_s": min(row["crops_s"] for row in rows), "boxes_s": min(row["boxes_s"] for row in rows)}
    median = float(np.median([row["speed_ratio"] for row in rows]))
    rows.append({"round": "median", "images": images, **best, "speed_ratio": median})
    report(rows, given.output, given.seed)


if __name__ == "__main__":
    main()
