"""What a notebook sees: names found lazily, models by one call, results as text, table, picture and frame."""

from __future__ import annotations

import builtins
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from tiny_weights import picture, write_pictures, write_weights

import vpmsearch
from vpmsearch.errors import DataError, WeightsError
from vpmsearch.store import GalleryStore
from vpmsearch.types import Match, RegionFeatures, RegionMatch, SearchResult


def result(*paths: str) -> SearchResult:
    """Each path a match a little farther than the one before; the last one shows another region."""
    matches = []
    for i, path in enumerate(paths):
        region = 2 if i + 1 == len(paths) else 0
        parts = (RegionMatch(region, 0.5 + i, 0.01, 1.0, "torso"),)
        matches.append(Match(10 + i, path, None if i else 7, i, 0.5 + i, parts))
    return SearchResult(tuple(matches), 20, False, {"scan": 1.5}, complete=True)


def test_every_name_is_found_and_none_else():
    for name in vpmsearch.__all__:
        assert getattr(vpmsearch, name).__module__.startswith("vpmsearch.")
    assert set(vpmsearch.__all__) <= set(dir(vpmsearch))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        vpmsearch.__getattr__("nothing")


def test_names_are_imported_when_they_are_asked_for():
    code = (
        "import sys, vpmsearch\n"
        "assert not {'torch', 'numpy', 'vpmsearch.types'} & set(sys.modules)\n"
        "from vpmsearch import SearchFilter\n"
        "assert 'vpmsearch.types' in sys.modules and 'torch' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr


def test_a_model_from_a_file_or_from_a_store(tmp_path: Path, monkeypatch):
    path = write_weights(tmp_path / "tiny.safetensors")
    model = vpmsearch.load_model(path, device="cpu")
    assert repr(model) == "<Extractor: tiny-0, trained on random numbers, on cpu>"
    with GalleryStore.create(tmp_path / "index", model.weights.info) as store:
        assert repr(store) == f"<GalleryStore {tmp_path / 'index'}: 0 images, 6 regions, tiny-0>"
        assert vpmsearch.load_model(store, device="cpu").weights.fingerprint == model.weights.fingerprint
        assert "0 images, distances on cpu" in repr(vpmsearch.SearchEngine(store))
        path.unlink()
        monkeypatch.chdir(tmp_path)
        with pytest.raises(WeightsError, match="built with weights"):
            vpmsearch.load_model(store)
    assert repr(store).endswith("closed>")
    with pytest.raises(WeightsError, match="no weights file"):
        vpmsearch.load_model(tmp_path / "nowhere")


def test_features_and_results_say_what_they_are():
    features = RegionFeatures(np.zeros((3, 6), np.float32), np.zeros((3, 6, 16), np.float32))
    assert repr(features) == "<RegionFeatures: 3 images, 6 regions of 16 numbers>"
    assert repr(result("a.png", "b.png")) == "<SearchResult: 2 matches, nearest 0.5000 'a.png', 20 compared>"
    assert repr(result()) == "<SearchResult: 0 matches, 20 compared>"


def test_the_table_escapes_and_embeds(tmp_path: Path):
    path = write_pictures(tmp_path, 1)[0]
    text = result(str(path), "<b>gone</b>.png")._repr_html_()
    assert text.count("data:image/jpeg;base64,") == 1
    assert "<td>missing</td>" in text
    assert "&lt;b&gt;gone" in text
    assert "<b>gone" not in text
    assert "2 of the index; 20 compared in 1.5 ms" in text
    assert "<td>0 torso 100%</td>" in text
    assert "0 of the index" in result()._repr_html_()
    told = replace(result(str(path)), images=638, verdict="match").with_query(picture(1), picture(2))._repr_html_()
    assert "<b>match</b> Few strangers come as near as the first. 1 of 638 images; 20 compared" in told
    assert told.count('alt="query"') == 2


@pytest.mark.parametrize("query", [None, picture(0)])
def test_show_is_a_picture(tmp_path: Path, query):
    paths = map(str, write_pictures(tmp_path, 2))
    shown = result(*paths).show(query, pid=7)
    assert shown.mode == "RGB"
    assert shown.width > 400
    pixels = np.asarray(shown)
    assert (pixels != 255).any()
    left = pixels[60:300, 35:170]  # the query's cell
    assert (np.ptp(left, axis=(0, 1)).max() > 100) == (query is not None)


def test_show_takes_a_pid_as_everything_does(tmp_path: Path):
    (path,) = map(str, write_pictures(tmp_path, 1))
    found = result(path)
    right, wrong = (np.asarray(found.show(pid=pid)) for pid in (7, "bob"))
    assert np.array_equal(np.asarray(found.show(pid="7")), right)
    assert not np.array_equal(right, wrong)


def test_to_pandas_says_what_is_missing(monkeypatch):
    real = builtins.__import__

    def without(name, *rest):
        if name == "pandas":
            raise ModuleNotFoundError(name="pandas")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(DataError, match="pip install pandas"):
        result("a.png").to_pandas()


def test_to_pandas():
    pandas = pytest.importorskip("pandas")
    frame = result("a.png", "b.png", "c.png").to_pandas()
    assert list(frame["rank"]) == [1, 2, 3]
    assert list(frame["image_id"]) == [10, 11, 12]
    assert list(frame["distance"]) == [0.5, 1.5, 2.5]
    assert (frame["pid"][0], frame["pid"][1] is pandas.NA) == (7, True)
    assert list(frame["distance_0"])[:2] == [0.5, 1.5]
    assert np.isnan(frame["distance_0"][2])
    assert frame["share_2"][2] == 1.0
    assert list(result().to_pandas().columns)[:3] == ["rank", "image_id", "path"]


def test_to_pandas_has_all_that_is_known():
    pandas = pytest.importorskip("pandas")
    found = result("film.mp4#t=12.5&xywh=1,2,30,40", "b.png")
    moment = datetime(2026, 11, 1, 10, tzinfo=UTC)
    first = replace(found.matches[0], pid="P-7", captured_at=moment, attributes={"site": "north"}, itself=True)
    second = replace(found.matches[1], false_match_rate=0.25)
    frame = replace(found, matches=(first, second)).to_pandas()
    assert (frame["pid"][0], frame["site"][0]) == ("P-7", "north")
    assert pandas.isna(frame["pid"][1])
    assert pandas.isna(frame["site"][1])
    assert frame["box"][0] == [1, 2, 30, 40]
    assert frame["seconds"][0] == 12.5
    assert frame["captured_at"][0] == pandas.Timestamp(moment)
    assert frame["captured_at"][1] is pandas.NaT
    assert (frame["false_match_rate"][1], list(frame["itself"])) == (0.25, [True, False])


def test_several_photographs_are_shown(tmp_path: Path):
    """An upper and a lower half stand one below the other."""
    found = result(*map(str, write_pictures(tmp_path, 2)))
    one, two = (np.asarray(found.with_query(*images).show()) for images in ([picture(0)], [picture(0), picture(2)]))
    assert one.shape == two.shape
    assert (one[60:300, 35:170] != two[60:300, 35:170]).any()
    assert (one[:, 200:] == two[:, 200:]).all()
