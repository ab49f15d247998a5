"""Baselines: stripes of the trunk's feature map."""

import numpy as np
import pytest
import torch

from tests.tiny_trunk import tiny_backbone
from vpmsearch.model.baselines import Stripes


@pytest.mark.parametrize("grid", [(1, 1), (6, 1), (3, 2), (4, 1)])
@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("batch", [0, 1, 3])
def test_stripes_are_means_of_rows(grid, normalize, batch):
    torch.manual_seed(0)
    model = Stripes(tiny_backbone(), grid, normalize_embeddings=normalize).eval()
    with torch.no_grad():
        output = model(torch.randn(batch, 3, 192, 64))
    p, (h, w) = grid[0] * grid[1], output.feature_map.shape[2:]
    assert output.embeddings.shape == (batch, p, model.embedding_dim)
    assert model.num_regions == p
    for image in range(batch):
        for row in range(grid[0]):
            for column in range(grid[1]):
                rows = range(int(row * h / grid[0] + 0.5), int((row + 1) * h / grid[0] + 0.5))
                columns = range(int(column * w / grid[1] + 0.5), int((column + 1) * w / grid[1] + 0.5))
                pixels = [output.feature_map[image, :, y, x].double().numpy() for y in rows for x in columns]
                expected = np.mean(pixels, axis=0)
                if normalize:
                    expected /= np.linalg.norm(expected)
                region = row * grid[1] + column
                np.testing.assert_allclose(output.embeddings[image, region], expected, rtol=1e-4, atol=1e-6)
                assert output.visibility[image, region] == pytest.approx(len(pixels) / (h * w))
    torch.testing.assert_close(output.visibility.sum(dim=1), torch.ones(batch))
