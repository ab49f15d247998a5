"""`vpmsearch bench` on an index of six pictures."""

from __future__ import annotations

import shutil


def test_bench(cli, index, weights):
    outcome = cli(
        "bench", "--index", index, "--weights", weights, "--gamma", 1, "--queries", 4, "--json", "--picture", "r.png"
    )
    (answer,) = outcome.json
    (row,) = answer["results"]
    assert answer["images"] == 6
    assert (row["gamma"], row["queries"]) == (1.0, 4)
    assert row["recall_at_1"] == row["recall_at_10"] == row["recall_at_100"] == 1
    assert row["complete"] == 1
    assert [point["recall_at_10"] for point in row["curve"]] == [1.0] * len(row["curve"])
    assert "r.png" in outcome.stderr


def test_bench_prints_a_table(cli, index, weights):
    lines = cli("bench", "--index", index, "--weights", weights, "--queries", 2).stdout.splitlines()
    assert lines[0].startswith("gamma  recall@1")
    assert [line.split()[0] for line in lines[1:3]] == ["0.50", "1.00"]
    assert "6 images" in lines[-1]


def test_bench_tells_of_equal_images_and_what_they_cost(cli, index, weights, monkeypatch):
    from vpmsearch.commands import bench

    told = list[str]()
    monkeypatch.setattr(bench, "say", told.append)
    bench._tell_of_misses([{"recall_at_10": 0.995}], 0.0, ["hnsw"])
    assert told == []
    bench._tell_of_misses([{"recall_at_10": 1.0}, {"recall_at_10": 0.4}], 0.5, ["hnsw"])
    assert "50% of the images are equal" in told[0]
    assert "recall@10 is 0.400 with region indexes of type hnsw; many equal" in told[1]
    outcome = cli("bench", "--index", index, "--weights", weights, "--queries", 2, "--gamma", 1, "--json")
    assert (outcome.json[0]["equal"], outcome.json[0]["types"]) == (0.0, ["flat"])


def test_bench_needs_the_images(cli, index, weights, gallery, tmp_path):
    moved = tmp_path / "moved"
    shutil.move(gallery, moved)
    try:
        assert "none of 6 images" in cli("bench", "--index", index, "--weights", weights, code=1).error
    finally:
        shutil.move(moved, gallery)
