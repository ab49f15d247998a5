"""Behind a reverse proxy: whose address counts, and a path in front of all others."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from vpmsearch.errors import DataError
from vpmsearch.web.asking import asker_of, network_of
from vpmsearch.web.sessions import Sessions
from vpmsearch.web.settings import ServeSettings

TOKEN = "0123456789abcdefXYZ"
PROXIES = ("10.0.0.1", "192.168.0.0/16", "fd00::/8")


def address(peer: str, *forwarded: str, proxies: tuple[str, ...] = PROXIES) -> str:
    headers = [(b"x-forwarded-for", each.encode()) for each in forwarded]
    scope = {"type": "http", "method": "GET", "path": "/", "scheme": "http", "headers": headers, "client": (peer, 1)}
    return asker_of(Request(scope), ServeSettings(trusted_proxies=proxies), Sessions()).address


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        ("203.0.113.9", ["198.51.100.1"], "203.0.113.9"),  # no proxy of ours: anybody may write that
        ("10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["1.1.1.1, 198.51.100.1"], "198.51.100.1"),  # the first was written by the client
        ("10.0.0.1", ["198.51.100.1, 192.168.3.4"], "198.51.100.1"),
        ("10.0.0.1", ["198.51.100.1", "192.168.3.4"], "198.51.100.1"),
        ("10.0.0.1", ["198.51.100.1:4711"], "198.51.100.1"),
        ("10.0.0.1", ["[2001:db8::7]:4711"], "2001:db8::7"),
        ("10.0.0.1", ["2001:db8::7"], "2001:db8::7"),
        ("fd00::1", ["198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["198.51.100.1, unknown"], "10.0.0.1"),
        ("10.0.0.1", ["192.168.3.4"], "192.168.3.4"),
        ("10.0.0.1", [""], "10.0.0.1"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("", ["198.51.100.1"], ""),
    ],
)
def test_the_last_address_that_no_proxy_has(peer, forwarded, expected):
    assert address(peer, *forwarded) == expected


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=60))
def test_whatever_is_written_there_it_is_an_address_or_the_proxy(text):
    found = address("10.0.0.1", text)
    assert found == "10.0.0.1" or found in text or ":" in found


def test_of_ipv6_a_network_is_one_client():
    assert network_of("2001:db8::1") == network_of("2001:db8::ffff:1") != network_of("2001:db8:0:1::1")
    assert network_of("::ffff:198.51.100.1") == network_of("198.51.100.1")
    assert network_of("testclient") == "testclient"


def test_clients_behind_a_trusted_proxy_have_allowances_of_their_own(client_of, service):
    client = client_of(service, peer="10.0.0.1", trusted_proxies=PROXIES, searches_a_minute=2)

    def search(client_address: str) -> int:
        headers = {"X-Forwarded-For": client_address}
        return client.post("/api/search", data={"image_id": 1}, headers=headers).status_code

    assert [search("198.51.100.1") for _ in range(3)] == [200, 200, 429]
    assert search("198.51.100.2") == 200
    assert search("198.51.100.3, 198.51.100.1") == 429


@pytest.mark.parametrize("text", ["nothing", "10.0.0.0/99", "", "unix:/run/x"])
def test_what_is_no_proxy(text):
    with pytest.raises(DataError, match="no address of a proxy"):
        ServeSettings(trusted_proxies=(text,))


@pytest.mark.parametrize("text", ["/a b", "/../x", "//evil.example", "/a/./b", "/?x", "/a#b", "/é"])
def test_what_is_no_root_path(text):
    if text == "//evil.example":
        assert ServeSettings(root_path=text).root_path == "/evil.example"
        return
    with pytest.raises(DataError, match="--root-path"):
        ServeSettings(root_path=text)


def test_root_paths_have_one_form():
    assert {ServeSettings(root_path=text).root_path for text in ("people", "/people", "/people/")} == {"/people"}
    assert {ServeSettings(root_path=text).root_path for text in ("", "/")} == {""}


@pytest.mark.parametrize("prefix", ["/deep/people", ""], ids=["kept by the proxy", "taken away by it"])
def test_all_is_below_the_root_path(client_of, service, photo, prefix):
    client = client_of(service, root_path="/deep/people", token=TOKEN)
    headers = {"Authorization": f"Bearer {TOKEN}"}
    assert "<title>vpmsearch" in client.get(f"{prefix}/").text
    assert client.get(f"{prefix}/static/app.js").status_code == 200
    assert client.get(f"{prefix}/api/stats").status_code == 401
    assert client.get(f"{prefix}/api/stats", headers=headers).json()["images"] == 30
    found = client.post(f"{prefix}/api/search", files={"photograph": photo}, headers=headers)
    assert found.status_code == 200
    cookie = client.post(f"{prefix}/api/session", headers=headers).headers["set-cookie"]
    assert "Path=/deep/people;" in cookie
    text = client.get(f"{prefix}/api/metrics", headers=headers).text
    assert 'vpmsearch_requests_total{method="POST",route="/api/search",status="200"} 1.0' in text
    assert client.get("/api/openapi.json", headers=headers).json()["servers"] == [{"url": "/deep/people"}]


def test_the_bare_root_path_leads_to_the_page(client_of, service):
    client = client_of(service, root_path="/people")
    answer = client.get("/people", follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (308, "/people/")
    assert client.get("/peoples").status_code == 404


def test_the_page_names_nothing_by_an_absolute_path(client):
    files = ["/", *(f"/static/{name}" for name in ("app.js", "api.js", "style.css"))]
    for path in files:
        text = client.get(path).text
        for mark in ('"/', "'/", "`/", "(/"):
            assert mark not in text.replace('"/>', "").replace("('/')", ""), (path, mark)


def test_a_name_of_the_proxy_is_taken_where_it_is_told(client_of, service):
    client = client_of(service, host_names=("Search.Example",))
    assert client.get("/api/stats", headers={"Host": "search.example"}).status_code == 200
    assert client.get("/api/stats", headers={"Host": "search.example:8443"}).status_code == 200
    assert client.get("/api/stats", headers={"Host": "other.example"}).status_code == 421
