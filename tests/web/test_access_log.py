"""A line a request, with what is needed to follow one and nothing that is private."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from vpmsearch.web.access_log import AccessLog
from vpmsearch.web.waiting import MEDIA_TYPE

TOKEN = "0123456789abcdefXYZ"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "access.jsonl"


@pytest.fixture
def log(file: Path) -> Iterator[AccessLog]:
    with closing(AccessLog(str(file))) as made:
        yield made


def lines(file: Path) -> list[dict]:
    return [json.loads(line) for line in file.read_text("utf-8").splitlines()]


def test_each_request_is_a_line(client_of, service, photo, file, log):
    client = client_of(service, log=log, peer="10.0.0.1", token=TOKEN, trusted_proxies=("10.0.0.1",))
    headers = {"Authorization": f"Bearer {TOKEN}", "X-Forwarded-For": "198.51.100.1"}
    form = {"prefix": "a-private-prefix", "regions": "head"}
    answers = [
        client.get("/"),
        client.get("/api/stats"),
        client.post("/api/search", files={"photograph": photo}, data=form, headers=headers),
        client.head("/api/images/2/thumbnail", headers=headers),
        client.post("/api/search", data={"image_id": "99"}, headers=headers | {"Accept": MEDIA_TYPE}),
    ]
    told = lines(file)
    assert [line["status"] for line in told] == [answer.status_code for answer in answers] == [200, 401, 200, 200, 200]
    assert [line["method"] for line in told] == ["GET", "GET", "POST", "HEAD", "POST"]
    assert [line["path"] for line in told][1:4] == ["/api/stats", "/api/search", "/api/images/2/thumbnail"]
    assert [line["client"] for line in told] == ["10.0.0.1"] * 2 + ["198.51.100.1"] * 3
    assert [line.get("failed") for line in told] == [None] * 4 + [404], "its answer had begun"
    assert [line["request"] for line in told] == [answer.headers["x-request-id"] for answer in answers]
    assert len({line["request"] for line in told}) == 5
    assert [line["bytes"] for line in told] == [len(answer.content) for answer in answers]
    assert all(0 <= line["ms"] < 60_000 for line in told)
    now = datetime.now(UTC)
    assert all(now - timedelta(minutes=5) < datetime.fromisoformat(line["time"]) <= now for line in told)
    text = file.read_text("utf-8")
    assert TOKEN not in text
    assert "private" not in text


def test_a_fault_is_found_in_the_log_by_its_number(client_of, service, file, log, monkeypatch, caplog):
    def fails(*_: object) -> bytes:
        raise ZeroDivisionError("a secret")

    monkeypatch.setattr(service, "picture", fails)
    answer = client_of(service, log=log).get("/api/images/1")
    assert answer.status_code == 500
    assert answer.headers["x-request-id"] in answer.json()["error"]
    assert f"(request {answer.headers['x-request-id']})" in caplog.text
    assert lines(file)[0]["status"] == 500


def test_hostile_paths_stay_one_line(client_of, service, file, log):
    client = client_of(service, log=log)
    client.get("/api/%0A%7B%22status%22:200%7D%E2%80%A8%1b[31m")
    text = file.read_bytes()
    assert text.count(b"\n") == 1
    assert text.isascii()
    assert b"\x1b" not in text
    assert lines(file)[0]["status"] == 404


def test_a_log_that_was_moved_away_is_begun_anew(file, log):
    log.write(number=1)
    file.rename(file.with_suffix(".1"))
    log.write(number=2)
    log.close()
    assert [line["number"] for line in lines(file)] == [2]
    again = AccessLog(str(file))
    again.write(number=3)
    again.close()
    assert [line["number"] for line in lines(file)] == [2, 3]


def test_a_full_disk_is_told_once_and_serving_goes_on(client_of, service, caplog):
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full")
    with caplog.at_level(logging.ERROR), closing(AccessLog("/dev/full")) as full:
        client = client_of(service, log=full)
        assert [client.get("/api/stats").status_code for _ in range(3)] == [200] * 3
    assert caplog.text.count("lines are lost") == 1


def test_a_place_that_cannot_be_written_is_known_at_the_start(tmp_path):
    with pytest.raises(OSError, match="No such file"):
        AccessLog(str(tmp_path / "nowhere" / "access.jsonl"))


def test_to_stderr(capsys):
    log = AccessLog("-")
    log.write(number=1, nothing=None)
    told = json.loads(capsys.readouterr().err)
    assert told["number"] == 1
    assert "nothing" not in told
