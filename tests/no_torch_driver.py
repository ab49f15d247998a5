"""Runs commands, one after the other in one process that has no torch; for `test_imports.py`.

Says for each what it printed as its exit status, and which heavy packages it asked for. Those of `LIGHT` need none.

Usage: python no_torch_driver.py FOLDER, with pictures in FOLDER/gallery.
"""

from __future__ import annotations

import builtins
import json
import sys
from pathlib import Path
from typing import Any

MISSING = ("torch", "torchvision")
HEAVY = {*MISSING, "matplotlib"}
asked: set[str] = set()
_import = builtins.__import__


def watched(name: str, *more: Any, **named: Any) -> Any:
    """As `__import__`; the names of heavy packages are kept."""
    asked.update({name.partition(".")[0]} & HEAVY)
    return _import(name, *more, **named)


builtins.__import__ = watched
sys.modules.update(dict.fromkeys(MISSING))  # to import one is a ModuleNotFoundError, and `find_spec` finds none

from vpmsearch.commands import app  # noqa: E402 (after torch is gone)


def answered(web_app, settings, tell):
    """In place of listening: a search with a photograph, and where its regions are."""
    from starlette.testclient import TestClient

    picture = next(Path("gallery").iterdir())
    with TestClient(web_app, base_url=f"http://127.0.0.1:{settings.port}") as client:
        for path, field in (("/api/search", "photograph"), ("/api/regions", "photograph")):
            answer = client.post(path, files={field: ("a.png", picture.read_bytes())})
            assert answer.status_code == 200, (path, answer.text)


def main() -> None:
    """Each command in turn."""
    import os

    from vpmsearch.web import running  # no torch, or the first command is told of it

    os.chdir(sys.argv[1])
    os.environ["XDG_CACHE_HOME"] = str(Path("cache").absolute())  # no model that was exported before
    running.run = answered
    picture = str(next(Path("gallery").iterdir()))
    other = "other.safetensors"  # of which there is no exported model
    light = [
        ["index", "gallery"],
        ["stats"],
        ["query", picture, "--json"],
        ["query", picture, "--exact", "--regions", "torso"],
        ["serve", "--port", "18018"],
        ["verify"],
        ["calibrate", "--probes", "20"],
        ["remove", picture],
        ["compact"],
        ["snapshot", "copy"],
        ["export", "out.parquet"],
    ]
    needing = [
        ["train", "--output", "w.safetensors"],
        ["index", "gallery", "--index", "other", "--weights", other],
        ["index", "gallery", "--index", "other", "--device", "cuda"],
        ["evaluate", "--data", "gallery", "--dataset", "folder"],
    ]
    for command in [[*command, "--index", "index"] for command in light] + needing:
        asked.clear()
        status = app(command, standalone_mode=False)
        sys.stderr.write(json.dumps({"command": command[0], "asked": sorted(asked), "status": status or 0}) + "\n")


if __name__ == "__main__":
    main()
