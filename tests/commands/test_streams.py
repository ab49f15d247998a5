"""What a process is started with: closed streams, other encodings, signals. None of it costs work or a name."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_weights import write_pictures

from vpmsearch.commands import streams
from vpmsearch.commands.streams import TALK, Stopped, can_hold, stopped_by_signals
from vpmsearch.commands.terminal import progress, say
from vpmsearch.store import GalleryStore, verify
from vpmsearch.types import ImageRecord, RegionFeatures

NAME = "/g/größe 写真\u200b.jpg"


def run(script: str, *args: object, **variables: str) -> subprocess.CompletedProcess[bytes]:
    """A shell command whose "$@" is a Python process with these arguments."""
    command = ["sh", "-c", script, "sh", sys.executable, *map(str, args)]
    return subprocess.run(command, env=os.environ | variables, capture_output=True, timeout=120, check=False)


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index with a name that hardly any encoding holds, of an image and of a rejected file."""
    index = tmp_path_factory.mktemp("named") / "index"
    model = {"num_regions": (6, 1), "embedding_dim": 8, "fingerprint": "ab" * 32}
    import numpy as np

    features = RegionFeatures(np.full((1, 6), 1 / 6, np.float32), np.zeros((1, 6, 8), np.float32))
    with GalleryStore.create(index, model) as store, store.writer() as writer:
        writer.add([ImageRecord(NAME)], features)
        writer.reject(f"{NAME}.png", "empty")
        writer.commit()
    return index


@pytest.mark.parametrize("encoding", ["latin-1", pytest.param("cp1252", marks=pytest.mark.slow)])
def test_an_encoding_that_cannot_hold_a_name(named: Path, encoding: str):
    plain = run('"$@"', "-m", "vpmsearch", "stats", "--rejected", "--index", named, PYTHONIOENCODING=encoding)
    assert (plain.returncode, plain.stderr) == (0, b"")
    assert plain.stdout.decode(encoding).splitlines()[-1] == r"rejected: /g/größe \u5199\u771f\u200b.jpg.png: empty"


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["latin-1", "cp1252"])
def test_json_stays_json_and_errors_name_files(named: Path, encoding: str):
    asked = ("-m", "vpmsearch", "stats", "--rejected", "--index", named)
    as_json = run('"$@"', *asked, "--json", PYTHONIOENCODING=encoding)
    assert as_json.returncode == 0
    assert json.loads(as_json.stdout)["rejections"][0]["path"] == f"{NAME}.png"
    tried = run('"$@"', "-m", "vpmsearch", "remove", "写", "--index", named, PYTHONIOENCODING=encoding)
    assert tried.returncode == 1
    assert rb"\u5199" in tried.stderr
    assert b"please report" not in tried.stderr


@pytest.mark.parametrize(
    "closed",
    ["2>&- >&- <&-", *(pytest.param(some, marks=pytest.mark.slow) for some in ("2>&-", ">&-", "2>/dev/full"))],
)
def test_closed_streams_stop_no_work(named: Path, tmp_path: Path, closed: str):
    copy = tmp_path / "copy"
    done = run(f'"$@" {closed}', "-m", "vpmsearch", "snapshot", copy, "--index", named)
    assert (done.returncode, done.stderr) == (0, b"")
    assert verify(copy).ok


@pytest.mark.slow
def test_an_answer_that_cannot_be_written_is_a_failure(named: Path):
    full = run('"$@" >/dev/full', "-m", "vpmsearch", "stats", "--index", named)
    assert (full.returncode, full.stdout) == (1, b"")
    assert full.stderr.decode() == "error: the disk is full; free some space and run it again\n"
    gone = run('{ "$@"; echo $? >&2; } | true', "-m", "vpmsearch", "stats", "--index", named)
    assert gone.stderr in (b"0\n", b"1\n")  # 0: it was faster than `true` could end


def test_no_file_gets_the_number_of_a_closed_stream():
    """A library that writes a message to file 2 would write it into the index."""
    look = "import os; from vpmsearch.commands.streams import prepare_streams as p; p(); os._exit(os.open('/', 0))"
    assert run('"$@" <&- >&- 2>&-', "-c", look).returncode == 3


class Broken:
    """A stream whose reader has gone."""

    encoding = "utf-8"

    def __init__(self, error: Exception) -> None:
        self.error = error

    def fails(self, *_: object) -> Any:
        raise self.error

    write = flush = isatty = fails


@pytest.mark.parametrize("code", [errno.EPIPE, errno.EIO, errno.ENOSPC])
def test_nobody_there_to_read_messages(monkeypatch: pytest.MonkeyPatch, code: int):
    monkeypatch.setattr(sys, "stderr", Broken(OSError(code, os.strerror(code))))
    say("hello")
    with progress("working", 3) as advance:
        advance(3)


def test_a_terminal_that_is_closed_while_a_bar_is_drawn(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "stderr", Broken(OSError(errno.EIO, "Input/output error")))
    monkeypatch.setattr(streams.Talk, "isatty", lambda talk: True)
    with progress("working", 3) as advance:
        advance(1)
        advance(2, "a note")


def test_what_an_encoding_can_hold(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    with (tmp_path / "file").open("w", encoding="cp1252") as file:
        assert can_hold(file, "größe €")
        assert not can_hold(file, "写")
        monkeypatch.setattr(sys, "stderr", file)
        assert TALK.encoding == "cp1252"
    with (tmp_path / "file").open("w", encoding="utf-8") as file:
        assert can_hold(file, "写")
        assert not can_hold(file, "\udce9")


# signals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signals_stop_as_ctrl_c_does(number: signal.Signals):
    before = signal.signal(number, signal.SIG_DFL)  # the tests themselves may run under nohup

    def wait() -> None:
        with stopped_by_signals():
            os.kill(os.getpid(), number)
            signal.pause()

    try:
        with pytest.raises(Stopped) as caught:
            wait()
        assert signal.getsignal(number) == signal.SIG_DFL
    finally:
        signal.signal(number, before)
    assert caught.value.number == number
    assert isinstance(caught.value, KeyboardInterrupt)


def test_a_signal_that_is_ignored_stays_ignored():
    """nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stopped_by_signals():
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_the_status_tells_the_signal(cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    def stopped(*_: object, **__: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        signal.pause()

    monkeypatch.setattr("vpmsearch.store.open.open_index", stopped)
    assert "stopped; what was committed or saved before is kept" in cli("stats", code=143).stderr


@pytest.mark.slow
def test_sigterm_keeps_what_was_seen(tmp_path: Path, common_weights: Path):
    """As a service manager stops a run: exit 143, and every batch that was seen is in the index."""
    write_pictures(tmp_path / "g", 30)
    driver = Path(__file__).with_name("stop_driver.py")
    command = [sys.executable, driver, "index", "g", "--index", "ix", "--weights", common_weights, "--batch-size", "2"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert [child.stdout.readline() for _ in range(3)] == ["batch\n"] * 3
        child.send_signal(signal.SIGTERM)
        _, said = child.communicate(timeout=120)
    assert child.returncode == 143
    assert "stopped; what was committed" in said
    with GalleryStore.open(tmp_path / "ix") as store:
        assert 4 <= len(store.snapshot) < 30
    assert verify(tmp_path / "ix").ok
