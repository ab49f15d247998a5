"""The command line, `vpmsearch`: thin commands that parse, call and print.

Nothing here imports torch until a command needs it, so that `--help` answers at once.
"""

from typing import Annotated, Any

import typer

from vpmsearch.commands import (
    bench,
    calibrate,
    care,
    compare,
    demo,
    evaluate,
    export,
    index,
    layout,
    query,
    reproduce,
    serve,
    show,
    train,
    transfer,
)
from vpmsearch.commands.streams import prepare_streams
from vpmsearch.version import VERSION


class App(typer.Typer):
    """The command line of a process, which may have been started with closed streams or another encoding."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Parse the process's arguments and run the command."""
        prepare_streams()
        return super().__call__(*args, **kwargs)


app = App(
    name="vpmsearch",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _tell_version(asked: bool) -> None:
    if asked:
        typer.echo(f"vpmsearch {VERSION}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Search a gallery of person crops with a probe that may show only a part of the person."""


for module in (
    train,
    index,
    layout,
    query,
    serve,
    calibrate,
    evaluate,
    compare,
    reproduce,
    show,
    bench,
    care,
    transfer,
    export,
    demo,
):
    module.register(app)

__all__ = ["app"]
