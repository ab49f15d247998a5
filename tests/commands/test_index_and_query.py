"""`index` and `query`: what they do, what they print, and which weights they use."""

from __future__ import annotations

import json
import math
import re
import shutil
from pathlib import Path

import pytest
from PIL import Image
from tiny_weights import picture, write_pictures

from vpmsearch.model.weights import fingerprint
from vpmsearch.search.answers import SCHEMA
from vpmsearch.store import GalleryStore, verify


def stored(index: Path) -> dict[str, int]:
    with GalleryStore.open(index) as store:
        return {Path(path).name: image_id for path, (image_id, _) in store.live_files().items()}


# index ------------------------------------------------------------------------------------------------------------


def test_index_twice_takes_only_what_is_new(cli, gallery: Path, weights: Path):
    first = cli("index", gallery, "--weights", weights)
    assert first.stdout == ""
    assert "6 indexed (0 of them changed), 0 unchanged, 0 relabelled, 0 moved, 0 pruned, 0 rejected" in first.stderr
    assert "indexes/default now holds 6 images" in first.stderr
    before = stored(Path("indexes/default"))
    again = cli("index", gallery)
    assert "0 indexed (0 of them changed), 6 unchanged" in again.stderr
    assert stored(Path("indexes/default")) == before


def test_index_says_which_weights(cli, gallery: Path, weights: Path, other_weights: Path):
    plain = cli("index", gallery, "--weights", weights).stderr
    assert f"tiny-0, trained on random numbers, {fingerprint(weights)[:12]}" in plain
    assert "warning" not in plain
    drawn = cli("index", gallery, "--weights", other_weights, "--index", "other").stderr
    assert "warning: these weights were trained on drawn pedestrians" in drawn


def test_progress_has_no_control_characters(cli, gallery: Path, weights: Path):
    shown = cli("index", gallery, "--weights", weights).stderr
    assert "indexing: 6/6 (" in shown
    assert "\r" not in shown
    assert "\x1b" not in shown


def test_index_with_other_weights_names_both(cli, gallery: Path, weights: Path, other_weights: Path, index: Path):
    before = stored(index)
    error = cli("index", gallery, "--weights", other_weights, "--index", index, code=1).error
    assert fingerprint(weights) in error
    assert fingerprint(other_weights) in error
    assert stored(index) == before


def test_a_folder_does_not_erase_what_a_list_said(cli, gallery: Path, weights: Path):
    """README's own sequence: the folder, the list, the folder again."""
    cli("index", gallery, "--weights", weights)
    said = cli("index", gallery / "list.csv", "--dataset", "csv").stderr
    assert "6 relabelled" in said
    assert "labels: pid: 6 given; camid: 6 given; captured_at: 5 given" in said
    before = cli("stats", "--json").json[0]
    assert (before["identities"], before["cameras"]) == (3, 2)
    said = cli("index", gallery).stderr
    assert "6 unchanged, 0 relabelled" in said
    assert "6 images keep labels that this gallery does not know; --clear-labels takes them away" in said
    assert cli("stats", "--json").json[0] == before
    said = cli("index", gallery, "--clear-labels").stderr
    assert "labels: pid: 6 taken away; camid: 6 taken away; captured_at: 5 taken away" in said
    after = cli("stats", "--json").json[0]
    assert (after["identities"], after["cameras"]) == (0, 0)


def test_a_gallery_that_moved_is_found_at_its_new_place(cli, tmp_path: Path, weights: Path):
    """A case of public reports: the folder moves, and nobody says so to the index."""
    write_pictures(tmp_path / "old", 6)
    cli("index", "old", "--weights", weights)
    (tmp_path / "new").mkdir()
    (tmp_path / "old").rename(tmp_path / "new" / "photos")
    said = cli("index", "new/photos", "--prune").stderr
    assert "0 indexed (0 of them changed), 0 unchanged, 0 relabelled, 6 moved, 0 pruned" in said
    query = ("query", "new/photos/001.png", "--json", "--top")
    assert [m["path"] for m in cli(*query, 1).json[0]["matches"]] == [str(tmp_path / "new/photos/001.png")]

    # Copied, and both indexed, before the old one goes: it is told how to be rid of the dead paths, which stand behind.
    shutil.copytree(tmp_path / "new" / "photos", tmp_path / "copy")
    assert "6 of the indexed images have the same bytes as another image" in cli("index", "copy").stderr
    shutil.rmtree(tmp_path / "new")
    query = ("query", "copy/001.png", "--json", "--top")
    for top in (1, 2):
        paths = [match["path"] for match in cli(*query, top).json[0]["matches"]]
        assert paths == [str(tmp_path / "copy/001.png"), str(tmp_path / "new/photos/001.png")][:top]
    assert "of 6 indexed images the file is gone" in cli("index", "copy").stderr
    assert "6 pruned" in cli("index", "copy", "--prune").stderr
    assert cli(*query, 2).json[0]["matches"][0]["path"] == str(tmp_path / "copy/001.png")
    assert sorted(stored(Path("indexes/default"))) == [f"{number:03}.png" for number in range(6)]


def test_index_as_json_and_tried(cli, tmp_path: Path, weights: Path):
    write_pictures(tmp_path / "g", 3)
    (done,) = cli("index", "g", "--weights", weights, "--json").json
    assert (done["dry_run"], done["indexed"], done["images"]) == (False, 3, 3)
    (tmp_path / "g" / "001.png").unlink()
    write_pictures(tmp_path / "g", 1, first=9)
    told = cli("index", "g", "--prune", "--dry-run", "--json")
    assert f"would prune: {tmp_path / 'g' / '001.png'}" in told.stderr
    assert "would be: 1 indexed (0 of them changed), 2 unchanged" in told.stderr
    (tried,) = told.json
    assert (tried["dry_run"], tried["pruned"], tried["pruned_paths"]) == (True, 1, [str(tmp_path / "g" / "001.png")])
    assert sorted(stored(Path("indexes/default"))) == ["000.png", "001.png", "002.png"]
    (done,) = cli("index", "g", "--prune", "--json").json
    assert done | {"dry_run": True, "seconds": 0, "images": 3} == tried | {"seconds": 0}
    assert sorted(stored(Path("indexes/default"))) == ["000.png", "002.png", "009.png"]


def test_a_dry_run_of_a_new_index_counts_as_the_run_does(cli, tmp_path: Path, weights: Path):
    write_pictures(tmp_path / "g", 2)
    (tmp_path / "g" / "text.png").write_text("no picture")
    whole = (tmp_path / "g" / "001.png").read_bytes()
    (tmp_path / "g" / "half.png").write_bytes(whole[: len(whole) // 2])
    command = ("index", "g", "--weights", weights, "--index", "new", "--json")
    outcome = cli(*command, "--dry-run")
    assert "there is no index at" in outcome.stderr
    assert not (tmp_path / "new").exists()
    (tried,), (done,) = outcome.json, cli(*command).json
    assert done | {"dry_run": True, "seconds": 0, "images": 0} == tried | {"seconds": 0}
    assert (tried["indexed"], len(tried["rejected"])) == (2, 2)


def test_prune(cli, tmp_path: Path, weights: Path):
    write_pictures(tmp_path / "g", 4)
    cli("index", "g", "--weights", weights)
    (tmp_path / "g" / "002.png").unlink()
    assert "0 pruned" in cli("index", "g").stderr
    assert "1 pruned" in cli("index", "g", "--prune").stderr
    assert sorted(stored(Path("indexes/default"))) == ["000.png", "001.png", "003.png"]


def test_a_list_is_indexed_without_more(cli, gallery: Path, weights: Path, tmp_path: Path):
    outcome = cli("index", gallery / "list.csv", "--weights", weights, "--index", tmp_path / "listed")
    assert "6 indexed" in outcome.stderr
    assert "name no zone" not in outcome.stderr  # each of them does
    naive = (gallery / "list.csv").read_text().replace(":00Z", "", 2)
    (gallery / "naive.csv").write_text(naive)
    outcome = cli("index", gallery / "naive.csv", "--index", tmp_path / "listed")
    (gallery / "naive.csv").unlink()
    assert "2 times that name no zone are taken as UTC (--timezone)" in outcome.stderr
    text = gallery / "list.csv"
    other = text.rename(text.with_suffix(".txt"))
    error = cli("index", other, "--weights", weights, code=1).error
    other.rename(text)
    assert "Not a directory" in error
    assert "--dataset csv" in error


@pytest.mark.parametrize("panel", ["panel.txt", "panel", "nowhere/panel.png"])
def test_a_panel_that_cannot_be_written_is_refused_before_the_search(cli, index: Path, gallery: Path, panel: str):
    outcome = cli("query", gallery / "a" / "000.png", "--index", index, "--panel", panel, code=1)
    assert panel.rsplit("/")[0] in outcome.error
    assert outcome.stdout == ""


def test_rejected_images_are_counted_and_listed(cli, tmp_path: Path, weights: Path):
    write_pictures(tmp_path / "g", 2)
    for i in range(12):
        (tmp_path / "g" / f"bad\n{i:02}.png").write_bytes(b"no picture")
    lines = cli("index", "g", "--weights", weights).stderr.splitlines()
    assert sum(line.startswith("rejected: g/bad\\n") for line in lines) == 10
    assert "… and 2 more; `vpmsearch stats --rejected` lists all" in lines
    assert "12 rejected" in lines[-1]
    listed = cli("stats", "--rejected", "--json").json[0]["rejections"]
    assert len(listed) == 12
    assert listed[0] == {"path": str(tmp_path / "g" / "bad\n00.png"), "reason": "not an image of a known format"}
    plain = [line for line in cli("stats", "--rejected").stdout.splitlines() if line.startswith("rejected: /")]
    assert len(plain) == 12


def test_a_gallery_of_nothing_but_bad_images_fails_beside_good_ones_of_another(
    cli, tmp_path: Path, weights: Path, index: Path
):
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "0.png").write_bytes(b"no picture")
    assert "none of the 1 image in bad" in cli("index", "bad", "--index", index, code=1).error
    assert len(stored(index)) == 6
    assert len(cli("stats", "--rejected", "--index", index, "--json").json[0]["rejections"]) == 1


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_settings_of_a_new_index(cli, gallery: Path, weights: Path, dtype: str):
    cli(
        "index",
        gallery,
        "--weights",
        weights,
        "--embedding-dtype",
        dtype,
        "--index-type",
        "hnsw",
        "--min-visibility",
        0,
    )
    found = cli("stats", "--json").json[0]
    assert (found["embedding_dtype"], found["index_type"], found["model"]["min_visibility"]) == (dtype, "hnsw", 0)
    assert found["region_images"] == [6] * 6
    (line,) = cli("query", gallery / "a" / "001.png", "--json").json
    assert Path(line["matches"][0]["path"]) == gallery / "a" / "001.png"


def test_market_layout_gives_labels_and_drops_junk(cli, tmp_path: Path, weights: Path):
    place = tmp_path / "market" / "bounding_box_test"
    place.mkdir(parents=True)
    for seed, name in enumerate(["0001_c1s1_000001_01.jpg", "0000_c2s1_000001_01.jpg", "-1_c3s1_000001_01.jpg"]):
        picture(seed).save(place / name)
    cli("index", "market", "--dataset", "market1501", "--weights", weights)
    (line,) = cli("query", place / "-1_c3s1_000001_01.jpg", "--json").json
    assert {(match["pid"], match["camid"]) for match in line["matches"]} == {(1, 1), (0, 2)}


# query ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("exact", [False, True])
def test_query_json_is_the_contract(cli, gallery: Path, index: Path, exact: bool):
    images = [gallery / "a" / "002.png", gallery / "b" / "004.png"]
    outcome = cli("query", *images, "--index", index, "--top", 4, "--json", *(["--exact"] if exact else []))
    ids = stored(index)
    assert len(outcome.json) == 2
    for image, line in zip(images, outcome.json, strict=True):
        assert list(line)[:5] == ["query", "exact", "candidates", "elapsed_ms", "matches"]
        assert {"verdict", "depth", "complete", "bound_closed", "empty", "calibration_notice"} <= set(line)
        assert (line["schema"], line["images"]) == (SCHEMA, 6)
        assert line["empty"] is line["calibration_notice"] is None
        assert line["complete"]  # six images: all were compared
        assert (line["query"], line["exact"], line["candidates"]) == (str(image), exact, 6)
        assert line["elapsed_ms"] > 0
        assert [match["rank"] for match in line["matches"]] == [1, 2, 3, 4]
        assert line["matches"][0]["path"] == str(image)
        assert line["matches"][0]["distance"] < 1e-3
        distances = [match["distance"] for match in line["matches"]]
        assert distances == sorted(distances)
        for match in line["matches"]:
            assert list(match)[:7] == ["rank", "image_id", "path", "distance", "pid", "camid", "regions"]
            assert match["false_match_rate"] is None  # nothing is calibrated
            number = int(Path(match["path"]).stem)
            expected = (ids[Path(match["path"]).name], 1 + number % 3, 1 + number % 2)
            assert (match["image_id"], match["pid"], match["camid"]) == expected
            assert match["regions"]
            assert all(list(region)[:3] == ["region", "distance", "weight"] for region in match["regions"])
            total = math.fsum(region["weight"] for region in match["regions"])
            explained = math.fsum(region["weight"] * region["distance"] for region in match["regions"]) / total
            assert explained == pytest.approx(match["distance"], rel=1e-5, abs=1e-7)


def test_query_for_people(cli, gallery: Path, index: Path):
    outcome = cli("query", gallery / "a" / "002.png", "--index", index, "--top", 3)
    head, *rows = outcome.stdout.splitlines()
    assert head.startswith(f"{gallery}/a/002.png: 3 matches (6 compared in ")
    assert len(rows) == 3
    assert rows[0].split()[0] == "1"
    assert f"{gallery}/a/002.png  pid 3  camid 1" in rows[0]
    parts = re.findall(r"([0-9]) (head|torso|legs) ([0-9]+)%", rows[0].partition("[")[2])
    shares = [int(share) for _, _, share in parts]
    assert sum(shares) == pytest.approx(100, abs=3)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--pid", 1], [0, 3]),
        (["--pid", 1, "--pid", 2], [0, 1, 3, 4]),
        (["--pid", 1, "--camid", 2], [3]),
        (["--camid", 7], []),
        (["--after", "2024-05-01T12:00:00Z"], [2, 3, 4]),
        (["--after", "2024-05-01T12:00"], [2, 3, 4]),
        (["--before", "2024-05-01T14:00:00+02:00"], [0, 1]),
        (["--after", "2024-05-01T11:00", "--before", "2024-05-01T13:00", "--exact"], [1, 2]),
        (["--before", "2024-05-02"], [0, 1, 2, 3, 4]),
        (["--top", 2], None),
    ],
)
def test_query_filters(cli, gallery: Path, index: Path, options: list[object], expected: list[int] | None):
    (line,) = cli("query", gallery / "a" / "000.png", "--index", index, "--json", *options).json
    found = sorted(int(Path(match["path"]).stem) for match in line["matches"])
    assert found == expected if expected is not None else len(found) == 2


def test_words_and_attributes_from_a_list_to_an_answer(cli, tmp_path: Path, gallery: Path, weights: Path):
    """As given: kept, filtered, answered, changed by a later list without extraction, and removed."""
    manifest, index = tmp_path / "people.csv", tmp_path / "index"
    rows = ["a/000.png,alice,lobby,north,2", "a/001.png,007,3,south,2", "a/002.png,7,3,north,", "a/003.png,,,,"]
    rows = [f"{gallery}/{row}" for row in rows]
    manifest.write_text("\n".join(["path,person,camera,site,floor", *rows]))
    said = cli("index", manifest, "--index", index, "--weights", weights).stderr
    assert "kept as attributes, to be asked for by --where: floor, site" in said
    asked = ("query", gallery / "a" / "000.png", "--index", index)

    def found(*options: object) -> list[int]:
        (line,) = cli(*asked, "--json", *options).json
        return sorted(int(Path(match["path"]).stem) for match in line["matches"])

    assert found("--pid", "alice") == found("--camid", "lobby") == [0]
    assert found("--pid", "007") == [1]
    assert found("--pid", "7") == [2]
    assert found("--where", "site=north") == [0, 2]
    assert found("--where", "site=north", "--where", "site=south", "--where", "floor=2") == [0, 1]
    assert found("--where", "site=North") == []
    (line,) = cli(*asked, "--json").json
    by_name = {Path(match["path"]).stem: match for match in line["matches"]}
    labels = {name: (match["pid"], match["camid"]) for name, match in by_name.items()}
    assert labels == {"000": ("alice", "lobby"), "001": ("007", 3), "002": (7, 3), "003": (None, None)}
    assert "an attribute Site (there are floor or site)" in cli(*asked, "--where", "Site=x").stdout
    assert "is not NAME=VALUE" in cli(*asked, "--where", "north", code=2).stderr
    assert "has a filter of its own" in cli(*asked, "--where", "pid=7", code=2).stderr
    manifest.write_text(f"path,person,site\n{gallery}/a/000.png,bob,\n{gallery}/a/001.png,,east\n")
    said = cli("index", manifest, "--index", index, "--weights", weights).stderr
    assert "pid: 1 changed; site: 1 changed" in said
    assert found("--pid", "bob", "--where", "site=north", "--where", "floor=2") == [0]  # an empty field says nothing
    assert found("--where", "site=east", "--where", "floor=2", "--pid", "007") == [1]
    assert cli("remove", "--where", "site=east", "--index", index, "--json").json == [{"removed": 1}]
    assert found() == [0, 2, 3]


def test_no_result_is_an_answer(cli, gallery: Path, index: Path):
    """With the true reason, in words and as JSON."""
    asked = ("query", gallery / "a" / "000.png", "--index", index)
    told = "no result: no image passes the filter: no image has pid 99 ("
    assert told in cli(*asked, "--pid", 99).stdout
    (line,) = cli(*asked, "--prefix", "b/nowhere", "--json").json
    nowhere = f"no image passes the filter: no path of the index starts with {Path('b/nowhere').absolute()}"
    assert line["empty"] == {"kind": "filter", "reason": nowhere}
    (line,) = cli(*asked, "--json").json
    assert line["empty"] is None


def test_prefix_takes_paths_as_index_does(cli, gallery: Path, index: Path, monkeypatch: pytest.MonkeyPatch):
    """Relative to this folder, with or without a last slash; part of a name too."""
    monkeypatch.chdir(gallery.parent)
    every = {path.relative_to(gallery).as_posix() for path in gallery.rglob("*.png")}
    asked = ("query", gallery / "a" / "000.png", "--index", index, "--json", "--top", 50, "--prefix")
    for prefix, start in ((gallery.name, ""), (f"./{gallery.name}/a/", "a/"), (f"{gallery.name}/a/00", "a/00")):
        (line,) = cli(*asked, prefix).json
        found = {Path(match["path"]).relative_to(gallery).as_posix() for match in line["matches"]}
        assert found == {path for path in every if path.startswith(start)}, prefix
        assert found


def test_query_answers_what_it_can(cli, tmp_path: Path, gallery: Path, index: Path):
    (tmp_path / "bad.png").write_bytes(b"no picture")
    good = gallery / "a" / "000.png"
    outcome = cli("query", "bad.png", good, "missing.png", good, "--index", index, "--json", code=1)
    assert [line["query"] for line in outcome.json] == [str(good), str(good)]
    assert "bad.png: not an image" in outcome.error
    assert "missing.png: there is no such file" in outcome.error


def test_panel_is_a_picture_and_stdout_stays_json(cli, gallery: Path, index: Path):
    outcome = cli(
        "query", gallery / "a" / "000.png", gallery / "b" / "005.png", "--index", index, "--json", "--panel", "p.png"
    )
    assert len(outcome.json) == 2
    assert "p.png" in outcome.stderr
    with Image.open("p.png") as panel:
        assert panel.format == "PNG"
        assert min(panel.size) > 200


def test_panel_survives_images_that_are_gone(cli, tmp_path: Path, weights: Path):
    write_pictures(tmp_path / "g", 3)
    cli("index", "g", "--weights", weights)
    picture(0).save("query.png")
    shutil.rmtree("g")
    cli("query", "query.png", "--panel", "p.png")
    assert Path("p.png").stat().st_size > 1000


# which weights ----------------------------------------------------------------------------------------------------


@pytest.fixture
def movable(tmp_path: Path, weights: Path) -> Path:
    """A copy of the weights that a test may move."""
    return Path(shutil.copy(weights, tmp_path / "w.safetensors"))


def test_weights_are_found_again_by_fingerprint(cli, gallery: Path, movable: Path, other_weights: Path, monkeypatch):
    image = gallery / "a" / "000.png"
    cli("index", gallery, "--weights", movable)
    assert cli("query", image, "--json").json
    moved = movable.rename("moved.safetensors")
    error = cli("query", image, code=1).error
    assert fingerprint(moved)[:12] in error
    assert "--weights" in error
    assert cli("query", image, "--weights", moved, "--json").json
    monkeypatch.setenv("VPMSEARCH_WEIGHTS", str(moved))
    assert cli("query", image, "--json").json
    assert "6 unchanged" in cli("index", gallery).stderr
    monkeypatch.setenv("VPMSEARCH_WEIGHTS", str(other_weights))  # another file there is no reason not to look on
    Path("weights").mkdir()
    shutil.copy(moved, "weights/vpm.safetensors")
    assert cli("query", image, "--json").json


def test_a_stale_variable_does_not_hide_the_recorded_weights(cli, gallery: Path, index: Path, monkeypatch):
    monkeypatch.setenv("VPMSEARCH_WEIGHTS", "/nowhere/vpm.safetensors")
    assert cli("query", gallery / "a" / "000.png", "--index", index, "--json").json


def test_query_with_other_weights_names_both(cli, gallery: Path, index: Path, weights: Path, other_weights: Path):
    image = gallery / "a" / "000.png"
    error = cli("query", image, "--index", index, "--weights", other_weights, code=1).error
    assert fingerprint(weights)[:12] in error
    assert fingerprint(other_weights)[:12] in error


def test_where_a_new_index_takes_its_weights_from(cli, gallery: Path, weights: Path, other_weights: Path, monkeypatch):
    def used(name: str, *options: object) -> str:
        cli("index", gallery, "--index", name, *options)
        return str(cli("stats", "--index", name, "--json").json[0]["model"]["fingerprint"])

    Path("weights").mkdir()
    shutil.copy(weights, "weights/vpm.safetensors")
    assert used("default") == fingerprint(weights)
    monkeypatch.setenv("VPMSEARCH_WEIGHTS", str(other_weights))
    assert used("environment") == fingerprint(other_weights)
    assert used("given", "--weights", weights) == fingerprint(weights)
    monkeypatch.setenv("VPMSEARCH_WEIGHTS", "/nowhere/vpm.safetensors")
    error = cli("index", gallery, "--index", "none", code=1).error
    assert "/nowhere/vpm.safetensors" in error
    assert "$VPMSEARCH_WEIGHTS" in error
    assert not Path("none").exists()


def test_an_index_may_move_with_its_folder(cli, gallery: Path, index: Path):
    moved = index.rename(index.with_name("elsewhere"))
    assert verify(moved).ok
    assert cli("query", gallery / "a" / "000.png", "--index", moved, "--json").json


def test_json_lines_are_lines(cli, tmp_path: Path, weights: Path):
    name = "größe\n\u2028写真.png"
    (tmp_path / "g").mkdir()
    picture(0).save(tmp_path / "g" / name)
    cli("index", "g", "--weights", weights)
    outcome = cli("query", tmp_path / "g" / name, "--json")
    (line,) = outcome.stdout.rstrip("\n").split("\n")
    assert json.loads(line)["matches"][0]["path"] == str(tmp_path / "g" / name)


def test_a_panel_has_a_bar_for_every_region_of_the_index(cli, gallery: Path, index: Path, monkeypatch):
    """Also for those that no match shares with the query: bars would else be told apart by their number alone."""
    asked = []
    monkeypatch.setattr(
        "vpmsearch.report.pictures.rank_panel", lambda *_, **how: asked.append(how["num_regions"]) or Path("p.png")
    )
    cli("query", gallery / "a" / "000.png", "--regions", "0,1", "--index", index, "--panel", "p.png")
    assert asked == [6]
