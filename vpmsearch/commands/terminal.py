"""What all commands do alike: errors, messages, progress. Talk goes to stderr, so that stdout is the answer alone."""

from __future__ import annotations

import errno
import functools
import inspect
import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Annotated, Any

import typer

from vpmsearch.errors import VpmsearchError

INTERRUPTED = 130
PLAIN_SECONDS = 10.0
"""Seconds between two lines of progress where there is no terminal."""

Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]


def command(app: typer.Typer, name: str | None = None, example: str = "") -> Callable[[Callable[..., None]], None]:
    """Register a function as a command that shows an example in --help and turns errors into one line and exit 1."""

    def register(function: Callable[..., None]) -> None:
        @functools.wraps(function)
        def guarded(*args: Any, debug: bool = False, **kwargs: Any) -> None:
            try:
                function(*args, **kwargs)
            except (typer.Exit, typer.Abort, typer.BadParameter):
                raise
            except Exception as error:
                _quit_on_broken_pipe(error)
                if debug:
                    traceback.print_exc()
                say(f"error: {_one_line(error)}")
                raise typer.Exit(1) from None
            except KeyboardInterrupt:
                say("stopped; what was committed or saved before is kept")
                raise typer.Exit(INTERRUPTED) from None

        signature = inspect.signature(function, eval_str=True)
        option = inspect.Parameter("debug", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Debug)
        parameters = [*signature.parameters.values(), option]
        guarded.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        guarded.__annotations__ = {p.name: p.annotation for p in parameters}
        del guarded.__wrapped__
        text = inspect.cleandoc(function.__doc__ or "")
        app.command(name, help=f"{text}\n\nExample: {example}")(guarded)

    return register


def say(message: str) -> None:
    """One line to the person: on stderr."""
    typer.echo(message, err=True)


def answer(text: str) -> None:
    """A line of the answer: on stdout."""
    typer.echo(text)


def answer_json(value: Any) -> None:
    """The answer as one line of JSON."""
    answer(json.dumps(value, ensure_ascii=False))


@contextmanager
def progress(what: str, total: int) -> Iterator[Callable[..., None]]:
    """A progress bar on a terminal, a line now and then otherwise.

    Yields:
        advance(n, note=""): n more are done; the note is shown beside them.
    """
    if sys.stderr.isatty():
        with _bar(what, total) as advance:
            yield advance
    else:
        yield _Plain(what, total)


@contextmanager
def counted(what: str) -> Iterator[Callable[[int, int], None]]:
    """As `progress`, for work that says only while it goes on how much there is of it.

    Yields:
        tell(done, total).
    """
    with ExitStack() as stack:
        shown: list[Callable[..., None]] = []
        before = 0

        def tell(done: int, total: int) -> None:
            nonlocal before
            if not shown:
                shown.append(stack.enter_context(progress(what, total)))
            shown[0](done - before)
            before = done

        yield tell


def building(advance: Callable[..., None]) -> Callable[[int, int], None]:
    """Shows beside a progress how far the building of region indexes is, which a commit or a merge waits for."""
    return lambda done, total: advance(0, f"region indexes: {done}/{total}" if done < total else "")


@contextmanager
def _bar(what: str, total: int) -> Iterator[Callable[..., None]]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(what, total=total, note="")
        yield lambda n, note="": bar.update(task, advance=n, note=note)


class _Plain:
    """Progress as lines, for logs."""

    def __init__(self, what: str, total: int) -> None:
        self._what, self._total, self._done, self._note = what, total, 0, ""
        self._start = self._told = time.monotonic()

    def __call__(self, n: int, note: str = "") -> None:
        self._done += n
        now = time.monotonic()
        # What begins after the last of them, such as building indexes, is not counted and may be silent for long.
        begins = bool(note) and not self._note and self._done >= self._total
        self._note = note
        if begins or now - self._told >= PLAIN_SECONDS or (self._done >= self._total and n):
            self._told = now
            rate = self._done / max(now - self._start, 1e-9)
            say(f"{self._what}: {self._done}/{self._total} ({rate:.1f}/s) {note}".rstrip())


def _one_line(error: BaseException) -> str:
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # torch's, of a GPU
        return "out of memory; use a smaller --batch-size or a machine with more"
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return f"the disk is full{f' ({error.filename})' if error.filename else ''}; free some space and run it again"
    text = " ".join(str(error).split())
    if isinstance(error, VpmsearchError | OSError):
        return text or type(error).__name__
    return f"a fault of vpmsearch ({type(error).__name__}: {text}); --debug shows where, please report it"


def _quit_on_broken_pipe(error: BaseException) -> None:
    """`vpmsearch query … | head` is no failure worth a message."""
    if isinstance(error, BrokenPipeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter complains at exit
        raise typer.Exit(1) from None
