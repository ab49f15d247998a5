"""How much memory a process may use: the machine's, or less where a container says so."""

from __future__ import annotations

import os

import pytest

from vpmsearch.system.memory import memory_bytes

MACHINE = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def tree(tmp_path, limits: dict[str, str], lines: str):
    for name, text in limits.items():
        path = tmp_path / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "self").write_text(lines)
    return tmp_path / "cgroup", tmp_path / "self"


@pytest.mark.parametrize(
    ("limits", "lines", "right"),
    [
        ({}, "", MACHINE),
        ({"memory.max": "1048576\n"}, "0::/\n", 1048576),  # in a container that sees its own group only
        ({"memory.max": "1048576\n"}, "0::/../elsewhere\n", 1048576),
        ({"a/memory.max": "max\n"}, "0::/a\n", MACHINE),
        ({"a/memory.max": "max\n", "a/b/memory.max": "2097152\n"}, "0::/a/b\n", 2097152),
        ({"a/memory.max": "1048576\n", "a/b/memory.max": "max\n"}, "0::/a/b\n", 1048576),  # around it
        ({"a/b/memory.max": "1048576\n"}, "0::/a\n", MACHINE),  # another's
        ({"memory/docker/1/memory.limit_in_bytes": "1048576\n"}, "4:cpu,cpuacct:/x\n3:memory:/docker/1\n", 1048576),
        ({"memory/memory.limit_in_bytes": "1048576\n"}, "3:memory:/docker/1\n", 1048576),
        ({"memory/memory.limit_in_bytes": "9223372036854771712\n"}, "3:memory:/\n", MACHINE),  # no limit, of version 1
        ({"memory.max": "nonsense\n"}, "nonsense\n::\n", MACHINE),
    ],
)
def test_the_least_limit_counts(tmp_path, limits, lines, right):
    assert memory_bytes(*tree(tmp_path, limits, lines)) == right


def test_where_the_machine_does_not_tell(tmp_path, monkeypatch):
    def unknown(_):
        raise ValueError

    monkeypatch.setattr(os, "sysconf", unknown)
    assert memory_bytes(*tree(tmp_path, {}, "")) is None
    assert memory_bytes(*tree(tmp_path, {"memory.max": "5\n"}, "0::/\n")) == 5
