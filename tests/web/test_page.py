"""The page in headless Chromium, as a person uses it: by mouse, by keyboard, on a phone, in light and dark."""

from __future__ import annotations

import io
import json
import os
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest
from PIL import Image
from small_index import IMAGES, jpeg, png, serving
from tiny_weights import picture

from vpmsearch.errors import StoreError
from vpmsearch.web.app import SEARCHES_AT_ONCE
from vpmsearch.web.settings import ServeSettings

webdriver = pytest.importorskip("selenium.webdriver")
from selenium.common.exceptions import StaleElementReferenceException  # noqa: E402
from selenium.webdriver.common.action_chains import ActionChains  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402

CHROMIUM, DRIVER = (shutil.which(name) for name in ("chromium", "chromedriver"))
AXE = os.environ.get("VPMSEARCH_AXE", "")  # axe.min.js of the npm package axe-core

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="no chromium and chromedriver"),
]
TOKEN = "a-token-for-the-browser"


class Page:
    """The browser with the words of the tests."""

    def __init__(self, driver, address: str) -> None:
        self.driver, self.address = driver, address
        self.noise = "status of 4"  # what the browser's log may hold

    def open(self, fragment: str = "") -> Page:
        self.driver.get("about:blank")
        self.driver.get(f"{self.address}/{fragment}")
        return self

    def all(self, selector: str) -> list:
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def one(self, selector: str):
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def until(self, condition, seconds: float = 60):
        # The page may draw its parts anew between two questions of one condition: ask again.
        waiting = WebDriverWait(self.driver, seconds, 0.05, ignored_exceptions=[StaleElementReferenceException])
        return waiting.until(lambda _: condition())

    def click(self, selector: str) -> None:
        def clicked() -> bool:
            found = self.one(selector)
            self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", found)
            found.click()
            return True

        self.until(clicked)

    @property
    def status(self) -> str:
        return self.one("#status").text

    @property
    def ids(self) -> list[int]:
        cards = "return [...document.querySelectorAll('#results .card')].map((card) => Number(card.dataset.id))"
        return self.driver.execute_script(cards)  # at once: the page may change between two questions

    def settled(self) -> list[int]:
        """The ranks, when the search under way is done."""
        self.until(lambda: "Searching" not in self.status and not self.all("#results.busy, #photos li[aria-busy=true]"))
        return self.ids

    def keep_itself(self) -> None:
        """Untick, before a search, that the query itself is left out."""
        self.driver.execute_script("document.getElementById('others').checked = false")

    def choose(self, *paths: Path) -> list[int]:
        self.one("#file").send_keys("\n".join(map(str, paths)))
        self.until(lambda: len(self.all("#photos li")) >= len(paths))
        return self.settled()

    def width(self, pixels: int, height: int = 900) -> None:
        size = {"width": pixels, "height": height, "deviceScaleFactor": 1, "mobile": pixels < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)

    def scheme(self, name: str) -> None:
        feature = {"name": "prefers-color-scheme", "value": name}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})

    def violations(self) -> list:
        if not Path(AXE).is_file():
            pytest.skip("$VPMSEARCH_AXE is not axe.min.js")
        self.driver.execute_script(Path(AXE).read_text(encoding="utf-8"))
        found = self.driver.execute_async_script("const done = arguments[0]; axe.run().then(done)")
        return [(each["id"], each["impact"], [node["html"] for node in each["nodes"]]) for each in found["violations"]]


@pytest.fixture(scope="module")
def driver() -> Iterator:
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    made = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    made.set_page_load_timeout(120)
    made.set_script_timeout(120)
    yield made
    made.quit()


@pytest.fixture
def page(driver, served) -> Iterator[Page]:
    made = Page(driver, served)
    made.width(1200)
    made.scheme("light")
    driver.get_log("browser")
    driver.get_log("performance")
    made.open()
    made.until(lambda: "images" in made.one("#stats").text)
    yield made
    driver.get("about:blank")  # or what it still loads fails when the server stops, in the log of the next test
    noise = [entry for entry in driver.get_log("browser") if made.noise not in entry["message"]]
    assert noise == []


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{i}.png" for i in (2, 5)]
    for i, path in zip((2, 5), paths, strict=True):
        path.write_bytes(png(picture(i)))
    return paths


def test_the_query_itself_is_left_out_unless_asked_for(page, files, service):
    """Both files have the content of images of the index, and a hit that one searches on from is one of them."""
    ids = service.view.snapshot.image_ids
    found = page.choose(files[0])
    assert ids[2] not in found
    page.click("#filters summary")
    page.click("#others")
    page.until(lambda: page.settled()[:1] == [ids[2]])
    assert "the query itself" in page.one(".card").text
    page.click("#clear")
    page.until(lambda: page.settled() == found)
    page.click(".card:nth-child(1) .again")
    page.until(lambda: page.settled() and found[0] not in page.ids)
    page.click("[data-part=upper]")
    page.until(lambda: "50%" in page.one("#canvas").get_attribute("aria-label"))
    assert found[0] not in page.settled(), "a part of it is cut from it"


def test_upload_search_and_page_through(page, files, service):
    page.keep_itself()
    assert "Choose a photograph" in page.status
    found = page.choose(files[0])
    assert len(found) == 24
    assert found[0] == service.view.snapshot.image_ids[2]
    assert "24 nearest images" in page.status
    assert page.one(".card .head span").text == "0.000"
    page.until(lambda: page.driver.execute_script("return document.querySelector('.card img').naturalWidth") == 32)
    page.click("#more")
    page.until(lambda: len(page.ids) > 24)
    assert page.ids[:24] == found
    assert len(set(page.ids)) == len(page.ids) <= IMAGES
    assert not page.one("#more").is_displayed()


def test_nothing_is_loaded_from_elsewhere(page, files):
    page.choose(files[0])
    asked = [json.loads(entry["message"])["message"] for entry in page.driver.get_log("performance")]
    urls = [each["params"]["request"]["url"] for each in asked if each["method"] == "Network.requestWillBeSent"]
    assert len(urls) > 8
    assert [url for url in urls if not url.startswith((page.address, "blob:", "data:", "about:"))] == []


def test_a_rectangle_by_mouse(page, files):
    whole = page.choose(files[0])
    canvas = page.one("#canvas")
    page.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", canvas)
    w, h = canvas.size["width"], canvas.size["height"]
    moves = ActionChains(page.driver).move_to_element_with_offset(canvas, -w // 2 + 3, -h // 2 + 3)
    moves.click_and_hold().move_by_offset(w - 6, h // 2).release().perform()
    page.until(lambda: "left, top, right, bottom" in canvas.get_attribute("aria-label"))
    page.until(lambda: page.settled() != whole)
    page.click("[data-part=whole]")
    page.until(lambda: "the whole photograph" in canvas.get_attribute("aria-label"))
    page.until(lambda: page.settled() == whole)


def test_a_rectangle_by_keys(page, files):
    whole = page.choose(files[0])
    canvas = page.one("#canvas")
    page.click("[data-part=upper]")
    page.until(lambda: "0%, 0%, 100%, 50%" in canvas.get_attribute("aria-label"))
    page.until(lambda: page.settled() != whole)  # the regions of the part are asked for before the search begins
    canvas.send_keys(Keys.ARROW_DOWN)
    page.until(lambda: "0%, 5%, 100%, 55%" in canvas.get_attribute("aria-label"))
    page.settled()
    canvas.send_keys(Keys.SHIFT, Keys.ARROW_LEFT)
    page.until(lambda: "0%, 5%, 95%, 55%" in canvas.get_attribute("aria-label"))
    page.settled()
    canvas.send_keys(Keys.NULL, Keys.ESCAPE)
    page.until(lambda: page.settled() == whole)


def test_compare_and_search_from_a_hit(page, files, service):
    page.keep_itself()
    found = page.choose(files[0])
    page.one(".card:nth-child(2) .open").send_keys(Keys.ENTER)
    page.until(lambda: page.all("#compare-rows tr"))
    assert page.one("#compare-title").text == "Rank 2"
    rows = page.all("#compare-rows tr")
    assert all(len(row.find_elements(By.TAG_NAME, "td")) == 4 for row in rows)
    assert len(page.all("#compare-rows canvas")) >= len(rows)  # cut out of one image at least
    assert page.driver.execute_script("return document.getElementById('compare-hit').width") > 10
    page.driver.switch_to.active_element.send_keys(Keys.ESCAPE)
    page.until(lambda: not page.one("#compare").is_displayed())
    assert "Rank 2" in page.driver.switch_to.active_element.get_attribute("aria-label")  # focus comes back
    page.click(".card:nth-child(2) .again")
    page.until(lambda: page.settled()[:1] == [found[1]])
    assert page.one(".card .head span").text == "0.000"
    page.click("[data-part=lower]")
    page.until(lambda: "50%, 100%, 100%" in page.one("#canvas").get_attribute("aria-label"))
    assert page.settled()
    assert page.one("#query-error").text == ""


def test_a_photograph_that_the_browser_cannot_show_is_compared_all_the_same(page, tmp_path):
    with Image.open(io.BytesIO(png(picture(2)))) as image:
        image.save(tmp_path / "2.tiff")
    assert page.choose(tmp_path / "2.tiff")
    page.click(".card:nth-child(1) .open")
    page.until(lambda: page.all("#compare-rows canvas"))  # cut out of the hit
    assert {cell.text for cell in page.all("#compare-rows td:nth-of-type(1)")} == {"not shown"}
    assert page.one("#compare-summary").text.startswith("Distance")
    assert "undefined" not in page.one("#compare-summary").text
    assert "null" not in page.one("#compare-summary").text


def test_filters(page, files):
    page.choose(files[0])
    page.click("#filters summary")
    page.click("#cameras label:nth-child(2) input")
    page.until(lambda: len(page.settled()) == IMAGES // 3 or len(page.ids) < 24)
    assert all("camera 2" in card.text for card in page.all(".card"))
    page.driver.execute_script(
        "const box = document.getElementById('before'); box.value = '2024-05-01T06:00:00';"
        "box.dispatchEvent(new Event('change'))"
    )
    page.until(lambda: len(page.settled()) <= 2)
    page.driver.execute_script(
        "const box = document.getElementById('after'); box.value = '2025-05-01T06:00:00';"
        "box.dispatchEvent(new Event('change'))"
    )
    page.until(lambda: "No result" in page.status)
    page.click("#clear")
    page.until(lambda: len(page.settled()) == 24)
    ten = page.one(".card .file").get_attribute("title")[: -len("2.png")]  # …/000.png to …/009.png
    page.one("#prefix").send_keys(ten, Keys.TAB)
    page.until(lambda: 0 < len(page.settled()) <= 10)
    assert all(card.get_attribute("title").startswith(ten) for card in page.all(".card .file"))


def test_only_some_regions(page, files):
    whole = page.choose(files[0])
    page.click("[data-preset=torso]")
    page.until(lambda: page.one("[data-preset=torso]").get_attribute("aria-pressed") == "true")
    torso = page.settled()
    assert [box.is_selected() for box in page.all("#regions input")] == [False, True, True, False, False, False]
    page.click("[data-region='1']")
    page.until(lambda: page.one("[data-preset=torso]").get_attribute("aria-pressed") == "false")
    page.settled()
    page.click("[data-region='2']")
    page.until(lambda: "at least one region" in page.status)
    page.click("[data-preset=all]")
    page.until(lambda: page.settled() == whole)
    assert torso != whole


def test_several_photographs_are_one_person(page, files, service):
    page.keep_itself()
    both = page.choose(*files)
    assert len(page.all("#photos li")) == 2
    page.until(lambda: any("photograph 2" in box.get_attribute("aria-label") for box in page.all("#regions input")))
    page.click("#photos li:first-child .remove")
    page.until(lambda: page.settled()[:1] == [service.view.snapshot.image_ids[5]])
    assert page.ids != both


def test_paste_and_drop(page):
    for event, field in (("paste", "clipboardData"), ("drop", "dataTransfer")):
        kind = {"paste": "ClipboardEvent", "drop": "DragEvent"}[event]
        page.driver.execute_script(
            "const [bytes, event, field, kind] = arguments; const held = new DataTransfer();"
            "held.items.add(new File([new Uint8Array(bytes)], event + '.jpg', {type: 'image/jpeg'}));"
            "document.body.dispatchEvent(new window[kind](event, {bubbles: true, cancelable: true, [field]: held}))",
            list(jpeg(picture(7))), event, field, kind,
        )  # fmt: skip
        page.until(lambda event=event: any(event in b.get_attribute("aria-label") for b in page.all("#photos .pick")))
        assert page.settled()


def test_what_is_no_photograph_is_said(page, tmp_path, files):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    page.one("#file").send_keys(str(broken))
    page.until(lambda: "not an image of a known format" in page.one("#query-error").text)
    page.choose(files[0])
    assert page.one("#query-error").text == ""


# What a screen reader hears of #status, and what is seen in it: an entry for each change.
WATCH = """
window.heard = []; window.seen = [];
const place = document.getElementById('status');
new MutationObserver((changes) => {
  window.seen.push(place.textContent);
  if (changes.every((change) => change.target.closest?.('[aria-hidden=true]'))) return;
  const copy = place.cloneNode(true);
  for (const hidden of copy.querySelectorAll('[aria-hidden=true]')) hidden.remove();
  window.heard.push(copy.textContent);
}).observe(place, {childList: true, characterData: true, subtree: true});
"""


def test_what_waits_says_for_how_many_but_not_in_every_ear(page, service, files, monkeypatch):
    page.choose(files[0])
    free, search, held = threading.Semaphore(0), service.search, []

    def holding(*args, **options):
        held.append(1)
        assert free.acquire(timeout=120)
        return search(*args, **options)

    monkeypatch.setattr(service, "search", holding)
    ask = lambda: httpx2.post(f"{page.address}/api/search", data={"image_id": 1}, timeout=120).status_code  # noqa: E731
    with ThreadPoolExecutor(SEARCHES_AT_ONCE + 2) as others:
        answers = [others.submit(ask) for _ in range(SEARCHES_AT_ONCE + 2)]
        metrics = "return fetch('/api/metrics').then((r) => r.text())"
        active = f"vpmsearch_active_requests {SEARCHES_AT_ONCE + 3:.1f}"
        page.until(lambda: len(held) == SEARCHES_AT_ONCE and active in page.driver.execute_script(metrics))
        page.driver.execute_script(WATCH)
        page.click("[data-preset=legs]")
        for before in ("2 searches come first", "One search comes first", "It comes next"):
            page.until(lambda before=before: f"Waiting for its turn. {before}." in page.status)
            if before != "It comes next":
                free.release()
        heard, seen = page.driver.execute_script("return [window.heard, window.seen]")
        assert heard == ["Searching…", "Searching… Waiting for its turn."]
        assert len(set(seen)) >= 4
        page.one("#file").send_keys(str(files[1]))
        page.until(lambda: "Looking at 5.png… Waiting for its turn. One search" in page.one("#looking").text)
        free.release(100)
    assert [answer.result() for answer in answers] == [200] * (SEARCHES_AT_ONCE + 2)
    page.until(lambda: len(page.all("#photos li")) == 2)
    page.settled()
    assert "nearest images" in page.status
    assert page.one("#looking").text == ""


class Holding:
    """A method of the service, of which those calls that `which` chooses wait until they are let."""

    def __init__(self, monkeypatch, service, name: str, which) -> None:
        self.method, self.which = getattr(service, name), which
        self.begun, self.free = threading.Event(), threading.Event()
        monkeypatch.setattr(service, name, self)

    def __call__(self, *arguments):
        found = self.method(*arguments)
        if not self.which(*arguments):
            return found
        self.begun.set()
        assert self.free.wait(120)
        return replace(found, labels=found.labels * 0)  # so that it can be seen whose answer is drawn

    def is_given_up(self, page) -> None:
        """The page waits for it no more; when it ends nevertheless, that changes nothing."""
        metrics = "return fetch('/api/metrics').then((r) => r.text())"
        page.until(lambda: "vpmsearch_active_requests 1.0" in page.driver.execute_script(metrics), 20)
        self.free.set()
        page.driver.execute_async_script("setTimeout(arguments[0], 300)")


def drawn(page, canvas: str) -> str:
    return page.driver.execute_script("return document.getElementById(arguments[0]).toDataURL()", canvas)


def test_of_two_looks_at_one_photograph_the_newer_counts(page, files, service, monkeypatch):
    page.choose(files[0])
    page.click("[data-part=lower]")
    page.until(lambda: "0%, 50%" in page.one("#canvas").get_attribute("aria-label"))
    page.until(lambda: not page.one("#looking").text)
    lower, found = drawn(page, "canvas"), page.settled()
    page.click("[data-part=whole]")
    page.until(lambda: page.settled() != found)
    upper = Holding(monkeypatch, service, "see", lambda _, box: box is not None and box.top == 0)
    page.click("[data-part=upper]")
    assert upper.begun.wait(20)
    page.click("[data-part=lower]")
    page.until(lambda: page.settled() == found)
    upper.is_given_up(page)
    assert (page.settled(), drawn(page, "canvas")) == (found, lower)
    assert page.one("#query-error").text == page.one("#looking").text == ""


@pytest.mark.parametrize("between", ["closed", "closed and another opened at once"])
def test_a_comparison_that_is_closed_draws_no_more(page, files, service, monkeypatch, between):
    found = page.choose(files[0])
    page.click(".card:nth-child(3) .open")
    page.until(lambda: page.all("#compare-rows tr"))
    third = [drawn(page, "compare-hit"), page.one("#compare-summary").text, page.one("#compare-rows").text]
    page.click("#compare-close")
    second = Holding(monkeypatch, service, "see_stored", lambda image_id, _: image_id == found[1])
    page.click(".card:nth-child(2) .open")
    assert second.begun.wait(20)
    if between == "closed":
        page.click("#compare-close")
        page.until(lambda: not page.one("#compare").is_displayed())
        second.is_given_up(page)
        assert not page.all("#compare-rows tr")
        page.click(".card:nth-child(3) .open")
    else:  # before the browser tells that the dialog was closed
        page.driver.execute_script(
            "document.getElementById('compare').close(); document.querySelector('.card:nth-child(3) .open').click()"
        )
        page.until(lambda: page.all("#compare-rows tr"))
        second.is_given_up(page)
    page.until(lambda: page.all("#compare-rows tr"))
    assert [drawn(page, "compare-hit"), page.one("#compare-summary").text, page.one("#compare-rows").text] == third
    assert page.one("#compare-title").text == "Rank 3"
    assert page.one("#compare-looking").text == ""


def test_a_server_that_is_gone_is_said(driver, service, files):
    with serving(service, ServeSettings(port=0)) as address:
        page = Page(driver, address).open()
        page.choose(files[0])
    page.click("[data-preset=legs]")
    page.until(lambda: "does not answer" in page.status)
    driver.get("about:blank")
    driver.get_log("browser")


def test_the_token(driver, service, files):
    with serving(service, ServeSettings(port=0, token=TOKEN)) as address:
        driver.get(address)
        driver.delete_all_cookies()
        page = Page(driver, address).open()
        page.until(lambda: page.one("#login").is_displayed())
        assert not page.one("#main").is_displayed()
        assert focused(page) == "token"
        page.one("#token").send_keys("wrong", Keys.ENTER)
        page.until(lambda: "not the token" in page.one("#login-error").text)
        page.open(f"#token={TOKEN}")
        page.until(lambda: page.one("#main").is_displayed())
        assert TOKEN not in driver.current_url
        assert all(TOKEN not in cookie["value"] for cookie in driver.get_cookies())
        assert page.choose(files[0])
        page.until(lambda: driver.execute_script("return document.querySelector('.card img').naturalWidth") == 32)
        driver.delete_all_cookies()
    driver.get("about:blank")
    driver.get_log("browser")


def focused(page) -> str:
    """The id, else the label, of what the keyboard is at."""
    return page.driver.execute_script(
        "const at = document.activeElement; return at.id || at.getAttribute('aria-label') || at.tagName"
    )


def test_after_a_search_that_failed_regions_can_be_chosen(page, files, service, monkeypatch):
    page.noise = "status of 503"
    whole = page.choose(files[0])
    search = service.search

    def fails(*_: object, **__: object) -> None:
        raise StoreError("the index cannot be read")

    monkeypatch.setattr(service, "search", fails)
    page.click("[data-preset=head]")
    page.until(lambda: "cannot be read" in page.status)
    assert page.ids == []
    page.click("[data-region='0']")  # the only one left
    page.until(lambda: "at least one region" in page.status)
    assert len(page.all("#regions input")) == 6
    assert not any(box.is_selected() for box in page.all("#regions input"))
    monkeypatch.setattr(service, "search", search)
    page.click("[data-preset=all]")
    page.until(lambda: page.settled() == whole)


def test_a_page_of_ranks_that_failed_can_be_asked_for_again(page, files, service, monkeypatch):
    page.noise = "status of 503"
    found = page.choose(files[0])
    search = service.search

    def fails(*_: object, **__: object) -> None:
        raise StoreError("the index cannot be read")

    monkeypatch.setattr(service, "search", fails)
    page.click("#more")
    page.until(lambda: "cannot be read" in page.status)
    assert page.ids == found
    monkeypatch.setattr(service, "search", search)
    page.click("#more")
    page.until(lambda: len(page.ids) > 24)


def test_photographs_chosen_twice_in_a_hurry_are_one_query_of_eight(page, service, tmp_path, monkeypatch):
    paths = [tmp_path / f"{i}.png" for i in range(10)]
    for i, path in enumerate(paths):
        path.write_bytes(png(picture(i)))
    first = Holding(monkeypatch, service, "see", lambda *_: not first.free.is_set())
    page.one("#file").send_keys("\n".join(map(str, paths[:5])))
    assert first.begun.wait(20)
    page.one("#file").send_keys("\n".join(map(str, paths[5:])))
    page.until(lambda: len(page.all("#photos li")) == 8)
    first.free.set()
    page.until(lambda: not page.all("#photos li[aria-busy=true]"))
    assert page.settled()
    assert "images" in page.status
    assert "8 photographs at most" in page.one("#query-error").text
    labels = [each.get_attribute("aria-label") for each in page.all("#photos .pick")]
    assert labels == [f"Edit {i}.png" for i in range(8)]


def test_a_part_chosen_during_the_first_look_is_the_one_that_counts(page, files, service, monkeypatch):
    page.choose(files[1])
    first = Holding(monkeypatch, service, "see", lambda data, box: data == files[0].read_bytes() and box is None)
    page.one("#file").send_keys(str(files[0]))
    assert first.begun.wait(20)
    page.click("#photos li:nth-child(2) .pick")
    page.until(lambda: "2.png" in page.one("#canvas").get_attribute("aria-label"))
    page.click("[data-part=upper]")
    page.until(lambda: not page.all("#photos li[aria-busy=true]"))
    first.is_given_up(page)
    assert page.settled()
    assert len(page.all("#photos li")) == 2
    assert page.one("#query-error").text == ""
    page.click("#photos li:first-child .remove")
    page.until(lambda: "50%" in page.one("#canvas").get_attribute("aria-label"))
    assert page.settled()


def test_the_keyboard_stays_where_it_was(page, files):
    page.keep_itself()
    page.keep_itself()
    page.choose(*files)
    page.one("#photos li:first-child .pick").send_keys(Keys.ENTER)
    page.until(lambda: page.one("#photos .pick").get_attribute("aria-pressed") == "true")
    assert focused(page) == "Edit 2.png"
    page.one("#photos li:first-child .remove").send_keys(Keys.ENTER)
    page.until(lambda: len(page.all("#photos li")) == 1)
    assert focused(page) == "Remove 5.png"
    page.settled()
    page.one("#photos .remove").send_keys(Keys.ENTER)
    page.until(lambda: not page.all("#photos li"))
    assert focused(page) == "file"
    page.choose(files[0])
    page.one(".card:nth-child(3) .again").send_keys(Keys.ENTER)
    page.until(lambda: page.one(".card .head span").text == "0.000" and len(page.settled()) == 24)
    assert focused(page) != "BODY"
    page.one(".card:nth-child(2) .open").send_keys(Keys.ENTER)
    page.until(lambda: page.all("#compare-rows tr"))
    second = page.ids[1]
    page.one("#compare-search").send_keys(Keys.ENTER)
    page.until(lambda: page.settled()[:1] == [second])
    assert focused(page) != "BODY"


COUNT = """
window.made = []; window.given = [];
const [make, give] = [URL.createObjectURL, URL.revokeObjectURL];
URL.createObjectURL = (what) => { const url = make.call(URL, what); window.made.push(url); return url; };
URL.revokeObjectURL = (url) => { window.given.push(url); give.call(URL, url); };
"""


def test_what_is_held_for_a_photograph_is_given_back(page, files, tmp_path):
    page.keep_itself()
    page.keep_itself()
    page.driver.execute_script(COUNT)
    held = lambda: page.driver.execute_script("return window.made.length - new Set(window.given).size")  # noqa: E731
    page.choose(*files)
    assert held() == 2
    page.until(lambda: page.driver.execute_script("return document.querySelector('.pick img').naturalWidth") == 32)
    page.click("#photos li:first-child .remove")
    page.until(lambda: len(page.all("#photos li")) == 1)
    assert held() == 1
    (tmp_path / "broken.png").write_bytes(b"no picture")
    page.one("#file").send_keys(str(tmp_path / "broken.png"))
    page.until(lambda: "known format" in page.one("#query-error").text)
    assert held() == 1
    page.settled()
    page.click(".card:nth-child(2) .again")
    page.until(lambda: page.one(".card .head span").text == "0.000" and page.settled())
    assert held() == 0
    assert page.driver.execute_script("return window.made.length") == 3


def test_below_a_path(driver, service, files):
    with serving(service, ServeSettings(port=0, root_path="/deep/people")) as address:
        page = Page(driver, f"{address}/deep/people").open()
        assert page.choose(files[0])
        page.until(lambda: driver.execute_script("return document.querySelector('.card img').naturalWidth") == 32)
        page.click(".card:nth-child(2) .open")
        page.until(lambda: page.all("#compare-rows canvas"))
        driver.get("about:blank")
    assert [entry for entry in driver.get_log("browser") if "404" in entry["message"]] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1366, 1920])
def test_accessible_in_light_and_dark_and_on_a_phone(page, files, scheme, width):
    page.width(width)
    page.scheme(scheme)
    assert page.violations() == [], "the first screen"
    found = page.choose(*files)
    page.click(".card:nth-child(1) .confirm")
    page.until(lambda: page.settled() and found[0] not in page.ids)
    page.driver.execute_script("for (const id of ['tool', 'hand']) document.getElementById(id).open = true")
    page.click("#filters summary")
    wide = "return document.documentElement.scrollWidth"
    assert page.driver.execute_script(wide) <= width
    assert page.violations() == []
    page.click(".card:nth-child(3) .open")
    page.until(lambda: page.all("#compare-rows tr"))
    assert page.violations() == []
    assert page.driver.execute_script(wide) <= width


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1366])
def test_the_description_of_the_interface_is_accessible(page, scheme, width):
    page.width(width)
    page.scheme(scheme)
    page.click("footer a")
    page.until(lambda: page.driver.title == "vpmsearch: REST interface")
    assert page.driver.execute_script("return document.documentElement.scrollWidth") <= width
    assert page.violations() == []


def test_everything_by_keyboard(page, files):
    page.choose(files[0])
    reached = set()
    page.driver.execute_script("document.activeElement.blur()")
    for _ in range(40):
        ActionChains(page.driver).send_keys(Keys.TAB).perform()
        focused = page.driver.switch_to.active_element
        reached.add(focused.get_attribute("id") or focused.get_attribute("class"))
    assert {"file", "canvas", "overlay", "pick", "remove", "open", "again"} <= reached
