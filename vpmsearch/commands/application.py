"""The command line, `vpmsearch`: which module has which command, and the application made of them.

A process runs one command, and the modules of the others cost it a fifth of a second, so `main` imports one.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterable
from importlib import import_module
from typing import Annotated, Any

import typer

from vpmsearch.commands.streams import prepare_streams
from vpmsearch.version import VERSION

MODULES: dict[str, tuple[str, ...]] = {
    "train": ("train",),
    "index": ("index",),
    "layout": ("layout",),
    "query": ("query",),
    "serve": ("serve",),
    "calibrate": ("calibrate",),
    "evaluate": ("evaluate",),
    "compare": ("compare",),
    "reproduce": ("reproduce",),
    "show": ("show",),
    "bench": ("bench",),
    "care": ("stats", "verify", "remove", "compact", "snapshot", "restore", "upgrade"),
    "transfer": ("migrate", "export"),
    "export": ("export-onnx",),
    "demo": ("demo",),
}
"""The modules with a `register`, and the names of the commands that each registers, in the order of --help."""


class App(typer.Typer):
    """The command line of a process, which may have been started with closed streams or another encoding."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Parse the process's arguments and run the command."""
        prepare_streams()
        return super().__call__(*args, **kwargs)


def application(modules: Iterable[str] = tuple(MODULES)) -> App:
    """The command line with the commands of these modules."""
    app = App(name="vpmsearch", no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False)
    app.callback()(_main)
    for name in modules:
        import_module(f"vpmsearch.commands.{name}").register(app)
    return app


def main(**kwargs: Any) -> Any:
    """Run the command that the process's arguments name; all commands are there where they name none."""
    words = [word for word in sys.argv[1:] if not word.startswith("-")]
    completing = any(name.startswith("_VPMSEARCH") for name in os.environ)
    module = next((name for name, commands in MODULES.items() if words[:1] and words[0] in commands), None)
    app = application() if module is None or completing else application([module])
    try:
        return app(**kwargs)
    finally:
        _skip_last_collection()


def _skip_last_collection() -> None:
    """Keep Python from looking through all objects for cycles before it ends, a tenth of a query's time.

    Nothing waits for that: what must last is on the disk when a command is done. With torch the collection runs. Its
    modules made by nanobind, such as triton's, print pages about leaks on stderr if their objects are still there.
    """
    if "torch" not in sys.modules:
        gc.freeze()


def _tell_version(asked: bool) -> None:
    if asked:
        typer.echo(f"vpmsearch {VERSION}")
        raise typer.Exit


def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Search a gallery of person crops with a probe that may show only a part of the person."""
