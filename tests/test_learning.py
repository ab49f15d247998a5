"""What training is worth on drawn pedestrians: the issue's bar that they are a real problem, and that VPM learns it."""

import sys
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vpmsearch.data.datasets import read_dataset
from vpmsearch.data.drawn_dataset import write_drawn_dataset
from vpmsearch.data.synthetic import DrawnSettings
from vpmsearch.evaluation.protocols import evaluate_model
from vpmsearch.model.extraction import Extractor
from vpmsearch.model.weights import read_weights, save_weights
from vpmsearch.training.presets import get_preset
from vpmsearch.training.trainer import Trainer

sys.path.insert(0, str(Path(__file__).parent / "data"))
from histogram_matcher import colour_histograms, histogram_distances, rank1_across_cameras

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    size = {"cameras": 4, "shots": 3, "height": 96, "width": 48}
    folder = tmp_path_factory.mktemp("drawn") / "pedestrians"
    write_drawn_dataset(
        folder, train=DrawnSettings(identities=200, **size), test=DrawnSettings(identities=60, seed=1, **size)
    )
    return read_dataset("market1501", folder)


def build(drawn, output):
    settings = get_preset("small")
    return Trainer(settings, drawn.train, dataset="drawn", output=output, device=torch.device("cpu"))


def rank1(drawn, weights):
    extractor = Extractor(read_weights(weights), torch.device("cpu"))
    rows = evaluate_model(
        extractor, drawn.query, drawn.gallery, gammas=(1.0, 0.5), weightings=("visibility", "uniform")
    )
    return {(row.gamma, row.weighting): row.metrics.cmc[0] for row in rows}


def histogram_rank1(drawn, mode, bands, measure):
    query, gallery = (
        colour_histograms([Image.open(image.path) for image in split], bands=bands, mode=mode)
        for split in (drawn.query, drawn.gallery)
    )
    labels = [
        np.array([getattr(image, name) for image in split])
        for name in ("pid", "camid")
        for split in (drawn.query, drawn.gallery)
    ]
    distances = histogram_distances(query, gallery, measure=measure)
    others = np.where(labels[2][:, None] == labels[3][None, :], np.inf, distances)  # the gallery of other cameras only
    return max(rank1_across_cameras(matrix, *labels) for matrix in (distances, others))


def test_a_trained_model_beats_colour_histograms_and_its_untrained_self(drawn, tmp_path):
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        trainer = build(drawn, tmp_path / "trained.safetensors")
        untrained = tmp_path / "untrained.safetensors"
        save_weights(untrained, trainer.model.eval(), trainer.weights_config())
        before = rank1(drawn, untrained)
        after = rank1(drawn, trainer.run())
    finally:
        torch.set_num_threads(threads)
    variants = product(("RGB", "HSV"), (1, 6), ("l1", "bhattacharyya"))
    histogram = max(histogram_rank1(drawn, *variant) for variant in variants)
    print({"histogram": histogram, "untrained": before, "trained": after})
    assert histogram < 0.5
    assert after[1.0, "visibility"] >= histogram + 0.2
    assert after[1.0, "visibility"] >= before[1.0, "visibility"] + 0.2
    # Half bodies: what Eq. 4 is for.
    assert after[0.5, "visibility"] > after[0.5, "uniform"]
