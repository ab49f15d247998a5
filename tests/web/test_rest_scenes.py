"""People inside photographs, over REST."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_index import png

from vpmsearch.data.boxes.read import read_boxes
from vpmsearch.indexing.indexer import index_gallery
from vpmsearch.model.detection import People
from vpmsearch.store import GalleryStore
from vpmsearch.web import people
from vpmsearch.web.service import SearchService


@pytest.fixture
def client(tmp_path: Path, extractor, client_of):
    pixels = np.random.default_rng(0).integers(0, 256, (8, 12, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize((120, 80), Image.Resampling.BICUBIC).save(tmp_path / "scene.png")
    (tmp_path / "b.csv").write_text(
        "path,x,y,w,h,track\nscene.png,0,0,30,70,1\nscene.png,2,0,30,70,1\nscene.png,60,5,40,70,2\n"
    )
    with GalleryStore.create(tmp_path / "index", extractor.weights.info) as store:
        index_gallery(store, extractor, read_boxes(tmp_path, tmp_path / "b.csv"))
        yield client_of(SearchService(store, extractor, max_pixels=1_000_000))


def search(client, image: Image.Image, **fields):
    return client.post("/api/search", files={"photograph": ("a.png", png(image))}, data=fields).json()


def test_a_box_in_pixels_and_hits_with_theirs(client, tmp_path):
    scene = Image.open(tmp_path / "scene.png")
    found = search(client, scene, box="xywh=60,5,40,70")["matches"]
    assert found[0]["box"] == [60, 5, 40, 70]
    assert found[0]["distance"] == pytest.approx(0, abs=1e-3)
    assert found[0]["path"] == "scene.png#xywh=60,5,40,70"
    assert (found[0]["width"], found[0]["height"], found[0]["seconds"], found[0]["track_images"]) == (
        40,
        70,
        None,
        None,
    )
    tracks = search(client, scene, box="xywh=60,5,40,70", by_track=True)["matches"]
    assert [(hit["rank"], hit["track_images"]) for hit in tracks] == [(1, 1), (2, 2)]
    for bad in ("xywh=1,2,3", "xywh=500,0,9,9", "xywh=1,2,0,4"):
        answer = client.post("/api/search", files={"photograph": ("a.png", png(scene))}, data={"box": bad})
        assert answer.status_code == 422


def test_pictures_of_a_part_and_of_its_scene(client, tmp_path):
    scene = Image.open(tmp_path / "scene.png")
    image_id = search(client, scene, box="xywh=60,5,40,70")["matches"][0]["image_id"]
    for kind in ("", "/thumbnail"):
        shown = Image.open(io.BytesIO(client.get(f"/api/images/{image_id}{kind}").content))
        assert shown.size == (40, 70)
    shown = Image.open(io.BytesIO(client.get(f"/api/images/{image_id}/scene").content))
    assert shown.size == (120, 80)
    assert np.abs(np.asarray(shown, float)[40, 40:55] - np.asarray(scene, float)[40, 40:55]).mean() < 40
    scene.resize((60, 40)).save(tmp_path / "scene.png")
    assert client.get(f"/api/images/{image_id}/scene").status_code == 404  # another picture has come to be there


def test_the_people_of_a_scene_that_the_index_holds(client, tmp_path):
    scene = Image.open(tmp_path / "scene.png")
    image_id = search(client, scene, box="xywh=60,5,40,70")["matches"][0]["image_id"]
    known = client.get(f"/api/images/{image_id}/people").json()
    assert (known["width"], known["height"]) == (120, 80)
    boxes = {person["image_id"]: person["box"] for person in known["people"]}
    assert boxes[image_id] == [60, 5, 40, 70]
    assert sorted(boxes.values()) == [[0, 0, 30, 70], [2, 0, 30, 70], [60, 5, 40, 70]]
    assert client.get("/api/images/999/people").status_code == 404
    Image.new("RGB", scene.size, "red").save(tmp_path / "scene.png")
    assert client.get(f"/api/images/{image_id}/people").status_code == 404


def test_people_that_a_detector_finds(client, monkeypatch):
    class Fixed:
        name, least = "fixed of the test", 0.5

        def people(self, image):
            corners = np.array([[-3, 2.4, 30, 70], [50, 5, 500, 75], [5, 5, 5, 9], [0, 0, 9, 9]], np.float32)
            return People(corners, np.array([0.9, 0.8, 0.7, 0.1], np.float32))

    opened = []
    monkeypatch.setattr(people, "open_detector", lambda name, device: opened.append(name) or Fixed())
    for _ in range(2):
        answer = client.post("/api/people", files={"photograph": ("s.png", png(Image.new("RGB", (120, 80))))}).json()
    assert opened == [""], "the detector stays open"
    assert [person["box"] for person in answer.pop("people")] == [[0, 2, 30, 68], [50, 5, 70, 70]]
    assert answer == {"width": 120, "height": 80, "detector": "fixed of the test"}
    assert client.post("/api/people", files={"photograph": ("s.png", b"no picture")}).status_code == 422


def test_a_detector_that_cannot_be_used_is_the_fault_of_the_server(client_of, service, tmp_path):
    """Whoever asks is not told to mend the photograph, nor where the file lies."""
    (tmp_path / "found.onnx").write_bytes(b"garbage")
    for name in ("found.onnx", "missing.onnx"):
        client = client_of(service, detector=str(tmp_path / name))
        answer = client.post("/api/people", files={"photograph": ("s.png", png(Image.new("RGB", (120, 80))))})
        assert answer.status_code == 503
        assert name in answer.json()["error"]
        assert str(tmp_path) not in answer.text


def test_a_detector_runs_where_the_model_does(client_of, service, monkeypatch):
    opened = []
    monkeypatch.setattr(people, "open_detector", lambda name, device: opened.append(device) or people)
    client_of(service).app.state.finder.open()
    assert opened == ["cpu"]


def test_nobody(client):
    assert "one colour" in search(client, Image.new("RGB", (64, 128), (200, 0, 0)))["no_person"]


def test_nothing_outside_of_the_index_is_read(client, tmp_path):
    scene = Image.open(tmp_path / "scene.png")
    scene.save(tmp_path / "secret.png")
    hit = search(client, scene, box="xywh=60,5,40,70")["matches"][0]
    for foreign in ("secret.png", "../secret.png", f"{tmp_path}/secret.png", "scene.png%23xywh=1,1,9,9", "999", "-1"):
        for kind in ("", "/thumbnail", "/scene"):
            assert client.get(f"/api/images/{foreign}{kind}").status_code in (404, 422)
    for name in ("image", "images", "path"):
        answer = client.post("/api/search", data={name: str(tmp_path / "secret.png")})
        assert answer.status_code == 422
    # A name of an upload is no path: what was sent is searched, and not the file.
    uploaded = ("../secret.png#xywh=0,0,1,1", png(scene.crop((60, 5, 100, 75))))
    found = client.post("/api/search", files={"photograph": uploaded}).json()
    assert found["matches"][0]["image_id"] == hit["image_id"]
    # Another photograph in a scene's place is not shown.
    Image.new("RGB", scene.size, "red").save(tmp_path / "scene.png")
    for kind in ("", "/scene"):
        answer = client.get(f"/api/images/{hit['image_id']}{kind}")
        assert answer.status_code == 404
        assert str(tmp_path) not in answer.text
