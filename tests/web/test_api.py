"""The endpoints: the same answers as the engine's, and an error that says what is wrong."""

from __future__ import annotations

import io
import math
import re
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from PIL import Image
from small_index import IMAGES, START, jpeg, png
from tiny_weights import picture

from vpmsearch.data.images import decode_image
from vpmsearch.errors import DataError, FeatureError, StoreError
from vpmsearch.search.engine import SearchEngine
from vpmsearch.search.queries import only_regions, together
from vpmsearch.search.verdict import Calibration
from vpmsearch.types import RegionFeatures, SearchFilter


def upload(*photographs: bytes) -> list:
    return [("photograph", ("x.png", data)) for data in photographs]


def ask(client, *photographs: bytes, code: int = 200, **fields) -> dict:
    answer = client.post("/api/search", files=upload(*photographs) or None, data=fields)
    assert answer.status_code == code, answer.text
    return answer.json()


def ids(answer: dict) -> list[int]:
    return [match["image_id"] for match in answer["matches"]]


def features_of(service, data: bytes) -> RegionFeatures:
    return service.extractor.extract_images([decode_image(data)])


@pytest.fixture
def client(asking):
    return asking()


def test_an_upload_is_ranked_as_the_engine_ranks_it(client, service, photo):
    answer = ask(client, photo, limit=10)
    result = SearchEngine(service.store).search(features_of(service, photo), 10)[0]
    assert ids(answer) == [match.image_id for match in result.matches]
    assert (answer["depth"], answer["complete"], answer["bound_closed"]) == (result.depth, True, True)
    first = answer["matches"][0]
    assert first["path"].endswith("002.png")
    assert (first["pid"], first["camid"], first["width"], first["height"]) == (3, 3, 32, 64)
    assert first["captured_at"] == "2024-05-01T02:00:00Z"
    for match in answer["matches"]:
        total = sum(part["weight"] for part in match["regions"])
        mean = sum(part["weight"] * part["distance"] for part in match["regions"]) / total
        assert math.isclose(mean, match["distance"], rel_tol=1e-4, abs_tol=1e-5)
        assert math.isclose(sum(part["share"] for part in match["regions"]), 1, rel_tol=1e-6)
    assert [part["name"] for part in answer["query_regions"]] == ["head", "torso", "torso", "legs", "legs", "legs"]
    assert sum(part["visibility"] for part in answer["query_regions"]) == pytest.approx(1, abs=1e-5)


def test_an_image_of_the_index_is_nearest_to_itself(client, service):
    for image_id in service.view.snapshot.image_ids[:3].tolist():
        first = ask(client, image_id=image_id)["matches"][0]
        assert first["image_id"] == image_id
        assert first["distance"] == pytest.approx(0, abs=1e-6)


def test_the_query_itself_is_no_match_and_can_be_left_out(client, service, photo):
    """`photo` is the third picture of the index: its own file, or searched on from, or cut from it."""
    image_id = int(service.view.snapshot.image_ids[2])
    cut = {"cut_from": image_id, "box": "0,0,1,0.5"}
    everything = ask(client, photo, limit=IMAGES)
    assert [match["itself"] for match in everything["matches"]] == [True] + [False] * (len(ids(everything)) - 1)
    for asked in ([photo], [photo, jpeg(picture(2))]):
        kept, left = (ask(client, *asked, limit=IMAGES, exclude_self=exclude) for exclude in (False, True))
        assert image_id in ids(kept)
        assert ids(left) == [each for each in ids(kept) if each != image_id]
        assert [match["rank"] for match in left["matches"]] == list(range(1, len(ids(left)) + 1))
    left = ask(client, image_id=image_id, limit=IMAGES, exclude_self=True)
    assert image_id not in ids(left)
    other = jpeg(picture(2))  # its content is not the index's
    assert image_id in ids(ask(client, other, limit=IMAGES, exclude_self=True))
    assert image_id not in ids(ask(client, other, limit=IMAGES, exclude_self=True, **cut))
    pages = [
        ask(client, photo, limit=7, offset=offset, exclude_self=True, exact=True) for offset in range(0, IMAGES, 7)
    ]
    whole = ask(client, photo, limit=IMAGES, exclude_self=True, exact=True)
    assert [each for page in pages for each in ids(page)] == ids(whole)


def test_a_query_can_be_filled_from_its_nearest_image(client, service, photo):
    plain = ask(client, photo, exclude_self=True)
    answer = ask(client, photo, fill=True, exclude_self=True)
    assert plain["filled_from"] is None
    assert answer["filled_from"] == ids(plain)[0]
    assert answer["matches"][0]["distance"] < plain["matches"][0]["distance"]


def test_the_verdict_is_of_the_nearest_other(own_service, client_of, photo):
    store, info = own_service.store, own_service.store.model_info
    far = tuple(tuple(float(i) for i in range(1, 101)) for _ in range(info.p))
    count = len(store.snapshot)
    store.keep_calibration(Calibration(info.fingerprint, info.threshold, count, True, far, far, "pids", 10).values())
    assert own_service.refresh()
    client = client_of(own_service)
    answer = ask(client, photo)
    first, second = answer["matches"][:2]
    assert (first["itself"], first["false_match_rate"]) == (True, None)
    assert second["false_match_rate"] == 0
    assert answer["verdict"] == "match"
    assert answer["calibration_notice"] is None
    near = tuple((second["distance"] / 2,) * 50 for _ in range(info.p))
    old = Calibration(info.fingerprint, info.threshold, 3 * count, True, near, near, "pids", 10)
    store.keep_calibration(old.values())
    own_service.refresh()  # unless the application has done so by itself
    answer = ask(client, photo, limit=1)
    assert answer["verdict"] == "no match", "although the query itself is at 0"
    assert f"the index held {3 * count} images then and holds {count} now" in answer["calibration_notice"]


def test_pairs_to_answer(client, service):
    every = set(service.view.snapshot.image_ids.tolist())
    pairs = client.post("/api/pairs", data={"count": 20, "seed": 1}).json()["pairs"]
    assert 10 < len(pairs) <= 20
    assert all({pair["image"], pair["other"]} < every and pair["image"] != pair["other"] for pair in pairs)
    assert pairs != client.post("/api/pairs", data={"count": 20}).json()["pairs"]
    assert client.post("/api/pairs", data={"count": 151}).status_code == 422


def test_pages_are_the_ranks_cut_up(client, photo):
    whole = ask(client, photo, limit=IMAGES, exact=True)
    assert not whole["more"]
    pages = [ask(client, photo, limit=7, offset=offset, exact=True) for offset in range(0, len(ids(whole)), 7)]
    assert [image_id for page in pages for image_id in ids(page)] == ids(whole)
    assert [match["rank"] for page in pages for match in page["matches"]] == list(range(1, len(ids(whole)) + 1))
    assert [page["more"] for page in pages] == [True] * (len(pages) - 1) + [False]
    assert ask(client, photo, offset=500)["matches"] == []


def test_attributes_are_asked_for_and_answered(client, photo):
    every = {match["image_id"]: match["attributes"]["site"] for match in ask(client, photo, limit=IMAGES)["matches"]}
    north = sorted(image_id for image_id, site in every.items() if site == "north")
    assert 0 < len(north) < len(every)
    for where in ("site=north", '{"site": "north"}', '{"site": ["north", "east"]}', ["site=north", "site=east"]):
        assert sorted(ids(ask(client, photo, where=where, limit=IMAGES))) == north
    assert sorted(ids(ask(client, photo, where=["site=north", "site=south"], limit=IMAGES))) == sorted(every)
    nothing = ask(client, photo, where="Site=north")
    assert nothing["matches"] == []
    assert client.get("/api/stats").json()["attributes"] == ["site"]
    for where in ("north", "pid=1", "{", '{"site": null}', '{"site": [["a"]]}', f"{'x' * 101}=1", "[" * 9000):
        answer = client.post("/api/search", files={"photograph": photo}, data={"where": where})
        assert answer.status_code == 422, where
        assert answer.json()["error"]
    assert ask(client, photo, pid="nobody")["matches"] == []


def test_filters(client, service, photo):
    answer = ask(client, photo, camid=[1, 2], after=START.isoformat(), before=(START + timedelta(hours=9)).isoformat())
    assert answer["matches"]
    assert all(match["camid"] in (1, 2) and match["captured_at"] < "2024-05-01T09" for match in answer["matches"])
    assert {match["pid"] for match in ask(client, photo, pid=3)["matches"]} == {3}
    assert ask(client, photo, camid=77)["matches"] == []
    path = ask(client, photo)["matches"][4]["path"]
    assert [match["path"] for match in ask(client, photo, prefix=path[:-4])["matches"]] == [path]
    whole = service.view.folder + path
    assert [match["path"] for match in ask(client, photo, prefix=whole[:-4])["matches"]] == [path]
    nowhere = ask(client, photo, prefix="no such folder/")
    assert nowhere["matches"] == []
    told = "no image passes the filter: no path of the index starts with no such folder/"
    assert nowhere["empty"] == {"kind": "filter", "reason": told}


@pytest.mark.parametrize(("regions", "chosen"), [("1,2", (1, 2)), ("torso", (1, 2)), ("legs", (3, 4, 5)), ("0", (0,))])
def test_only_some_regions(client, service, photo, regions, chosen):
    answer = ask(client, photo, regions=regions, exact=True)
    assert all(part["region"] in chosen for match in answer["matches"] for part in match["regions"])
    assert {part["region"] for part in answer["query_regions"] if part["counts"]} <= set(chosen)
    own = SearchEngine(service.store).search(only_regions(features_of(service, photo), chosen), 24, True)[0]
    assert ids(answer) == [match.image_id for match in own.matches]


def test_several_photographs_are_one_query(client, service):
    first, second = png(picture(2)), png(picture(5))
    parts = RegionFeatures.concatenate([features_of(service, data) for data in (first, second)])
    query, sources = together(parts)
    own = SearchEngine(service.store).search(query, 24)[0]
    answer = ask(client, first, second)
    assert ids(answer) == [match.image_id for match in own.matches]
    assert tuple(part["photograph"] for part in answer["query_regions"]) == sources
    mixed = ask(client, first, image_id=int(service.view.snapshot.image_ids[5]))
    assert ids(mixed) == ids(answer)


def test_a_box_is_the_part_cut_out(client, photo):
    half = decode_image(photo).crop((0, 0, 32, 32))
    boxed, cut = ask(client, photo, box="0,0,1,0.5", limit=5), ask(client, png(half), limit=5)
    assert ids(boxed) == ids(cut)
    assert [m["distance"] for m in boxed["matches"]] == pytest.approx([m["distance"] for m in cut["matches"]], rel=1e-5)


def test_regions_seen(client, service, photo):
    seen = client.post("/api/regions", files={"photograph": ("x", photo)}).json()
    assert (seen["width"], seen["height"], seen["grid"]) == (32, 64, [6, 1])
    assert set(np.array(seen["labels"]).ravel()) <= set(range(6))
    assert sum(seen["visibility"]) == pytest.approx(1, abs=1e-5)
    stored = client.get(f"/api/images/{service.view.snapshot.image_ids[2]}/regions").json()
    assert stored == seen
    half = client.post("/api/regions", files={"photograph": ("x", photo)}, data={"box": "0,0.5,1,1"}).json()
    assert (half["width"], half["height"]) == (32, 32)


@pytest.mark.parametrize("kind", ["", "/thumbnail"])
def test_pictures_are_those_of_the_index(client, service, kind):
    image_id = int(service.view.snapshot.image_ids[4])
    answer = client.get(f"/api/images/{image_id}{kind}")
    assert answer.headers["content-type"] == "image/jpeg"
    shown = np.asarray(Image.open(io.BytesIO(answer.content)), np.float64)
    assert np.abs(shown - np.asarray(picture(4), np.float64)).mean() < 18
    again = client.get(f"/api/images/{image_id}{kind}", headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_stats_health_and_metrics(client_of, service, photo):
    client = client_of(service)
    stats = client.get("/api/stats").json()
    assert (stats["images"], stats["cameras"], stats["camids"]) == (IMAGES, 3, [1, 2, 3])
    assert stats["captured"] == ["2024-05-01T00:00:00Z", "2024-05-02T05:00:00Z"]
    assert client.get("/api/health").json()["status"] == "ok"
    ask(client, photo)
    text = client.get("/api/metrics").text
    assert f"vpmsearch_images {IMAGES:.1f}" in text
    assert f"vpmsearch_candidates_total {IMAGES:.1f}" in text
    assert 'vpmsearch_requests_total{method="POST",route="/api/search",status="200"} 1.0' in text


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "1 to 8 photographs"),
        ({"image_id": [1] * 9}, "1 to 8 photographs"),
        ({"image_id": 0}, "image_id.0: Input should be greater"),
        ({"image_id": 10**30}, "image_id"),
        ({"image_id": 1, "regions": "arm"}, "there is no region 'arm'"),
        ({"image_id": 1, "limit": 0}, "limit: Input should be greater"),
        ({"image_id": 1, "limit": 101}, "limit: Input should be less"),
        ({"image_id": 1, "offset": 1000}, "offset"),
        ({"image_id": 1, "offset": -1}, "offset"),
        ({"image_id": 1, "after": "yesterday"}, "after"),
        ({"image_id": 1, "before": "0001-01-01T00:00:00+23:00"}, "no time that exists"),
        ({"image_id": 1, "after": "20260329"}, "may be a date or a count of seconds"),
        ({"image_id": 1, "after": "1774747800"}, "may be a date or a count of seconds"),
        ({"image_id": 1, "pid": "x" * 201}, "up to 200 characters"),
        ({"image_id": 1, "box": "0,0,1,1"}, "0 photographs and 1 box: give"),
    ],
)
def test_what_cannot_be_understood(client, fields, message):
    assert message in ask(client, code=422, **fields)["error"]


@pytest.mark.parametrize(
    "box", ["1", "a,b,c,d", "0,0,0,1", "0,0,2,1", "nan,0,1,1", "-1,0,1,1", "0,0,1,inf", "0,0,1,1,1"]
)
def test_what_is_no_box(client, photo, box):
    assert "box" in ask(client, photo, box=box, code=422)["error"]


def test_the_smallest_box_is_a_pixel(client, photo):
    assert ask(client, photo, box="0.999,0.999,1,1")["matches"] is not None


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not an image of a known format"),
        (b"%!PS-Adobe-3.0 EPSF-3.0", "not an image of a known format"),
        (jpeg(picture(0, 200, 200))[:700], "damaged or truncated"),
        (png(Image.new("RGB", (1001, 1000))), "more than the limit of 1 megapixel"),
    ],
    ids=["empty", "svg", "eps", "truncated", "bomb"],
)
def test_what_is_no_photograph(client, data, message):
    assert message in ask(client, data, code=422)["error"]


@pytest.mark.parametrize("path", ["", "/thumbnail", "/regions"])
def test_an_image_that_is_not_in_the_index(client, path):
    answer = client.get(f"/api/images/999999{path}")
    assert answer.status_code == 404
    assert "image 999999 is not in the index" in answer.json()["error"]


def test_errors_have_one_shape(client):
    for method, path, status in (("GET", "/api/nothing", 404), ("GET", "/api/search", 405), ("POST", "/", 405)):
        answer = client.request(method, path)
        assert (answer.status_code, list(answer.json())) == (status, ["error"])
    assert client.post("/api/search", data={"image_id": 424242}).status_code == 404


def test_a_filter_of_nothing_is_no_filter(client, photo):
    assert SearchFilter() == SearchFilter((), (), None, None)
    assert ids(ask(client, photo)) == ids(ask(client, photo, regions=""))


def test_fields_that_are_left_empty_are_none(client, photo):
    """As a form of HTML sends them, and whoever fills in a template."""
    empty = dict.fromkeys(
        ("pid", "camid", "image_id", "after", "before", "prefix", "regions", "exact", "limit", "cut_from"), ""
    )
    assert ids(ask(client, photo, **empty, offset="", box="")) == ids(ask(client, photo))
    assert ids(ask(client, photo, camid=["", "2"])) == ids(ask(client, photo, camid=2))
    no_file = [("photograph", ("", b"", "application/octet-stream"))]
    answer = client.post("/api/search", files=no_file, data={"image_id": "3", "box": ""})
    assert answer.status_code == 200, answer.text
    assert ids(answer.json())[0] == 3
    text = client.post("/api/search", data={"image_id": "3", "photograph": ""})
    assert text.status_code == 200, text.text


@pytest.mark.parametrize(("fields", "query", "name"), [({"camids": "3"}, {}, "camids"), ({}, {"camid": "3"}, "camid")])
def test_an_unknown_field_is_refused(client, photo, fields, query, name):
    """`camids=3` would else find people of every camera."""
    answer = client.post("/api/search", files=upload(photo), data=fields, params=query)
    assert answer.status_code == 422
    assert f"there is no field '{name}'" in answer.json()["error"]
    if fields:
        assert "camid, exclude_camid, where, after" in answer.json()["error"]
    for path in ("/api/stats", "/api/images/1", "/api/images/1/regions"):
        assert client.get(path, params={"camids": "3"}).status_code == 422


@pytest.mark.parametrize("path", ["/api/search", "/api/regions"])
@pytest.mark.parametrize("kind", ["application/json", "text/plain", "image/jpeg"])
def test_a_body_that_is_no_form_is_told_what_is_wanted(client, path, kind):
    answer = client.post(path, content=b'{"image_id": 1}', headers={"Content-Type": kind})
    assert answer.status_code == 415
    assert "send a form (multipart/form-data)" in answer.json()["error"]
    assert "photograph, box" in answer.json()["error"]


@pytest.mark.parametrize("kind", ["multipart/form-data", "multipart/form-data; x=1"])
def test_a_form_without_its_boundary_is_400(client, kind):
    """A client that sets the header by hand loses the boundary that its library would have put there."""
    answer = client.post("/api/search", content=b"--b\r\n\r\n--b--", headers={"Content-Type": kind})
    assert answer.status_code == 400
    assert "boundary" in answer.json()["error"].lower()


def test_answers_tell_no_place_of_the_server(own_service, client_of, tmp_path, photo):
    client = client_of(own_service, refresh_seconds=60)
    answer = ask(client, photo)
    assert answer["matches"][0]["path"] == "002.png"
    assert all("/" not in match["path"] for match in answer["matches"])
    secrets = (str(tmp_path), str(own_service.store.path))
    texts = [client.get(path).text for path in ("/api/stats", "/api/health", "/api/metrics", "/api/openapi.json")]
    for error in (
        StoreError(f"{own_service.store.path}/catalog.sqlite3 is damaged; run `vpmsearch verify`"),
        DataError(f"{tmp_path}/gallery/000.png: there is no such file"),
        StoreError(f"{tmp_path}/elsewhere/my photos/000.png: the disk is full"),
    ):
        status, text = own_service.problem_of(error)
        texts.append(text)
        assert (status, text.rpartition(" ")[2]) == (
            503 if isinstance(error, StoreError) else 422,
            str(error).rpartition(" ")[2],
        )
    assert texts[-3] == "the index/catalog.sqlite3 is damaged; run `vpmsearch verify`"
    assert texts[-2] == "000.png: there is no such file"
    assert not [text for text in texts if any(secret in text for secret in secrets)]
    assert own_service.problem_of(FeatureError("0 < 1/2 and/or a/b"))[1] == "0 < 1/2 and/or a/b"


def test_paths_are_shown_below_the_folder_that_all_images_share(service):
    view = replace(service.view, folder="/data/hall/")
    assert view.shown_path("/data/hall/cam1/a.jpg") == "cam1/a.jpg"
    assert view.shown_path("/data/other/a.jpg") == "a.jpg", "committed since: its folder is not shown"
    assert replace(view, folder="/").shown_path("/mnt/a/b.jpg") == "b.jpg"
    assert replace(view, folder="").shown_path("cam1/b.jpg") == "cam1/b.jpg"
    assert (view.whole_prefix(""), view.whole_prefix("cam1/")) == ("", "/data/hall/cam1/")
    assert view.whole_prefix("/data/hall/cam2") == "/data/hall/cam2"


@pytest.mark.parametrize("path", ["/", "/api/stats", "/api/health", "/api/images/1/thumbnail", "/static/style.css"])
def test_head_is_answered_as_get_without_the_body(client, path):
    head, get = client.head(path), client.get(path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(get.content))
    assert head.headers["content-type"] == get.headers["content-type"]
    assert client.head("/api/nothing").status_code == 404


def test_the_interface_is_described_on_a_page(client_of, service):
    client = client_of(service, root_path="/people", peer="10.0.0.1", trusted_proxies=("10.0.0.1",))
    answer = client.get("/people/api/docs", headers={"X-Forwarded-Proto": "https"})
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")
    schema = client.get("/api/openapi.json").json()
    text = answer.text
    for path, methods in schema["paths"].items():
        for method in methods:
            assert f"<code>{method.upper()} {path}</code>" in text
    fields = schema["components"]["schemas"]["SearchAnswer"]["properties"]
    for name in ("photograph", "camid", "prefix", *fields):
        assert f"<code>{name}</code>" in text
    assert "https://127.0.0.1/people/api/search" in text
    links = set(re.findall(r'href="#([^"]+)"', text))
    assert links <= set(re.findall(r'id="([^"]+)"', text))
    assert not re.findall(r"<script|style=|https?://(?!127)", text)


def test_a_hostile_name_is_no_html_on_that_page(client_of, service):
    client = client_of(service, token="0123456789abcdefXYZ")
    headers = {"Authorization": "Bearer 0123456789abcdefXYZ", "Host": "<script>alert(1)</script>"}
    assert client.get("/api/docs").status_code == 401
    assert "<script" not in client.get("/api/docs", headers=headers).text
