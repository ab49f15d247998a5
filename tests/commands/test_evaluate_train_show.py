"""evaluate, train, show and demo, on data drawn small."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from tiny_weights import picture

from vpmsearch.data import synthetic
from vpmsearch.data.drawn_dataset import write_drawn_dataset
from vpmsearch.data.synthetic import DrawnSettings
from vpmsearch.model.weights import DRAWN, read_weights
from vpmsearch.training import presets

EXPANDED = "Eq. 4, expanded by 2, own camera's images of the person may not help"
RANKING = {"matcher": None, "candidates": None, "reciprocal": False, "expand": None, "own_camera": False}
KEYS = ["gamma", "crop", "rank1", "rank3", "rank5", "rank10", "map", "map_trapezoid", "minp", "queries", "gallery"]


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four test identities in two cameras, two shots each: 8 queries, 8 gallery images, 1 distractor, 1 junk."""
    train, test = (DrawnSettings(identities=4, cameras=2, shots=2, height=64, width=32, seed=seed) for seed in (0, 1))
    folder = tmp_path_factory.mktemp("drawn") / "data"
    return write_drawn_dataset(folder, train=train, test=test, distractors=1, junk=1)


@pytest.fixture
def tiny_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """Presets and drawings so small that they take seconds."""
    small = replace(
        presets.PRESETS["small"], epochs=1, input_size=(64, 32), embedding_dim=16, pids_per_batch=4, images_per_pid=2
    )
    monkeypatch.setitem(presets.PRESETS, "small", small)

    def few(**given: int) -> DrawnSettings:
        return DrawnSettings(
            **given | {"identities": 5, "cameras": 2, "shots": min(given["shots"], 2), "height": 64, "width": 32}
        )

    monkeypatch.setattr(synthetic, "DrawnSettings", few)


# evaluate ---------------------------------------------------------------------------------------------------------


def test_evaluate_json_is_the_contract(cli, drawn: Path, weights: Path):
    outcome = cli(
        "evaluate", "--data", drawn, "--weights", weights, "--gamma", 0.5, "--gamma", 1.0, "--crop", "top", "--json"
    )
    (found,) = outcome.json
    assert list(found) == ["results"]
    assert [(row["gamma"], row["crop"]) for row in found["results"]] == [(0.5, "top"), (1.0, "top")]
    for row in found["results"]:
        assert set(row) == {*KEYS, *RANKING, "protocol", "weighting", "rank1_interval", "map_interval", "visible_f1"}
        assert {key: row[key] for key in RANKING} == RANKING
        assert (row["queries"], row["gallery"], row["weighting"]) == (8, 9, "visibility")
        assert all(0 <= row[key] <= 1 for key in KEYS[2:9])
    assert "tiny-0" in outcome.stderr
    again = cli("evaluate", "--data", drawn, "--weights", weights, "--gamma", 0.5, "--crop", "top", "--json")
    assert again.json[0]["results"] == found["results"][:1]


def test_evaluate_two_sets_and_poor_photographs(cli, drawn: Path, weights: Path):
    """Every set with every kind of photograph; each row is what it is when it is asked for alone."""
    two = ("--data", drawn, "--dataset", "market1501", "--data", drawn / "bounding_box_train", "--dataset", "csv")
    plain = ("--weights", weights, "--gamma", 0.5, "--json")
    lines = [f"{path.name},{path.name[:4]},{path.name[6]},{split}" for split, path in _two_of_each(drawn)]
    manifest = drawn / "bounding_box_train" / "set.csv"
    manifest.write_text("path,pid,camid,split\n" + "\n".join(lines) + "\n")
    two = (*two[:5], manifest, *two[6:])
    found = cli("evaluate", *two, "--photo", "as-is", "--photo", "grey", *plain).json[0]["results"]
    told = [(row["dataset"], row.get("photo", "as-is")) for row in found]
    assert told == [("market1501", "as-is"), ("market1501", "grey"), ("csv", "as-is"), ("csv", "grey")]
    for row, root, name in ((found[1], drawn, "market1501"), (found[3], manifest, "csv")):
        alone = cli("evaluate", "--data", root, "--dataset", name, "--photo", "grey", *plain).json[0]["results"]
        assert alone == [{key: value for key, value in row.items() if key != "dataset"}]
    assert found[0] | {"photo": "grey"} != found[1], "grey queries are others"
    fewer = cli("evaluate", "--data", drawn, "--queries", 3, *plain).json[0]["results"]
    assert fewer[0]["queries"] == 3
    assert "one of as-is, half" in cli("evaluate", "--data", drawn, "--photo", "blurred", code=2).stderr
    assert "of one data set" in cli("evaluate", *two, "--index", "indexes/default", code=2).stderr
    both = ("--photo", "grey", "--photo", "half", "--matcher", "mtrc")
    assert "one kind of photograph" in cli("evaluate", "--data", drawn, *both, code=2).stderr


def _two_of_each(drawn: Path):
    """The first image of a person and camera asks, the others answer."""
    seen = set()
    for path in sorted((drawn / "bounding_box_train").glob("*.jpg")):
        yield ("gallery" if path.name[:7] in seen else "query"), path
        seen.add(path.name[:7])


def test_evaluate_takes_the_gallery_from_an_index(cli, drawn: Path, weights: Path, other_weights: Path):
    cli("index", drawn, "--dataset", "market1501", "--weights", weights)
    indexed = cli("evaluate", "--data", drawn, "--index", "indexes/default", "--gamma", 0.5, "--json")
    plain = cli("evaluate", "--data", drawn, "--weights", weights, "--gamma", 0.5, "--json")
    assert indexed.json == plain.json
    matched = ("--data", drawn, "--index", "indexes/default", "--matcher", "mtrc")
    assert "leave --index away" in cli("evaluate", *matched, code=1).error
    wrong = ("--data", drawn, "--index", "indexes/default", "--weights", other_weights)
    assert "use those, or make a new index" in cli("evaluate", *wrong, code=1).error
    cli("remove", drawn)
    error = cli("evaluate", "--data", drawn, "--index", "indexes/default", code=1).error
    assert "of the gallery's 9 images 9 are not in the index" in error
    assert "no index at missing" in cli("evaluate", "--data", drawn, "--index", "missing", code=1).error


def test_evaluate_for_people(cli, drawn: Path, weights: Path):
    both = ("--weighting", "uniform", "--weighting", "visibility")
    protocol, head, *rows = cli("evaluate", "--data", drawn, "--weights", weights, *both).stdout.splitlines()
    assert protocol == "protocol: the same person's images of the same camera left out"
    names = "gamma crop weighting rank-1 rank-3 rank-5 rank-10 mAP mAP(trapezoid) mINP visible F1 queries"
    assert head.split() == names.split()
    figures = [row for row in rows if not row.startswith(" " * 7)]
    assert [row.split()[:3] for row in figures] == [["1.00", "bilateral", word] for word in ("visibility", "uniform")]
    assert all(len(row) == len(head) for row in figures)
    below = [row.strip() for row in rows if row not in figures]
    assert [row.split(" [")[0] for row in below] == ["95 %: rank-1", below[1].split(" [")[0], "95 %: rank-1"]
    assert below[1].startswith("visibility adds to rank-1 +")


@pytest.mark.parametrize("option", [("--gamma", 0), ("--gamma", 1.2), ("--crop", "middle"), ("--min-visibility", 2)])
def test_evaluate_refuses_what_cannot_be(cli, drawn: Path, weights: Path, option):
    outcome = cli("evaluate", "--data", drawn, "--weights", weights, *option, "--json", code=2)
    assert outcome.stdout == ""
    assert str(option[1]) in outcome.stderr


def test_evaluate_names_a_bad_image(cli, drawn: Path, weights: Path, tmp_path: Path):
    import shutil

    copy = Path(shutil.copytree(drawn, tmp_path / "copy"))
    victim = sorted((copy / "query").glob("*.jpg"))[2]
    victim.write_bytes(victim.read_bytes()[:300])
    error = cli("evaluate", "--data", copy, "--weights", weights, code=1).error
    assert victim.name in error
    assert "truncated" in error


def test_lines_a_query_are_compared(cli, drawn: Path, weights: Path, other_weights: Path, tmp_path: Path):
    files = [tmp_path / "a.csv", tmp_path / "b.csv"]
    for file, model in zip(files, (weights, other_weights), strict=True):
        outcome = cli("evaluate", "--data", drawn, "--weights", model, "--gamma", 0.5, "--per-query", file, "--json")
        assert f"8 lines: {file}" in outcome.stderr
    (found,) = cli("compare", *files, "--json").json[0]["results"]
    assert (found["gamma"], found["crop"], found["queries"]) == (0.5, "bilateral", 8)
    assert found["verdict"] in ("better", "worse", "undecided")
    (back,) = cli("compare", *reversed(files), "--json").json[0]["results"]
    assert back["mean_ap"] == pytest.approx(-found["mean_ap"])
    (none,) = cli("compare", files[1], files[1], "--json").json[0]["results"]
    assert (none["mean_ap"], none["verdict"]) == (0, "undecided")
    head, line = cli("compare", *files).stdout.splitlines()
    assert head.split()[:3] == ["gamma", "crop", "weighting"]
    assert line.split()[-1] == found["verdict"]
    assert "cannot be read" in cli("compare", files[0], tmp_path / "gone.csv", code=1).error


def test_evaluate_on_drawn_galleries(cli, drawn: Path, weights: Path):
    plain = ("evaluate", "--data", drawn, "--weights", weights, "--json")
    (row,) = cli(*plain, "--single-shot", 20).json[0]["results"]
    assert (row["draws"], row["queries"], row["gallery"]) == (20, 8, 9)
    assert (row["rank1"] * 8 * 20) % 1 == pytest.approx(0, abs=1e-6)
    assert cli(*plain, "--single-shot", 20).json[0]["results"] == [row]


def test_evaluate_older_matchers(cli, drawn: Path, weights: Path):
    plain = ("evaluate", "--data", drawn, "--weights", weights, "--gamma", 0.5, "--json")
    (without,) = cli(*plain).json[0]["results"]
    (one,) = cli(*plain, "--matcher", "dsr", "--candidates", 1).json[0]["results"]
    assert one == without | {"matcher": "dsr", "candidates": 1}, "one candidate cannot be ordered"
    assert "ranked by dsr of 1 by Eq. 4" in cli(*plain[:-1], "--matcher", "dsr", "--candidates", 1).stdout
    rows = [cli(*plain, "--matcher", name).json[0]["results"][0] for name in ("dsr", "sfr", "amc-swm", "mtrc")]
    assert len({row["map"] for row in (without, *rows)}) > 2
    assert "unknown matcher 'swm'" in cli(*plain, "--matcher", "swm", code=2).stderr


def test_evaluate_older_matchers_on_drawn_galleries(cli, drawn: Path, weights: Path):
    plain = ("evaluate", "--data", drawn, "--weights", weights, "--gamma", 0.5, "--single-shot", 3, "--json")
    (without,) = cli(*plain).json[0]["results"]
    (one,) = cli(*plain, "--matcher", "mtrc", "--candidates", 1).json[0]["results"]
    assert one == without | {"matcher": "mtrc", "candidates": 1}, "one candidate cannot be ordered"
    rows = [cli(*plain, "--matcher", name).json[0]["results"][0] for name in ("sfr", "amc-swm")]
    assert all(row["draws"] == 3 for row in rows)
    assert len({row["map"] for row in (without, *rows)}) > 1


def test_evaluate_neighbours_in_common(cli, drawn: Path, weights: Path):
    plain = ("evaluate", "--data", drawn, "--weights", weights, "--gamma", 0.5, "--json")
    (row,) = cli(*plain, "--reciprocal").json[0]["results"]
    assert {key: row[key] for key in RANKING} == RANKING | {"reciprocal": True}
    assert row["queries"] == 8
    assert row["map"] != cli(*plain).json[0]["results"][0]["map"]
    assert "leave --matcher" in cli(*plain, "--reciprocal", "--matcher", "dsr", code=1).error
    assert "leave --own-camera" in cli(*plain, "--own-camera", code=1).error
    plain = plain[:-1]  # the table
    assert "own camera's images of the person may not help" in cli(*plain, "--reciprocal").stdout
    assert "own camera's images of the person may help" in cli(*plain, "--reciprocal", "--own-camera").stdout


def test_evaluate_expanded_queries(cli, drawn: Path, weights: Path):
    plain = ("evaluate", "--data", drawn, "--weights", weights, "--gamma", 0.5, "--json")
    files = [Path("plain.csv"), Path("expanded.csv")]
    (row,) = cli(*plain, "--expand", 2, "--fmr", 0.5, "--per-query", files[1]).json[0]["results"]
    assert row["queries"] == 8
    assert {key: row[key] for key in RANKING} == RANKING | {"expand": 2}
    (pairs,) = cli(*plain, "--fmr", 0.5, "--per-query", files[0]).json[0]["results"]
    assert (row["fnmr"], row["fnmr_ranking"]) == (pairs["fnmr"], "Eq. 4"), "pairs are never of averaged queries"
    last = cli("compare", *files).stdout.splitlines()[-1]
    assert last == f"the first is ranked by Eq. 4, the second by {EXPANDED}"
    assert cli("compare", *files, "--json").json[0]["results"][0]["rankings"] == ["Eq. 4", EXPANDED]
    assert row["map"] != cli(*plain).json[0]["results"][0]["map"]
    assert "--reciprocal and --single-shot" in cli(*plain, "--expand", 2, "--single-shot", 2, code=1).error


def test_evaluate_pairs(cli, drawn: Path, weights: Path):
    plain = ("evaluate", "--data", drawn, "--weights", weights, "--fmr", 0.1, "--fmr", 0.5)
    (row,) = cli(*plain, "--json").json[0]["results"]
    assert list(row["fnmr"]) == ["0.1", "0.5"]
    assert 0 <= row["fnmr"]["0.5"] <= row["fnmr"]["0.1"] <= 1
    assert f"FNMR {row['fnmr']['0.1']:.4f} at FMR 0.1, FNMR" in cli(*plain).stdout
    assert "false-match rate" in cli(*plain[:-1], 2, code=2).stderr


def test_evaluate_partial_ilids(cli, drawn: Path, weights: Path, tmp_path: Path):
    """A data set in the layout of Partial-iLIDS: four people, one picture on each side."""
    import shutil

    for name, source, shot in (("Probe", "query", "c1"), ("Gallery", "bounding_box_test", "c2")):
        (tmp_path / name).mkdir()
        for pid in (5, 6, 7, 8):
            found = sorted((drawn / source).glob(f"{pid:04d}_{shot}*.jpg"))[0]
            shutil.copy(found, tmp_path / name / f"{pid:03d}.jpg")
    outcome = cli("evaluate", "--data", tmp_path, "--dataset", "partial-ilids", "--weights", weights, "--json")
    (row,) = outcome.json[0]["results"]
    assert (row["queries"], row["gallery"], row["rank5"]) == (4, 4, 1)
    assert row["rank1"] <= row["map"] <= 1


# train ------------------------------------------------------------------------------------------------------------


def test_train_on_a_folder_then_index_and_query(cli, tmp_path: Path, tiny_training: None):
    for pid in range(4):
        folder = tmp_path / "people" / f"person {pid}"
        folder.mkdir(parents=True)
        for shot in range(3):
            picture(10 * pid + shot).save(folder / f"{shot}.png")
    trained = cli("train", "--data", "people", "--dataset", "folder", "--preset", "small", "--num-regions", "3x2")
    assert trained.stdout == "weights/vpm.safetensors\n"
    assert "4 identities, 12 images" in trained.stderr
    assert sorted(path.name for path in Path("weights").iterdir()) == [
        "vpm.checkpoint.safetensors", "vpm.curves.png", "vpm.log.csv", "vpm.safetensors",
    ]  # fmt: skip
    config = read_weights("weights/vpm.safetensors").config
    assert (config.num_regions, config.dataset, config.num_classes) == ((3, 2), "folder", 4)
    indexed = cli("index", "people")
    assert "warning" not in indexed.stderr
    assert "12 indexed" in indexed.stderr
    (line,) = cli("query", "people/person 2/1.png", "--json").json
    assert line["matches"][0]["path"] == str(tmp_path / "people" / "person 2" / "1.png")
    resumed = cli(
        "train", "--data", "people", "--dataset", "folder", "--preset", "small", "--num-regions", "3x2", "--resume"
    )
    assert resumed.stdout == "weights/vpm.safetensors\n"
    other = ("--data", "people", "--dataset", "folder", "--preset", "small", "--resume", "--seed", 5)
    assert "other settings" in cli("train", *other, code=1).error


def test_train_without_data_draws_pedestrians_and_index_warns(cli, gallery: Path, tiny_training: None):
    cli("train", "--output", "drawn.safetensors", "--half")
    assert read_weights("drawn.safetensors").config.dataset == DRAWN
    assert "drawn pedestrians" in cli("index", gallery, "--weights", "drawn.safetensors").stderr.split("warning: ")[1]


# show -------------------------------------------------------------------------------------------------------------


def test_show_writes_a_picture(cli, gallery: Path, weights: Path):
    outcome = cli("show", gallery / "a" / "000.png", "--output", "regions.png", "--weights", weights)
    assert outcome.stdout == "regions.png\n"
    with Image.open("regions.png") as shown:
        assert shown.format == "PNG"
        assert min(shown.size) > 100


# demo -------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_demo_does_the_whole_job_twice(cli, tiny_training: None, monkeypatch: pytest.MonkeyPatch):
    for _ in range(2):  # the second time everything is there already
        lines = cli("demo", "--output", "out").stdout.splitlines()
        assert sum("the right person at ranks" in line for line in lines) == 6
        assert sum(line.startswith("rank-1 of 10 half bodies") for line in lines) == 2
        assert lines[-1] == "picture: out/panel.png"
    assert sorted(path.name for path in Path("out").iterdir() if path.name[0] != ".") == [
        "index", "panel.png", "pedestrians",
        "vpm.checkpoint.safetensors", "vpm.curves.png", "vpm.log.csv", "vpm.safetensors",
    ]  # fmt: skip
    assert [path.name for path in Path().iterdir()] == ["out"]


def test_the_demo_takes_no_folder_of_somebody_else(cli, index: Path):
    before = sorted(path.stat().st_mtime_ns for path in index.rglob("*"))
    assert "--output" in cli("demo", "--output", index.parent, code=1).error
    assert sorted(path.stat().st_mtime_ns for path in index.rglob("*")) == before
