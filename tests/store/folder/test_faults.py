"""Whichever call an operation makes to the disk fails, the index is as before or as after, and it can be repeated."""

from __future__ import annotations

import io
import itertools
import os
import shutil
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from faults import ERRORS, KINDS, failing
from operations import OPERATIONS, prepare
from promises import State, features_of, read_state

from vpmsearch.errors import StoreError, StoreNotFoundError, StoreVersionError
from vpmsearch.store import GalleryStore, verify
from vpmsearch.types import ImageRecord

MANY = 400  # no operation on these few images calls anything so often


@dataclass(frozen=True)
class Case:
    """An operation, the folder it starts from, and the states before and after; none before where none can be read."""

    name: str
    prepared: Path
    before: State | None
    after: State

    def fresh(self, index: Path) -> None:
        shutil.rmtree(index, ignore_errors=True)
        shutil.copytree(self.prepared, index)

    def check_whole(self, index: Path) -> bool:
        """The index is as before or as after, and sound; whether as after."""
        try:
            report = verify(index)
        except (StoreNotFoundError, StoreVersionError):
            assert self.before is None
            return False
        assert report.problems == ()
        state = read_state(index)
        assert state in (self.before, self.after)
        return state == self.after

    def check_after(self, index: Path) -> None:
        assert verify(index).problems == ()
        assert read_state(index) == self.after


@pytest.fixture(scope="module", params=OPERATIONS)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    folder = tmp_path_factory.mktemp(request.param)
    prepared, done = folder / "prepared", folder / "done"
    prepared.mkdir()
    prepare(request.param, prepared)
    try:
        before = read_state(prepared)
    except (StoreNotFoundError, StoreVersionError):
        before = None
    shutil.copytree(prepared, done)
    with OPERATIONS[request.param](done) as act:
        act()
    return Case(request.param, prepared, before, read_state(done))


def each_failure(case: Case, index: Path, kind: str, error: str, stride: int) -> Iterator[BaseException | None]:
    """Make call 1, 1 + stride … fail, each on a fresh index, while the operation makes so many; what it raised."""
    for n in itertools.count(1, stride):
        assert n < MANY
        case.fresh(index)
        with OPERATIONS[case.name](index) as act:
            raised: BaseException | None = None
            with failing(kind, n, error) as fault:
                try:
                    act()
                except (Exception, KeyboardInterrupt) as caught:
                    raised = caught
            if not fault.struck:
                assert raised is None
                case.check_after(index)
                return
            whole = case.check_whole(index)
            assert raised is not None or whole  # what returned was promised
            if not isinstance(raised, KeyboardInterrupt) and (case.name != "create" or not whole):
                act()
                case.check_after(index)
        yield raised
        if not whole and isinstance(raised, KeyboardInterrupt):
            with OPERATIONS[case.name](index) as act:
                act()
            case.check_after(index)


@pytest.mark.parametrize("kind", KINDS)
def test_calls_may_fail(case: Case, tmp_path: Path, kind: str):
    """Of the calls that are made file by file, every eighth one; the slow test below takes every one."""
    check_failures(case, tmp_path, kind, ERRORS[0], 8 if kind in ("fsync", "open") else 1)


@pytest.mark.slow
@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_call_may_fail(case: Case, tmp_path: Path, kind: str, error: str):
    check_failures(case, tmp_path, kind, error, 1)


def check_failures(case: Case, tmp_path: Path, kind: str, error: str, stride: int) -> None:
    expected = KeyboardInterrupt if error.startswith("ctrl-C") else StoreError
    outcomes = list(each_failure(case, tmp_path / "index", kind, error, stride))
    strange = [outcome for outcome in outcomes if outcome is not None and not isinstance(outcome, expected)]
    assert strange == []
    if expected is KeyboardInterrupt:
        assert None not in outcomes  # an interrupt is never swallowed
    if case.name != "upgrading" and kind == "commit":
        assert any(outcomes)  # every operation commits, and cannot do without


def test_a_struck_commit_leaves_no_file_behind(tmp_path: Path):
    index = tmp_path / "index"
    prepare("later_commit", index)
    files = sorted(path.relative_to(index) for path in (index / "segments").rglob("*"))
    with (
        OPERATIONS["later_commit"](index) as act,
        failing("commit", 1, "ENOSPC"),
        pytest.raises(StoreError, match="full"),
    ):
        act()
    assert sorted(path.relative_to(index) for path in (index / "segments").rglob("*")) == files


def test_the_faults_strike_what_they_say(tmp_path: Path):
    """The harness itself: each way to make a call is counted once, and the n-th raises."""
    old, new = tmp_path / "old", tmp_path / "new"
    with failing("open", 3, "ENOSPC") as fault:
        old.write_text("text")
        os.close(os.open(old, os.O_RDONLY))
        with io.open(old) as file, old.open() as other:  # noqa: UP020  each name is patched
            assert file.read() == other.read() == "text"
        os.close(os.open(old, os.O_RDWR))
        assert (fault.calls, fault.struck) == (2, False)
        with pytest.raises(OSError, match="No space left"):
            open(old, "ab")  # noqa: PTH123, SIM115
        old.open("ab").close()
    assert fault.struck
    with failing("rename", 2, "EIO"):
        old.rename(new)
        with pytest.raises(OSError, match="Input/output"):
            new.replace(old)
    with failing("rename", 1, "ctrl-C after"), pytest.raises(KeyboardInterrupt):
        new.rename(old)
    assert old.exists()
    with failing("open", 1, "ctrl-C after"), pytest.raises(KeyboardInterrupt):
        os.open(old, os.O_CREAT | os.O_EXCL | os.O_RDWR)  # fails by itself, and the interrupt comes all the same
    with failing("fsync", 1, "EIO"), old.open("rb+") as file, pytest.raises(OSError, match="Input/output"):
        os.fsync(file.fileno())
    with failing("commit", 1, "ENOSPC"):
        connection = sqlite3.connect(tmp_path / "database", isolation_level=None)
        connection.execute("BEGIN")
        connection.execute("CREATE TABLE t (x)")
        with pytest.raises(sqlite3.OperationalError, match="is full"):
            connection.execute("COMMIT")
        connection.commit()
    assert connection.execute("SELECT count(*) FROM t").fetchall() == [(0,)]
    connection.close()


def test_another_writer_may_begin_after_a_failure(tmp_path: Path):
    index = tmp_path / "index"
    prepare("later_commit", index)
    before = read_state(index)
    with (
        failing("fsync", 1, "EIO"),
        pytest.raises(StoreError, match="Input/output"),
        OPERATIONS["later_commit"](index) as act,
    ):
        act()
    with GalleryStore.open(index) as store, store.writer() as writer:
        assert writer.remove([1]) == 1
        writer.commit()
    assert read_state(index).images == {number: held for number, held in before.images.items() if number != 1}


@pytest.mark.parametrize("error", ["ctrl-C", "ctrl-C after"])
def test_a_writer_goes_on_after_an_interrupted_commit(tmp_path: Path, error: str):
    """Whoever catches the interrupt may add more with the same writer: none of it is lost, whatever had happened."""
    index = tmp_path / "index"
    prepare("create", index)
    record, features = ImageRecord("later.jpg", "later"), features_of("later")
    with OPERATIONS["create"](index) as act:
        act()
    with GalleryStore.open(index) as store, store.writer() as writer:
        writer.add([ImageRecord("first.jpg", "first")], features_of("first"))
        with failing("commit", 1, error), pytest.raises(KeyboardInterrupt):
            writer.commit()
        writer.add([record], features)
        writer.commit()
    assert [held[0] for held in read_state(index).contents()[0]] == ["first.jpg", "later.jpg"]
    assert verify(index).problems == ()
