"""`query --regions`, `query --together` and `calibrate`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
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
    error = cli("query", image, "--index", index, "--regions", "arm", code=1).error
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


def test_calibrate_then_query(cli, tmp_path: Path, weights: Path):
    paths = write_pictures(tmp_path / "g", 30)
    lines = [f"{path.name},{i}" for i, path in enumerate(paths, start=1)]
    (tmp_path / "g" / "list.csv").write_text("\n".join(["path,pid", *lines]))
    cli("index", "g/list.csv", "--dataset", "csv", "--weights", weights)
    told = cli("calibrate", "--json").json[0]
    assert (told["images"], told["labelled"], told["searches"]) == (30, True, 150)
    assert "150 searches among 30 images, by their pids" in cli("calibrate").stdout
    itself = cli("query", paths[3], "--json").json[0]
    assert itself["verdict"] == "match"
    assert itself["matches"][0]["false_match_rate"] == 0
    rates = [match["false_match_rate"] for match in itself["matches"]]
    assert rates == sorted(rates)
    assert cli("query", paths[3]).stdout.startswith(f"{paths[3]}: match: 10 matches")
    noise = np.random.default_rng(9).integers(0, 255, (64, 32, 3), dtype=np.uint8)
    from PIL import Image

    Image.fromarray(noise).save("noise.png")
    assert cli("query", "noise.png", "--json").json[0]["verdict"] in ("unsure", "no match", "match")
    assert verify(Path("indexes/default")).ok
    Path("indexes/default/calibration.json").write_text(json.dumps({"format": 1}))
    assert "calibration.json is damaged" in cli("query", paths[3], code=1).error


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
