"""Lists as people have them: what spreadsheets, pandas and trackers write, and tables in memory."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pandas as pd
import pyarrow as pa
import pytest

from vpmsearch.data.datasets import read_dataset, read_gallery
from vpmsearch.data.frames import read_frame
from vpmsearch.data.labelled import LabelledImage
from vpmsearch.data.lists import list_gallery
from vpmsearch.errors import DataError
from vpmsearch.types import SearchFilter

TAKEN = datetime(2026, 3, 29, 1, 30, tzinfo=UTC)


def listed(tmp_path: Path, text: str, name: str = "people.csv", encoding: str = "utf-8", **options):
    (tmp_path / name).write_bytes(text.encode(encoding))
    return list(read_gallery("folder", tmp_path / name, **options))


@pytest.mark.parametrize("sign", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_any_delimiter_line_end_and_mark(tmp_path: Path, sign: str, end: str, encoding: str):
    rows = ["path,pid,camid,site", 'a.jpg,7,1,"no,th"', "b.jpg,8,,"]
    if sign != ",":
        rows = [row.replace('"no,th"', "no#th").replace(",", sign).replace("#", ",") for row in rows]
    images = listed(tmp_path, end.join(rows) + end, encoding=encoding)
    assert images == [
        LabelledImage(tmp_path / "a.jpg", 7, 1, attributes=(("site", "no,th"),)),
        LabelledImage(tmp_path / "b.jpg", 8),
    ]


def test_what_pandas_writes(tmp_path: Path):
    frame = pd.DataFrame(
        {"path": ["a.jpg", "b.jpg"], "pid": [1.0, None], "camid": [1, 2], "captured_at": [pd.Timestamp(TAKEN), pd.NaT]}
    )
    expected = [LabelledImage(tmp_path / "a.jpg", 1, 1, TAKEN), LabelledImage(tmp_path / "b.jpg", None, 2)]
    for text in (frame.to_csv(), frame.to_csv(index=False), frame.to_csv(na_rep="NaN"), frame.to_csv(sep=";")):
        assert listed(tmp_path, text) == expected
    assert listed(tmp_path, frame.drop(columns="captured_at").to_json(orient="records", lines=True), "p.jsonl") == [
        LabelledImage(tmp_path / "a.jpg", 1, 1), LabelledImage(tmp_path / "b.jpg", None, 2)
    ]  # fmt: skip
    again = pd.read_csv(tmp_path / "people.csv")  # an index column read back is "Unnamed: 0"
    assert listed(tmp_path, again.to_csv(index=False)) == listed(tmp_path, frame.to_csv())


def test_milliseconds_of_pandas_need_a_name(tmp_path: Path):
    line = '{"path":"a.jpg","captured_at":1774747800000}\n'
    with pytest.raises(DataError, match="call the column captured_at:unix or captured_at:unix_ms"):
        listed(tmp_path, line, "p.jsonl")
    (image,) = listed(tmp_path, line.replace("captured_at", "captured_at:unix_ms"), "p.jsonl")
    assert image.captured_at == TAKEN
    (image,) = listed(tmp_path, "path,captured_at:unix\na.jpg,1774747800\n")
    assert image.captured_at == TAKEN


def test_times_of_a_zone(tmp_path: Path):
    text = "path,captured_at\na.jpg,2026-03-29 03:30\nb.jpg,2026-03-29 03:30Z\n"
    first, second = listed(tmp_path, text, zone=ZoneInfo("Europe/Berlin"))
    assert (first.captured_at, second.captured_at) == (TAKEN, datetime(2026, 3, 29, 3, 30, tzinfo=UTC))
    with pytest.raises(DataError, match=r"people\.csv, line 2: captured_at .*occurs twice in Europe/Berlin"):
        listed(tmp_path, "path,captured_at\na.jpg,2026-10-25 02:30\n", zone=ZoneInfo("Europe/Berlin"))


def test_other_names_of_columns_and_other_columns(tmp_path: Path):
    text = "Image,Person_ID,cam_id,Timestamp,tracklet,clothes,Site,note\na.jpg,7,2,2026-03-29T01:30,t1,red,north,\n"
    (image,) = listed(tmp_path, text)
    assert image == LabelledImage(tmp_path / "a.jpg", 7, 2, TAKEN, "t1", "red", (("Site", "north"),))
    # Where the column itself is there, the other name is an attribute.
    (image,) = listed(tmp_path, "path,pid,person\na.jpg,7,Ann\n")
    assert (image.pid, image.attributes) == (7, (("person", "Ann"),))


def test_json_values_of_other_columns(tmp_path: Path):
    text = '{"path":"a.jpg","n":3,"x":1.5,"yes":true,"no":null,"many":["é",1],"nan":NaN}\n'
    (image,) = listed(tmp_path, text, "p.ndjson")
    assert image.attributes == (("n", "3"), ("x", "1.5"), ("yes", "true"), ("many", '["é", 1]'))


def test_a_name_with_a_backslash_that_is_there_is_read(tmp_path: Path):
    (tmp_path / "a\\b.jpg").touch()
    assert listed(tmp_path, "path\na\\b.jpg\n")[0].path.is_file()


def test_only_asked_splits_need_pids(tmp_path: Path):
    (tmp_path / "l.csv").write_text("path,pid,split\na.jpg,,train\nb.jpg,1,query\nc.jpg,1,gallery\n")
    dataset = read_dataset("csv", tmp_path / "l.csv", ("query", "gallery"))
    assert (len(dataset.train), len(dataset.query), len(dataset.gallery)) == (0, 1, 1)


@pytest.mark.parametrize("of", [lambda frame: frame, pa.Table.from_pandas, lambda f: f.convert_dtypes()])
def test_tables_in_memory(tmp_path: Path, of):
    frame = pd.DataFrame({"path": ["a.jpg", str(tmp_path / "b.jpg"), "c.jpg"], "pid": [1, None, 3],
                          "captured_at": [TAKEN, None, TAKEN], "site": ["north", None, "south"]})  # fmt: skip
    images = read_frame(of(frame), tmp_path)
    assert [(i.path.name, i.pid, i.captured_at, i.attributes) for i in images] == [
        ("a.jpg", 1, TAKEN, (("site", "north"),)), ("b.jpg", None, None, ()), ("c.jpg", 3, TAKEN, (("site", "south"),))
    ]  # fmt: skip
    assert images[1].path == tmp_path / "b.jpg"


@pytest.mark.parametrize(
    ("given", "label"),
    [
        ("7", 7), ("-1", -1), ("0", 0), ("17.0", 17), (" 7 ", 7), ("007", "007"), ("00", "00"), ("+7", 7),
        ("+07", "+07"), ("1e3", "1e3"), ("1.5", "1.5"), ("alice", "alice"), (" P-017 ", "P-017"),
        ("Łódź, 2", "Łódź, 2"), ("٣", "٣"),
        ("9223372036854775807", 2**63 - 1), ("9223372036854775808", "9223372036854775808"), ("", None),
        ("Na", "Na"), ("none", "none"), ("Null", "Null"), ("NAN", "NAN"),
    ],
)  # fmt: skip
def test_a_label_is_a_number_or_a_word_as_given(tmp_path, given, label):
    """In a CSV, in JSON, from pandas, and in a filter: the same."""
    (tmp_path / "list.csv").write_text(f'path,pid,camid\na.jpg,"{given}","{given}"\n', encoding="utf-8")
    (tmp_path / "list.jsonl").write_text(json.dumps({"path": "a.jpg", "pid": given, "camid": given}))
    frame = read_frame(pd.DataFrame({"path": ["a.jpg"], "pid": [given], "camid": [given]}))
    for images in (list_gallery(tmp_path / "list.csv"), list_gallery(tmp_path / "list.jsonl"), frame):
        assert [(type(image.pid), image.pid, image.camid) for image in images] == [(type(label), label, label)]
    if label is not None and given not in ("17.0", "+7"):  # which pandas and spreadsheets write
        assert SearchFilter(pids=(given,)).pids == (label,)


def test_every_other_column_is_an_attribute(tmp_path):
    """As text; also the split, which says nothing to who indexes."""
    (tmp_path / "list.csv").write_text("path,person,site,split,note\na.jpg,bob,north,query,\nb.jpg,,2,,NaN\n")
    images = list_gallery(tmp_path / "list.csv")
    assert [image.attributes for image in images] == [(("site", "north"), ("split", "query")), (("site", "2"),)]
    (tmp_path / "list.jsonl").write_text('{"path": "a.jpg", "site": 2.0, "ok": true, "at": [1, "x"], "f": 1.5}\n')
    assert dict(list_gallery(tmp_path / "list.jsonl")[0].attributes) == {
        "site": "2", "ok": "true", "at": '[1, "x"]', "f": "1.5"
    }  # fmt: skip
    for head, words in (
        ("x" * 101, "cannot be the name of an attribute"),
        ("captured_after", "an image has it by itself"),
        (",".join(f"c{i}" for i in range(101)), "101 columns beside the known ones"),
    ):
        (tmp_path / "list.csv").write_text(f"path,{head}\n")
        with pytest.raises(DataError, match=f"line 1: .*{words}"):
            list_gallery(tmp_path / "list.csv")
    (tmp_path / "list.csv").write_text(f"path,site\na,b\nc,{'x' * 4001}\n")
    with pytest.raises(DataError, match=r"line 3: column site: an attribute has up to 4000 characters"):
        list_gallery(tmp_path / "list.csv")


def test_unknown_values_are_those_of_pandas(tmp_path: Path):
    for text in pd._libs.parsers.STR_NA_VALUES:
        (image,) = listed(tmp_path, f"path,pid,site\na.jpg,{text},{text}\n")
        assert (image.pid, image.attributes) == (None, ()), text


@pytest.mark.parametrize("text", ["NA", "null", "NULL", "N/A", "n/a", "#N/A"])
def test_a_text_is_meant_where_a_format_can_say_unknown(tmp_path: Path, text: str):
    """JSON, frames and Arrow tables keep NA as the shell, REST and names of files do; a CSV cannot say it otherwise."""
    row = {"path": "a.jpg", "pid": text, "camid": text, "track": text, "site": text}
    (tmp_path / "list.jsonl").write_text(json.dumps(row) + '\n{"path": "b.jpg", "pid": null}\n')
    frame = pd.DataFrame([row, {"path": "b.jpg"}])
    for kept, unknown in (
        list_gallery(tmp_path / "list.jsonl"), read_frame(frame), read_frame(pa.Table.from_pandas(frame))
    ):  # fmt: skip
        assert (kept.pid, kept.camid, kept.track, kept.attributes) == (text, text, text, (("site", text),))
        assert (unknown.pid, unknown.camid, unknown.track, unknown.attributes) == (None, None, None, ())
        assert SearchFilter(pids=(text,), where={"site": text}).pids == (kept.pid,)
    (listed_as,) = listed(tmp_path, f"path,pid,track,site\na.jpg,{text},{text},{text}\n")
    assert (listed_as.pid, listed_as.track, listed_as.attributes) == (None, None, ())


@pytest.mark.parametrize("text", ["nan", "NaN", "NaT", "None", "<NA>"])
def test_a_missing_value_turned_to_text_is_refused(tmp_path: Path, text: str):
    """As `astype(str)` does it: all who are not known would be one person."""
    (tmp_path / "list.jsonl").write_text(json.dumps({"path": "a.jpg", "pid": text}))
    with pytest.raises(DataError, match=r"line 1: pid '.*' is a missing value turned to text"):
        list_gallery(tmp_path / "list.jsonl")
    with pytest.raises(DataError, match=r"row 1: camid '.*' is a missing value turned to text"):
        read_frame(pd.DataFrame({"path": ["a.jpg"], "camid": [text]}))
    assert listed(tmp_path, f"path,pid\na.jpg,{text}\n")[0].pid is None


def test_tables_that_are_none():
    with pytest.raises(DataError, match="a list is neither a pandas frame nor"):
        read_frame([["a.jpg"]])
    with pytest.raises(DataError, match=r"row 2: pid: a label has up to 200 characters"):
        list(read_frame(pd.DataFrame({"path": ["a", "b"], "pid": ["1", "x" * 201]})))
    with pytest.raises(DataError, match="there is no column path"):
        read_frame(pd.DataFrame({"pid": [1]}))
    naive = pd.DataFrame({"path": ["a"], "captured_at": [pd.Timestamp("2026-10-25 02:30")]})
    assert read_frame(naive)[0].captured_at == datetime(2026, 10, 25, 2, 30, tzinfo=UTC)
    with pytest.raises(DataError, match="occurs twice"):
        read_frame(naive, zone=ZoneInfo("Europe/Berlin"))


def test_equal_json_values_are_not_one_label(tmp_path: Path):
    """1, true and 1.0 are equal in Python; the second is no label, and what was read before must not hide that."""
    lines = [
        '{"path": "a.jpg", "pid": 1, "x": 1}',
        '{"path": "b.jpg", "pid": 1.0, "x": true}',
        '{"path": "c.jpg", "pid": "1", "x": "1"}',
    ]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    images = read_gallery("csv", tmp_path / "a.jsonl")
    assert [image.pid for image in images] == [1, 1, 1]
    assert [dict(image.attributes)["x"] for image in images] == ["1", "true", "1"]
    (tmp_path / "b.jsonl").write_text("\n".join([lines[0], '{"path": "d.jpg", "pid": true, "x": 1}']))
    with pytest.raises(DataError, match="line 2: pid must be a whole number or text"):
        read_gallery("csv", tmp_path / "b.jsonl")


def test_more_labels_than_are_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("vpmsearch.data.manifest_rows._REMEMBERED", 3)
    rows = [(f"{i}.jpg", str(i % 5), f"w{i % 7}") for i in range(40)]
    (tmp_path / "a.csv").write_text("path,pid,site\n" + "".join(",".join(row) + "\n" for row in rows))
    images = read_gallery("csv", tmp_path / "a.csv")
    assert [(image.path.name, str(image.pid), dict(image.attributes)["site"]) for image in images] == rows
