"""Runs commands, one after the other in one process, and says which of them imported torch; for `test_imports.py`.

Usage: python no_torch_driver.py FOLDER, with pictures in FOLDER/gallery.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from vpmsearch.commands import app

HEAVY = {"torch", "torchvision", "matplotlib"}


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
    running.run = answered
    picture = str(next(Path("gallery").iterdir()))
    commands = [
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
    for command in commands:
        app([*command, "--index", "index"], standalone_mode=False)
        imported = sorted(HEAVY & sys.modules.keys())
        sys.stderr.write(json.dumps({"command": command[0], "imported": imported}) + "\n")


if __name__ == "__main__":
    main()
