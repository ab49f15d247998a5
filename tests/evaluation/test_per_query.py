"""Lines a query: there and back, and two models compared by them."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from vpmsearch.data.crops import CropBox
from vpmsearch.data.datasets import LabelledImage
from vpmsearch.errors import DataError
from vpmsearch.evaluation.metrics import QueryMetrics
from vpmsearch.evaluation.per_query import QueryLine, compare, query_lines, read_query_lines, write_query_lines
from vpmsearch.evaluation.rows import Evaluation, Ranking


def lines(ap, rank1=None, gamma=0.5, weighting="visibility"):
    hits = [float(value > 0.5) for value in ap] if rank1 is None else rank1
    return [
        QueryLine(
            f"query/{i}.jpg", i, 1, gamma, "top", weighting, 0, 0, 1, gamma, hit, 1, 1, value, value, value, "Eq. 4"
        )
        for i, (value, hit) in enumerate(zip(ap, hits, strict=True))
    ]


def test_a_row_becomes_lines():
    first = np.array([1.0, 7.0, np.nan])
    ap = np.array([0.9, 0.2, np.nan])
    metrics = QueryMetrics(ap, ap / 2, ap / 3, first)
    boxes = (CropBox(bottom=0.5), None, CropBox(left=0.25))
    ranking = Ranking("sfr", 50)
    row = Evaluation(0.5, "random", "uniform", metrics.means(), metrics, 0.0, 2, 9, boxes=boxes, ranking=ranking)
    images = [LabelledImage(Path(f"/deep/down/query/{i}.jpg"), i, 2) for i in range(3)]
    a, b, c = query_lines(row, images)
    assert (a.query, a.pid, a.camid, a.protocol) == ("query/0.jpg", 0, 2, (0.5, "random", "uniform"))
    assert (a.left, a.top, a.right, a.bottom) == (0, 0, 1, 0.5)
    assert b.shown == ("query/1.jpg", 0, 0, 1, 1)
    assert (a.rank1, b.rank1, b.rank5, b.rank10) == (1, 0, 0, 1)
    assert (b.ap, b.ap_trapezoid, b.inp) == pytest.approx((0.2, 0.1, 0.2 / 3))
    assert c.left == 0.25
    assert {a.ranking, b.ranking, c.ranking} == {"sfr of 50 by Eq. 4"}
    assert math.isnan(c.ap)
    assert math.isnan(c.rank1)


def test_there_and_back(tmp_path: Path):
    path = tmp_path / "new" / "lines.csv"
    some = lines([0.1 + 0.2, 1 / 3, 1.0])
    with pytest.raises(DataError, match="there is no folder"):
        write_query_lines(path, some)
    path.parent.mkdir()
    write_query_lines(path, some)
    assert read_query_lines(path) == some
    # A file of before the last column does not say how it was ranked.
    path.write_text("".join(line.rpartition(",")[0] + "\n" for line in path.read_text().splitlines()))
    assert read_query_lines(path) == [replace(line, ranking="") for line in some]
    write_query_lines(path, [])
    assert read_query_lines(path) == []


OTHERS = ["", "a,b\n1,2\n", b"\xff\xfe\x00", "HEAD\nquery/0.jpg,x\n", "HEAD\nq,1,1,1,t,v,0,0,1,1,1,1,1,much,1,1\n"]


@pytest.mark.parametrize("text", OTHERS)
def test_other_files_are_refused(tmp_path: Path, text):
    path = tmp_path / "lines.csv"
    write_query_lines(path, [])
    head = path.read_text().strip()
    path.write_bytes(text if isinstance(text, bytes) else text.replace("HEAD", head).encode())
    with pytest.raises(DataError, match=r"lines\.csv"):
        read_query_lines(path)
    with pytest.raises(DataError, match="cannot be read"):
        read_query_lines(tmp_path / "gone.csv")


@pytest.mark.parametrize("how", ["bom", "semicolons", "decimal commas", "pandas", "pandas index", "sorted"])
def test_lines_that_went_through_a_spreadsheet(tmp_path: Path, how: str):
    path, some = tmp_path / "lines.csv", lines([0.1 + 0.2, 1 / 3, 1.0, math.nan])
    write_query_lines(path, some)
    text, frame = path.read_text(), pd.read_csv(path)
    changed = {
        "bom": "\ufeff" + text.replace("\n", "\r\n"),
        "semicolons": text.replace(",", ";"),
        "decimal commas": text.replace(",", ";").replace("0.", "0,").replace("1.0", "1,0"),
        "pandas": frame.to_csv(index=False),
        "pandas index": frame.to_csv(),
        "sorted": frame.iloc[::-1].to_csv(index=False),
    }
    path.write_text(changed[how], newline="")
    found = sorted(read_query_lines(path), key=lambda line: line.pid)
    assert [line.query.replace(",", ".") for line in found] == [line.query for line in some]
    for line, right in zip(found, some, strict=True):
        assert (line.pid, line.gamma, line.bottom) == (right.pid, right.gamma, right.bottom)
        assert line.ap == pytest.approx(right.ap, nan_ok=True)


def test_two_weightings_are_compared():
    first, second = lines([0.2, 0.4]), lines([0.3, 0.6], weighting="uniform")
    (row,) = compare(first, second)
    assert (row.weighting, row.queries) == ("visibility → uniform", 2)
    assert row.mean_ap == pytest.approx(0.15)
    # Where both have both, each is compared with its own.
    both = compare([*first, *lines([0.1, 0.1], weighting="uniform")], [*lines([0.2, 0.4]), *second])
    assert [(row.weighting, round(row.mean_ap, 3)) for row in both] == [("visibility", 0.0), ("uniform", 0.35)]
    with pytest.raises(DataError, match="share no gamma and crop"):
        compare(first, lines([0.3, 0.6], gamma=0.7))


def test_differences_are_paired():
    rng = np.random.default_rng(0)
    hard = rng.random(400)  # queries differ far more than models do: only pairs show it
    first, second = lines(hard * 0.9), lines(hard * 0.9 + 0.02)
    (found,) = compare(first, list(reversed(second)))
    assert (found.gamma, found.crop, found.weighting, found.queries) == (0.5, "top", "visibility", 400)
    assert found.mean_ap == pytest.approx(0.02)
    low, high = found.mean_ap_interval  # 400 equal differences; another query may yet differ by 1
    assert (low, high) == pytest.approx((0.0106, 0.0291), abs=0.001)
    assert (found.won, found.lost, found.verdict) == (400, 0, "better")
    assert found.rank1 == pytest.approx(np.mean(hard * 0.9 + 0.02 > 0.5) - np.mean(hard * 0.9 > 0.5))
    (back,) = compare(second, first)
    assert (back.won, back.lost, back.verdict) == (0, 400, "worse")
    noise = rng.normal(0, 0.2, 400)
    (even,) = compare(lines(hard), lines(hard + noise - noise.mean()))
    assert even.verdict == "undecided"


def test_only_what_both_were_measured_by():
    a = lines([0.1, 0.2], gamma=0.5) + lines([0.3, 0.4], gamma=1.0)
    b = lines([0.5, math.nan], gamma=1.0) + lines([0.5, 0.5], gamma=0.7)
    with pytest.raises(DataError, match="something to find in one gallery"):
        compare(a, b)
    found = compare(a, lines([0.5, 0.6], gamma=1.0) + lines([0.5, 0.5], gamma=0.7))
    assert [row.gamma for row in found] == [1.0]
    with pytest.raises(DataError, match="share no gamma"):
        compare(a, lines([0.5, 0.5], gamma=0.7))
    with pytest.raises(DataError, match="no query has anything"):
        compare(lines([math.nan]), lines([math.nan]))


def test_other_queries_or_crops_are_refused():
    a = lines([0.1, 0.2])
    with pytest.raises(DataError, match="2 queries and 1"):
        compare(a, lines([0.1]))
    with pytest.raises(DataError, match="--seed"):
        compare(a, [a[0], replace(a[1], top=0.25)])
    with pytest.raises(DataError, match="--seed"):
        compare(a, [a[0], replace(a[1], query="query/9.jpg")])
