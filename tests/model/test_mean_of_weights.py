"""`docs/make_weights.py`: the mean of weights files, against a loop over numbers."""

from __future__ import annotations

import runpy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from test_weights import CONFIG

from vpmsearch.errors import WeightsError
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
    runpy.run_path(str(SCRIPT))["main"](tmp_path / "mean.safetensors", [Path(OSNET_TRUNK.name), PRETRAINED], [0.5, 1.5])

    trunk, whole, found = (read_tensors(path) for path in (OSNET_TRUNK, PRETRAINED, tmp_path / "mean.safetensors"))
    assert {name for name in whole if name.startswith("backbone.trunk.")} == {
        f"backbone.trunk.{name}" for name in trunk
    }
    for name, tensor in whole.items():
        wanted = tensor.double()
        if name.startswith("backbone."):
            wanted = 0.25 * trunk[name.removeprefix("backbone.trunk.")].double() + 0.75 * wanted
        np.testing.assert_allclose(found[name].double(), wanted, rtol=2**-10, atol=2**-24)


@pytest.mark.parametrize(
    "change",
    [{"backbone": "osnet"}, {"num_regions": (6, 1)}, {"normalize_embeddings": False}, {"std": (0.1, 0.1, 0.1)}],
)
def test_files_that_have_no_mean(change: dict[str, object]):
    """A grid of 6 × 1 has the shapes of one of 3 × 2, and other regions."""
    check, files = runpy.run_path(str(SCRIPT))["check_alike"], [Path("a"), Path("b"), Path("c")]
    check(files, [CONFIG, replace(CONFIG, occluder_class=True, second_look=True), replace(CONFIG, name="other")])
    with pytest.raises(WeightsError, match=rf"b has {next(iter(change))} .*, but c has "):
        check(files, [CONFIG, replace(CONFIG, **change), CONFIG])


@pytest.mark.parametrize("words", [["0"], ["-1"], ["nan"], ["inf"], ["1", "much"]])
def test_shares_that_are_none(words: list[str]):
    shares_of = runpy.run_path(str(SCRIPT))["shares_of"]
    assert shares_of(words) == []
    assert shares_of(["0.3", "2"]) == [0.3, 2.0]


@pytest.mark.parametrize("change", ["another", "missing", "wider"])
def test_a_bare_trunk_of_another_kind(tmp_path: Path, change: str):
    """One that fits in part would be mixed in there, and the rest left as it is."""
    other, tensors = tmp_path / "other.safetensors", dict(read_tensors(OSNET_TRUNK))
    if change == "another":
        tensors = {"layer1.weight": torch.zeros(2, 2)}
    elif change == "missing":
        del tensors["conv5.weight"]
    else:
        tensors["conv5.weight"] = torch.zeros(8, 8)
    save_file(tensors, other)
    with pytest.raises(WeightsError, match=r"other\.safetensors is no trunk of .*weight\): they have no mean"):
        runpy.run_path(str(SCRIPT))["main"](tmp_path / "mean.safetensors", [other, PRETRAINED], [0.5, 1.5])
