"""Handles standard streams that are closed or have another encoding, and signals that ask the process to stop.

The work must go on in a service, in a cron job, after its terminal was closed, and with any file name.
"""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, TextIO, cast

_STREAMS = (("stdin", "r"), ("stdout", "w"), ("stderr", "w"))
_GONE = (OSError, ValueError)  # a pipe or terminal that is closed, a disk that is full; a stream that was closed


class Stopped(KeyboardInterrupt):
    """The process was asked to stop by a signal other than Ctrl-C's; `number` is the signal's."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


class Talk(io.TextIOBase):
    """A stream for messages. What cannot be written is dropped: messages accompany the work and never end it.

    Args:
        stream: where messages go; None is the present stderr, which a progress bar replaces while it is shown.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._given = stream

    @property
    def _stream(self) -> TextIO:
        return self._given or sys.stderr

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """What the stream can hold; rich draws its bars accordingly."""
        return getattr(self._stream, "encoding", None) or "utf-8"

    def write(self, text: str) -> int:
        """Write, if that is possible."""
        with suppress(*_GONE):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush, if that is possible."""
        with suppress(*_GONE):
            self._stream.flush()

    def isatty(self) -> bool:
        """Whether somebody watches."""
        with suppress(*_GONE):
            return self._stream.isatty()
        return False

    def fileno(self) -> int:
        """Of the stream itself: rich asks for the width of the terminal."""
        return self._stream.fileno()


TALK = cast(TextIO, Talk())
"""stderr, as it is when something is said."""


def prepare_streams() -> None:
    """Make the three standard streams usable, whatever the process was started with.

    A closed one becomes /dev/null: else the next file that is opened gets its number, and a library that writes a
    message to file 2 writes it into the index. A character that the encoding cannot hold is written as an escape.
    """
    for number, (name, mode) in enumerate(_STREAMS):
        try:
            os.fstat(number)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)
            if null != number:
                os.dup2(null, number)
                os.close(null)
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def can_hold(stream: TextIO, text: str) -> bool:
    """Whether a stream's encoding has every character of a text."""
    try:
        text.encode(getattr(stream, "encoding", None) or "utf-8")
    except UnicodeError:
        return False
    return True


@contextmanager
def stopped_by_signals() -> Iterator[None]:
    """Within the block SIGTERM and SIGHUP raise `Stopped`, as Ctrl-C raises KeyboardInterrupt.

    A signal that somebody ignores (nohup) or handles already is left alone. Only the main thread can be interrupted.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    owner, before = os.getpid(), dict[int, Any]()

    def stop(number: int, _: FrameType | None) -> None:
        if os.getpid() != owner:  # a forked child ends as it would without this handler
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        raise Stopped(number)

    for asked in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(asked) == signal.SIG_DFL:
            before[asked] = signal.signal(asked, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
