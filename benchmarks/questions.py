"""What the paper leaves open, asked of trained weights: on identities held out of a training split.

    python benchmarks/questions.py --data Market-1501-v15.09.15 --hold-out 0.068 --distractors 3000

How f_i is scaled before Eq. 4, how many numbers and bits it needs, how C_i should count, and γ below 0.5: rank-1 and
mAP of held-out queries among their own gallery and distractors from the rest of the split (which the weights were
trained on). And how good the visibility is: accuracy of the locator's pixels, F1 of the visible set. The figures
compare one choice with another; they say nothing of accuracy, least of all where the trunk has seen the identities.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import report

from vpmsearch.data.crops import CropBox, region_labels
from vpmsearch.data.datasets import LabelledImage, hold_out, read_dataset
from vpmsearch.data.images import load_image, to_array
from vpmsearch.equations import region_embeddings
from vpmsearch.evaluation.features import query_crops
from vpmsearch.evaluation.labelled import LabelledFeatures
from vpmsearch.evaluation.protocols import visible_set_f1
from vpmsearch.evaluation.ranked import rank
from vpmsearch.model.device import choose_device
from vpmsearch.model.extraction import Extractor
from vpmsearch.model.weights import find_weights, read_weights
from vpmsearch.types import Float32, RegionFeatures

THRESHOLD = 1 / 12


@dataclass(frozen=True)
class Seen:
    """n images: embeddings (n, p, d) as pooled, T pooled without reduction (n, p, c), visibility (n, p) as the model
    has it and as the crop's geometry has it, and the share of T's pixels whose likeliest region is the true one.
    """

    embeddings: Float32
    pooled: Float32
    visibility: Float32
    true_visibility: Float32
    pixel_accuracy: float
    f1: float
    images: Sequence[LabelledImage]

    def features(self, embeddings: Float32 | None = None, visibility: Float32 | None = None) -> LabelledFeatures:
        """For `rank`, some of it replaced; embeddings scaled to length 1 unless replaced."""
        e = _unit(self.embeddings) if embeddings is None else embeddings
        v = _counted(self.visibility, THRESHOLD) if visibility is None else visibility
        pids, camids = ([getattr(image, name) for image in self.images] for name in ("pid", "camid"))
        return LabelledFeatures(RegionFeatures(v, e), np.array(pids), np.array(camids))


def see(extractor: Extractor, images: Sequence[LabelledImage], boxes: Sequence[CropBox | None]) -> Seen:
    """All that the questions need, on the CPU or a GPU."""
    model, size = extractor.model, extractor.weights.config.input_size
    grid, map_size = model.grid, extractor.map_size
    parts: dict[str, list[Any]] = {"embeddings": [], "pooled": [], "visibility": [], "true": [], "right": []}
    for start in range(0, len(images), extractor.batch_size):
        chosen = range(start, min(start + extractor.batch_size, len(images)))
        arrays = []
        for i in chosen:
            image, box = load_image(images[i].path), boxes[i]
            arrays.append(to_array(image, size, box.pixels(image.width, image.height) if box else None))
        labels = np.stack([region_labels(boxes[i] or CropBox(), grid, map_size) for i in chosen])
        pixels = torch.from_numpy(np.stack(arrays)).to(extractor.torch_device).permute(0, 3, 1, 2).float()
        mean, std = (
            torch.tensor(v).view(1, 3, 1, 1) * 255
            for v in (extractor.weights.config.mean, extractor.weights.config.std)
        )
        with torch.inference_mode():
            output = model((pixels - mean.to(pixels)) / std.to(pixels))
            pooled = region_embeddings(output.feature_map, output.probabilities)
        parts["embeddings"].append(output.embeddings.cpu().numpy())
        parts["pooled"].append(pooled.cpu().numpy())
        parts["visibility"].append(output.visibility.cpu().numpy())
        parts["true"].append(np.stack([np.bincount(x.ravel(), minlength=model.num_regions) / x.size for x in labels]))
        parts["right"].append((output.probabilities.argmax(dim=1).cpu().numpy() == labels).mean(axis=(1, 2)))
    values = {name: np.concatenate(part).astype(np.float32) for name, part in parts.items()}
    return Seen(
        values["embeddings"],
        values["pooled"],
        values["visibility"],
        values["true"],
        float(values["right"].mean()),
        visible_set_f1(values["visibility"], boxes, grid, map_size, THRESHOLD),
        images,
    )


def _unit(x: Float32) -> Float32:
    return x / np.maximum(np.linalg.norm(x, axis=2, keepdims=True), 1e-12)


def _counted(visibility: Float32, least: float) -> Float32:
    return np.where(visibility >= least, visibility, np.float32(0))


def _eight_bits(x: Float32, fitted: Float32) -> Float32:
    """Each number as one of 256 levels between the least and the largest of the gallery's, channel by channel."""
    low, high = fitted.min(axis=(0, 1)), fitted.max(axis=(0, 1))
    step = np.maximum(high - low, 1e-12) / 255
    return (np.clip(np.rint((x - low) / step), 0, 255) * step + low).astype(np.float32)


def _principal(x: Float32, fitted: Float32, count: int) -> Float32:
    """The `count` directions in which the gallery varies most; one rotation for all regions."""
    flat = fitted.reshape(-1, fitted.shape[2])  # (n, p, d) -> (n·p, d)
    mean = flat.mean(axis=0)
    _, vectors = np.linalg.eigh(np.cov(flat - mean, rowvar=False))
    return ((x - mean) @ vectors[:, ::-1][:, :count]).astype(np.float32)


def answers(query: Seen, gallery: Seen) -> Iterator[tuple[str, str, LabelledFeatures, LabelledFeatures]]:
    """(question, choice, query, gallery); the first choice of each is what the package does."""

    def embedded(change: Any) -> tuple[LabelledFeatures, LabelledFeatures]:
        return query.features(change(query)), gallery.features(change(gallery))

    def counted(change: Any) -> tuple[LabelledFeatures, LabelledFeatures]:
        return query.features(visibility=change(query.visibility)), gallery.features(
            visibility=change(gallery.visibility)
        )

    reduced, wide = _unit(gallery.embeddings), _unit(gallery.pooled)
    yield "f_i", "reduced, length 1, float32", query.features(), gallery.features()
    yield "f_i", "reduced, as pooled", *embedded(lambda side: side.embeddings)
    yield "f_i", "T pooled, length 1", *embedded(lambda side: _unit(side.pooled))
    yield "f_i", "T pooled, as pooled", *embedded(lambda side: side.pooled)
    yield "f_i", "float16", *embedded(lambda side: _unit(side.embeddings).astype(np.float16).astype(np.float32))
    yield "f_i", "8 bits", *embedded(lambda side: _eight_bits(_unit(side.embeddings), reduced))
    for count in (128, 64):
        yield (
            "f_i",
            f"{count} principal",
            *embedded(lambda side, n=count: _principal(_unit(side.embeddings), reduced, n)),
        )
    yield "f_i", "T pooled, 256 principal", *embedded(lambda side: _principal(_unit(side.pooled), wide, 256))
    for name, least in (("1/12", THRESHOLD), ("0", 0.0), ("1/24", 1 / 24), ("1/8", 1 / 8)):
        yield "C_i", f"sum, at least {name}", *counted(lambda v, least=least: _counted(v, least))
    yield "C_i", "root of the sum", *counted(lambda v: np.sqrt(_counted(v, THRESHOLD)))
    yield "C_i", "visible or not", *counted(lambda v: (v >= THRESHOLD).astype(np.float32))
    truth = _counted(query.true_visibility, THRESHOLD)
    yield "C_i", "true share (query)", query.features(visibility=truth), gallery.features()
    yield "C_i", "all equal", *counted(np.ones_like)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--dataset", default="market1501")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--hold-out", type=float, default=0.068)
    parser.add_argument("--distractors", type=int, default=3000)
    parser.add_argument("--gamma", type=float, nargs="+", default=[1.0, 0.7, 0.5, 0.4, 0.3])
    parser.add_argument("--crop", nargs="+", default=["top", "bottom"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    rest, held_out = hold_out(read_dataset(arguments.dataset, arguments.data), arguments.hold_out, arguments.seed)
    chosen = np.random.default_rng(arguments.seed).permutation(len(rest.train))[: arguments.distractors]
    loaded = read_weights(find_weights(arguments.weights))
    extractor = Extractor(loaded, choose_device("auto"))
    extractor.model.normalize_embeddings = False  # scaled here, or not
    others = [replace(rest.train[i], pid=0) for i in chosen]
    images = [*held_out.gallery, *others]
    gallery = see(extractor, images, [None] * len(images))
    rows: list[dict[str, Any]] = []
    for gamma in arguments.gamma:
        for crop in arguments.crop if gamma < 1 else ["top"]:
            query = see(extractor, held_out.query, query_crops(len(held_out.query), crop, gamma, arguments.seed))
            for question, choice, asked, among in answers(query, gallery):
                found = rank(asked, among, min_visibility=0).result()
                rows.append(
                    {"gamma": gamma, "crop": crop if gamma < 1 else "none", "pixels": query.pixel_accuracy}
                    | {"visible_f1": query.f1, "question": question, "choice": choice}
                    | {"rank1": float(found.cmc[0]), "map": found.mean_ap}
                )
    report(rows, arguments.output, arguments.seed)


if __name__ == "__main__":
    main()
