"""`serve` as a process: where it listens, how it stops, and two hundred searches at once."""

from __future__ import annotations

import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("fastapi", reason="the extra [web] is not installed")
pytest.importorskip("httpx2")

import httpx2 as httpx

from vpmsearch.errors import DataError
from vpmsearch.web import running
from vpmsearch.web.app import SEARCHES_AT_ONCE, create_app
from vpmsearch.web.settings import ServeSettings

TOKEN = "a-token-of-the-environment"


@contextmanager
def server(index: Path, *arguments: str, **environment: str) -> Iterator[tuple[subprocess.Popen, str]]:
    """The process and the address it printed."""
    command = [sys.executable, "-m", "vpmsearch", "serve", "--index", str(index), "--port", "0", *arguments]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | environment
    )
    try:
        address = process.stdout.readline().strip()
        assert address, process.stderr.read()
        yield process, address
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def until_healthy(address: str) -> None:
    for _ in range(600):
        try:
            assert httpx.get(f"{address}api/health").status_code == 200
            return
        except httpx.TransportError:
            time.sleep(0.1)
    raise AssertionError("it does not answer")


def until_refused(address: str) -> None:
    """Until it has heard that it is to stop."""
    for _ in range(600):
        try:
            httpx.get(f"{address}api/health")
        except httpx.ConnectError:
            return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    raise AssertionError("it listens still")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--host", "no.such.host.invalid"), "cannot listen at no.such.host.invalid"),
        (("--index", "nowhere"), "nowhere"),
        (("--token-file", "nothing"), "No such file"),
        (("--detector", "missing.onnx"), "the detector missing.onnx cannot be read"),
    ],
)
def test_what_cannot_be_served(cli, index: Path, monkeypatch, arguments, message):
    monkeypatch.delenv("VPMSEARCH_TOKEN", raising=False)
    assert message in cli("serve", "--index", index, *arguments, code=1).error


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "is empty"), (b" \n\n", "is empty"), (b"\xff\xfe\x00", "other data"), (b"x" * 20_000, "more than 10000")],
)
def test_a_token_file_without_a_token_is_refused(cli, index: Path, tmp_path: Path, content: bytes, message: str):
    """It would serve without any token."""
    (tmp_path / "token").write_bytes(content)
    assert message in cli("serve", "--index", index, "--token-file", tmp_path / "token", code=1).error


def test_an_empty_token_of_the_environment_is_refused(cli, index: Path, monkeypatch):
    monkeypatch.setenv("VPMSEARCH_TOKEN", " ")
    assert "$VPMSEARCH_TOKEN is set and empty" in cli("serve", "--index", index, code=1).error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--root-path", "/a b"), "no path for --root-path"),
        (("--trusted-proxy", "nginx"), "no address of a proxy"),
    ],
)
def test_options_for_a_proxy_that_cannot_be_meant(cli, index: Path, arguments, message):
    assert message in " ".join(cli("serve", "--index", index, *arguments, code=2).stderr.split())


def test_a_log_in_a_folder_that_is_not_there_is_refused(cli, index: Path):
    assert "nowhere/log" in cli("serve", "--index", index, "--log", "nowhere/log", code=1).error


def test_a_short_token_is_refused(cli, index: Path, tmp_path: Path):
    (tmp_path / "token").write_text("short\n")
    assert "16 ASCII characters" in cli("serve", "--index", index, "--token-file", "token", code=1).error


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_finishes_what_it_began_and_exits_0(common_index: Path, gallery: Path, number: signal.Signals):
    photograph = (gallery / "a" / "000.png").read_bytes()
    begun, signalled = threading.Event(), threading.Event()

    def in_two_parts(body: bytes) -> Iterator[bytes]:
        yield body[:100]
        begun.set()
        assert signalled.wait(30)
        yield body[100:]

    with server(common_index) as (process, address), ThreadPoolExecutor(1) as pool:
        until_healthy(address)
        whole = httpx.Request("POST", f"{address}api/search", files={"photograph": photograph})
        content, headers = in_two_parts(whole.read()), {"Content-Type": whole.headers["Content-Type"]}
        asked = pool.submit(httpx.post, whole.url, content=content, headers=headers, timeout=60)
        assert begun.wait(30)
        until_healthy(address)  # so the server has looked at what was sent before this
        process.send_signal(number)
        time.sleep(0.2)
        signalled.set()
        assert process.wait(30) == 0
        assert asked.result().status_code == 200
        assert process.stderr.read().endswith("stopped\n")


@pytest.mark.parametrize("kind", ["application/json", "application/x-ndjson"])
@pytest.mark.parametrize("again", [True, False], ids=["a second Ctrl-C", "too long"])
def test_what_is_given_up_shows_no_traceback_and_what_has_begun_is_waited_for(monkeypatch, capsys, again, kind):
    begun, free, ended, told = threading.Semaphore(0), threading.Event(), [], []

    def hold(*_: object) -> None:
        begun.release()
        assert free.wait(60)
        ended.append(1)

    def ask(address: str) -> None:
        try:
            told.append(httpx.get(f"{address}api/images/1/regions", headers={"Accept": kind}, timeout=60).status_code)
        except httpx.RemoteProtocolError as error:
            told.append(str(error))

    def use(address: str) -> None:
        with ThreadPoolExecutor(SEARCHES_AT_ONCE + 2) as clients:
            until_healthy(address)
            asked = [clients.submit(ask, address) for _ in range(SEARCHES_AT_ONCE + 2)]
            assert all(begun.acquire(timeout=30) for _ in range(SEARCHES_AT_ONCE))
            for _ in range(600):  # who comes after the signal is refused
                if len(app.state.searching._waiting) == 2:
                    break
                time.sleep(0.05)
            os.kill(os.getpid(), signal.SIGINT)
            if again:
                until_refused(address)  # two signals that come together are one
                os.kill(os.getpid(), signal.SIGINT)
            try:
                for each in asked:
                    each.result()
            finally:
                free.set()

    view, extractor = SimpleNamespace(images=1), SimpleNamespace(device="cpu")
    seen = SimpleNamespace(view=view, extractor=extractor, problem="", refresh=lambda: False, see_stored=hold)
    settings, used = ServeSettings(port=0), []
    app = create_app(seen, settings)
    monkeypatch.setattr(running, "STOP_SECONDS", 60 if again else 1)
    with ThreadPoolExecutor(1) as person:
        before = signal.signal(signal.SIGINT, lambda *_: None)  # should a signal come late
        try:
            running.run(app, settings, lambda address: used.append(person.submit(use, address)))
        finally:
            free.set()
            signal.signal(signal.SIGINT, before)
        if used[0].done():
            used[0].result()
        assert len(ended) == SEARCHES_AT_ONCE, "the index would be closed under a search, or one began for nobody"
        used[0].result()
    assert len(told) == SEARCHES_AT_ONCE + 2
    assert all(each == 500 if kind == "application/json" else "incomplete" in str(each) for each in told)
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.slow
def test_beyond_loopback_a_token_is_made(common_index: Path):
    with server(common_index, "--host", "0.0.0.0") as (_, address):
        base, _, token = address.partition("#token=")
        assert len(token) == 43
        assert "0.0.0.0" not in base, "no address that a browser can open"
        until_healthy(base)
        assert httpx.get(f"{base}api/stats").status_code == 401
        assert httpx.get(f"{base}api/stats", headers={"Authorization": f"Bearer {token}"}).status_code == 200


@pytest.mark.slow
def test_the_token_of_the_environment(common_index: Path):
    with server(common_index, VPMSEARCH_TOKEN=TOKEN) as (_, address):
        assert address.endswith(f"#token={TOKEN}")


@pytest.mark.slow
def test_a_token_on_this_machine_by_choice_and_a_log(common_index: Path, tmp_path: Path):
    log = tmp_path / "access.jsonl"
    with server(common_index, "--require-token", "--log", str(log), "--root-path", "people") as (_, address):
        base, _, token = address.partition("#token=")
        assert len(token) == 43
        assert base.endswith("/people/")
        until_healthy(base)
        assert httpx.get(f"{base}api/stats").status_code == 401
        assert httpx.get(f"{base}api/stats", headers={"Authorization": f"Bearer {token}"}).status_code == 200
        for _ in range(600):  # a line is written after its answer
            if len(log.read_text("utf-8").splitlines()) == 3:
                break
            time.sleep(0.1)
    told = [json.loads(line) for line in log.read_text("utf-8").splitlines()]
    assert [(line["path"], line["status"]) for line in told] == [
        ("/api/health", 200), ("/api/stats", 401), ("/api/stats", 200),
    ]  # fmt: skip


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "::", "::1"])
def test_the_address_that_is_told_works(host: str):
    settings = ServeSettings(host=host, port=0, token="" if host in ("127.0.0.1", "::1") else TOKEN)
    try:
        listening = running.listening(settings)
    except DataError:
        pytest.skip("no IPv6 here")
    with listening:
        listening.listen()
        address = running.address_of(settings, listening)
        url = httpx.URL(address)
        assert url.host not in ("0.0.0.0", "::")
        assert url.port == listening.getsockname()[1]
        with socket.create_connection((url.host, url.port), timeout=10):
            pass


@pytest.mark.slow
def test_two_hundred_searches_at_once(common_index: Path, gallery: Path, record_property):
    """None fails, and health is answered in between."""
    photographs = [path.read_bytes() for path in sorted(gallery.rglob("*.png"))]
    with server(common_index) as (_, address):
        until_healthy(address)

        def ask(i: int) -> tuple[int, float, int]:
            start = time.perf_counter()
            box = f"0,0,1,{0.5 + i / 1000}"  # each another part: nothing comes from the cache
            files, data = {"photograph": photographs[i % len(photographs)]}, {"box": box}
            answer = httpx.post(f"{address}api/search", files=files, data=data, timeout=120)
            return answer.status_code, time.perf_counter() - start, len(answer.json()["matches"])

        with ThreadPoolExecutor(200) as pool:
            asked = [pool.submit(ask, i) for i in range(200)]
            start = time.perf_counter()
            assert httpx.get(f"{address}api/health", timeout=30).status_code == 200
            healthy = time.perf_counter() - start
            found = [each.result() for each in asked]
        assert [status for status, _, _ in found] == [200] * 200
        assert all(count > 0 for _, _, count in found)
        p95 = statistics.quantiles([seconds for _, seconds, _ in found], n=20)[-1]
        record_property("p95_seconds", p95)
        print(json.dumps({"searches": 200, "failures": 0, "p95_s": round(p95, 2), "health_s": round(healthy, 2)}))
