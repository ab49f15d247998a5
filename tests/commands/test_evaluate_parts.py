"""evaluate and export on parts of the images: over trials, and by attributes (--where)."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from statistics import mean, stdev

import pyarrow.parquet as pq
import pytest
from tiny_weights import picture

from vpmsearch.evaluation.trials import RememberingExtractor
from vpmsearch.model.device import choose_device
from vpmsearch.model.extraction import Extractor, Request
from vpmsearch.model.weights import read_weights

PEOPLE = (1, 2, 3, 4, 6)


@pytest.fixture(scope="module")
def viper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five people in two cameras, and three published trials: the third is the first the other way round."""
    root = tmp_path_factory.mktemp("viper") / "VIPeR"
    for number, camera in enumerate("ab"):
        (root / f"cam_{camera}").mkdir(parents=True)
        for pid in PEOPLE:
            picture(10 * pid + number).save(root / f"cam_{camera}" / f"{pid:03d}_{45 * number}.bmp")

    def images(number: int, people: tuple[int, ...]) -> list:
        return [[f"/a/VIPeR/cam_{'ab'[number]}/{pid:03d}_{45 * number}.bmp", 0, number] for pid in people]

    splits = [
        {
            "train": [*images(0, train), *images(1, train)],
            "query": images(first, test),
            "gallery": images(1 - first, test),
        }
        for train, test, first in (((1, 2), (3, 4, 6), 0), ((3, 4), (1, 2, 6), 0), ((1, 2), (3, 4, 6), 1))
    ]
    (root.parent / "splits.json").write_text(json.dumps(splits))
    return root


def test_means_over_trials(cli, viper: Path, weights: Path, tmp_path: Path):
    """The mean row is the mean of the trials' rows; each of these is that of the trial alone and of a list of it."""
    asked = ("--data", viper, "--dataset", "viper", "--weights", weights, "--gamma", 0.5, "--gamma", 1.0, "--json")
    rows = cli("evaluate", *asked, "--trial", "all", "--weighting", "uniform", "--weighting", "visibility").json[0][
        "results"
    ]
    kinds = [(gamma, weighting) for gamma in (0.5, 1.0) for weighting in ("visibility", "uniform")]
    assert [(row["trial"], row["gamma"], row["weighting"]) for row in rows] == [
        (trial, *kind) for trial in (1, 2, 3, "mean") for kind in kinds
    ]
    for place, kind in enumerate(kinds):
        trials, told = [rows[4 * trial + place] for trial in range(3)], rows[12 + place]
        for key in ("rank1", "rank10", "map", "map_trapezoid", "minp", "visible_f1"):
            assert told[key] == pytest.approx(mean(row[key] for row in trials), abs=1e-12), (kind, key)
            assert told["std"][key] == pytest.approx(stdev([row[key] for row in trials]), abs=1e-12), (kind, key)
        assert (told["trials"], told["queries"], told["gallery"]) == (3, 3, 3)
        assert "rank1_interval" not in told
    assert len({row["map"] for row in rows[1:12:4]}) > 1, "the trials are not all alike"
    alone = cli("evaluate", *asked, "--trial", 3).json[0]["results"]
    assert [row["map"] for row in alone] == [rows[8]["map"], rows[10]["map"]]
    listed = tmp_path / "third.csv"
    with listed.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "pid", "camid", "split"])
        for camera, split in (("b", "query"), ("a", "gallery")):
            for pid in (3, 4, 6):
                writer.writerow([viper / f"cam_{camera}" / f"{pid:03d}_{45 * (camera == 'b')}.bmp", pid, camera, split])
    by_list = cli("evaluate", "--data", listed, "--dataset", "csv", *asked[4:], "--leave-out", "nothing").json[0][
        "results"
    ]
    assert [(row["map"], row["rank1"]) for row in by_list] == [(row["map"], row["rank1"]) for row in alone]


def test_trials_for_people(cli, viper: Path, weights: Path):
    asked = ("evaluate", "--data", viper, "--dataset", "viper", "--weights", weights)
    told = cli(*asked, "--trial", "all").stdout
    assert "protocol: nothing left out, mean of 3 trials, people by splits.json" in told
    assert "± over 3 trials (standard deviation): rank-1 " in told
    assert told.count("bilateral") == 1  # the trials themselves are in --json
    assert "trial 2 of 3, people by splits.json" in cli(*asked, "--trial", 2).stdout
    assert "VIPeR has the trials 1 to 3, not 4" in cli(*asked, "--trial", 4, code=1).error
    assert "neither a number from 1 nor all" in cli(*asked, "--trial", "some", code=2).stderr
    assert "of one trial" in cli(*asked, "--trial", "all", "--per-query", "x.csv", code=2).stderr
    assert "trial" not in cli(*asked).stdout  # all people, as before


def test_training_on_the_other_half(cli, viper: Path, tmp_path: Path):
    (viper.parent / "other").mkdir()
    missing = cli("train", "--data", viper, "--dataset", "viper", "--output", "w.safetensors", code=1)
    assert "VIPeR has no train of its own" in missing.error
    found = cli("train", "--data", viper, "--dataset", "viper", "--trial", 4, "--output", "w.safetensors", code=1)
    assert "VIPeR has the trials 1 to 3, not 4" in found.error


def test_an_image_is_computed_once(viper: Path, weights: Path, monkeypatch: pytest.MonkeyPatch):
    plain = Extractor(read_weights(weights), choose_device("cpu"), batch_size=2)
    images = sorted(viper.glob("cam_a/*"))
    requests = [Request(place, images[row]) for place, row in enumerate((0, 1, 2, 1, 3, 0))]
    wanted = list(plain.extract(requests))
    computed: list[Path] = []
    kept = RememberingExtractor(plain)
    real = Extractor.extract

    def counted(self, asked):
        asked = list(asked)
        computed.extend(request.path for request in asked)
        return real(self, asked)

    monkeypatch.setattr(Extractor, "extract", counted)
    for again in (requests, requests[3:]):
        (found,) = kept.extract(again)
        assert [seen.position for seen in found.seen] == [request.position for request in again]
        assert [seen.path for seen in found.seen] == [request.path for request in again]
    assert computed == images[:4]
    (found,) = kept.extract(requests)
    assert (found.features.embeddings == [row for batch in wanted for row in batch.features.embeddings]).all()
    missing = list(kept.extract([Request(0, viper / "none.bmp"), requests[0]]))
    assert [one.path.name for one in missing[0].rejected] == ["none.bmp"]
    assert [seen.path for seen in missing[1].seen] == [images[0]]


@pytest.fixture
def sites(tmp_path: Path) -> Path:
    """Each of six people once as a query and once in the gallery, three of them at each of two sites."""
    rows = ["path,pid,camid,split,site,clothes"]
    for pid in range(6):
        for camid, split in enumerate(("query", "gallery")):
            picture(10 * pid + camid).save(tmp_path / f"{pid}_{camid}.png")
            rows.append(f"{pid}_{camid}.png,{pid},{camid},{split},{('north', 'south')[pid % 2]},{pid % 3}")
    (tmp_path / "list.csv").write_text("\n".join(rows) + "\n")
    return tmp_path / "list.csv"


def test_evaluate_where(cli, sites: Path, weights: Path, tmp_path: Path):
    """A part by attributes is what a list of that part gives."""
    asked = ("--weights", weights, "--dataset", "csv", "--json")
    found = cli("evaluate", "--data", sites, "--where", "site=south", *asked).json[0]["results"]
    lines = sites.read_text().splitlines()
    (tmp_path / "south.csv").write_text("\n".join(line for line in lines if ",south," in line or "path," in line))
    alone = cli("evaluate", "--data", tmp_path / "south.csv", *asked).json[0]["results"]
    assert found == [row | {"where": {"site": ["south"]}} for row in alone]
    assert (found[0]["queries"], found[0]["gallery"]) == (3, 3)
    both = cli(
        "evaluate", "--data", sites, "--where", "site=south", "--where", "clothes=0", "--where", "clothes=1", *asked
    )
    assert both.json[0]["results"][0]["queries"] == 2  # persons 1 and 3: of one name any value, all names
    told = cli("evaluate", "--data", sites, "--where", "site=south", *asked[:4]).stdout
    assert "protocol: the same person's images of the same camera left out, images with site=south" in told
    wrong = cli("evaluate", "--data", sites, "--where", "site=South", *asked, code=1).error
    assert "no query of csv has site=South: site is north, south" in wrong
    none = cli("evaluate", "--data", sites, "--where", "floor=1", *asked, code=1).error
    assert "no query of csv has floor=1: clothes is 0, 1, 2; site is north, south" in none
    assert "is not NAME=VALUE" in cli("evaluate", "--data", sites, "--where", "site", *asked, code=2).stderr


def test_export_where(cli, sites: Path, weights: Path):
    cli("index", sites, "--weights", weights)
    cli("export", "north.parquet", "--where", "site=north", "--where", "clothes=0", "--where", "clothes=2")
    table = pq.read_table("north.parquet").to_pydict()
    assert sorted(zip(table["pid"], table["site"], table["clothes"], strict=True)) == [
        (pid, "north", str(pid % 3)) for pid in (0, 2) for _ in range(2)
    ]
    assert "fits" in cli("export", "none.parquet", "--where", "site=west", code=1).error
    assert not Path("none.parquet").exists()
    assert cli("export", "all.parquet", "--json").json[0]["images"] == 12
