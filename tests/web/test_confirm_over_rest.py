"""Confirm and go on, over REST: what joins the query, what goes, and the answer as a file."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest
from small_index import png
from tiny_weights import picture

from vpmsearch.data.crops import CropBox
from vpmsearch.search.queries import summed


def upload(*photographs: bytes) -> list:
    return [("photograph", ("half.png", data)) for data in photographs]


def ask(client, *photographs: bytes, to: str = "search", code: int = 200, **fields):
    answer = client.post(f"/api/{to}", files=upload(*photographs) or None, data=fields)
    assert answer.status_code == code, answer.text
    return answer


def ids(answer) -> list[int]:
    return [match["image_id"] for match in answer.json()["matches"]]


@pytest.fixture
def client(asking):
    return asking()


@pytest.fixture
def half() -> bytes:
    """The upper half of a picture that is in no index."""
    return png(picture(77).crop((0, 0, 32, 32)))


def test_confirmed_images_join_region_by_region(client, service, half):
    plain = ask(client, half, limit=100)
    chosen = ids(plain)[1:3]
    answer = ask(client, half, confirmed=chosen, exclude_self=True, limit=100, exact=True)
    snapshot = service.view.snapshot
    seen = service.see(half, None).features
    parts = [seen, *(snapshot.features_of([each]) for each in chosen)]
    by_hand = service.view.engine.search(summed(parts, snapshot.model_info.threshold), 100, exact=True)[0]
    assert ids(answer) == [match.image_id for match in by_hand.matches if match.image_id not in chosen]
    body = answer.json()
    assert (body["confirmed"], body["refused"]) == (sorted(chosen), [])
    # A region that the half does not show is said to be from a confirmed image, numbered after the photograph.
    for region in body["query_regions"]:
        shown = seen.visibility[0, region["region"]] >= np.float32(snapshot.model_info.threshold)
        assert region["photograph"] == 0 if shown else region["photograph"] in (1, 2)


def test_refused_images_go_and_paging_goes_on_without_them(client, half):
    plain = ids(ask(client, half, limit=100))
    refused = [plain[0], plain[2], plain[9]]
    left = [each for each in plain if each not in refused]
    assert ids(ask(client, half, refused=refused, limit=5)) == left[:5]
    page = ask(client, half, refused=refused, offset=5, limit=5)
    assert ids(page) == left[5:10]
    assert [match["rank"] for match in page.json()["matches"]] == [6, 7, 8, 9, 10]


@pytest.mark.parametrize("fields", [{"confirmed": 10**9}, {"confirmed": [1, 10**9]}])
def test_an_image_that_is_gone_cannot_be_confirmed(client, half, fields):
    assert "is not in the index" in ask(client, half, code=404, **fields).json()["error"]


def test_an_image_that_is_gone_may_be_refused(client, half):
    plain = ids(ask(client, half))
    assert ids(ask(client, half, refused=10**9)) == plain
    rows = list(csv.DictReader(io.StringIO(ask(client, half, to="export", form="csv", refused=10**9).text)))
    assert {row["decision"] for row in rows} == {""}


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"confirmed": list(range(1, 66))}, "confirmed"),
        ({"refused": list(range(1, 502))}, "refused"),
        ({"refused": "x"}, "refused"),
        ({"confirm": 1}, "there is no field 'confirm'"),
        ({"where": "north"}, "NAME=VALUE"),
        ({"exclude_camid": [1, 2, 3]}, "every camera"),
    ],
)
def test_what_cannot_be_understood(client, half, fields, text):
    assert text in ask(client, half, code=422, **fields).json()["error"]


def test_the_own_camera_can_be_left_out(client, half):
    everything = ask(client, half, limit=100).json()["matches"]
    others = [match["image_id"] for match in everything if match["camid"] != 2]
    assert ids(ask(client, half, exclude_camid=2, limit=100)) == others
    only = [match["image_id"] for match in everything if match["camid"] == 1]
    assert ids(ask(client, half, camid=[1, 2], exclude_camid=2, limit=100)) == only


def test_no_verdict_where_somebody_has_given_it(client, service, half, monkeypatch):
    from dataclasses import replace

    from vpmsearch.search.verdict import Calibration

    info = service.view.snapshot.model_info
    known = Calibration(info.fingerprint, info.threshold, 30, True, (tuple(np.linspace(0, 9, 50).tolist()),) * 6)
    monkeypatch.setattr(service, "_view", replace(service.view, calibration=known))
    plain = ask(client, half).json()
    assert plain["verdict"] is not None
    assert plain["matches"][0]["false_match_rate"] is not None
    answer = ask(client, half, confirmed=plain["matches"][0]["image_id"]).json()
    assert answer["verdict"] is None
    assert {match["false_match_rate"] for match in answer["matches"]} == {None}


def test_an_answer_as_csv(client, half):
    plain = ask(client, half, limit=5).json()["matches"]
    first, second = plain[0]["image_id"], plain[1]["image_id"]
    answer = ask(client, half, to="export", form="csv", limit=5, refused=first, confirmed=second, exclude_self=True)
    assert 'filename="vpmsearch.csv"' in answer.headers["content-disposition"]
    rows = list(csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig"))))
    wanted = ask(client, half, limit=5, refused=first, confirmed=second, exclude_self=True).json()["matches"]
    assert [int(row["image_id"]) for row in rows if not row["decision"]] == [match["image_id"] for match in wanted]
    assert [(row["decision"], int(row["image_id"])) for row in rows if row["decision"]] == [
        ("confirmed", second),
        ("refused", first),
    ]
    for row, match in zip(rows, wanted, strict=False):
        assert (int(row["pid"]), int(row["camid"]), row["path"]) == (match["pid"], match["camid"], match["path"])
        assert float(row["distance"]) == match["distance"]
        assert row["captured_at"] == match["captured_at"]
        for part in match["regions"]:
            assert float(row[f"share_{part['region']}"]) == part["share"]


def test_an_answer_as_parquet_holds_the_same(client, half):
    parquet = pytest.importorskip("pyarrow.parquet")
    chosen = ids(ask(client, half))[0]
    data = ask(client, half, to="export", form="parquet", limit=5, refused=chosen).content
    rows = parquet.read_table(io.BytesIO(data)).to_pylist()
    text = ask(client, half, to="export", form="csv", limit=5, refused=chosen).content.decode("utf-8-sig")
    lines = list(csv.DictReader(io.StringIO(text)))
    assert [row["image_id"] for row in rows] == [int(line["image_id"]) for line in lines]
    assert rows[-1]["decision"] == "refused"
    assert {type(row["pid"]) for row in rows} == {int}
    assert all(row["captured_at"].tzinfo is not None for row in rows)


def test_an_answer_as_json_is_the_answer(client, half):
    plain = ask(client, half, limit=5).json()
    answer = json.loads(ask(client, half, to="export", form="json", limit=5).content)
    del plain["elapsed_ms"], answer["elapsed_ms"]
    assert answer == plain


def test_an_answer_as_a_report_shows_everything_in_one_file(client, service, half):
    chosen = ids(ask(client, half))
    fields = {"limit": 5, "confirmed": chosen[0], "refused": chosen[1:3], "exclude_self": True}
    text = ask(client, half, to="export", form="html", **fields).text
    assert text.count("<li>") == 5
    assert text.count("<img ") == 1 + 1 + 5
    assert "missing" not in text
    assert "1 image confirmed, a part of the query; 2 images refused, left out" in text
    assert service.view.folder not in text, "where the server's files are is its own affair"
    assert 'src="http' not in text


def test_a_form_that_is_none(client, half):
    assert "form" in ask(client, half, to="export", form="xlsx", code=422).json()["error"]
    assert "form" in ask(client, half, to="export", code=422).json()["error"]


def test_a_file_name_is_no_formula():
    from vpmsearch.report.tables import csv_text

    text = csv_text(["path", "distance"], [{"path": "=cmd()", "distance": -1.5}, {"path": "a,b", "distance": None}])
    assert text.splitlines() == ["path,distance", "'=cmd(),-1.5", '"a,b",']


def test_a_part_of_a_photograph_is_what_a_report_shows(service, half):
    assert service.part(half, CropBox(0.0, 0.0, 0.5, 1.0)).size == (16, 32)
    assert service.stored_image(int(service.view.snapshot.image_ids[0])).size == (32, 64)


def test_features_of_one_confirmed_image_alone(client, service):
    """A query of a stored image, confirmed once more, is that image twice: its distances do not change."""
    chosen = int(service.view.snapshot.image_ids[4])
    once, twice = ask(client, image_id=chosen, limit=9), ask(client, image_id=chosen, confirmed=chosen, limit=9)
    assert ids(once) == ids(twice)
    distances = [[match["distance"] for match in each.json()["matches"]] for each in (once, twice)]
    np.testing.assert_allclose(*distances, rtol=1e-4, atol=1e-5)
