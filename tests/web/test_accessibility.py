"""The dialogs, the login, verdicts and errors of the page against axe's rules, and what a keyboard can do in them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from PIL import Image
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys
from small_index import png, serving
from test_page import TOKEN, Page, driver, files, focused, page, pytestmark  # noqa: F401
from test_scene_page import Three, scene  # noqa: F401
from tiny_weights import picture

from vpmsearch.data.boxes.read import read_boxes
from vpmsearch.errors import DetectorError, StoreError
from vpmsearch.indexing.indexer import index_gallery
from vpmsearch.model.detection import People
from vpmsearch.search.verdict import Calibration
from vpmsearch.store import GalleryStore
from vpmsearch.web import people
from vpmsearch.web.service import SearchService
from vpmsearch.web.settings import ServeSettings

WIDE = "return document.documentElement.scrollWidth"
NOBODY = People(np.zeros((0, 4), np.float32), np.zeros(0, np.float32))
looks = pytest.mark.parametrize("scheme", ["light", "dark"])
widths = pytest.mark.parametrize("width", [390, 1366])


def check(page: Page, state: str) -> None:  # noqa: F811
    """No rule of axe is broken, and nothing lies beyond the right edge."""
    assert page.violations() == [], state
    assert page.driver.execute_script(f"{WIDE} <= innerWidth"), state


@pytest.fixture
def opened(driver) -> Iterator[Callable[..., Page]]:  # noqa: F811
    """Opens the page of a server of the test's own."""

    def make(address: str, width: int = 1366, scheme: str = "light") -> Page:
        driver.get(address)
        driver.delete_all_cookies()
        made = Page(driver, address)
        made.width(width)
        made.scheme(scheme)
        return made.open()

    yield make
    driver.get("about:blank")
    driver.delete_all_cookies()
    driver.get_log("browser")


@looks
@widths
def test_the_login(opened, service, width, scheme):
    with serving(service, ServeSettings(port=0, token=TOKEN)) as address:
        page = opened(address, width, scheme)
        page.until(lambda: page.one("#login").is_displayed())
        assert focused(page) == "token"
        check(page, "the login")
        page.one("#token").send_keys("wrong", Keys.ENTER)
        page.until(lambda: "not the token" in page.one("#login-error").text)
        check(page, "a wrong token")
        page.one("#token").clear()
        page.one("#token").send_keys(TOKEN, Keys.ENTER)
        page.until(lambda: page.one("#main").is_displayed())
        assert focused(page) == "file"


@looks
@widths
def test_people_of_a_photograph(opened, scene, extractor, monkeypatch, width, scheme):  # noqa: F811
    """The dialog "Find people": with people, zoomed, with nobody, with a detector that fails; and a hit's scene."""
    detector = Three()
    monkeypatch.setattr(people, "open_detector", lambda name, device: detector)
    with GalleryStore.create(scene.parent / "index", extractor.weights.info) as store:
        index_gallery(store, extractor, read_boxes(scene.parent, scene.parent / "b.csv"))
        with serving(SearchService(store, extractor, max_pixels=1_000_000), ServeSettings(port=0)) as address:
            page = opened(address, width, scheme)
            page.until(lambda: "images" in page.one("#stats").text)
            page.keep_itself()
            page.choose(scene)
            page.driver.execute_script("document.getElementById('tool').open = true")
            page.click("#people")
            page.until(lambda: len(page.all("#people-frame .person")) == 3)
            assert focused(page) == "Person 1 of 3"
            check(page, "people")
            page.click("#people-zoom")
            check(page, "people, zoomed")
            page.click("#people-close")
            page.until(lambda: not page.one("#people-dialog").is_displayed())
            assert focused(page) == "people"

            page.click(".card:nth-child(1) .open")
            page.until(lambda: len(page.all("#scene-frame .person")) == 2 and page.all("#compare-rows tr"))
            check(page, "a hit in its scene")
            page.click("#scene-zoom")
            check(page, "a hit in its scene, zoomed")
            page.click("#compare-close")

            monkeypatch.setattr(detector, "people", lambda image: NOBODY)
            page.click("#people")
            page.until(lambda: "Nobody was found" in page.one("#people-said").text)
            check(page, "nobody was found")
            page.click("#people-close")

            def fail(image: Image.Image) -> People:
                raise DetectorError("the detector cannot be run")

            monkeypatch.setattr(detector, "people", fail)
            page.click("#people")
            page.until(lambda: "cannot be run" in page.one("#people-said").text)
            check(page, "a detector that failed")


@looks
@widths
def test_what_went_wrong(page, files, service, monkeypatch, tmp_path, width, scheme):  # noqa: F811
    page.noise = "status of "
    page.width(width)
    page.scheme(scheme)
    (tmp_path / "broken.png").write_bytes(b"no picture")
    page.one("#file").send_keys(str(tmp_path / "broken.png"))
    page.until(lambda: "known format" in page.one("#query-error").text)
    check(page, "a file that is no photograph")
    page.choose(files[0])
    page.driver.execute_script("document.getElementById('tool').open = true")

    page.click("[data-preset=torso]")
    page.settled()
    for region in (1, 2):
        page.click(f"[data-region='{region}']")
    page.until(lambda: "at least one region" in page.status)
    check(page, "no region is chosen")
    page.click("[data-preset=all]")
    page.settled()
    page.click("#filters summary")
    page.one("#prefix").send_keys("/nowhere", Keys.TAB)
    page.until(lambda: "No result" in page.status)
    check(page, "no image passes the filters")
    page.click("#clear")
    page.until(lambda: page.settled())

    def fails(*_: object, **__: object) -> None:
        raise StoreError("the index cannot be read")

    with monkeypatch.context() as patched:
        patched.setattr(service, "see_stored", fails)
        page.click(".card:nth-child(1) .open")
        page.until(lambda: "cannot be read" in page.one("#compare-summary").text)
        check(page, "a comparison that failed")
        page.click("#compare-close")
        patched.setattr(service, "search", fails)
        page.click("[data-preset=legs]")
        page.until(lambda: "cannot be read" in page.status)
        check(page, "a search that failed")


@looks
def test_images_whose_files_are_gone(opened, own_service, tmp_path, scheme):
    """On the first screen, among the ranks and in the trail."""
    half = tmp_path / "half.png"
    half.write_bytes(png(picture(2)))
    for path in (tmp_path / "gallery").iterdir():
        path.unlink()
    with serving(own_service, ServeSettings(port=0)) as address:
        page = opened(address, scheme=scheme)
        page.choose(half)
        page.until(lambda: page.all("#results .open .quiet"))  # of those in sight
        page.click(".card:nth-child(1) .confirm")
        page.until(lambda: page.all("#confirmed .chip .quiet"))
        page.settled()
        check(page, "ranks and a trail without pictures")
        page.click(".card:nth-child(1) .open")
        page.until(lambda: page.all("#compare-rows tr"))
        check(page, "a comparison without a picture")
        page.click("#compare-close")
        page.click("#photos .remove")
        page.until(lambda: page.one("#start").is_displayed())
        check(page, "the first screen without examples")


def calibrate(service: SearchService, nearest: float, farthest: float) -> None:
    """As if strangers came as near as `nearest`, and right first answers lay as far as `farthest`."""
    info, count = service.store.model_info, len(service.store.snapshot)
    strangers = tuple(tuple(nearest + i for i in range(100)) for _ in range(info.p))
    own = tuple(tuple(farthest * i / 100 for i in range(1, 101)) for _ in range(info.p))
    known = Calibration(info.fingerprint, info.threshold, count, True, strangers, own, "pids", 10)
    service.store.keep_calibration(known.values())
    service.refresh()


@looks
def test_every_verdict(opened, own_service, files, tmp_path, scheme):  # noqa: F811
    """Their colours can be read, their words do not depend on colour, and a scene is offered to be looked at."""
    wide = tmp_path / "wide.png"
    Image.open(files[0]).resize((300, 200)).save(wide)
    plain = tmp_path / "plain.png"
    Image.new("RGB", (64, 128), "navy").save(plain)
    told = {}
    with serving(own_service, ServeSettings(port=0, refresh_seconds=0.05)) as address:
        for word, *limits in (("Match", 1e6, 1e6), ("Unsure", -10.0, 1e6), ("No match", -90.0, 1e-6)):
            calibrate(own_service, *limits)
            for file in (files[0], wide):
                page = opened(address, scheme=scheme)
                page.choose(file)
                check(page, word)
                told[word, file.stem] = (page.one("#status .verdict").text, bool(page.all("#status .find")))
        page = opened(address, scheme=scheme)
        page.choose(plain)
        check(page, "no person")
        told["No person", "plain"] = (page.one("#status .verdict").text, bool(page.all("#status .find")))
    stem = files[0].stem
    assert told == {
        ("Match", stem): ("✓ Match", False),
        ("Match", "wide"): ("✓ Match", False),
        ("Unsure", stem): ("? Unsure", False),
        ("Unsure", "wide"): ("? Unsure", True),
        ("No match", stem): ("✕ No match", False),
        ("No match", "wide"): ("✕ No match", True),
        ("No person", "plain"): ("∅ No person", False),
    }


def test_a_dialog_keeps_the_keyboard_and_gives_it_back(page, files):  # noqa: F811
    page.choose(files[0])
    page.one(".card:nth-child(2) .open").send_keys(Keys.ENTER)
    page.until(lambda: page.all("#compare-rows tr"))
    inside = "return document.activeElement === document.body || !!document.activeElement.closest('dialog')"
    reached = set()
    for _ in range(20):
        ActionChains(page.driver).send_keys(Keys.TAB).perform()
        assert page.driver.execute_script(inside), "what lies under a dialog is out of reach"
        reached.add(focused(page))
    assert {"compare-close", "compare-confirm", "compare-refuse", "compare-search", "Distances by region"} <= reached
    ActionChains(page.driver).send_keys(Keys.ESCAPE).perform()
    page.until(lambda: not page.one("#compare").is_displayed())
    assert "Rank 2" in focused(page)
