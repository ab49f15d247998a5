"""layout: what would be read of a folder, of a list and of boxes, for people and as JSON."""

from __future__ import annotations

from pathlib import Path

from tests.data.drawn_layouts import DRAWN
from tests.data.test_look import LIST


def test_layout_of_a_list(cli):
    Path("people.csv").write_text(LIST)
    told = cli("layout", "people.csv", "--timezone", "Europe/Berlin").stdout
    assert told.splitlines() == [
        "people.csv: a list of images",
        "  columns: one without a name as left out, file as path, Person as pid, cam as camid, time as captured_at, "
        "split as split, site as attribute",
        "  4 images, 2 people, 2 cameras; captured 2026-03-28T11:00:00+00:00 to 2026-07-01T10:00:00+00:00; "
        "1 without pid; splits: query 1, gallery 2; attributes: site 3",
        "  a/1.jpg  pid alice  camid lobby  captured_at 2026-03-28T11:00:00+00:00  site north  split query",
        "  a/2.jpg  pid 7  camid lobby  captured_at 2026-07-01T10:00:00+00:00  split gallery",
        "  a/3.jpg  camid 2  site south",
        "a/1.jpg is not there: paths are absolute, or relative to the list",
    ]
    (found,) = cli("layout", "people.csv", "--json").json
    values = found["list"]
    assert (values["people"], values["columns"]["cam"], values["missing"]) == (2, "camid", "a/1.jpg")
    assert values["captured"] == ["2026-03-28T12:00:00+00:00", "2026-07-01T12:00:00+00:00"]  # no zone is UTC
    assert "leave it away" in cli("layout", "people.csv", "--pattern", "{pid}.jpg", code=1).error
    assert "does not exist" in cli("layout", "none.csv", code=1).error


def test_layout_of_boxes(cli):
    Path("boxes.csv").write_text("path,x,y,w,h,pid\ns.jpg,1,2,3,4,ann\n")
    told = cli("layout", "boxes.csv").stdout
    assert "boxes.csv: a list of boxes\n" in told
    assert "  1 box, 1 picture, 1 person, 0 cameras" in told
    assert "  s.jpg at 1,2,3,4  pid ann\nindex it: vpmsearch index PHOTOGRAPHS --boxes boxes.csv" in told


def test_layout_of_a_folder(cli, tmp_path: Path):
    DRAWN["veri"].write(tmp_path / "VeRi")
    told = cli("layout", "VeRi").stdout
    assert told.startswith("veri: VeRi-776 (vehicles) in VeRi; the same person's images of the same camera left out")
    assert "  gallery  image_test/0005_c020_00077630_1.jpg  pid 5  camid 20" in told
    tried = cli("layout", "VeRi", "--pattern", "{id}_c{camera}_{}.jpg").stdout
    assert "0005_c003_00077625_0.jpg  pid 5  camid 3" in tried
    Path("empty").mkdir()
    assert "no images in empty" in cli("layout", "empty", code=1).error


def test_layout_tells_the_likely_ones_and_names_the_others(cli, tmp_path: Path):
    DRAWN["celeb-reid"].write(tmp_path / "Celeb-reID")
    told = cli("layout", "Celeb-reID").stdout.splitlines()
    assert told[0].startswith("celeb-reid: Celeb-reID in Celeb-reID")
    assert [line for line in told if not line.startswith("  ")][1:] == [
        "less likely: partial-reid, partial-reid-occluded, partial-ilids, occluded-reid, p-ethz, grid"
    ]
    folder = tmp_path / "CCVID" / "session1" / "001_01"
    folder.mkdir(parents=True)
    (folder / "00001.jpg").touch()
    told = cli("layout", "CCVID").stdout
    assert "CCVID: no known data set (00001.jpg …)" in told
    assert (
        "it is called as CCVID is (--dataset ccvid), but CCVID holds no train.txt and query.txt and gallery.txt" in told
    )


def test_a_list_with_its_first_line_alone_is_not_praised(cli, tmp_path: Path):
    (tmp_path / "people.csv").write_text("path,pid\n")
    told = cli("layout", "people.csv").stdout
    assert "0 images" in told
    assert "nothing would be read" in told
    assert "index it" not in told
    said = cli("index", "people.csv", code=1).error
    assert said.endswith("people.csv names no images; below its first line there must be a row for each image")
