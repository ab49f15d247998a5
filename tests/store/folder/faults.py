"""Make the n-th call of its kind fail: what a full or failing disk, or ctrl-C, does to an operation at that point.

Calls that Python makes are replaced in their modules. What SQLite, HDF5 and FAISS write from C is not seen here, but
for SQLite's COMMIT; test_crashes.py lets real writes fail.
"""

from __future__ import annotations

import builtins
import errno
import io
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any
from unittest.mock import patch

KINDS = ("fsync", "rename", "open", "commit")
ERRORS = ("ENOSPC", "EIO", "ctrl-C", "ctrl-C after")
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_SQLITE = {"ENOSPC": "database or disk is full", "EIO": "disk I/O error"}  # as SQLite says it


class Fault:
    """Counts calls and raises at the n-th, once. struck: whether it has."""

    def __init__(self, n: int, kind: str, error: str) -> None:
        self.n = n
        self.kind = kind
        self.error = error
        self.calls = 0

    @property
    def struck(self) -> bool:
        return self.calls >= self.n

    def around(self, call: Callable[[], Any]) -> Any:
        """One call of the kind: an interrupt comes before or after it, as it would from a signal."""
        self.calls += 1
        if self.calls != self.n:
            return call()
        if self.error == "ctrl-C after":
            try:
                made = call()
            except OSError as error:  # which its caller may expect, of a lock file that is there; an interrupt is none
                raise self.exception() from error
            if self.kind == "open":  # or the test would fail for a file that nobody closed
                os.close(made) if isinstance(made, int) else made.close()
        raise self.exception()

    def exception(self) -> BaseException:
        if self.error.startswith("ctrl-C"):
            return KeyboardInterrupt()
        if self.kind == "commit":
            return sqlite3.OperationalError(_SQLITE[self.error])
        code = getattr(errno, self.error)
        return OSError(code, os.strerror(code))


@contextmanager
def failing(kind: str, n: int, error: str) -> Iterator[Fault]:
    """Within the block the n-th call of a kind raises.

    Args:
        kind: "fsync"; "rename": any that renames, replaces or links; "open": any that opens a file for writing;
            "commit": a COMMIT of SQLite, whoever connects within the block. error: one of `ERRORS`.
    """
    fault = Fault(n, kind, error)
    patches = {
        "fsync": lambda: _counted(fault, os, "fsync", "fdatasync"),
        "rename": lambda: _counted(fault, os, "rename", "replace", "link"),
        "open": lambda: [*_opens(fault), _os_open(fault)],
        "commit": lambda: [_connects(fault)],
    }
    with ExitStack() as stack:
        for patched in patches[kind]():
            stack.enter_context(patched)
        yield fault


def _counted(fault: Fault, module: Any, *names: str) -> Iterator[Any]:
    for name in names:
        real = getattr(module, name)
        yield patch.object(module, name, lambda *args, real=real, **more: fault.around(lambda: real(*args, **more)))


def _opens(fault: Fault) -> Iterator[Any]:
    """`Path.open` and `open` look up one function in two modules."""
    real = io.open

    def opened(file: Any, mode: str = "r", *args: Any, **more: Any) -> Any:
        if not set(mode) & set("wax+"):
            return real(file, mode, *args, **more)
        return fault.around(lambda: real(file, mode, *args, **more))

    for module in (io, builtins):
        yield patch.object(module, "open", opened)


def _os_open(fault: Fault) -> Any:
    real = os.open

    def opened(path: Any, flags: int, *args: Any, **more: Any) -> Any:
        if not flags & _WRITING:
            return real(path, flags, *args, **more)
        return fault.around(lambda: real(path, flags, *args, **more))

    return patch.object(os, "open", opened)


def _connects(fault: Fault) -> Any:
    real = sqlite3.connect

    class Connection(sqlite3.Connection):
        def commit(self) -> None:
            if self.in_transaction:
                fault.around(super().commit)

        def execute(self, sql: str, *args: Any) -> Any:
            run = partial(super().execute, sql, *args)
            return fault.around(run) if sql.strip().upper().startswith(("COMMIT", "END")) else run()

    return patch.object(sqlite3, "connect", lambda *args, **more: real(*args, **{**more, "factory": Connection}))
