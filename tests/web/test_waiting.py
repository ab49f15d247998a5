"""The line of searches: first come first served, who is before whom, what is told, and who goes away."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from types import SimpleNamespace

import httpx2
import pytest
from pydantic import BaseModel
from small_index import serving

from vpmsearch.errors import FeatureError
from vpmsearch.web import endpoints, waiting
from vpmsearch.web.app import SEARCHES_AT_ONCE
from vpmsearch.web.problems import problem_of
from vpmsearch.web.responding import in_turn
from vpmsearch.web.settings import ServeSettings
from vpmsearch.web.waiting import MEDIA_TYPE, Line, Place


class Answer(BaseModel):
    """What a search gives here."""

    value: int


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(waiting, "TICK", 0.01)


class Hold:
    """Work that has begun and is not done before it is let."""

    def __init__(self):
        self.begun, self.free, self.ended = threading.Event(), threading.Event(), threading.Event()

    def __call__(self, place=None):
        if place is not None:
            place.now("searching")
        self.begun.set()
        assert self.free.wait(60)
        self.ended.set()
        return Answer(value=1)


async def run(line, work, place=None):
    """What `work` gives, as an endpoint waits for it."""
    with line.in_line(work, place or Place()) as running:
        return await running


async def until(condition):
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("threads", [1, 3])
def test_first_come_first_served(threads):
    async def main():
        line, places, begun, free = Line(threads), [Place() for _ in range(7)], [], threading.Event()

        def work(number):
            begun.append(number)
            assert free.wait(20)
            return number

        running = []
        for number, place in enumerate(places):
            running.append(asyncio.ensure_future(run(line, lambda number=number: work(number), place)))
            await until(
                lambda: len(begun) == min(threads, len(running)) and len(line._waiting) == len(running) - len(begun)
            )
        assert sorted(begun) == list(range(threads))
        assert [line.before(place) for place in places] == [0] * threads + list(range(7 - threads))
        running[threads + 1].cancel()  # the second of those who wait goes away
        await until(lambda: running[threads + 1].done())
        rest = [place for number, place in enumerate(places) if number not in (*begun, threads + 1)]
        assert [line.before(place) for place in rest] == list(range(6 - threads))
        free.set()
        kept = [task for task in running if not task.cancelled()]
        assert await asyncio.gather(*kept) == [number for number in range(7) if number != threads + 1]
        assert threads > 1 or begun == [number for number in range(7) if number != threads + 1]
        assert not line._waiting
        assert line.before(places[0]) == 0

    asyncio.run(main())


def test_a_quick_search_tells_nothing_but_its_answer(monkeypatch):
    monkeypatch.setattr(waiting, "TICK", 20.0)

    async def main():
        return [json.loads(text) async for text in Line(1).told(lambda place: Answer(value=3), problem_of)]

    assert asyncio.run(main()) == [{"answer": {"value": 3}}]


def test_what_is_told_on_the_way():
    async def main():
        line, free, told = Line(1), [threading.Event(), threading.Event(), threading.Event()], []
        before = [asyncio.ensure_future(run(line, free[0].wait)), asyncio.ensure_future(run(line, free[1].wait))]
        await until(lambda: len(line._waiting) == 1)

        def work(place):
            place.now("searching")
            assert free[2].wait(20)
            return Answer(value=5)

        async for text in line.told(work, problem_of):
            told.append(json.loads(text))
            if "answer" not in told[-1]:
                free[len(told) - 1].set()
        await asyncio.gather(*before)
        return told

    assert asyncio.run(main()) == [{"waiting": 1}, {"waiting": 0}, {"doing": "searching"}, {"answer": {"value": 5}}]


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (FeatureError("no region\n9"), 422, "no region 9"),
        (ZeroDivisionError("a secret"), 500, "a fault of vpmsearch; the server's log shows it"),
    ],
)
def test_errors_have_the_status_they_would_have_had(error, status, text, caplog):
    def work(place):
        raise error

    async def main():
        return [json.loads(line) async for line in Line(1).told(work, problem_of)]

    assert asyncio.run(main()) == [{"error": text, "status": status}]
    assert ("a secret" in caplog.text) == (status == 500)


def test_whoever_goes_away_gives_up_his_place():
    async def main():
        line, hold, worked = Line(1), Hold(), []
        first = asyncio.ensure_future(run(line, hold))
        await until(hold.begun.is_set)
        lines = line.told(lambda place: worked.append(1), problem_of)
        assert json.loads(await anext(lines)) == {"waiting": 0}
        assert len(line._waiting) == 1
        await lines.aclose()
        await until(lambda: not line._waiting)
        hold.free.set()
        await first
        await line.drained()
        assert not worked

    asyncio.run(main())


async def hang_up(line, hold):
    lines = line.told(hold, problem_of)
    async for text in lines:
        if json.loads(text) == {"doing": "searching"}:
            break
    await lines.aclose()


async def cancel(line, hold):
    running = asyncio.ensure_future(run(line, hold))
    await until(hold.begun.is_set)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


@pytest.mark.parametrize("leave", [hang_up, cancel])
def test_what_has_begun_keeps_its_thread_though_nobody_waits_for_it(leave):
    async def main():
        line, hold, next_hold = Line(1), Hold(), Hold()
        next_hold.free.set()
        await leave(line, hold)
        following = asyncio.ensure_future(run(line, lambda: (hold.ended.is_set(), next_hold())[0]))
        await asyncio.sleep(0.1)
        begun = next_hold.begun.is_set()
        hold.free.set()
        assert not begun
        assert await following is True, "it began before the thread was free"

    asyncio.run(main())


def test_nothing_begins_for_one_whose_request_is_cancelled_though_the_loop_has_other_things_to_do():
    async def main():
        line, hold, worked = Line(1), Hold(), []
        first = asyncio.ensure_future(run(line, hold))
        await until(hold.begun.is_set)
        app = SimpleNamespace(state=SimpleNamespace(searching=line))
        request = SimpleNamespace(app=app, headers={}, receive=asyncio.Event().wait)

        async def request_of_uvicorn():
            try:
                await in_turn(request, lambda place: worked.append(1))
            except asyncio.CancelledError:  # it answers 500 in the same breath; only then the loop goes on
                hold.free.set()
                time.sleep(0.2)

        asked = asyncio.ensure_future(request_of_uvicorn())
        await until(lambda: line._waiting)
        asked.cancel()
        await asked
        await first
        await line.drained()
        assert not worked

    asyncio.run(main())


@pytest.mark.parametrize("leave", [hang_up, cancel])
def test_drained_is_when_the_threads_are_done(leave):
    async def main():
        line, hold = Line(2), Hold()
        await leave(line, hold)
        threading.Timer(0.1, hold.free.set).start()
        await line.drained()
        assert hold.ended.is_set()

    asyncio.run(main())


def test_whoever_is_cancelled_at_whatever_moment_never_more_run_at_once():
    threads, lock, running, most = 2, threading.Lock(), [], [0]

    def work():
        with lock:
            running.append(1)
            most[0] = max(most[0], len(running))
        time.sleep(0.002)
        with lock:
            running.pop()
        return True

    async def main():
        line, tasks = Line(threads), []
        for number in range(60):
            tasks.append(asyncio.ensure_future(run(line, work)))
            for _ in range(number % 5):  # before it begins to run, while it waits, between that and its thread, …
                await asyncio.sleep(0)
            if number % 2:
                tasks[number - number % 3].cancel()
            await asyncio.sleep(0.001 * (number % 3))
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert {type(each) for each in ended} == {bool, asyncio.CancelledError}
        both = threading.Barrier(threads)  # all threads are there still
        assert len(await asyncio.gather(*(run(line, lambda: both.wait(20)) for _ in range(threads)))) == threads
        assert not line._waiting
        await line.drained()

    asyncio.run(main())
    assert most[0] <= threads


def test_a_search_for_nobody_stops_at_its_next_step():
    async def main():
        line, hold, steps = Line(1), Hold(), []

        def work(place):
            hold(place)
            steps.append("seen")
            place.now("searching")
            steps.append("searched")

        lines = line.told(work, problem_of)
        assert json.loads(await anext(lines)) == {"doing": "searching"}
        await lines.aclose()
        hold.free.set()
        await line.drained()
        assert steps == ["seen"]

    asyncio.run(main())


def test_the_server_stops_when_the_search_of_one_who_hung_up_is_done(service, photo, monkeypatch):
    hold, search = Hold(), service.search

    def holding(*arguments, **options):
        hold()
        return search(*arguments, **options)

    monkeypatch.setattr(service, "search", holding)
    with serving(service, ServeSettings(port=0)) as address:
        url, headers = f"{address}/api/search", {"Accept": MEDIA_TYPE}
        with httpx2.stream("POST", url, headers=headers, files={"photograph": photo}, timeout=30) as response:
            assert any(json.loads(line) == {"doing": "searching"} for line in response.iter_lines())
        until_idle(address)
        assert hold.begun.is_set()
        assert not hold.ended.is_set()
        threading.Timer(0.3, hold.free.set).start()
    assert hold.ended.is_set()


def test_a_server_that_does_not_stop_fails_its_test(service, monkeypatch):
    hold = Hold()
    monkeypatch.setattr(service, "see_stored", lambda *_: hold())
    monkeypatch.setattr(serving, "SECONDS", 0.1)
    server = serving(service, ServeSettings(port=0))
    asked = httpx2.URL(f"{server.__enter__()}/api/images/1/regions")
    client = HTTPConnection(asked.host, asked.port)
    client.request("GET", asked.path)
    assert hold.begun.wait(20)
    with pytest.raises(AssertionError, match="does not stop"):
        server.__exit__()
    client.close()
    hold.free.set()
    server.thread.join(20)
    assert not server.thread.is_alive()


@pytest.mark.parametrize("kind", ["application/json", MEDIA_TYPE])
def test_whoever_hangs_up_gives_up_his_place_whatever_kind_of_answer_he_asked_for(service, photo, monkeypatch, kind):
    hold, see, seen, searched = Hold(), service.see, [], []

    def holding(*arguments):
        seen.append(1)
        hold()
        return see(*arguments)

    monkeypatch.setattr(service, "see", holding)
    monkeypatch.setattr(service, "search", lambda *arguments, **options: searched.append(1))
    server = serving(service, ServeSettings(port=0))
    with server as address:
        waiting, clients = server.app.state.searching._waiting, []
        asked = httpx2.Request("POST", f"{address}/api/search", headers={"Accept": kind}, files={"photograph": photo})
        for number in range(1, SEARCHES_AT_ONCE + 5):
            clients.append(HTTPConnection(asked.url.host, asked.url.port))
            clients[-1].request("POST", asked.url.path, asked.read(), dict(asked.headers))
            asyncio.run(until(lambda number=number: len(seen) + len(waiting) == number))
        for client in clients:
            client.close()
        try:
            until_idle(address)
            assert not waiting
        finally:
            hold.free.set()
    assert len(seen) == SEARCHES_AT_ONCE, "one began of those who had hung up"
    assert not searched, "what had begun did not stop at its next step"


def test_a_body_that_may_not_be_is_refused_also_where_none_is_read(client_of, service, monkeypatch):
    hold = Hold()
    monkeypatch.setattr(service, "see_stored", lambda *_: hold())
    client = client_of(service, max_upload_bytes=1000)
    answer = client.request("GET", "/api/images/1/regions", content=(b"x" * 1000 for _ in range(2)))
    hold.free.set()
    assert (answer.status_code, list(answer.json())) == (413, ["error"])


def until_idle(address):
    """Until the server knows that whoever asked has hung up."""
    for _ in range(300):
        if "vpmsearch_active_requests 1.0" in httpx2.get(f"{address}/api/metrics").text:
            return
        time.sleep(0.01)
    raise AssertionError("it still answers")


@pytest.mark.parametrize(("path", "data"), [("/api/search", {"limit": "5"}), ("/api/regions", {"box": "0,0,1,0.5"})])
def test_the_api_answers_in_lines_what_it_answers_at_once(client, photo, path, data):
    form = {"files": {"photograph": photo}, "data": data}
    plain = client.post(path, **form).json()
    response = client.post(path, headers={"Accept": MEDIA_TYPE}, **form)
    assert (response.status_code, response.headers["content-type"]) == (200, MEDIA_TYPE)
    assert (response.headers["x-accel-buffering"], response.headers["cache-control"]) == ("no", "no-store")
    told = [json.loads(line) for line in response.text.splitlines()]
    answer = told[-1]["answer"]
    assert {key for line in told[:-1] for key in line} <= {"waiting", "doing"}
    assert answer | {"elapsed_ms": 0} == plain | {"elapsed_ms": 0}


def test_failures_are_counted_whatever_the_kind_of_answer(client, service, photo, monkeypatch, caplog):
    def fails(*arguments, **options):
        raise ZeroDivisionError("a secret")

    monkeypatch.setattr(service, "search", fails)
    for headers in ({}, {"Accept": MEDIA_TYPE}):
        for files in ({"photograph": photo}, {"photograph": b"no image"}):
            response = client.post("/api/search", headers=headers, files=files)
            said = json.loads(response.text.splitlines()[-1])
            assert "a secret" not in said["error"]
            assert said.get("status", response.status_code) == (500 if files["photograph"] == photo else 422)
        client.post("/api/regions", headers=headers, files={"photograph": photo})  # does not fail
        client.get("/api/images/99/regions", headers=headers)
    assert caplog.text.count("ZeroDivisionError: a secret") == 2  # once each
    told = client.get("/api/metrics").text.splitlines()
    counted = [line for line in told if line.startswith("vpmsearch_failed_total") and not line.endswith(" 0.0")]
    assert sorted(counted) == [
        'vpmsearch_failed_total{route="/api/images/{image_id}/regions",status="404"} 2.0',
        'vpmsearch_failed_total{route="/api/search",status="422"} 2.0',
        'vpmsearch_failed_total{route="/api/search",status="500"} 2.0',
    ]


def test_series_of_faults_are_there_before_the_first(client_of, service, photo, monkeypatch):
    client = client_of(service, max_waiting=1)
    at_first = series(client)
    assert {number for name, number in at_first.items() if 'status="5' in name} == {0.0}

    def fails(*arguments, **options):
        raise ZeroDivisionError

    for name in ("search", "see", "see_stored", "picture", "thumbnail"):
        monkeypatch.setattr(service, name, fails)
    monkeypatch.setattr(endpoints, "region_names", fails)  # for /api/stats
    for path in ("/api/stats", *(f"/api/images/1{end}" for end in ("", "/thumbnail", "/regions"))):
        assert client.get(path).status_code == 500
    for path in ("/api/search", "/api/regions"):
        assert client.post(path, files={"photograph": photo}).status_code == 500
    hold = Hold()
    monkeypatch.setattr(service, "see_stored", lambda *_: hold() and fails())
    with ThreadPoolExecutor(1) as other:
        other.submit(client.get, "/api/images/1/regions")
        assert hold.begun.wait(20)
        assert client.get("/api/stats").status_code == 503
        hold.free.set()
    grown = {name for name, number in series(client).items() if 'status="5' in name and number}
    assert len(grown) == 6 + 3 + 1, "three of the six also in vpmsearch_failed_total, and that it was busy"
    assert grown <= set(at_first), "rate() does not see the first of a series that was not there"


def series(client):
    lines = client.get("/api/metrics").text.splitlines()
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if "_total{" in line}


def test_the_api_says_in_lines_what_is_wrong(client, photo):
    headers = {"Accept": MEDIA_TYPE}
    for files, data in (
        ({"photograph": b"no image"}, {}),
        ({"photograph": photo}, {"regions": "tail"}),
        ({}, {"image_id": "99"}),
    ):
        plain = client.post("/api/search", files=files, data=data)
        response = client.post("/api/search", headers=headers, files=files, data=data)
        assert response.status_code == 200
        assert json.loads(response.text.splitlines()[-1]) == {**plain.json(), "status": plain.status_code}
    wrong = client.post("/api/search", headers=headers, files={"photograph": photo}, data={"limit": "0"})
    assert (wrong.status_code, list(wrong.json())) == (422, ["error"]), "what is seen before the search is no stream"


@pytest.mark.parametrize(
    ("path", "method", "answer"),
    [
        ("/api/search", "post", "SearchAnswer"),
        ("/api/regions", "post", "RegionsSeen"),
        ("/api/images/{image_id}/regions", "get", "RegionsSeen"),
    ],
)
def test_the_schema_names_both_kinds_of_answer(client, path, method, answer):
    content = client.get("/api/openapi.json").json()["paths"][path][method]["responses"]["200"]["content"]
    assert set(content) == {"application/json", MEDIA_TYPE}
    assert content["application/json"]["schema"] == {"$ref": f"#/components/schemas/{answer}"}
