"""The HTML report: one file that needs no other, and in which names are only names."""

from __future__ import annotations

from dataclasses import replace
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
    parts = (RegionMatch(0, 1.25, 0.5, 0.75), RegionMatch(3, 2.0, 0.1, 0.25))
    return SearchResult(tuple(Match(i, path, 7, None, 1.4, parts) for i, path in enumerate(paths)), 9, False)


def load(path: str):
    if "gone" in path:
        raise ImageError("gone", path)
    return picture(1)


def test_everything_is_inside_and_nothing_runs(tmp_path: Path):
    answers = [Answer("q.jpg", [picture(0), picture(2)], result("/a/x.jpg", "/a/gone.jpg"), "match")]
    output = write_report(
        [*answers, Answer("none", [picture(0)], replace(result(), empty=NoMatches("index", "the index is empty")))],
        tmp_path / "r.html",
        grid=(6, 1),
        load=load,
    )
    text = output.read_text(encoding="utf-8")
    tags = Tags(text)
    assert len(tags.all("li")) == 2
    assert all(image["src"].startswith("data:image/jpeg;base64,") for image in tags.all("img"))
    assert len(tags.all("img")) == 2 + 1 + 1
    assert [float(meter["value"]) for meter in tags.all("meter")] == [0.75, 0.25] * 2
    assert not tags.all("script")
    assert "http" not in text
    assert {"missing", "0 head", "3 legs", "No result: the index is empty."} <= set(tags.words)
    assert any(word.startswith("match; 9 compared") for word in tags.words)


def test_a_name_is_never_markup(tmp_path: Path):
    name = "<script>alert(1)</script>\"' onload=x&.jpg"
    output = write_report([Answer(name, [], result(f"/a/{name}"))], tmp_path / "r.html", grid=(6, 1), load=load)
    tags = Tags(output.read_text(encoding="utf-8"))
    assert not tags.all("script")
    assert {key for _, attributes in tags.found for key in attributes} <= {
        "lang", "charset", "name", "content", "alt", "width", "height", "src", "title", "value",
    }  # fmt: skip


@pytest.mark.parametrize("name", ["r.txt", "r", "nowhere/r.html"])
def test_where_it_cannot_be_written(tmp_path: Path, name: str):
    with pytest.raises(DataError):
        write_report([], tmp_path / name, grid=(6, 1))
