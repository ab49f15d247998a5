"""The HTML report: one file that needs no other, and in which names are only names."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import pytest
from tiny_weights import picture

from vpmsearch.errors import DataError, ImageError
from vpmsearch.report.html import Answer, write_report
from vpmsearch.types import Match, NoMatches, RegionMatch, SearchResult


class Tags(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.words.append(data)

    def all(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.found if name == tag]


def result(*paths: str) -> SearchResult:
    parts = (RegionMatch(0, 1.25, 0.5, 0.75, "head"), RegionMatch(3, 2.0, 0.1, 0.25, "legs"))
    return SearchResult(tuple(Match(i, path, 7, None, 1.4, parts) for i, path in enumerate(paths)), 9, False)


def known(found: SearchResult) -> SearchResult:
    """All that may be noted about a match, and what a calibration says."""
    moment = datetime(2026, 11, 1, 10, tzinfo=UTC)
    labels = {"pid": "P-7", "camid": 3, "captured_at": moment, "attributes": {"site": "north"}}
    matches = tuple(replace(match, false_match_rate=0.075, **labels) for match in found.matches)
    return replace(found, matches=matches, verdict="match", calibration_notice="it grew")


def load(path: str):
    if "gone" in path:
        raise ImageError("gone", path)
    return picture(1)


def test_everything_is_inside_and_nothing_runs(tmp_path: Path):
    answers = [Answer("q.jpg", [picture(0), picture(2)], known(result("/a/x.jpg", "/a/gone.jpg")))]
    output = write_report(
        [*answers, Answer("none", [picture(0)], replace(result(), empty=NoMatches("index", "the index is empty")))],
        tmp_path / "r.html",
        load=load,
    )
    text = output.read_text(encoding="utf-8")
    tags = Tags(text)
    assert len(tags.all("li")) == 2
    assert all(image["src"].startswith("data:image/jpeg;base64,") for image in tags.all("img"))
    assert len(tags.all("img")) == 2 + 1 + 1
    assert [b["style"] for b in tags.all("b") if "style" in b] == ["width:75.0%", "width:25.0%"] * 2
    assert not tags.all("script")
    assert "http" not in text
    assert {"missing", "0 head", "3 legs", "No result: the index is empty."} <= set(tags.words)
    assert {"match", "7.5% false matches", "pid P-7", "camid 3", "site=north", "2026-11-01 10:00:00Z"} <= set(
        tags.words
    )
    assert any("9 compared" in word for word in tags.words)
    assert any("the calibration is old: it grew" in word for word in tags.words)
    sizes = {(image["alt"], image["width"], image["height"]) for image in tags.all("img")}
    assert sizes == {("query", "120", "240"), ("rank 1", "120", "240")}, "a query is as large as its matches"


def test_a_name_is_never_markup(tmp_path: Path):
    name = "<script>alert(1)</script>\"' onload=x&.jpg"
    output = write_report([Answer(name, [], result(f"/a/{name}"))], tmp_path / "r.html", load=load)
    tags = Tags(output.read_text(encoding="utf-8"))
    assert not tags.all("script")
    assert {key for _, attributes in tags.found for key in attributes} <= {
        "lang", "charset", "name", "content", "alt", "width", "height", "src", "title", "class", "style",
    }  # fmt: skip


@pytest.mark.parametrize("name", ["r.txt", "r", "nowhere/r.html"])
def test_where_it_cannot_be_written(tmp_path: Path, name: str):
    with pytest.raises(DataError):
        write_report([], tmp_path / name)


def test_what_an_answer_says_beside_its_ranks(tmp_path: Path):
    found = result("/a/x.jpg", "/a/y.jpg", "/a/gone.jpg#xywh=0,0,0,0")  # the last was a file's real name
    first, *others = found.matches
    found = replace(
        found, matches=(replace(first, track_images=3), *others), no_person="a picture of one colour", filled_from=1
    )
    text = write_report([Answer("q", [picture(0)], found)], tmp_path / "r.html", load=load).read_text()
    words = Tags(text).words
    said = next(word for word in words if "colour" in word)
    assert said.strip().startswith("A picture of one colour. ")
    assert [word for word in words if "track" in word or "filled" in word] == [
        "3 images of its track",
        "the query was filled from this image",
    ]
    assert "gone.jpg#xywh=0,0,0,0" in words
