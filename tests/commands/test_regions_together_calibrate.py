"""`query --regions`, `query --together` and `calibrate`."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest
from tiny_weights import picture, write_pictures

from vpmsearch.store import verify


def matches(cli, *arguments) -> list[dict]:
    return cli("query", *arguments, "--json").json[0]["matches"]


def test_only_the_regions_asked_for_count(cli, index: Path, gallery: Path):
    image = gallery / "a" / "000.png"
    for text, regions in (("0,1", {0, 1}), ("torso", {1, 2}), ("legs", {3, 4, 5})):
        found = matches(cli, image, "--index", index, "--regions", text)
        assert {part["region"] for match in found for part in match["regions"]} <= regions
    error = cli("query", image, "--index", index, "--regions", "arm", code=2).stderr
    assert "there is no region 'arm'; the index has 0 to 5, and head, torso, legs" in error


def test_together_is_one_answer(cli, index: Path, gallery: Path):
    first, second = gallery / "a" / "000.png", gallery / "a" / "001.png"
    outcome = cli("query", first, second, "--together", "--index", index, "--json")
    assert len(outcome.json) == 1
    assert outcome.json[0]["query"] == f"{first} + {second}"
    alone = matches(cli, first, "--index", index)
    twice = matches(cli, first, first, "--together", "--index", index)
    assert [m["image_id"] for m in twice] == [m["image_id"] for m in alone]
    assert [m["distance"] for m in twice] == pytest.approx([m["distance"] for m in alone], abs=1e-5)  # other batches
    assert len(cli("query", first, second, "--index", index, "--json").json) == 2
    cli("query", first, second, "--together", "--index", index, "--panel", "panel.png")
    assert Path("panel.png").stat().st_size > 1000


def test_halves_together_find_the_whole(cli, index: Path, gallery: Path, tmp_path: Path):
    """Each half is told by its own part; what they show together is nearer than either."""
    whole = picture(2)
    whole.crop((0, 0, 32, 32)).save(tmp_path / "upper.png")
    whole.crop((0, 32, 32, 64)).save(tmp_path / "lower.png")
    outcome = cli("query", "upper.png", "lower.png", "--together", "--index", index, "--json")
    seen = {part["region"] for match in outcome.json[0]["matches"] for part in match["regions"]}
    alone = [
        {part["region"] for match in matches(cli, half, "--index", index) for part in match["regions"]}
        for half in ("upper.png", "lower.png")
    ]
    assert seen >= alone[0] | alone[1]


def test_without_a_calibration_nothing_is_said(cli, index: Path, gallery: Path):
    answer = cli("query", gallery / "a" / "000.png", "--index", index, "--json").json[0]
    assert answer["verdict"] is None
    assert {match["false_match_rate"] for match in answer["matches"]} == {None}


def labelled(tmp_path: Path, count: int, people: int, name: str = "g") -> list[Path]:
    """Pictures and a list of them, with pids."""
    paths = write_pictures(tmp_path / name, count)
    lines = [f"{path.name},{1 + i % people}" for i, path in enumerate(paths)]
    (tmp_path / name / "list.csv").write_text("\n".join(["path,pid", *lines]))
    return paths


def test_calibrate_then_query(cli, tmp_path: Path, weights: Path):
    paths = labelled(tmp_path, 30, 15)
    cli("index", "g/list.csv", "--dataset", "csv", "--weights", weights)
    told = cli("calibrate", "--json").json[0]
    assert (told["images"], told["labelled"], told["basis"], told["searches"]) == (30, True, "pids", 150)
    plain = cli("calibrate")
    assert "150 searches among 30 images, strangers told by pids; match is up to 5% false matches" in plain.stdout
    assert "150 searches among 30 images take about" in plain.stderr
    itself = cli("query", paths[3], "--json").json[0]
    first, second = itself["matches"][:2]
    assert (first["itself"], first["false_match_rate"]) == (True, None), "it is no match"
    assert not second["itself"]
    rates = [match["false_match_rate"] for match in itself["matches"][1:]]
    assert rates == sorted(rates)
    assert itself["verdict"] in ("match", "unsure", "no match")
    assert (itself["verdict"] == "match") == (rates[0] <= 0.05)
    assert itself["calibration_notice"] is None
    assert cli("query", paths[3]).stdout.startswith(f"{paths[3]}: {itself['verdict']}: 10 matches")
    assert verify(Path("indexes/default")).ok
    Path("indexes/default/calibration.json").write_text(json.dumps({"format": 1}))
    assert "calibration.json is damaged" in cli("query", paths[3], code=1).error


def test_exclude_self_leaves_the_query_and_its_copies_out(cli, tmp_path: Path, weights: Path):
    paths = labelled(tmp_path, 12, 6)
    shutil.copy(paths[2], tmp_path / "g" / "copy.png")
    cli("index", "g", "--weights", weights)
    kept, left = (
        cli("query", paths[2], "--top", 20, "--json", *more).json[0]["matches"] for more in ((), ["--exclude-self"])
    )
    own = [match["path"] for match in kept if match["itself"]]
    assert {Path(path).name for path in own} == {paths[2].name, "copy.png"}
    assert [m["path"] for m in left] == [m["path"] for m in kept if not m["itself"]]
    assert [m["rank"] for m in left] == list(range(1, 12))
    both = cli("query", paths[2], paths[5], "--together", "--exclude-self", "--top", 20, "--json").json[0]["matches"]
    assert len(both) == 10
    assert cli("query", paths[2], "--top", 2).stdout.count("the query itself") == 2
    assert "the query itself" not in cli("query", paths[2], "--exclude-self").stdout
    plain, filled = (cli("query", paths[2], "--exclude-self", "--json", *more).json[0] for more in ((), ("--fill",)))
    assert plain["filled_from"] is None
    assert filled["filled_from"] == plain["matches"][0]["image_id"]
    assert "filled from this image" in cli("query", paths[2], "--exclude-self", "--fill").stdout


def test_a_calibration_says_when_it_is_old(cli, tmp_path: Path, weights: Path):
    paths = labelled(tmp_path, 30, 15)
    cli("index", "g/list.csv", "--dataset", "csv", "--weights", weights)
    cli("calibrate")
    write_pictures(tmp_path / "more", 60)
    cli("index", "more", "--weights", weights)
    outcome = cli("query", paths[3], "--json")
    assert "the index held 30 images then and holds" in outcome.json[0]["calibration_notice"]
    assert "the calibration is old: the index held 30 images then" in outcome.stderr


def test_without_labels_it_is_refused_or_a_person_answers_pairs(cli, tmp_path: Path, weights: Path):
    paths = write_pictures(tmp_path / "g", 70)
    cli("index", "g", "--weights", weights)
    error = cli("calibrate", code=1).error
    for what in ("70 images without pids", "300 images or more", "pids of some people", "--ask pairs.csv"):
        assert what in error
    assert not Path("indexes/default/calibration.json").exists()
    assert cli("query", paths[3], "--json").json[0]["verdict"] is None
    asked = cli("calibrate", "--ask", "pairs.csv")
    assert "write yes or no under `same`" in asked.stdout
    assert "may hold answers" in cli("calibrate", "--ask", "pairs.csv", code=1).error
    cli("calibrate", "--ask", "other.csv", "--pairs", "pairs.csv", code=2)
    (told,) = cli("calibrate", "--ask", "again.csv", "--json").json  # `cli` validates its form
    assert told == {"path": "again.csv", "pairs": len(Path("pairs.csv").read_text("utf-8").splitlines()) - 1}
    with Path("pairs.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) > 60
    assert "0 answers" in cli("calibrate", "--pairs", "pairs.csv", code=1).error
    found = cli("query", *(row["image"] for row in rows), "--exclude-self", "--top", 4, "--json").json
    near = {(each["query"], match["path"]) for each in found for match in each["matches"]}
    with Path("pairs.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(row | {"same": "yes" if (row["image"], row["other"]) in near else "no"} for row in rows)
    told = cli("calibrate", "--pairs", "pairs.csv", "--probes", 20, "--json").json[0]
    assert (told["basis"], told["labelled"]) == ("pairs", False)
    assert cli("query", paths[3], "--json").json[0]["verdict"] in ("match", "unsure", "no match")


@pytest.mark.parametrize("option", ["--probes", "--seed"])
def test_calibrate_refuses_what_is_too_small(cli, option: str):
    cli("calibrate", option, "-1", code=2)


def test_report(cli, index: Path, gallery: Path):
    image = gallery / "a" / "000.png"
    told = cli("query", image, image, "--index", index, "--report", "found.html").stderr
    assert "report: found.html" in told
    text = Path("found.html").read_text(encoding="utf-8")
    assert text.count("<h2>") == 2
    assert "ends in .html" in cli("query", image, "--index", index, "--report", "found.pdf", code=1).error
