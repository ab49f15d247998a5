"""What is refused, and that it is refused before anything is read."""

from __future__ import annotations

import asyncio
import io
from dataclasses import replace

import pytest
from PIL import Image
from small_index import png
from tiny_weights import picture

from vpmsearch.errors import DataError
from vpmsearch.web.allowances import Buckets
from vpmsearch.web.guard import Guard
from vpmsearch.web.metrics import Metrics
from vpmsearch.web.sessions import SECONDS, Sessions
from vpmsearch.web.settings import ServeSettings, is_loopback, new_token

TOKEN = "0123456789abcdefXYZ"


def test_beyond_loopback_a_token_is_needed():
    assert is_loopback("127.0.0.1")
    assert is_loopback("::1")
    assert is_loopback("localhost")
    for host in ("0.0.0.0", "::", "192.168.1.2", "example.org", ""):
        with pytest.raises(DataError, match="needs a token"):
            ServeSettings(host=host)
        assert ServeSettings(host=host, token=new_token())


@pytest.mark.parametrize("token", ["short", "x" * 15, "ü" * 20, "tab\tcharacter of a token"])
def test_weak_tokens(token):
    with pytest.raises(DataError, match="16 ASCII characters"):
        ServeSettings(token=token)


def test_limits_are_positive():
    with pytest.raises(DataError, match="at least 1"):
        ServeSettings(max_waiting=0)


PROTECTED = ["/api/stats", "/api/images/1", "/api/images/1/thumbnail", "/api/images/1/regions", "/api/metrics"]


@pytest.mark.parametrize("path", [*PROTECTED, "/api/openapi.json", "/api/nothing"])
def test_without_the_token_nothing_is_told(asking, path):
    client = asking(TOKEN)
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": TOKEN}, {"Cookie": "vpmsearch_token=x"}):
        answer = client.get(path, headers=headers)
        assert answer.status_code == 401
        assert answer.json() == {"error": "a token is needed"}
        assert answer.headers["www-authenticate"] == "Bearer"
    assert client.get(path, headers={"Authorization": f"Bearer {TOKEN}"}).status_code != 401


def test_search_needs_the_token(asking, photo):
    client = asking(TOKEN)
    files = {"photograph": ("x", photo)}
    assert client.post("/api/search", files=files).status_code == 401
    assert client.post("/api/search", files=files, headers={"Authorization": f"bearer {TOKEN}"}).status_code == 200


def test_the_page_and_health_need_none_and_tell_nothing(client_of, service):
    client = client_of(service, token=TOKEN, refresh_seconds=60)
    assert "<title>vpmsearch</title>" in client.get("/").text
    assert client.get("/static/app.js").status_code == 200
    service.problem = "/secret/place is damaged"
    try:
        told = client.get("/api/health").json()
        assert (told["status"], told["images"], told["problem"]) == ("stale", None, None)
    finally:
        service.problem = ""


def test_the_token_becomes_a_cookie_that_scripts_and_other_sites_do_not_get(client_of, service):
    client = client_of(service, token=TOKEN)
    assert client.post("/api/session", headers={"Authorization": "Bearer wrong"}).status_code == 401
    answer = client.post("/api/session", headers={"Authorization": f"Bearer {TOKEN}"})
    assert answer.status_code == 204
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert TOKEN.lower() not in cookie, "whoever reads the cookie would have the token for ever"
    assert "secure" not in cookie
    assert client.get("/api/stats").status_code == 200
    for name in ("vpmsearch_token", "vpmsearch_session", next(iter(client.cookies))):
        client.cookies.clear()
        assert client.get("/api/stats", headers={"Cookie": f"{name}={TOKEN}"}).status_code == 401


@pytest.mark.parametrize(
    ("settings", "headers", "secure"),
    [
        ({}, {}, False),
        ({}, {"X-Forwarded-Proto": "https"}, False),
        ({"trusted_proxies": ("10.0.0.0/8",)}, {"X-Forwarded-Proto": "https"}, False),
        ({"trusted_proxies": ("192.0.2.0/24",)}, {"X-Forwarded-Proto": "https"}, True),
        ({"trusted_proxies": ("192.0.2.7",)}, {"X-Forwarded-Proto": "http"}, False),
        ({"secure_cookie": True}, {}, True),
        ({}, {"Origin": "https://127.0.0.1"}, True),
        ({}, {"Origin": "http://127.0.0.1"}, False),
    ],
)
def test_the_session_is_secure_behind_tls(client_of, service, settings, headers, secure):
    client = client_of(service, peer="192.0.2.7", token=TOKEN, **settings)
    answer = client.post("/api/session", headers={"Authorization": f"Bearer {TOKEN}", **headers})
    assert answer.status_code == 204
    assert ("secure" in answer.headers["set-cookie"].lower()) == secure


def test_sessions_end():
    now = [0.0]
    sessions = Sessions(lambda: now[0])
    first, second = sessions.begin(), sessions.begin()
    assert first != second
    assert not sessions.is_known("")
    now[0] = SECONDS - 1
    assert sessions.is_known(first)
    now[0] = SECONDS + 1
    assert sessions.is_known(first), "it was used"
    assert not sessions.is_known(second)
    for _ in range(Sessions.KEPT):
        sessions.begin()
    assert not sessions.is_known(first)


def test_other_host_names_are_refused_without_a_token(client_of, service):
    client = client_of(service)
    for host in ("evil.example", "evil.example:8000", "127.0.0.1.evil.example", ""):
        assert client.get("/api/stats", headers={"Host": host}).status_code == 421
    for host in ("localhost", "LOCALHOST:8000", "127.0.0.1:1", "[::1]", "[::1]:8000"):
        assert client.get("/api/stats", headers={"Host": host}).status_code == 200
    assert client_of(service, token=TOKEN).get("/", headers={"Host": "my.server"}).status_code == 200


@pytest.mark.parametrize("site", ["cross-site", "same-site", "anything"])
def test_pages_elsewhere_may_not_ask(asking, site):
    client = asking()
    assert client.get("/api/stats", headers={"Sec-Fetch-Site": site}).status_code == 403
    assert client.get("/api/stats", headers={"Sec-Fetch-Site": "same-origin"}).status_code == 200


@pytest.mark.parametrize(
    ("origin", "host", "status"),
    [
        ("http://evil.example", "my.server", 403),
        ("null", "my.server", 403),
        ("http://my.server:81", "my.server", 403),
        ("http://my.server.evil.example", "my.server", 403),
        ("http://[", "my.server", 403),
        ("http://my.server", "my.server", 200),
        ("https://MY.server", "my.server", 200),
        ("https://my.server:8443", "my.server:8443", 200),
        ("https://my.server", "my.server:443", 200),
        ("https://my.server", "my.server:80", 403),
        (None, "my.server", 200),
    ],
)
def test_where_a_browser_does_not_say_whence_origin_tells(asking, origin, host, status):
    client = asking(TOKEN)
    headers = {"Authorization": f"Bearer {TOKEN}", "Host": host} | ({"Origin": origin} if origin else {})
    assert client.post("/api/search", data={"image_id": 1}, headers=headers).status_code == status
    told = headers | {"Sec-Fetch-Site": "same-origin"}
    assert client.post("/api/search", data={"image_id": 1}, headers=told).status_code == 200


def test_headers_are_on_every_answer(asking):
    client = asking()
    paths = ["/", "/static/app.js", "/api/stats", "/api/nothing", "/api/images/99999", "/nowhere"]
    answers = [client.get(path) for path in paths] + [client.get("/", headers={"Host": "evil"})]
    for answer in answers:
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'")
        assert "unsafe" not in policy
        assert "http" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert "server" not in answer.headers
        assert "access-control-allow-origin" not in answer.headers
    assert client.get("/api/stats").headers["cache-control"] == "no-store"


def test_a_large_upload_is_refused_whether_it_says_so_or_not(client_of, service):
    client = client_of(service, max_upload_bytes=10_000)
    large = b"x" * 20_000
    told = client.post("/api/search", files={"photograph": ("x", large)})
    assert (told.status_code, told.json()["error"]) == (413, "an upload may have 0.00953674 MiB at most")

    def chunks():
        yield b'--b\r\nContent-Disposition: form-data; name="photograph"; filename="x"\r\n\r\n'
        for _ in range(20):
            yield b"x" * 1000

    kind = {"Content-Type": "multipart/form-data; boundary=b"}
    untold = client.post("/api/search", content=chunks(), headers=kind)
    assert untold.status_code == 413
    for length in ("-1", "1e9", "9" * 400):
        answer = client.post("/api/search", content=b"", headers=kind | {"Content-Length": length})
        assert answer.status_code == 413


def test_a_flood_is_told_when_to_come_back(client_of, service):
    client = client_of(service, searches_a_minute=3)
    answers = [client.post("/api/search", data={"image_id": 1}) for _ in range(5)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 21
    assert client.get("/api/stats").status_code == 200  # its own bucket
    assert [client.get("/api/stats").status_code for _ in range(40)].count(429) > 5
    assert client.get("/api/health").status_code == 200


def test_who_has_no_token_locks_nobody_out(client_of, service):
    """All come from one address, as from behind a proxy."""
    client = client_of(service, token=TOKEN, searches_a_minute=3)
    guesses = [client.post("/api/session", headers={"Authorization": "Bearer a-guess-at-the-token"}) for _ in range(9)]
    assert [answer.status_code for answer in guesses] == [401] * 3 + [429] * 6
    assert client.get("/api/stats").status_code == 429
    right = {"Authorization": f"Bearer {TOKEN}"}
    searches = [client.post("/api/search", data={"image_id": 1}, headers=right).status_code for _ in range(5)]
    assert searches == [200] * 3 + [429] * 2
    assert client.post("/api/session", headers=right).status_code == 204
    in_session = [client.post("/api/search", data={"image_id": 1}).status_code for _ in range(5)]
    assert in_session == [200] * 3 + [429] * 2, "another browser, with an allowance of its own"


def test_a_look_at_an_image_of_the_index_counts_as_a_search(client_of, service):
    client = client_of(service, searches_a_minute=4)
    looks = [client.get("/api/images/1/regions", params={"box": f"0,0,1,0.{i}"}).status_code for i in range(5, 9)]
    assert looks == [200] * 4
    assert client.get("/api/images/1/regions").status_code == 429
    assert client.head("/api/images/1/regions").status_code == 429
    assert client.post("/api/search", data={"image_id": 1}).status_code == 429
    assert client.get("/api/images/1/thumbnail").status_code == 200


def test_buckets_refill_evenly_and_forget_clients():
    buckets = Buckets(60)
    assert [buckets.wait("a", 0.0) for _ in range(60)] == [0.0] * 60
    assert buckets.wait("a", 0.0) == pytest.approx(1)
    assert buckets.wait("a", 0.5) == pytest.approx(0.5)
    assert buckets.wait("b", 0.5) == 0
    assert buckets.wait("a", 1.0) == 0
    for i in range(3 * Buckets.KEPT):
        buckets.wait(str(i), 2.0)
    assert len(buckets._levels) == Buckets.KEPT


def scope_of(path="/api/health", **headers):
    pairs = [(b"host", b"127.0.0.1")] + [(k.encode(), v.encode()) for k, v in headers.items()]
    return {"type": "http", "method": "GET", "path": path, "headers": pairs, "query_string": b"", "client": ("x", 1)}


def run_guard(app, receive, settings: ServeSettings) -> list[dict]:
    sent = []

    async def send(message):
        sent.append(message)

    asyncio.run(Guard(app, settings, Metrics())(scope_of(), receive, send))
    return sent


def test_a_slow_body_is_cut_off():
    async def app(scope, receive, send):
        await receive()

    async def never():
        await asyncio.sleep(60)

    sent = run_guard(app, never, replace(ServeSettings(), body_seconds=0.05))
    assert sent[0]["status"] in (408, 500)  # 408 once the application's handlers stand between


def test_a_fault_is_one_line_of_json_and_no_traceback(caplog):
    async def app(scope, receive, send):
        raise RuntimeError("secret")

    async def receive():
        return {"type": "http.request", "body": b""}

    sent = run_guard(app, receive, ServeSettings())
    assert sent[0]["status"] == 500
    assert b"secret" not in sent[1]["body"]
    assert "secret" in caplog.text


def test_too_many_at_once_are_told_to_come_back():
    inside = asyncio.Event()
    statuses = []

    async def app(scope, receive, send):
        inside.set()
        await asyncio.sleep(0.2)
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def receive():
        return {"type": "http.request", "body": b""}

    async def send(message):
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    async def both():
        guard = Guard(app, replace(ServeSettings(), max_waiting=1), Metrics())
        first = asyncio.create_task(guard(scope_of(), receive, send))
        await inside.wait()
        await guard(scope_of(), receive, send)
        await first
        await guard(scope_of(), receive, send)

    asyncio.run(both())
    assert statuses == [503, 200, 200]


# Only what was indexed is shown ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "/api/images/../../etc/passwd",
        "/api/images/%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "/api/images//etc/passwd",
        "/api/images/1%00/thumbnail",
        "/static/../app.py",
        "/static/%2e%2e/app.py",
        "/static/..%2fapp.py",
        "/static//etc/passwd",
        "/api/images/-1",
        "/api/images/1e3",
        "/api/images/9223372036854775808",
    ],
)
def test_no_path_from_outside(asking, path):
    client = asking()
    answer = client.get(path)
    assert answer.status_code in (404, 422)
    assert "root:" not in answer.text
    assert "import" not in answer.text


def test_a_file_that_has_changed_is_not_shown(own_service, client_of, tmp_path):
    client = client_of(own_service)
    image_id = int(own_service.view.snapshot.image_ids[0])
    other = tmp_path / "gallery" / "000.png"
    secret = tmp_path / "secret.png"
    Image.new("RGB", (32, 64), "red").save(secret)
    for change in ("replaced", "linked", "gone"):
        other.unlink(missing_ok=True)
        if change == "replaced":
            other.write_bytes(secret.read_bytes())
        elif change == "linked":
            other.symlink_to(secret)
        for path in ("", "/thumbnail", "/regions"):
            answer = client.get(f"/api/images/{image_id}{path}")
            assert answer.status_code == 404
            assert "cannot be shown" in answer.json()["error"]
    other.unlink(missing_ok=True)
    picture(0).save(other)  # as it was
    assert client.get(f"/api/images/{image_id}").status_code == 200


def test_metadata_of_a_file_is_not_served(extractor, tmp_path, client_of):
    from small_index import labelled

    from vpmsearch.indexing.indexer import index_gallery
    from vpmsearch.store import GalleryStore
    from vpmsearch.web.service import SearchService

    exif = Image.Exif()
    exif[0x010E] = "where I live"
    path = tmp_path / "tagged.jpg"
    picture(0).save(path, exif=exif)
    assert b"where I live" in path.read_bytes()
    with GalleryStore.create(tmp_path / "index", extractor.weights.info) as store:
        index_gallery(store, extractor, labelled([path]))
        client = client_of(SearchService(store, extractor, max_pixels=10**6))
        shown = client.get(f"/api/images/{store.snapshot.image_ids[0]}")
        assert shown.status_code == 200
        assert b"where I live" not in shown.content
        assert not Image.open(io.BytesIO(shown.content)).getexif()


def test_an_upload_is_not_kept_on_disk(client, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert client.post("/api/search", files={"photograph": ("../../x.png", png(picture(1)))}).status_code == 200
    assert list(tmp_path.iterdir()) == []
