"""`docs/make_weights.py`: the mean of weights files, against a loop over numbers."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest
import torch

from vpmsearch.model.initial import OSNET_TRUNK
from vpmsearch.model.weights import PRETRAINED, read_tensors

SCRIPT = Path(__file__).parents[2] / "docs" / "make_weights.py"


@pytest.mark.parametrize("shares", [(1.0,), (0.5, 0.5), (3.0, 1.0), (0.2, 0.3, 0.5)])
def test_each_number_is_the_mean_of_the_files_that_have_it(shares: tuple[float, ...]):
    generator = torch.Generator().manual_seed(1)
    files = [({"a": torch.randn(3, 2, generator=generator), "count": torch.tensor(n)}, s) for n, s in enumerate(shares)]
    files[-1][0]["new"] = torch.randn(4, generator=generator)  # a layer that the others do not have
    files[0][0].setdefault("wide", torch.randn(2, 2, generator=generator))
    files[-1][0]["wide"] = torch.randn(3, 2, generator=generator)  # one that has another shape in the first

    found = runpy.run_path(str(SCRIPT))["weighted_mean"](files)

    for row in range(3):
        for column in range(2):
            values = [float(tensors["a"][row, column]) * share for tensors, share in files]
            assert float(found["a"][row, column]) == pytest.approx(sum(values) / sum(shares), abs=1e-6)
    np.testing.assert_allclose(found["new"], files[-1][0]["new"], rtol=1e-6)
    if len(shares) < 3:
        np.testing.assert_allclose(found["wide"], files[-1][0]["wide"], rtol=1e-6)
    assert int(found["count"]) == len(shares) - 1


def test_a_bare_trunk_counts_in_the_trunk_alone(tmp_path: Path):
    runpy.run_path(str(SCRIPT))["main"](tmp_path / "mean.safetensors", [OSNET_TRUNK, PRETRAINED], [0.5, 1.5])

    trunk, whole, found = (read_tensors(path) for path in (OSNET_TRUNK, PRETRAINED, tmp_path / "mean.safetensors"))
    assert {name for name in whole if name.startswith("backbone.trunk.")} == {
        f"backbone.trunk.{name}" for name in trunk
    }
    for name, tensor in whole.items():
        wanted = tensor.double()
        if name.startswith("backbone."):
            wanted = 0.25 * trunk[name.removeprefix("backbone.trunk.")].double() + 0.75 * wanted
        np.testing.assert_allclose(found[name].double(), wanted, rtol=2**-10, atol=2**-24)
