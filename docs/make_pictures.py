"""Draw the pictures of the documentation from drawn pedestrians: `python docs/make_pictures.py` after `make demo`.

docs/images/panel.jpg is the demo's own, smaller; crops.png shows self-supervised crops with their region labels.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from vpmsearch.data.crops import STRATEGIES, region_labels, sample_crop, visible_regions
from vpmsearch.data.images import to_array
from vpmsearch.data.synthetic import DrawnSettings, draw_pedestrian
from vpmsearch.report.pictures import label_sheet

IMAGES = Path(__file__).parent / "images"


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


if __name__ == "__main__":
    IMAGES.mkdir(exist_ok=True)
    crops(IMAGES / "crops.png", (6, 1))
    crops(IMAGES / "crops-3x2.png", (3, 2))
    demo = Path("demo/panel.png")
    if demo.is_file():
        with Image.open(demo) as panel:
            size = (panel.width * 3 // 4, panel.height * 3 // 4)
            smaller = panel.convert("RGB").resize(size, Image.Resampling.LANCZOS)
        smaller.save(IMAGES / "panel.jpg", quality=88, subsampling=0, optimize=True)
