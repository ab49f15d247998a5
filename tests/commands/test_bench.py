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


def test_bench_needs_the_images(cli, index, weights, gallery, tmp_path):
    moved = tmp_path / "moved"
    shutil.move(gallery, moved)
    try:
        assert "none of 6 images" in cli("bench", "--index", index, "--weights", weights, code=1).error
    finally:
        shutil.move(moved, gallery)
