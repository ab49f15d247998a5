"""One form of answers for shell and REST: the schema in docs/ is what both give, and neither gives more."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from small_index import png
from tiny_weights import picture
from typer.testing import CliRunner

import vpmsearch.web
from vpmsearch.commands import app
from vpmsearch.search.answers import SCHEMA, answer_values, labels_text, place_in, rate_text, shares_text
from vpmsearch.search.verdict import MATCH, NO_MATCH, UNSURE
from vpmsearch.types import VERDICT_TEXTS, Match, RegionMatch, SearchResult

jsonschema_rs = pytest.importorskip("jsonschema_rs")
DOCS = Path(__file__).parents[2] / "docs"
CHECKED = jsonschema_rs.validator_for(json.loads((DOCS / "answers.schema.json").read_text(encoding="utf-8")))


def test_the_page_and_the_schema_are_those_of_the_code():
    done = subprocess.run([sys.executable, DOCS / "make_answers.py", "--check"], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def test_rest_gives_the_form(client, photo):
    asked = {"limit": 3, "exact": "true"}
    whole = client.post("/api/search", files=[("photograph", ("half.jpg", photo))], data=asked).json()
    nothing = client.post("/api/search", data={"image_id": 1, "camid": 99}).json()
    for answer in (whole, nothing):
        CHECKED.validate(answer)
        assert answer["schema"] == SCHEMA
    assert (whole["query"], nothing["query"]) == ("half.jpg", "image 1")
    assert nothing["empty"]["kind"] == "filter"
    with pytest.raises(jsonschema_rs.ValidationError):
        CHECKED.validate({**whole, "surprise": 1})
    with pytest.raises(jsonschema_rs.ValidationError):
        CHECKED.validate({name: value for name, value in whole.items() if name != "verdict"})


def some(**more) -> SearchResult:
    match = Match(1, "a.jpg", None, None, 0.5, ())
    return replace(SearchResult((match,), 1, True), **more)


def test_what_a_verdict_means_is_said_once_for_all():
    """Shell, REST, report, notebook and page take the sentence from the answer; no script of the page has its own."""
    assert set(VERDICT_TEXTS) == {MATCH, UNSURE, NO_MATCH}
    texts = {verdict: answer_values("q", [], some(verdict=verdict))["verdict_text"] for verdict in VERDICT_TEXTS}
    assert texts == VERDICT_TEXTS
    assert answer_values("q", [], some())["verdict_text"] is None
    assert some(no_person="a red square").verdict_text == "A red square."
    shown = [None, *VERDICT_TEXTS]
    assert [answer_values("q", [], some(verdict=verdict))["verdict_word"] for verdict in shown] == shown
    assert answer_values("q", [], some(no_person="a red square"))["verdict_word"] == "no person"
    only_itself = replace(some().matches[0], itself=True)
    assert replace(some(verdict=NO_MATCH), matches=(only_itself,)).verdict_text == ""
    assert replace(some(verdict=NO_MATCH), matches=()).verdict_text == ""
    scripts = "".join(path.read_text("utf-8") for path in (Path(vpmsearch.web.__path__[0]) / "static").glob("*.js"))
    assert "verdict_text" in scripts
    assert "verdict_word" in scripts
    assert "no_person" not in scripts, "which word is shown is decided where the answer is made"
    assert not [text for text in VERDICT_TEXTS.values() if text.rstrip(".") in scripts]
    assert "stranger" not in scripts


def test_shell_and_rest_tell_the_same(client, service, tmp_path: Path):
    """The same photograph, the same index: all fields but the time are equal, paths aside."""
    file = tmp_path / "half.png"
    file.write_bytes(png(picture(2)))
    rest = client.post("/api/search", files=[("photograph", ("half.png", file.read_bytes()))], data={"limit": 4}).json()
    weights = service.extractor.weights.path
    words = [
        "query",
        file,
        "--json",
        "--top",
        4,
        "--index",
        service.store.path,
        "--weights",
        weights,
        "--device",
        "cpu",
    ]
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == 0, done.stderr
    shell = json.loads(done.stdout)
    CHECKED.validate(shell)
    for answer in (shell, rest):
        answer.pop("elapsed_ms")
        answer["query"] = Path(answer["query"]).name
        for match in answer["matches"]:
            match["path"] = Path(match["path"]).name
    assert _close(rest, shell)


def _close(one: object, other: object) -> bool:
    """Equal, but for the last digits of numbers."""
    if isinstance(one, dict) and isinstance(other, dict):
        names = (one.keys() | other.keys()) - {"offset", "more"}
        return all(name in one and name in other and _close(one[name], other[name]) for name in names)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_close, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return one == pytest.approx(other, rel=1e-5, abs=1e-6)
    return one == other


def test_what_people_read():
    parts = (RegionMatch(0, 0.5, 0.1, 0.466, "head"), RegionMatch(3, 0.6, 0.2, 0.534, "legs"))
    moment = datetime(2026, 11, 1, 10, tzinfo=UTC)
    match = Match(1, "a.jpg", "P-7", 3, 0.5, parts, {"site": "north"}, moment, false_match_rate=0.012)
    assert shares_text(match) == "0 head 47%, 3 legs 53%"
    assert labels_text(match) == ["pid P-7", "camid 3", "2026-11-01 10:00:00Z", "site=north"]
    assert rate_text(match) == "1.2% false matches"


@pytest.mark.parametrize(
    ("path", "box", "seconds"),
    [
        ("a.jpg", None, None),
        ("a#b.jpg", None, None),
        ("a.jpg#xywh=1,2,30,40", [1, 2, 30, 40], None),
        ("film.mp4#t=12.48&xywh=1,2,30,40", [1, 2, 30, 40], 12.48),
        ("film.mp4#t=3", None, 3.0),
    ],
)
def test_boxes_are_told_by_paths(path: str, box: list[int] | None, seconds: float | None):
    assert place_in(path) == {"box": box, "seconds": seconds}


def test_a_box_that_cannot_be_is_part_of_a_files_name():
    assert place_in("/gone/a.jpg#xywh=1,2,0,0") == {"box": None, "seconds": None}
    assert place_in("/gone/a.jpg#xywh=1,2,3,4") == {"box": [1, 2, 3, 4], "seconds": None}
