"""The examples of docs/web.md, run: nginx and Caddy with TLS and a path in front of a real server."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx2
import numpy as np
import pytest
from PIL import Image
from small_index import png, serving
from tiny_weights import picture

from vpmsearch.web.access_log import AccessLog
from vpmsearch.web.settings import ServeSettings
from vpmsearch.web.waiting import MEDIA_TYPE

DOCUMENT = Path(__file__).parents[2] / "docs" / "web.md"
TOKEN = "0123456789abcdefXYZ"
HEADERS = {"Authorization": f"Bearer {TOKEN}"}
OTHER_ADDRESS = "127.0.0.2"
"""A client that is not the proxy itself."""


def program(name: str) -> str:
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if found is None:
        pytest.skip(f"no {name}")
    return found


def example(kind: str) -> str:
    """A block of the documentation."""
    found = re.search(rf"```{kind}\n(.*?)```", DOCUMENT.read_text("utf-8"), re.DOTALL)
    assert found is not None
    return found[1]


def replaced(text: str, *pairs: tuple[str, str]) -> str:
    for old, new in pairs:
        assert old in text, old
        text = text.replace(old, new)
    return text


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return found.getsockname()[1]


def certificate(folder: Path) -> tuple[Path, Path]:
    key, certified = folder / "key.pem", folder / "cert.pem"
    subprocess.run(
        [program("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-keyout", key, "-out", certified, "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost"],
        check=True, capture_output=True,
    )  # fmt: skip
    return certified, key


def nginx(folder: Path, port: int, upstream: str) -> list[str]:
    certified, key = certificate(folder)
    server = replaced(
        example("nginx"),
        ("listen 443 ssl", f"listen 127.0.0.1:{port} ssl"),
        ("search.example.org;", "localhost;"),
        ("/etc/ssl/search.example.org.pem", str(certified)),
        ("/etc/ssl/search.example.org.key", str(key)),
        ("127.0.0.1:8000", upstream),
    )
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    places = "".join(f"{kind}_temp_path {folder / kind};\n" for kind in kinds)
    head = f"daemon off; pid {folder / 'pid'}; error_log {folder / 'error.log'}; {'user root;' * (os.geteuid() == 0)}\n"
    (folder / "nginx.conf").write_text(f"{head}events {{}}\nhttp {{\naccess_log off;\n{places}{server}}}\n")
    return [program("nginx"), "-p", str(folder), "-e", str(folder / "error.log"), "-c", str(folder / "nginx.conf")]


def caddy(folder: Path, port: int, upstream: str) -> list[str]:
    certified, key = certificate(folder)
    site = replaced(
        example("caddy"),
        ("search.example.org {", f"localhost:{port} {{\n    bind 127.0.0.1\n    tls {certified} {key}"),
        ("127.0.0.1:8000", upstream),
    )
    (folder / "Caddyfile").write_text(f"{{\n    admin off\n    auto_https disable_redirects\n}}\n{site}")
    return [program("caddy"), "run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"]


class Proxy:
    """address: of the page, by the proxy. log: the server's access log."""

    def __init__(self, address: str, trusted: ssl.SSLContext, log: Path) -> None:
        self.address, self.trusted, self.log = address, trusted, log

    def client(self, **options: object) -> httpx2.Client:
        transport = httpx2.HTTPTransport(verify=self.trusted, local_address=OTHER_ADDRESS)
        return httpx2.Client(base_url=self.address, transport=transport, timeout=60, **options)

    def lines(self) -> list[dict]:
        return [json.loads(line) for line in self.log.read_text("utf-8").splitlines()]


@contextmanager
def running(command: list[str], folder: Path, port: int) -> Iterator[None]:
    environment = os.environ | {"HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    with (folder / "output").open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=environment)
    try:
        for _ in range(600):
            assert process.poll() is None, (folder / "output").read_text() + (folder / "error.log").read_text()
            with closing(socket.socket()) as trying:
                if trying.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture(params=[nginx, caddy], ids=["nginx", "caddy"])
def proxy(request: pytest.FixtureRequest, tmp_path: Path, service) -> Iterator[Proxy]:
    port, log = free_port(), tmp_path / "access.jsonl"
    settings = ServeSettings(port=0, token=TOKEN, root_path="/people", trusted_proxies=("127.0.0.1",))
    with closing(AccessLog(str(log))) as written, serving(service, settings, written) as address:
        command = request.param(tmp_path, port, address.removeprefix("http://"))
        with running(command, tmp_path, port):
            trusted = ssl.create_default_context(cafile=tmp_path / "cert.pem")
            yield Proxy(f"https://localhost:{port}", trusted, log)


def test_the_server_behind_a_proxy(proxy: Proxy, service, monkeypatch):
    with proxy.client() as client:
        bare = client.get("/people")
        assert (bare.status_code, bare.headers["location"].removeprefix(proxy.address)) == (308, "/people/")
        assert "<title>vpmsearch" in client.get("/people/").text
        assert client.get("/people/static/app.js").status_code == 200
        assert client.head("/people/api/health").status_code == 200
        assert client.get("/people/api/stats").status_code == 401

        page = {"Origin": proxy.address}  # of a browser that does not send Sec-Fetch-Site
        begun = client.post("/people/api/session", headers=HEADERS | page)
        cookie = begun.headers["set-cookie"]
        assert "Secure" in cookie
        assert "Path=/people;" in cookie
        assert client.get("/people/api/stats").status_code == 200, "by the cookie, over TLS"
        found = client.post("/people/api/search", files={"photograph": png(picture(2))}, headers=page)
        assert found.json()["matches"][0]["path"] == "002.png"
        elsewhere = {"Origin": "https://evil.example"}
        assert client.post("/people/api/search", data={"image_id": 1}, headers=elsewhere).status_code == 403

        client.get("/people/api/images/1", headers={"X-Forwarded-For": "198.51.100.66"})
        time.sleep(0.1)
        assert {line["client"] for line in proxy.lines()} == {OTHER_ADDRESS}, "not the proxy, nor what was made up"

    noise = np.random.default_rng(0).integers(0, 256, (1000, 990, 3), np.uint8)
    large = png(Image.fromarray(noise))
    assert len(large) > 2 * 2**20
    with proxy.client(headers=HEADERS) as client:
        assert client.post("/people/api/search", files={"photograph": large}).status_code == 200
        _lines_come_one_by_one(client, service, monkeypatch)
    with proxy.client(headers=HEADERS) as client:
        refused = client.post("/people/api/search", files={"photograph": b"x" * (33 * 2**20)})
        assert refused.status_code == 413


def _lines_come_one_by_one(client: httpx2.Client, service, monkeypatch: pytest.MonkeyPatch) -> None:
    search, heard = service.search, threading.Event()

    def holding(*arguments: object, **options: object) -> object:
        assert heard.wait(60), "the proxy keeps the lines back"
        return search(*arguments, **options)

    monkeypatch.setattr(service, "search", holding)
    accepts = {"Accept": MEDIA_TYPE}
    with client.stream("POST", "/people/api/search", data={"image_id": "1"}, headers=accepts) as answer:
        told = answer.iter_lines()
        assert json.loads(next(told)) == {"doing": "searching"}
        heard.set()
        assert "answer" in json.loads(list(told)[-1])
