"""The line of searches: first come first served, who is before whom, what is told, and who goes away."""

from __future__ import annotations

import asyncio
import json
import threading

import pytest
from pydantic import BaseModel

from vpmsearch.errors import FeatureError
from vpmsearch.web import waiting
from vpmsearch.web.problems import problem_of
from vpmsearch.web.waiting import MEDIA_TYPE, Line, Place


class Answer(BaseModel):
    """What a search gives here."""

    value: int


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(waiting, "TICK", 0.01)


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
            running.append(asyncio.ensure_future(line.run(lambda number=number: work(number), place)))
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
        before = [asyncio.ensure_future(line.run(free[0].wait)), asyncio.ensure_future(line.run(free[1].wait))]
        await until(lambda: len(line._waiting) == 1)

        def work(place):
            place.doing = "searching"
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
        line, free, worked = Line(1), threading.Event(), []
        first = asyncio.ensure_future(line.run(free.wait))
        await until(lambda: not line._waiting)
        lines = line.told(lambda place: worked.append(1), problem_of)
        assert json.loads(await anext(lines)) == {"waiting": 0}
        assert len(line._waiting) == 1
        await lines.aclose()
        await until(lambda: not line._waiting)
        free.set()
        await first
        await asyncio.sleep(0.05)
        assert not worked

    asyncio.run(main())


def test_the_api_answers_in_lines_what_it_answers_at_once(client, photo):
    form = {"files": {"photograph": photo}, "data": {"limit": "5"}}
    plain = client.post("/api/search", **form).json()
    response = client.post("/api/search", headers={"Accept": MEDIA_TYPE}, **form)
    assert (response.status_code, response.headers["content-type"]) == (200, MEDIA_TYPE)
    told = [json.loads(line) for line in response.text.splitlines()]
    answer = told[-1]["answer"]
    assert {key for line in told[:-1] for key in line} <= {"waiting", "doing"}
    assert answer | {"elapsed_ms": 0} == plain | {"elapsed_ms": 0}


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


def test_the_schema_names_both_kinds_of_answer(client):
    content = client.get("/api/openapi.json").json()["paths"]["/api/search"]["post"]["responses"]["200"]["content"]
    assert set(content) == {"application/json", MEDIA_TYPE}
    assert content["application/json"]["schema"] == {"$ref": "#/components/schemas/SearchAnswer"}
