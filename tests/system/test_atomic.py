"""Replacing a file: the old one or the new one, whole, and nothing else in the folder."""

from __future__ import annotations

import errno
import os

import pytest

from vpmsearch.system.atomic import replacing, sync_folder


def names(folder):
    return sorted(entry.name for entry in folder.iterdir())


@pytest.mark.parametrize("old", [None, b"old"])
def test_the_new_file_takes_the_place(tmp_path, old):
    path = tmp_path / "file.csv"
    if old is not None:
        path.write_bytes(old)
    with replacing(path) as temporary:
        assert temporary.parent == tmp_path, "a rename is atomic within a file system only"
        assert temporary.suffix == ".csv"
        temporary.write_bytes(b"new")
        assert (path.read_bytes() if path.exists() else None) == old
    assert path.read_bytes() == b"new"
    assert names(tmp_path) == ["file.csv"]


@pytest.mark.parametrize("error", [OSError("disk"), ValueError("value"), KeyboardInterrupt()])
def test_an_error_leaves_the_old_file(tmp_path, error):
    path = tmp_path / "file.csv"
    path.write_bytes(b"old")

    def fail():
        with replacing(path) as temporary:
            temporary.write_bytes(b"half")
            raise error

    with pytest.raises(type(error)):
        fail()
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["file.csv"]


def full_disk(*args):
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("call", ["os.fsync", "pathlib.Path.replace"])
def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch, call):
    path = tmp_path / "file.csv"
    path.write_bytes(b"old")
    with monkeypatch.context() as patched:
        patched.setattr(call, full_disk)
        with pytest.raises(OSError, match="No space left"), replacing(path) as temporary:
            temporary.write_bytes(b"new")
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["file.csv"]


def test_content_is_synced_before_the_rename_and_the_folder_after(tmp_path, monkeypatch):
    path, events = tmp_path / "file.csv", []
    fsync, rename = os.fsync, type(path).replace

    def noted_fsync(handle):
        events.append("folder" if os.path.isdir(f"/proc/self/fd/{handle}") else "file")  # noqa: PTH112
        fsync(handle)

    def noted_rename(source, target):
        events.append("rename")
        return rename(source, target)

    monkeypatch.setattr("os.fsync", noted_fsync)
    monkeypatch.setattr("pathlib.Path.replace", noted_rename)
    with replacing(path) as temporary:
        temporary.write_bytes(b"new")
    assert events == ["file", "rename", "folder"]


def test_the_file_has_the_rights_of_any_new_file(tmp_path):
    with replacing(tmp_path / "replaced") as temporary:
        temporary.write_bytes(b"")
    (tmp_path / "written").write_bytes(b"")
    assert (tmp_path / "replaced").stat().st_mode == (tmp_path / "written").stat().st_mode


@pytest.mark.parametrize(
    "name", ["x" * 255, "é" * 127, "人" * 80 + ".safetensors", "no-suffix", ".hidden", "a." + "b" * 253]
)
def test_any_name_that_a_file_can_have(tmp_path, name):
    with replacing(tmp_path / name) as temporary:
        temporary.write_bytes(b"new")
    assert names(tmp_path) == [name]


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "none" / "file"):
        pytest.fail("there is nowhere to write to")


def test_errors_name_the_file_that_was_asked_for(tmp_path, monkeypatch):
    path = tmp_path / "file.csv"

    def fail(make):
        with pytest.raises(OSError, match=r".") as caught, replacing(path) as temporary:
            raise make(temporary)
        assert ".file." not in str(caught.value), "a hidden file"
        return caught.value

    assert fail(lambda hidden: OSError(errno.ENOSPC, "No space left")).filename == str(path)
    assert fail(lambda hidden: PermissionError(errno.EACCES, "Denied", str(hidden))).filename == str(path)
    assert isinstance(fail(lambda hidden: PermissionError(errno.EACCES, "Denied", str(hidden))), PermissionError)
    assert str(fail(lambda hidden: OSError(f"cannot write {hidden}"))) == f"cannot write {path}"
    # What is about another file stays as it is.
    assert fail(lambda hidden: OSError(errno.EIO, "Input/output error", "/other")).filename == "/other"
    assert str(fail(lambda hidden: OSError("a message of somebody's"))) == "a message of somebody's"
    with pytest.raises(FileNotFoundError) as caught, replacing(tmp_path / "none" / "file"):
        pass
    assert caught.value.filename == str(tmp_path / "none" / "file")


def test_a_folder_cannot_be_replaced(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="folder"), replacing(tmp_path / "folder") as temporary:
        temporary.write_bytes(b"new")
    assert names(tmp_path) == ["folder"]


def test_a_folder_that_cannot_be_synced_is_an_error_and_leaks_no_handle(tmp_path, monkeypatch):
    monkeypatch.setattr("os.fsync", full_disk)
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    with pytest.raises(OSError, match="No space left"):
        sync_folder(tmp_path)
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
