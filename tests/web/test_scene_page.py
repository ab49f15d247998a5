"""Scenes on the page: people as boxes to click, in a photograph of the query and in the scene of a hit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_index import serving
from test_page import Page, driver, pytestmark  # noqa: F401

from vpmsearch.data.boxes.read import read_boxes
from vpmsearch.indexing.indexer import index_gallery
from vpmsearch.model.detection import People
from vpmsearch.report.html import Answer, write_report
from vpmsearch.store import GalleryStore
from vpmsearch.types import Match, RegionMatch, SearchResult
from vpmsearch.web import people
from vpmsearch.web.service import SearchService
from vpmsearch.web.settings import ServeSettings

BOXES = ((10, 10, 60, 140), (100, 12, 60, 140), (220, 8, 60, 140))
OUTSIDE = """
const frame = document.querySelector(arguments[0]).getBoundingClientRect();
return [...document.querySelectorAll(arguments[0] + ' .person')].map((each) => each.getBoundingClientRect())
  .filter((box) => box.left < frame.left - 1 || box.right > frame.right + 1 || box.top < frame.top - 1
    || box.bottom > frame.bottom + 1 || box.width < 8 || box.height < 8).length;
"""


class Three:
    """A detector of the test: finds the three people of the scene."""

    name, least = "three of the test", 0.5

    def people(self, image: Image.Image) -> People:
        corners = np.array([(x, y, x + w, y + h) for x, y, w, h in BOXES], np.float32)
        return People(corners, np.array([0.9, 0.8, 0.7], np.float32))


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 12, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize((320, 180), Image.Resampling.BICUBIC).save(tmp_path / "scene.png")
    rows = [f"scene.png,{x},{y},{w},{h}" for x, y, w, h in BOXES]
    (tmp_path / "b.csv").write_text("\n".join(["path,x,y,w,h", *rows]))
    return tmp_path / "scene.png"


@pytest.mark.parametrize("width", [390, 1366])
def test_people_are_chosen_by_a_click(driver, scene, extractor, monkeypatch, width):  # noqa: F811
    monkeypatch.setattr(people, "open_detector", lambda name, device: Three())
    with GalleryStore.create(scene.parent / "index", extractor.weights.info) as store:
        index_gallery(store, extractor, read_boxes(scene.parent, scene.parent / "b.csv"))
        with serving(SearchService(store, extractor, max_pixels=1_000_000), ServeSettings(port=0)) as address:
            page = Page(driver, address)
            page.width(width)
            page.open()
            page.until(lambda: "images" in page.one("#stats").text)
            page.keep_itself()
            page.choose(scene)
            driver.execute_script("document.getElementById('tool').open = true")
            page.click("#people")
            page.until(lambda: len(page.all("#people-frame .person")) == 3)
            assert "3 people found" in page.one("#people-said").text
            assert "three of the test" in page.one("#people-said").text
            for pressed in ("true", "false"):
                assert driver.execute_script(OUTSIDE, "#people-frame") == 0
                before = page.one("#people-picture").size["width"]
                page.click("#people-zoom")
                assert page.one("#people-zoom").get_attribute("aria-pressed") == pressed
                after = page.one("#people-picture").size["width"]
                assert after >= 1.9 * before if pressed == "true" else after <= 0.6 * before
            assert driver.execute_script("return document.documentElement.scrollWidth <= innerWidth")
            page.click("#people-frame .person:nth-of-type(2)")
            page.until(lambda: "left, top, right, bottom 31%" in page.one("#canvas").get_attribute("aria-label"))
            boxes = dict(zip(store.snapshot.image_ids.tolist(), BOXES, strict=True))
            page.until(lambda: page.settled() and boxes[page.ids[0]] == BOXES[1])  # the search begins after the look

            page.click(".card:nth-child(1) .open")
            page.until(lambda: len(page.all("#scene-frame .person")) == 2)
            assert "2 other images of the index" in page.one("#scene-said").text
            assert driver.execute_script(OUTSIDE, "#scene-frame") == 0
            page.click("#scene-frame .person:nth-of-type(2)")
            page.until(lambda: not page.one("#compare").is_displayed())
            page.until(lambda: page.settled() and boxes[page.ids[0]] == BOXES[2])
            assert "image=" in driver.current_url
            noise = [each["message"] for each in driver.get_log("browser") if each["level"] == "SEVERE"]
            assert not [text for text in noise if "favicon" not in text], noise


@pytest.mark.parametrize("width", [320, 390, 1366])
def test_numbers_of_a_report_stay_on_their_lines(driver, tmp_path, width):  # noqa: F811
    regions = tuple(RegionMatch(number, 0.456, 0.1, 0.31, "torso") for number in range(6))
    matches = tuple(Match(number, f"/a/{number}.jpg", 7, 3, 0.4253, regions) for number in range(12))
    result = SearchResult(matches, 12, True)
    picture = Image.new("RGB", (60, 140), "navy")
    write_report([Answer("half.jpg", [picture], result)], tmp_path / "r.html", load=lambda path: picture)
    page = Page(driver, "")
    page.width(width)
    driver.get((tmp_path / "r.html").as_uri())
    cells = "return [...document.querySelectorAll('th, td')].map((each) => each.getBoundingClientRect().height)"
    assert max(driver.execute_script(cells)) < 28
    assert driver.execute_script("return document.documentElement.scrollWidth <= innerWidth")
    bars = "return [...document.querySelectorAll('.bar')].map((each) => each.getBoundingClientRect().width)"
    assert min(driver.execute_script(bars)) > 20
