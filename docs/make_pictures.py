"""Draw the pictures of the documentation from drawn pedestrians: `python docs/make_pictures.py`.

docs/images/panel.jpg is README's: half bodies searched for with the weights in the package. crops.png shows
self-supervised crops with their region labels. vpmsearch/web/static/sample.png is what the page offers to try.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from vpmsearch import (
    GalleryStore,
    SearchEngine,
    Source,
    calibrate,
    index_gallery,
    judged,
    load_model,
    search_others,
    together,
)
from vpmsearch.data.crops import STRATEGIES, region_labels, sample_crop, visible_regions
from vpmsearch.data.images import to_array
from vpmsearch.data.labelled import LabelledImage
from vpmsearch.data.synthetic import DrawnSettings, draw_pedestrian
from vpmsearch.report.pictures import label_sheet, rank_panel

IMAGES = Path(__file__).parent / "images"
STATIC = Path(__file__).parents[1] / "vpmsearch/web/static"
WHO = (1, 2, 3, 4, 5)
TITLE = "Half a person, found in other cameras"


def crops(output: Path, grid: tuple[int, int]) -> Path:
    """One crop of each strategy, of several people, with the labels that the locator learns from."""
    rng = np.random.default_rng(3)
    settings = DrawnSettings(height=256, width=128)
    pictures, labels, captions = [], [], []
    for row, gamma in enumerate((1.0, 0.7, 0.5)):
        for column, strategy in enumerate(STRATEGIES):
            whole = draw_pedestrian(10 + column, 1 + row, 0, settings=settings)
            box = sample_crop(strategy, gamma, rng)
            pixels = to_array(whole, (256, 128), box.pixels(whole.width, whole.height))
            pictures.append(Image.fromarray(pixels))
            labels.append(region_labels(box, grid, (16, 8)))
            captions.append(f"{strategy} {gamma}")
    stacked = np.stack(labels)
    return label_sheet(pictures, stacked, visible_regions(stacked, grid[0] * grid[1]), grid, output, captions)


def panel(output: Path, *, people: int = 40, cameras: int = 3) -> tuple[Path, int]:
    """Half bodies, and one person in two halves, searched for among other cameras' images with the packaged weights.

    Nobody is chosen for the result: the first five people that are drawn are asked for. The index is calibrated by the
    labels of the drawing, so each row has its verdict.

    Returns:
        The picture, and in how many of the five rows rank 1 is right.
    """
    settings = DrawnSettings(identities=people, cameras=cameras + 1, shots=1, height=256, width=128, seed=20)
    model = load_model(device="cpu")
    with tempfile.TemporaryDirectory() as name:
        folder, images = Path(name), []
        for pid in range(1, people + 1):
            for camid in range(1, cameras + 1):
                path = folder / f"{pid:02}-camera{camid}.png"
                draw_pedestrian(pid, camid, 0, settings=settings).save(path)
                images.append(LabelledImage(path, pid, camid))
        with GalleryStore.create(folder / "index", model.weights.info) as store:
            index_gallery(store, model, images)
            engine = SearchEngine(store)
            known = calibrate(engine, model)
            rows, results = [_halves(draw_pedestrian(pid, cameras + 1, 0, settings=settings), pid) for pid in WHO], []
            for shown in rows:
                query = together(model.extract_images(shown))[0]
                (found,) = search_others(engine, query, [Source()], 7)
                results.append(judged(found, query, store.model_info, known))
            rank_panel(rows, results, folder / "panel.png", query_pids=WHO, top=7, title=TITLE)
        with Image.open(folder / "panel.png") as drawn:
            smaller = drawn.convert("RGB").resize(
                (drawn.width * 3 // 4, drawn.height * 3 // 4), Image.Resampling.LANCZOS
            )
    smaller.save(output, quality=88, subsampling=0, optimize=True)
    return output, sum(result.matches[0].pid == pid for result, pid in zip(results, WHO, strict=True))


def _halves(whole: Image.Image, pid: int) -> list[Image.Image]:
    """The upper half of an odd person, the lower one of an even one, both of the last."""
    upper = whole.crop((0, 0, whole.width, whole.height // 2))
    lower = whole.crop((0, whole.height // 2, whole.width, whole.height))
    return [upper, lower] if pid == WHO[-1] else [upper] if pid % 2 else [lower]


def sample(output: Path) -> Path:
    """The upper half of a drawn person."""
    whole = draw_pedestrian(5, 4, 0, settings=DrawnSettings(height=256, width=128, seed=20))
    whole.crop((0, 0, whole.width, whole.height // 2)).save(output, optimize=True)
    return output


if __name__ == "__main__":
    IMAGES.mkdir(exist_ok=True)
    sample(STATIC / "sample.png")
    crops(IMAGES / "crops.png", (6, 1))
    crops(IMAGES / "crops-3x2.png", (3, 2))
    picture, right = panel(IMAGES / "panel.jpg")
    sys.stdout.write(f"{picture}: rank 1 is right in {right} of {len(WHO)} rows\n")
