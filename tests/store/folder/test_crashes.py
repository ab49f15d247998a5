"""Killed at any moment, the index holds what was last promised, or that and all of the operation in flight.

Kills leave what was written in the system's cache: that files are synced before they are named is for test_faults.py,
which fails each of these calls in turn.
"""

from __future__ import annotations

import shutil
import signal
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fork_server import ForkServer
from operations import OLD_INDEX, OPERATIONS, prepare
from promises import Journal, State, digest, read_state

from vpmsearch.errors import StoreNotFoundError, StoreVersionError
from vpmsearch.store import GalleryStore, restore, verify

STEPS = 24


@pytest.fixture(scope="module")
def server() -> Iterator[ForkServer]:
    with ForkServer(Path(__file__).with_name("crash_driver.py")) as server:
        yield server


def start(folder: Path, old: bool) -> tuple[Path, Journal]:
    """Where a sequence begins: with nothing, or with an index of the first revision and its state as promised."""
    index, journal = folder / "index", Journal(folder / "journal")
    folder.mkdir()
    if old:
        shutil.copytree(OLD_INDEX, index)
        journal.note("done", -1, old_state())
    return index, journal


def old_state() -> State:
    """What the stored index of the first revision holds, by the format's description and the arrays beside it."""
    arrays = np.load(OLD_INDEX.with_name("index-0001-expected.npz"))  # noqa: TID251  ours, and without pickles
    digests = [digest(*values) for values in zip(arrays["visibility"], arrays["embeddings"], strict=True)]
    connection = sqlite3.connect(f"{(OLD_INDEX / 'catalog.sqlite3').as_uri()}?mode=ro&immutable=1", uri=True)
    names = "SELECT id, path, pid, substr(content_hash, 1, 32) FROM image WHERE removed_at IS NULL"
    known = {row[0]: row[1:] for row in connection.execute(names)}
    rejected = dict(connection.execute("SELECT path, reason FROM rejected").fetchall())
    connection.close()
    ids = arrays["ids"].tolist()
    assert sorted(ids) == sorted(known)
    return State({number: (*known[number], value) for number, value in zip(ids, digests, strict=True)}, rejected)


def judge(folder: Path, index: Path, journal: Journal) -> None:
    """Compare a copy with the journal: whoever opens the index itself would recover it for the next run."""
    promised, in_flight = journal.promised(), journal.in_flight()
    copy = folder / "copy"
    shutil.rmtree(copy, ignore_errors=True)
    if index.exists():
        shutil.copytree(index, copy)
    try:
        report = verify(copy)
    except StoreNotFoundError:
        assert promised is None
        return
    except StoreVersionError:
        assert promised is not None
        assert promised.step == -1
        return
    assert report.problems == ()
    states = [entry.state for entry in (promised, in_flight) if entry is not None]
    state = read_state(copy)
    assert state in states
    assert report.images == len(state.images)


def run_killed(server: ForkServer, folder: Path, seed: int, kills: int, old: bool) -> int:
    """One sequence, killed so many times; how many of the kills struck within an operation."""
    whole_index, whole_journal = start(folder / "whole", old)
    whole = server.ask("sequence", index=str(whole_index), journal=str(whole_journal.path), seed=seed, steps=STEPS)
    assert whole["status"] == 0, whole.get("trace")
    assert "error" not in whole, whole["trace"]
    seconds = {entry.step: entry.seconds for entry in whole_journal.entries() if entry.kind == "done"}

    index, journal = start(folder / "killed", old)
    asked = {"index": str(index), "journal": str(journal.path), "seed": seed, "steps": STEPS}
    rng = np.random.default_rng(seed)
    struck = 0
    for number in range(kills):
        promised = journal.promised()
        first = 0 if promised is None else promised.step + 1
        beats = 1 + int(rng.integers(max(1, 2 * (STEPS - 2 - first) // (kills - number))))
        delay = float(rng.uniform(0, seconds[min(first + beats - 1, STEPS - 1)]))
        how = signal.SIGINT if number % 5 == 4 else signal.SIGKILL
        reply = server.ask("sequence", (beats, delay, how), **asked)
        if how == signal.SIGKILL:
            assert reply["status"] in (-how, 0)
        assert reply.get("error", ["KeyboardInterrupt"])[0] == "KeyboardInterrupt", reply["trace"]
        judge(folder, index, journal)
        struck += journal.in_flight() is not None
    last = server.ask("sequence", **asked)
    assert last == {"status": 0, "answer": None}, last.get("trace")
    judge(folder, index, journal)
    assert journal.promised().step == STEPS - 1
    assert read_state(index).contents() == read_state(whole_index).contents() == journal.promised().state.contents()
    check_tidy(index)
    return struck


def check_tidy(index: Path) -> None:
    """A writer deletes what those before it left behind."""
    with GalleryStore.open(index) as store:
        with store.writer():
            pass
        names = [entry.name for entry in (index / "segments").iterdir()]
        assert len(names) == store.stats().segments, names
    assert verify(index).ok


def test_killed_runs_lose_nothing(tmp_path: Path, server: ForkServer):
    """The short form begins with an old index: its upgrade may be killed, too."""
    assert run_killed(server, tmp_path, 2, 4, old=True) > 0


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10, 35))
def test_two_hundred_killed_runs_lose_nothing(tmp_path: Path, server: ForkServer, seed: int):
    assert run_killed(server, tmp_path, seed, 10, seed % 5 == 0) > 0


@pytest.mark.parametrize("restoring", [False, True])
def test_what_a_killed_copy_leaves_goes_with_the_next(tmp_path: Path, server: ForkServer, restoring: bool):
    index, folder = tmp_path / "index", tmp_path / "copies"
    prepare("compaction", index)
    files = len(list((index / "segments").glob("*/*")))
    for count in (0, 5, files - 1):
        asked = {"index": str(index), "target": str(folder / "monday"), "restoring": restoring, "files": count}
        assert server.ask("copy", (1, 0.0, signal.SIGKILL), **asked)["status"] == -signal.SIGKILL
        (left,) = folder.iterdir()  # the one before is gone
        assert left.name.startswith(".tmp-monday-")
        assert len(list(left.glob("segments/*/*"))) == count
    stranger = folder / ".tmp-monday-0123abcd" / "notes.txt"  # looks like one, and is none
    stranger.parent.mkdir()
    stranger.touch()
    restore(index, folder / "tuesday")
    assert sorted(entry.name for entry in folder.iterdir()) == [stranger.parent.name, "tuesday"]
    assert stranger.exists()
    assert verify(folder / "tuesday").ok
    assert read_state(folder / "tuesday") == read_state(index)


@pytest.mark.parametrize("growth", [8.0, pytest.param(1.2, marks=pytest.mark.slow)])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_disk_that_is_full(tmp_path: Path, server: ForkServer, operation: str, growth: float):
    """Real writes that fail, by a limit on the size of files that is raised until the operation runs through."""
    before, index = tmp_path / "before", tmp_path / "index"
    before.mkdir()
    prepare(operation, before)
    shutil.copytree(before, index)
    with OPERATIONS[operation](index) as act:
        act()
    after, limit, failures = read_state(index), 0, 0
    earlier = None if operation in ("create", "upgrading") else read_state(before)  # of others nothing can be read
    while True:
        shutil.rmtree(index)
        shutil.copytree(before, index)
        reply = server.ask("act", index=str(index), operation=operation, limit=limit)
        assert reply["status"] == 0
        if "error" not in reply:
            break
        assert "StoreError" in reply["error"], reply["trace"]
        failures += 1
        try:
            assert verify(index).problems == ()
            state = read_state(index)
            repeat = (state != after and state == earlier) or operation in ("compaction", "upgrading")
        except (StoreNotFoundError, StoreVersionError):
            assert operation in ("create", "upgrading")
            repeat = True
        if repeat:
            with OPERATIONS[operation](index) as act:
                act()
        assert read_state(index) == after
        assert verify(index).problems == ()
        limit = max(4096, int(limit * growth))
    assert read_state(index) == after
    assert failures > 0
