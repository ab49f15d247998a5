"""docs/tutorial.md, from its first block to its last."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

PAGE = Path(__file__).parent.parent / "docs" / "tutorial.md"


def blocks() -> list[tuple[int, str]]:
    """(line, code) of the Python blocks, but those that need pandas where it is not installed."""
    text = PAGE.read_text(encoding="utf-8")
    found = []
    for match in re.finditer(r"(<!-- needs pandas -->\n)?```python\n(.*?)```", text, re.DOTALL):
        if match[1] is None or importlib.util.find_spec("pandas"):
            found.append((text.count("\n", 0, match.start(2)), match[2]))
    return found


def test_the_tutorial_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("VPMSEARCH_WEIGHTS", raising=False)
    names: dict[str, object] = {}
    for line, code in blocks():
        exec(compile("\n" * line + code, str(PAGE), "exec"), names)
    assert Path("ranks.png").stat().st_size > 10_000
    assert "region 0, head: distance" in capsys.readouterr().out
    assert len(names["result"].matches) == 5
