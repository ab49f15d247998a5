"""Confirm and go on, on the page: the trail, the browser's history, files; and that nothing overflows or overlaps."""

from __future__ import annotations

import json
from urllib.parse import parse_qs, urlsplit

import pytest
from selenium.webdriver.common.keys import Keys
from small_index import png
from test_page import driver, files, page, pytestmark  # noqa: F401
from tiny_weights import picture


def wait_for(page, *found) -> None:  # noqa: F811
    """Until these images have been confirmed and refused, and the search is done."""
    page.until(lambda: tuple(chips(page, kind) for kind in ("confirmed", "refused")) == found and page.settled())


def chips(page, kind: str) -> list[int]:  # noqa: F811
    return [int(chip.get_attribute("data-id")) for chip in page.all(f"#{kind} .chip")]


def query_of(page) -> dict:  # noqa: F811
    return parse_qs(urlsplit(page.driver.current_url).query)


def test_confirm_refuse_step_back_and_reload(page, files, service):  # noqa: F811
    plain = page.choose(files[0])
    first, second = plain[:2]
    page.click(".card:nth-child(1) .confirm")
    wait_for(page, [first], [])
    joined = page.ids
    assert first not in joined, "a part of the query"
    page.click(f".card[data-id='{second}'] .refuse")
    wait_for(page, [first], [second])
    decided = page.ids
    assert not {first, second} & set(decided)
    assert query_of(page) == {"image": ["upload"], "confirmed": [str(first)], "refused": [str(second)]}
    page.click("#back")
    wait_for(page, [first], [])
    assert page.ids == joined
    page.driver.back()
    wait_for(page, [], [])
    assert page.ids == plain
    page.driver.forward()
    page.driver.forward()
    wait_for(page, [first], [second])
    page.driver.refresh()
    wait_for(page, [first], [second])
    assert page.ids == decided
    assert [each.get_attribute("aria-label") for each in page.all("#photos .pick")] == ["Edit 2.png"]
    page.one(f"#refused [data-id='{second}']").send_keys(Keys.ENTER)
    wait_for(page, [first], [])
    assert page.ids == joined
    for _ in range(8):  # to the first screen
        if page.one("#start").is_displayed():
            break
        page.driver.back()
        page.until(lambda: page.settled() or page.one("#start").is_displayed())
    assert page.one("#start").is_displayed()
    assert not page.one("#trail").is_displayed()


def test_an_address_is_the_search(page, service):  # noqa: F811
    ids = service.view.snapshot.image_ids.tolist()
    page.driver.get(
        f"{page.address}/?image={ids[4]}@0,0,1,0.5&confirmed={ids[9]}&refused={ids[2]},{ids[3]}&cameras=1&regions=0,1"
    )
    wait_for(page, [ids[9]], [ids[2], ids[3]])
    assert page.ids
    assert not {ids[2], ids[3], ids[4], ids[9]} & set(page.ids)
    assert all("camera 1" in card.text for card in page.all(".card"))
    assert "50%" in page.one("#canvas").get_attribute("aria-label")
    assert [box.is_selected() for box in page.all("#regions input")][:3] == [True, True, False]


def test_an_uploaded_photograph_is_in_no_address(page, files):  # noqa: F811
    page.choose(files[0])
    address = page.driver.current_url
    page.driver.switch_to.new_window("tab")
    try:
        page.driver.get(address)
        page.until(lambda: "Choose it again" in page.one("#query-error").text)
        assert page.one("#start").is_displayed()
    finally:
        page.driver.close()
        page.driver.switch_to.window(page.driver.window_handles[0])


@pytest.mark.parametrize("address", ["?image=zzz", "?image=0", "?confirmed=x,-1&image=", "?image=1@9,9,9,9&regions=a"])
def test_an_address_that_says_nothing_harms_nothing(page, address):  # noqa: F811
    page.driver.get(f"{page.address}/{address}")
    page.until(lambda: "images" in page.one("#stats").text)
    page.until(lambda: page.one("#start").is_displayed() or page.settled() or "region" in page.status)


CATCH = """
window.caught = [];
const make = URL.createObjectURL;
URL.createObjectURL = (what) => { if (!(what instanceof File)) window.caught.push(what); return make.call(URL, what); };
"""
READ = """
const done = arguments[0];
new Response(window.caught[window.caught.length - 1]).text().then(done, (error) => done(String(error)));
"""


def caught(page) -> str:  # noqa: F811
    page.until(lambda: page.driver.execute_script("return window.caught.length") > 0)
    text = page.driver.execute_async_script(READ)
    page.driver.execute_script("window.caught = []")
    return text


def test_a_trail_is_saved_opened_again_and_exported(page, files, tmp_path):  # noqa: F811
    plain = page.choose(files[0])
    page.click(".card:nth-child(1) .confirm")
    wait_for(page, plain[:1], [])
    found = page.ids
    page.driver.execute_script(CATCH)
    page.click("#hand summary")
    page.click("#save")
    (tmp_path / "trail.json").write_text(caught(page), encoding="utf-8")
    saved = json.loads((tmp_path / "trail.json").read_text(encoding="utf-8"))
    assert (saved["format"], [image["image_id"] for image in saved["confirmed"]]) == ("vpmsearch trail", plain[:1])
    page.click("[data-form=csv]")
    lines = caught(page).splitlines()
    assert len(lines) > len(found)
    assert lines[-1].endswith("confirmed")
    page.click("[data-form=html]")
    assert "1 image confirmed, a part of the query" in caught(page)
    page.open()
    page.driver.execute_script("sessionStorage.clear()")
    page.until(lambda: page.one("#start").is_displayed())
    page.one("#trail-file").send_keys(str(tmp_path / "trail.json"))
    wait_for(page, plain[:1], [])
    assert page.ids == found
    (tmp_path / "other.json").write_text('{"format": "something else"}')
    page.one("#trail-file").send_keys(str(tmp_path / "other.json"))
    page.until(lambda: "no trail" in page.one("#query-error").text)
    assert page.ids == found


def test_hits_are_gone_through_one_by_one(page, files):  # noqa: F811
    found = page.choose(files[0])
    page.click(".card:nth-child(1) .open")
    page.until(lambda: page.all("#compare-rows tr"))
    assert not page.one("#compare-previous").is_enabled()
    page.click("#compare-next")
    page.until(lambda: page.one("#compare-title").text == "Rank 2")
    page.one("#compare-title").parent.switch_to.active_element.send_keys(Keys.ARROW_LEFT)
    page.until(lambda: page.one("#compare-title").text == "Rank 1")
    page.click("#compare-refuse")
    page.until(lambda: page.one("#compare-title").text == "Rank 2")
    page.click("#compare-confirm")
    page.until(lambda: page.one("#compare-title").text == "Rank 3")
    page.click("#compare-close")
    wait_for(page, [found[1]], [found[0]])


def test_the_first_screen_explains_itself(page):  # noqa: F811
    assert "Find a person again" in page.one("#start").text
    page.until(lambda: page.driver.execute_script("return document.querySelector('#sample img').naturalWidth") > 0)
    page.click("#sample")
    page.until(lambda: len(page.all("#photos li")) == 1 and page.settled())
    assert not page.one("#start").is_displayed()
    page.click("#photos .remove")
    page.until(lambda: page.one("#start").is_displayed())
    page.click("#examples li:nth-child(3) .chip")
    page.until(lambda: page.settled())


def test_the_own_camera_can_be_left_out(page, files):  # noqa: F811
    page.choose(files[0])
    page.click("#filters summary")
    page.driver.execute_script(
        "const own = document.getElementById('own'); own.value = '2'; own.dispatchEvent(new Event('change'))"
    )
    page.until(lambda: page.settled() and not any("camera 2" in card.text for card in page.all(".card")))
    assert "1 set" in page.driver.execute_script("return document.getElementById('filters-set').textContent")


TOUCHING = """
const seen = (e) => e.checkVisibility({visibilityProperty: true}) && e.getBoundingClientRect().width > 2;
const kinds = 'h1,h2,h3,button,a,select,textarea,canvas,summary,.button,.verdict,.labels span,.file,.card img';
const all = [...document.querySelectorAll(kinds)];
const shown = all.filter((e) => seen(e) && !e.closest('dialog:not([open])') && !e.matches('.skip'));
const boxes = shown.map((e) => e.getBoundingClientRect());
const found = [];
for (let i = 0; i < shown.length; i += 1) for (let j = i + 1; j < shown.length; j += 1) {
  if (shown[i].contains(shown[j]) || shown[j].contains(shown[i])) continue;
  const wide = Math.min(boxes[i].right, boxes[j].right) - Math.max(boxes[i].left, boxes[j].left);
  const high = Math.min(boxes[i].bottom, boxes[j].bottom) - Math.max(boxes[i].top, boxes[j].top);
  if (wide > 1.5 && high > 1.5) found.push([shown[i].outerHTML.slice(0, 120), shown[j].outerHTML.slice(0, 120)]);
}
return found;
"""


@pytest.mark.parametrize("width", [320, 390, 1366, 1920, 2560])
def test_nothing_overflows_or_lies_over_another(page, files, width):  # noqa: F811
    page.width(width, 844 if width < 600 else 900)
    whole = "return document.documentElement.scrollWidth"

    def check(state: str) -> None:
        assert page.driver.execute_script(whole) <= width, state
        assert page.driver.execute_script(TOUCHING) == [], state

    page.until(lambda: page.one("#start").is_displayed())
    check("the first screen")
    plain = page.choose(files[0])
    check("results")
    bottom = page.driver.execute_script("return document.getElementById('status').getBoundingClientRect().bottom")
    assert bottom < 500, "what is said of the results is seen without scrolling"
    page.click(".card:nth-child(1) .confirm")
    wait_for(page, plain[:1], [])
    page.click("#hand summary")
    page.driver.execute_script("document.getElementById('tool').open = document.getElementById('filters').open = true")
    page.driver.execute_script("document.querySelector('.query').style.maxHeight = 'none'")  # it scrolls by itself
    check("everything unfolded")
    assert ("drop it here" in page.one(".drop").text) == (width > 600)


def test_a_swipe_scrolls_and_a_finger_crops_when_asked_to(page, files):  # noqa: F811
    page.width(390, 844)
    touch = "Emulation.setTouchEmulationEnabled"
    page.driver.execute_cdp_cmd(touch, {"enabled": True})
    try:
        page.choose(files[0])
        page.driver.execute_script("document.getElementById('tool').open = true")
        place = (
            "const box = document.getElementById('canvas').getBoundingClientRect();"
            "return [box.left, box.top, box.width, box.height]"
        )

        def drag(dx: float, dy: float) -> None:
            page.driver.execute_script("document.getElementById('canvas').scrollIntoView({block: 'center'})")
            left, top, width, height = page.driver.execute_script(place)
            x, y = left + 0.2 * width, top + 0.7 * height
            send = lambda kind, points: page.driver.execute_cdp_cmd(  # noqa: E731
                "Input.dispatchTouchEvent", {"type": kind, "touchPoints": points}
            )
            send("touchStart", [{"x": x, "y": y}])
            for step in range(1, 11):
                send("touchMove", [{"x": x + dx * width * step / 10, "y": y + dy * height * step / 10}])
            send("touchEnd", [])

        before = page.driver.execute_script(
            "document.getElementById('canvas').scrollIntoView({block: 'center'}); return scrollY"
        )
        drag(0.0, -0.6)
        page.until(lambda: page.driver.execute_script("return scrollY") > before + 20)
        assert "the whole photograph" in page.one("#canvas").get_attribute("aria-label")
        page.click("#crop")
        drag(0.6, -0.5)
        page.until(lambda: "left, top, right, bottom" in page.one("#canvas").get_attribute("aria-label"))
        assert page.one("#crop").get_attribute("aria-pressed") == "false"
    finally:
        page.driver.execute_cdp_cmd(touch, {"enabled": False})


def test_a_part_is_seen_in_the_address(page, tmp_path):  # noqa: F811
    (tmp_path / "7.png").write_bytes(png(picture(7)))
    page.choose(tmp_path / "7.png")
    page.click("[data-part=upper]")
    page.until(lambda: query_of(page).get("image") == ["upload@0,0,1,0.5"] and page.settled())
