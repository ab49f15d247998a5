"""`query --confirm` and `query --refuse`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from tiny_weights import picture


def test_confirmed_joins_and_refused_goes(cli, index: Path, tmp_path: Path):
    picture(77).crop((0, 0, 32, 32)).save(tmp_path / "half.png")
    asked = ["query", "half.png", "--index", index, "--json", "--top", "50"]
    plain = [match["image_id"] for match in cli(*asked).json[0]["matches"]]
    first, second = plain[:2]
    (answer,) = cli(*asked, "--refuse", first, "--confirm", second, "--exclude-self").json
    found = [match["image_id"] for match in answer["matches"]]
    assert sorted(found) == sorted(set(plain) - {first, second})
    assert (answer["confirmed"], answer["refused"], answer["verdict"]) == ([second], [first], None)
    assert not np.allclose(
        [match["distance"] for match in answer["matches"]][:3],
        [match["distance"] for match in cli(*asked, "--refuse", first).json[0]["matches"]][:3],
    )


def test_what_cannot_be_confirmed(cli, index: Path, tmp_path: Path):
    Image.new("RGB", (32, 64)).save(tmp_path / "a.png")
    Image.new("RGB", (32, 64), "white").save(tmp_path / "b.png")
    assert "one query" in cli("query", "a.png", "b.png", "--confirm", 1, "--index", index, code=1).error
    assert "is not in the index" in cli("query", "a.png", "--confirm", 10**9, "--index", index, code=1).error
    cli("query", "a.png", "b.png", "--together", "--confirm", 1, "--index", index)
