"""Readers in other processes see committed states only, whole, and never an older one than was there when they looked.

What the states were is read from the writer's journal afterwards, and the answers they call for are computed from the
features by Eq. 4, without the store.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from fork_server import ONE_THREAD
from promises import INFO, Entry, Journal, State, features_of, read_state
from reader_driver import QUERIES, Answer, digest_of

from vpmsearch.eq4 import distances_to
from vpmsearch.store import verify
from vpmsearch.types import RegionFeatures


def shown(visibility: np.ndarray) -> np.ndarray:
    return np.where(INFO.visible(visibility), visibility, np.float32(0))


class Oracle:
    """The exact answer of every state to one query; each image's distance is computed once."""

    def __init__(self, query: RegionFeatures) -> None:
        self.query = query
        self.distances: dict[str, float] = {}

    def digest(self, state: State) -> str:
        hashes = [held[2] for held in state.images.values()]
        missing = [content_hash for content_hash in hashes if content_hash not in self.distances]
        if missing:
            features = RegionFeatures.concatenate([features_of(content_hash) for content_hash in missing])
            query, visibility = self.query.embeddings[0], shown(self.query.visibility)[0]
            found = distances_to(query, visibility, features.embeddings, shown(features.visibility)).tolist()
            self.distances.update(zip(missing, found, strict=True))
        answer: list[Answer] = [
            (image_id, path, pid, self.distances[content_hash])
            for image_id, (path, pid, content_hash, _) in state.images.items()
            if np.isfinite(self.distances[content_hash])
        ]
        return digest_of(sorted(answer, key=lambda match: (match[3], match[0])))


def states_seen(entries: list[Entry], began: float, ended: float) -> list[State]:
    """The states that a refresh may see: the last one promised before it began, and what was begun before it ended."""
    promised = [entry for entry in entries if entry.kind == "done" and entry.written < began]
    begun = [entry for entry in entries if entry.kind == "intent" and entry.written < ended]
    first = promised[-1].step if promised else -1
    return [State() if first < 0 else promised[-1].state, *(entry.state for entry in begun if entry.step > first)]


def check_reader(folder: Path, number: int, entries: list[Entry]) -> int:
    """Judge every answer of one reader; how many different ones there were."""
    oracle = Oracle(QUERIES[[number % len(QUERIES)]])
    lines = [json.loads(line) for line in (folder / f"answers-{number}").read_text().splitlines()]
    for line in lines:
        possible = [oracle.digest(state) for state in states_seen(entries, line["began"], line["ended"])]
        assert line["digest"] in possible, line
    assert lines[-1]["digest"] == oracle.digest(entries[-1].state)
    return len({line["digest"] for line in lines})


def run_readers(folder: Path, steps: int, readers: int, pause: float) -> None:
    script = Path(__file__).with_name("reader_driver.py")
    command = [sys.executable, "-W", "error", str(script), str(folder), "3", str(steps), str(readers), str(pause)]
    done = subprocess.run(command, env={**os.environ, **ONE_THREAD}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    entries = Journal(folder / "journal").entries()
    assert entries[-1].step == steps - 1
    assert read_state(folder / "index") == entries[-1].state
    assert verify(folder / "index").problems == ()
    assert sum(check_reader(folder, number, entries) for number in range(readers)) > readers


def test_readers_see_committed_states(tmp_path: Path):
    run_readers(tmp_path, 10, 2, 0.1)  # the creation, eight commits, a compaction


@pytest.mark.slow
def test_readers_see_two_hundred_commits(tmp_path: Path):
    run_readers(tmp_path, 234, 4, 0.02)
