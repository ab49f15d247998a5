"""Errors, messages and progress of all commands. Messages go to stderr, so that stdout has only the answer."""

from __future__ import annotations

import errno
import functools
import inspect
import json
import os
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any, TextIO, cast

import typer

from vpmsearch.commands.streams import TALK, Stopped, Talk, can_hold, stopped_by_signals
from vpmsearch.errors import DiskFullWarning, VpmsearchError
from vpmsearch.system.extras import how_to_install

INTERRUPTED = 130
PLAIN_SECONDS = 10.0
"""Seconds between two lines of progress where there is no terminal."""

Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]


def command(
    app: typer.Typer, name: str | None = None, example: str = "", again: str = ""
) -> Callable[[Callable[..., None]], None]:
    """Register a function as a command that shows an example in --help and turns errors into one line and exit 1.

    Args:
        again: how to go on after the command was interrupted, where there is more to say than to run it again.
    """

    def register(function: Callable[..., None]) -> None:
        @functools.wraps(function)
        def guarded(*args: Any, debug: bool = False, **kwargs: Any) -> None:
            try:
                with stopped_by_signals(), _told_warnings():
                    function(*args, **kwargs)
                    sys.stdout.flush()  # a full disk or a closed pipe shows here, not when the interpreter ends
            except (typer.Exit, typer.Abort, typer.BadParameter):
                raise
            except Exception as error:
                _quit_on_broken_pipe(error)
                if debug:
                    traceback.print_exc(file=TALK)
                say(f"error: {_one_line(error)}")
                raise typer.Exit(1) from None
            except KeyboardInterrupt as stop:
                say(f"stopped; what was committed or saved before is kept{again and f'; {again}'}")
                raise typer.Exit(128 + stop.number if isinstance(stop, Stopped) else INTERRUPTED) from None

        signature = inspect.signature(function, eval_str=True)
        option = inspect.Parameter("debug", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Debug)
        parameters = [*signature.parameters.values(), option]
        guarded.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        guarded.__annotations__ = {p.name: p.annotation for p in parameters}
        del guarded.__wrapped__
        text = inspect.cleandoc(function.__doc__ or "")
        app.command(name, help=f"{text}\n\nExample: {example}")(guarded)

    return register


@contextmanager
def _told_warnings() -> Iterator[None]:
    """Say our own warnings as any other message, each once; those of others are shown as Python shows them."""
    told = set[str]()
    with warnings.catch_warnings():
        show = warnings.showwarning

        def tell(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
            if not issubclass(category, DiskFullWarning):
                show(message, category, *where, **more)
            elif str(message) not in told:
                told.add(str(message))
                say(f"warning: {message}")

        warnings.simplefilter("always", DiskFullWarning)
        warnings.showwarning = tell
        yield


def say(message: str) -> None:
    """Print a line for the user on stderr. It is no failure if that cannot be written."""
    typer.echo(message, file=TALK)


def answer(text: str) -> None:
    """A line of the answer: on stdout."""
    typer.echo(text)


def answer_json(value: Any) -> None:
    """The answer as one line of JSON, which stays JSON also where stdout cannot hold every character."""
    text = json.dumps(value, ensure_ascii=False)
    answer(text if can_hold(sys.stdout, text) else json.dumps(value))


def may_replace(path: Path) -> bool:
    """Ask whether a file may be replaced; False without a question where there is none, or nobody to ask."""
    if not path.is_file() or not (sys.stdin.isatty() and TALK.isatty()):
        return False
    return typer.confirm(f"{path} exists; replace it?", err=True)


@contextmanager
def progress(what: str, total: int) -> Iterator[Callable[..., None]]:
    """A progress bar on a terminal, a line now and then otherwise.

    Yields:
        advance(n, note=""): n more are done; the note is shown beside them.
    """
    if TALK.isatty():
        with _bar(what, total) as advance:
            yield advance
    else:
        yield _Plain(what, total)


@contextmanager
def counted(what: str) -> Iterator[Callable[[int, int], None]]:
    """As `progress`, for work whose total is known only while it runs.

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
    """Shows how far the region indexes are built, as the note of a progress bar. Commits and merges wait for them."""

    def tell(done: int, total: int) -> None:
        advance(0, f"region indexes: {done}/{total}")
        if done >= total:
            advance(0)  # which takes the note away

    return tell


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
    with Progress(*columns, console=Console(file=cast(TextIO, Talk(sys.stderr)))) as bar:
        task = bar.add_task(what, total=total, note="")
        yield lambda n, note="": bar.update(task, advance=n, note=note)


class _Plain:
    """Progress as lines, for logs."""

    def __init__(self, what: str, total: int) -> None:
        self._what, self._total, self._done = what, total, 0
        self._note = self._said = ""  # of the last call, and of the last line
        self._start = self._told = time.monotonic()

    def __call__(self, n: int, note: str = "") -> None:
        self._done += n
        now = time.monotonic()
        # What begins after the last of them, such as building indexes, is not counted and may be silent for long. That
        # it begins is said at once. That it ends is said too: else the last line would say that it was left half done.
        apart = self._done >= self._total and not n
        begins = apart and note and not self._note
        ends = apart and self._note and not note and self._note != self._said
        if begins or ends or now - self._told >= PLAIN_SECONDS or (self._done >= self._total and n):
            self._told, self._said = now, self._note if ends else note
            rate = self._done / max(now - self._start, 1e-9)
            say(f"{self._what}: {self._done}/{self._total} ({rate:.1f}/s) {self._said}".rstrip())
        self._note = note


def _one_line(error: BaseException) -> str:
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # torch's, of a GPU
        return "out of memory; use a smaller --batch-size or a machine with more"
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return f"the disk is full{f' ({error.filename})' if error.filename else ''}; free some space and run it again"
    if isinstance(error, ModuleNotFoundError) and (command := how_to_install(error)):
        return f"this needs {(error.name or '').partition('.')[0]}: {command}"
    text = " ".join(str(error).split())
    if isinstance(error, VpmsearchError | OSError):
        return text or type(error).__name__
    return f"a fault of vpmsearch ({type(error).__name__}: {text}); --debug shows where, please report it"


def _quit_on_broken_pipe(error: BaseException) -> None:
    """`vpmsearch query … | head` is no failure worth a message."""
    if isinstance(error, OSError):
        with suppress(OSError, ValueError):
            _drop_unwritten()
    if isinstance(error, BrokenPipeError):
        raise typer.Exit(1) from None


def _drop_unwritten() -> None:
    """Drop what stdout could not take. Else the interpreter would try again at its end and print an error."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
