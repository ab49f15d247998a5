"""People in photographs and films, by the shell."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vpmsearch.data.reading import SceneReader
from vpmsearch.errors import ImageError
from vpmsearch.model import detectors
from vpmsearch.model.detection import People


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    folder = tmp_path / "frames"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in (1, 2, 3):
        Image.fromarray(rng.integers(0, 256, (80, 120, 3), dtype=np.uint8)).save(folder / f"{number:06d}.png")
    lines = [f"{frame},{who},{1 + 40 * who},1,30,70,0.{9 - who}" for frame in (1, 2, 3) for who in (0, 1, 2)]
    (tmp_path / "tracks.txt").write_text("\n".join(lines))
    return folder


def test_index_and_query(cli, frames, weights, tmp_path):
    told = cli("index", frames, "--boxes", "tracks.txt", "--weights", weights, "--min-score", "0.75", "--json")
    assert (told.json[0]["indexed"], told.json[0]["not_taken"]) == (6, {"boxes with a score below 0.75": 3})
    found = cli("query", frames / "000002.png", "--box", "40,0,30,70", "--top", "9", "--json").json[0]
    assert found["query"] == f"{frames / '000002.png'}#xywh=40,0,30,70"
    best = found["matches"][0]
    assert (best["path"], best["itself"]) == (f"{frames / '000002.png'}#xywh=40,0,30,70", True)
    assert (best["box"], best["seconds"]) == ([40, 0, 30, 70], None)
    assert found["no_person"] is None
    assert len(found["matches"]) == 6
    # An answer's path is a query.
    assert cli("query", best["path"], "--json").json[0]["matches"][0]["path"] == best["path"]
    again = cli("index", frames, "--boxes", "tracks.txt", "--min-score", "0.85", "--prune", "--json").json[0]
    assert (again["unchanged"], again["pruned"]) == (3, 3)


def test_tracks(cli, frames, weights):
    cli("index", frames, "--boxes", "tracks.txt", "--weights", weights)
    found = cli("query", frames / "000002.png", "--box", "40,0,30,70", "--by-track", "--json").json[0]["matches"]
    assert len(found) == 3
    assert [match["track_images"] for match in found] == [3, 3, 3]
    assert sorted(match["path"].rpartition("=")[2] for match in found) == ["0,0,30,70", "40,0,30,70", "80,0,30,70"]
    text = cli("query", frames / "000002.png", "--box", "40,0,30,70", "--by-track", "--top", "2").stdout
    assert text.count("3 images of its track") == 2


def test_pictures_show_the_scene(cli, frames, weights, tmp_path):
    cli("index", frames, "--boxes", "tracks.txt", "--weights", weights)
    cli("query", f"{frames / '000001.png'}#xywh=0,0,30,70", "--report", "r.html", "--panel", "p.png", "--top", "2")
    assert (tmp_path / "r.html").read_text().count("in its scene") == 2
    with Image.open("p.png") as panel:
        assert panel.size[0] > 300
    cli("show", frames / "000001.png", "--box", "0,0,30,70", "--weights", weights, "--output", "s.png")
    assert (tmp_path / "s.png").exists()


def test_a_film(cli, weights, tmp_path):
    pytest.importorskip("av")
    from drawn_film import write_film

    write_film(tmp_path / "film.mp4", list(range(50)))
    (tmp_path / "b.csv").write_text("frame,x,y,w,h,track\n" + "".join(f"{n},1,1,60,90,7\n" for n in range(1, 51)))
    assert "is a film" in cli("index", "film.mp4", "--weights", weights, code=1).error
    told = cli("index", "film.mp4", "--boxes", "b.csv", "--every", "1s", "--weights", weights, "--json").json[0]
    assert told["indexed"] == 2
    found = cli("query", "film.mp4#t=1", "--box", "1,1,60,90", "--json").json[0]["matches"]
    assert [(match["seconds"], match["itself"]) for match in found] == [(1.0, True), (0.0, False)]


def test_what_does_not_go_together(cli, frames, weights, tmp_path):
    for options in (
        ["--min-score", "1"],
        ["--min-score", "nan", "--boxes", "tracks.txt"],
        ["--every", "2"],
        ["--detector", "x.onnx"],
        ["--detect", "--boxes", "tracks.txt"],
        [frames / "000001.png", "--boxes", "tracks.txt"],
    ):
        cli("index", frames, *options, code=2)
    assert "does not exist" in cli("index", frames, "--boxes", "none.json", code=1).error
    assert "cannot be read" in cli("index", frames, "--detect", "--detector", "none.onnx", code=1).error
    cli("index", frames, "--boxes", "tracks.txt", "--weights", weights)
    assert "outside" in cli("query", frames / "000001.png", "--box", "500,0,9,9", code=1).error
    cli("query", frames / "000001.png", "--box", "1,2,3", code=2)
    cli("query", frames / "000001.png", frames / "000002.png", "--box", "1,2,30,40", code=2)


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("--every", "x", "such as 5"),
        ("--every", "0", "such as 5"),
        ("--every", "0s", "such as 5"),
        ("--pattern", "x", "no field"),
        ("--dataset", "x", "unknown data set"),
        ("--embedding-dtype", "x", "float16, float32"),
    ],
)
def test_values_that_cannot_be_understood_are_usage_errors(cli, frames, option, value, says):
    told = cli("index", frames, "--detect", option, value, code=2).stderr
    assert option in told
    assert says in " ".join(told.split())


class Painted:
    """A detector of the test: somebody is in the corner of every picture whose first pixel is not black."""

    name, least = "fixed of the test", 0.5

    def people(self, image):
        found = image.getpixel((0, 0)) != (0, 0, 0)
        return People(np.array([[0, 0, 30, 70]], np.float32)[:found], np.array([0.9], np.float32)[:found])


@pytest.fixture
def painted(monkeypatch):
    monkeypatch.setattr(detectors, "open_detector", lambda name, device: Painted())


def blacken(path):
    with Image.open(path) as image:
        Image.new("RGB", image.size).save(path)


def test_a_detector_is_named_and_its_people_are_indexed(cli, frames, weights, painted):
    told = cli("index", frames, "--detect", "--weights", weights, "--json")
    assert told.json[0]["indexed"] == 3
    assert "detector: fixed of the test" in told.stderr


def test_a_detector_finds_the_people_of_several_photographs(cli, frames, weights, painted):
    blacken(frames / "000003.png")
    told = cli("index", *sorted(frames.iterdir()), "--detect", "--weights", weights, "--json")
    assert told.json[0]["indexed"] == 2
    blacken(frames / "000001.png")
    said = cli("index", frames / "000001.png", "--detect", "--prune", code=1).error
    assert "finds no person (score 0.5 or more) in 1 picture; the index is as it was" in said
    assert cli("stats", "--json").json[0]["images"] == 2


def test_prune_takes_the_people_of_a_picture_in_which_nobody_is_found_any_more(cli, frames, weights, painted):
    cli("index", frames, "--detect", "--weights", weights)
    blacken(frames / "000002.png")
    (frames / "000003.png").write_bytes(b"no picture")
    pruned = [f"{frames / '000002.png'}#xywh=0,0,30,70"]
    assert cli("index", frames, "--detect", "--prune", "--dry-run", "--json").json[0]["pruned_paths"] == pruned
    told = cli("index", frames, "--detect", "--prune", "--json").json[0]
    # Picture 3 cannot be read, so nobody knows who is in it: its people stay.
    assert (told["unchanged"], told["pruned_paths"], told["images"]) == (1, pruned, 2)


def test_prune_leaves_the_people_of_a_film_with_a_picture_that_cannot_be_read(cli, weights, painted, monkeypatch):
    pytest.importorskip("av")
    from drawn_film import write_film

    write_film(Path("film.mp4"), list(range(6)))  # the first pixel of every other picture is white
    asked = ("index", "film.mp4", "--detect", "--every", "1", "--weights", weights, "--prune", "--json")
    (told,) = cli(*asked).json
    assert told["indexed"] == 3
    read = SceneReader.read

    def broken(reader, path, *args, **more):
        if "#t=0.2" in str(path):
            raise ImageError("it is damaged", str(path))
        return read(reader, path, *args, **more)

    monkeypatch.setattr(SceneReader, "read", broken)
    (told,) = cli(*asked).json
    assert (told["pruned"], told["images"]) == (0, 3)


def test_prune_takes_the_people_of_a_picture_that_the_new_list_leaves_out(cli, frames, weights, tmp_path):
    (tmp_path / "other").mkdir()
    Image.new("RGB", (64, 128), (9, 9, 200)).save("other/a.png")
    cli("index", "other/a.png", "--weights", weights)
    cli("index", frames, "--boxes", "tracks.txt")
    lines = (tmp_path / "tracks.txt").read_text().splitlines()
    (tmp_path / "tracks.txt").write_text("\n".join(line for line in lines if not line.startswith("2,")))
    assert cli("index", frames, "--boxes", "tracks.txt", "--json").json[0]["pruned"] == 0
    told = cli("index", frames, "--boxes", "tracks.txt", "--prune", "--json").json[0]
    assert (told["unchanged"], told["images"]) == (6, 7)
    assert [path.partition("#")[0] for path in told["pruned_paths"]] == [str(frames / "000002.png")] * 3


def test_prune_leaves_the_people_of_other_shares(cli, frames, weights):
    cli("index", frames, "--boxes", "tracks.txt", "--weights", weights)
    for share in ("1/2", "2/2"):
        told = cli("index", frames, "--boxes", "tracks.txt", "--prune", "--shard", share, "--json").json[0]
        assert (told["pruned"], told["images"]) == (0, 9)
        assert 0 < told["unchanged"] < 9


def test_several_photographs(cli, frames, weights):
    pictures = sorted(frames.iterdir())
    told = cli("index", *pictures[:2], pictures[0], "--weights", weights, "--json").json[0]
    assert (told["indexed"], told["images"]) == (2, 2)
    cli("index", pictures[2])
    pictures[1].unlink()
    pictures[2].unlink()
    # Only what is named is looked at: the second photograph is gone and not named, so it stays.
    assert cli("index", *pictures[:1], "--prune", "--json").json[0]["pruned"] == 0
    assert "does not exist" in cli("index", *pictures[:2], code=1).error


def test_no_person(cli, frames, weights, tmp_path):
    cli("index", frames, "--boxes", "tracks.txt", "--weights", weights)
    Image.new("RGB", (64, 128), (255, 0, 0)).save("red.png")
    Image.new("RGB", (1, 1), (255, 0, 0)).save("dot.png")
    told = [json.loads(line) for line in cli("query", "red.png", "dot.png", "--json").stdout.splitlines()]
    assert ["one colour" in told[0]["no_person"], "1 × 1" in told[1]["no_person"]] == [True, True]
    assert [each["verdict"] for each in told] == [None, None]
    said = cli("query", "red.png").stdout
    assert ": no person: " in said
    assert "A picture of one colour shows no person." in said


def test_prune_of_one_photograph_takes_its_parts_alone(cli, frames, weights, tmp_path):
    scene = frames / "000001.png"
    (tmp_path / "b.csv").write_text("path,x,y,w,h\n000001.png,0,0,30,70\n000001.png,40,0,30,70\n")
    cli("index", scene, "--boxes", "b.csv", "--weights", weights)
    cli("index", frames / "000002.png")
    (frames / "000002.png").unlink()
    (tmp_path / "b.csv").write_text("path,x,y,w,h\n000001.png,0,0,30,70\n")
    told = cli("index", scene, "--boxes", "b.csv", "--prune", "--json").json[0]
    assert told["pruned_paths"] == [f"{scene}#xywh=40,0,30,70"]


def test_prune_of_a_film_takes_its_parts_alone(cli, frames, weights, tmp_path):
    pytest.importorskip("av")
    from drawn_film import write_film

    write_film(frames / "film.mp4", list(range(10)))
    cli("index", frames / "000002.png", "--weights", weights)
    (frames / "000002.png").unlink()
    (tmp_path / "b.csv").write_text("frame,x,y,w,h\n1,1,1,60,90\n5,1,1,60,90\n")
    cli("index", frames / "film.mp4", "--boxes", "b.csv")
    (tmp_path / "b.csv").write_text("frame,x,y,w,h\n1,1,1,60,90\n")
    told = cli("index", frames / "film.mp4", "--boxes", "b.csv", "--prune", "--json").json[0]
    assert [path.partition("#")[2] for path in told["pruned_paths"]] == ["t=0.16&xywh=1,1,60,90"]
